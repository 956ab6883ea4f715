//! The writing half of the log.
//!
//! Invariants: entries are published in index order, whole; an error of the disk is final; nothing is
//! acknowledged here, and nothing but a new segment is written: that is the business of the
//! [`SyncTicket`].

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, HardState};

use crate::damage::DamagedLog;
use crate::disk::Disk;
use crate::entry::{EntryHeader, HEADER, stored_bytes};
use crate::error::LogError;
use crate::group::Piece;
use crate::hard_state::HardStateValue;
use crate::headless::HeadlessLog;
use crate::heard::{Claim, HeardFile};
use crate::index::{IndexRecord, SegmentIndex};
use crate::options::{LogOptions, payload_bytes_max};
use crate::persist::{Group, SyncTicket};
use crate::reader::LogReader;
use crate::recovery::{self, Outcome};
use crate::segment::{Segment, Witness};
use crate::shared::Shared;
use crate::snapshot::SnapshotStore;
use crate::standing::Standing;
use crate::table::{Boundary, TableSegment, place};
use crate::tail::TailEntry;
use crate::types::{LogIndex, Position, Term};
use crate::unsynced;

/// Told why the log cannot be read; see [`Log::on_read_failure`].
type ReadFailureHandler = Box<dyn Fn(&LogError) + Send + Sync>;

/// The log of one member of one group. Lives inside raft's `RawNode` as its storage.
pub struct Log<D: Disk> {
    pub(crate) shared: Arc<Shared<D>>,
    pub(crate) active: Arc<Segment<D>>,
    pub(crate) snapshots: SnapshotStore<D>,
    pub(crate) hard_state: HardStateValue,
    hard_state_staged: bool,
    standing: Standing,
    boot: String,
    pub(crate) conf_state: ConfState,
    pub(crate) epoch: u64,
    groups: u64,
    pub(crate) on_read_failure: Option<ReadFailureHandler>,
    /// Last, so that it is let go of after everything else.
    _lock: Arc<D::Lock>,
}

/// What a directory holds.
#[allow(clippy::large_enum_variant, reason = "there is one, at a start, and it is taken apart")]
pub enum Opened<D: Disk> {
    /// A log that can be used.
    Whole(Log<D>),
    /// A log of which something durable is damaged. Nothing was changed.
    Damaged(Arc<DamagedLog<D>>),
    /// A log without the snapshot at which it begins. Nothing was changed.
    Headless(HeadlessLog<D>),
}

/// Entries that go into one segment, to be published together.
struct Run<D: Disk> {
    pieces: Vec<Piece<D>>,
    entries: Vec<TailEntry>,
    records: Vec<IndexRecord>,
}

impl<D: Disk> Run<D> {
    fn new() -> Self {
        Self { pieces: Vec::new(), entries: Vec::new(), records: Vec::new() }
    }

    /// Adds an entry; returns its header's checksum.
    fn push(&mut self, entry: &Entry, segment: &Arc<Segment<D>>, before: Boundary) -> u32 {
        let (position, payload) = (before.position.0, entry.data.clone());
        let fields = EntryHeader::of(entry, position, before.chain_crc);
        let (header, crc) = fields.encode();
        let offset = position - segment.start;
        self.pieces.push(Piece {
            segment: segment.clone(),
            offset,
            header,
            payload: payload.clone(),
            stored_bytes: fields.stored_bytes(),
        });
        let (kind, index, term) = (fields.kind, entry.index, entry.term);
        self.entries.push(TailEntry { index, term, kind, position, header, payload });
        let offset = u32::try_from(offset).expect("offsets in a segment fit 32 bits");
        self.records.push(IndexRecord { offset, header_crc: crc, term });
        crc
    }

    /// Says that the rest of the segment is empty, where there is room to say so.
    fn push_padding(&mut self, segment: &Arc<Segment<D>>, before: Boundary) {
        let position = before.position.0;
        let left = segment.end() - position;
        if left < HEADER as u64 {
            return;
        }
        let (header, _) = EntryHeader::padding(position, left, before.chain_crc).encode();
        self.pieces.push(Piece {
            segment: segment.clone(),
            offset: position - segment.start,
            header,
            payload: Bytes::new(),
            stored_bytes: HEADER as u64,
        });
    }
}

impl<D: Disk> Log<D> {
    /// Opens the log in `dir`, creating it at the first start, and recovers it: a torn tail beyond
    /// what was durable is cut, zeroed and synced; anything else that does not check is an error.
    ///
    /// # Errors
    /// See [`LogError`]; all but `Options` are fatal.
    pub fn open(disk: D, dir: &Path, options: LogOptions) -> Result<Self, LogError> {
        match Self::examine(disk, dir, options)? {
            Opened::Whole(log) => Ok(log),
            Opened::Damaged(damaged) => Err(damaged.damage().error()),
            Opened::Headless(headless) => Err(headless.error()),
        }
    }

    /// [`Log::open`] for who can repair a log: one in whose middle something is damaged is no error.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn examine(disk: D, dir: &Path, options: LogOptions) -> Result<Opened<D>, LogError> {
        options.check()?;
        let outcome = recovery::open(&disk, dir, &options)?;
        Ok(Self::around(disk, dir, &options, outcome))
    }

    pub(crate) fn around(
        disk: D,
        dir: &Path,
        options: &LogOptions,
        outcome: Outcome<D>,
    ) -> Opened<D> {
        let recovered = match outcome {
            Outcome::Whole(recovered) => recovered,
            Outcome::Damaged(damaged) => return Opened::Damaged(damaged),
            Outcome::Headless(headless) => return Opened::Headless(headless),
        };
        let table = recovered.table;
        let end = table.end;
        let active = table.segments[table.segments.len() - 1].segment.clone();
        let mut hard_state = recovered.hard_state.durable();
        // An entry of a newer term is on the disk, the term itself is not: the crash came between
        // the two. No vote was given in that term, or it would be here.
        if end.term.0 > hard_state.term {
            hard_state.term = end.term.0;
            hard_state.vote = 0;
        }
        hard_state.commit = hard_state.commit.max(table.start.index.0);
        let snapshots =
            SnapshotStore::new(disk.clone(), dir.to_path_buf(), recovered.conf_state.clone());
        let shared = Arc::new(Shared::new(
            disk,
            dir.to_path_buf(),
            options.prepare_ahead_bytes,
            table,
            recovered.hard_state,
            snapshots.clone(),
        ));
        if let Some(noted) = &recovered.noted {
            shared.look_at(noted);
        }
        tracing::info!(
            dir = %dir.display(), last_index = %end.index, last_term = %end.term, tail = %end.position,
            term = hard_state.term, commit = hard_state.commit, "log opened"
        );
        let log = Self {
            shared,
            active,
            snapshots,
            hard_state,
            hard_state_staged: true,
            standing: recovered.standing,
            boot: options.boot.clone(),
            conf_state: recovered.conf_state,
            epoch: 0,
            groups: 0,
            on_read_failure: None,
            _lock: recovered.lock,
        };
        log.shared.request_preparation();
        Opened::Whole(log)
    }

    /// Sets what is told first when raft asks for something that cannot be read. Raft knows no error
    /// but its own kinds and panics on any other, so this is the only way to end in good order: a
    /// handler that does not end the process is followed by that panic.
    pub fn on_read_failure(&mut self, handler: impl Fn(&LogError) + Send + Sync + 'static) {
        self.on_read_failure = Some(Box::new(handler));
    }

    /// Index of the last entry; that of the log's start when there is none.
    pub fn last_index(&self) -> LogIndex {
        self.shared.table().end.index
    }

    /// Its term; that of the log's start when there is none.
    pub fn last_term(&self) -> Term {
        self.shared.table().end.term
    }

    /// Where the next entry would begin, before placement.
    pub fn tail(&self) -> Position {
        self.shared.table().end.position
    }

    /// The log's first position.
    pub fn first_position(&self) -> Position {
        self.shared.table().start.position
    }

    /// Where the header of an entry with such a payload goes when it is appended at `at`.
    pub fn place(&self, at: Position, payload_bytes: usize) -> Position {
        Position(place(self.shared.segment_bytes, at.0, payload_bytes as u64))
    }

    /// Where the entry after one at `header_position` begins, before placement.
    pub fn end_of(&self, header_position: Position, payload_bytes: usize) -> Position {
        Position(header_position.0 + stored_bytes(payload_bytes as u64))
    }

    /// Payload bytes of the newest entries that are kept in memory.
    pub fn tail_bytes(&self) -> usize {
        self.shared.table().tail.payload_bytes()
    }

    /// The largest payload an entry may have.
    pub fn payload_bytes_max(&self) -> usize {
        payload_bytes_max(self.shared.segment_bytes)
    }

    /// Everything up to this index is durable here.
    pub fn durable_index(&self) -> LogIndex {
        LogIndex(self.shared.persist().durable.index)
    }

    /// Whether there is room ahead of the tail. Ask before promising new work: what was prepared
    /// earlier still takes what is in flight.
    ///
    /// # Errors
    /// `NoSpace` while the disk is full.
    pub fn check_space(&self) -> Result<(), LogError> {
        match &*self.shared.no_space() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Has a full disk looked at again, in the background. Ask this now and again: once
    /// [`Log::check_space`] refuses, nothing else would notice that there is room, nor that the disk
    /// has failed since.
    ///
    /// # Errors
    /// What the log failed of for good, if it did.
    pub fn look_for_space(&self) -> Result<(), LogError> {
        self.shared.check_writable()?;
        self.shared.look_for_space();
        Ok(())
    }

    /// A handle for reading from any thread.
    pub fn reader(&self) -> LogReader<D> {
        LogReader::new(self.shared.clone())
    }

    /// The snapshots beside the log.
    pub fn snapshots(&self) -> SnapshotStore<D> {
        self.snapshots.clone()
    }

    /// Stages raft's hard state; the next sync makes it durable.
    pub fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = HardStateValue {
            term: hard_state.term,
            vote: hard_state.vote,
            commit: hard_state.commit,
        };
        self.hard_state_staged = true;
    }

    /// Whether the directory holds everything that the member ever promised.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Changes the standing; durable on return. Entries and hard state that a better standing rests on
    /// must be durable before.
    ///
    /// # Errors
    /// Of the disk; fatal.
    pub fn set_standing(&mut self, standing: Standing) -> Result<(), LogError> {
        self.shared.check_writable()?;
        let shared = self.shared.clone();
        shared.latch(standing.store(&shared.disk, &shared.dir))?;
        self.standing = standing;
        Ok(())
    }

    /// What this directory may claim once all that was appended and staged so far is durable.
    pub fn claim(&self) -> Claim {
        let end = self.shared.table().end;
        Claim::of(self.hard_state.term, end.term.0, end.index.0)
    }

    /// Where it is kept what the other members claimed.
    pub fn heard_file(&self) -> HeardFile<D> {
        HeardFile::new(self.shared.clone())
    }

    /// Says whether, from now on, the member answers for entries before they are synced. To be said at
    /// every start, and taken back only when everything appended is synced; durable on return.
    ///
    /// # Errors
    /// Of the disk; fatal.
    pub fn answer_unsynced(&mut self, unsynced: bool) -> Result<(), LogError> {
        self.shared.check_writable()?;
        let shared = self.shared.clone();
        shared.latch(match unsynced {
            true => unsynced::begin(&shared.disk, &shared.dir, &self.boot),
            false => unsynced::end(&shared.disk, &shared.dir),
        })
    }

    /// Starts making durable what was appended and staged so far, on the log's own thread.
    pub fn begin_sync(&mut self) -> SyncTicket {
        self.begin(true)
    }

    /// Starts handing to the disk what was appended so far, without waiting for the medium: it then
    /// survives this process, not a loss of power. The staged hard state waits for a sync.
    pub fn begin_write(&mut self) -> SyncTicket {
        self.begin(false)
    }

    fn begin(&mut self, durable: bool) -> SyncTicket {
        let end = self.shared.table().end;
        let staged = durable && std::mem::take(&mut self.hard_state_staged);
        self.groups += 1;
        self.shared.begin_group(Group {
            number: self.groups,
            epoch: self.epoch,
            end: Witness { position: end.position.0, index: end.index.0 },
            hard_state: staged.then_some(self.hard_state),
            durable,
        })
    }

    /// Whether a sync, even of nothing, would let a restart tell more damage from a torn end. Worth
    /// asking for when the log has come to rest.
    pub fn wants_sync_at_rest(&self) -> bool {
        self.shared.unwitnessed.load(Ordering::Acquire)
    }

    /// Appends entries, replacing from the first one that differs on. They are readable on return, in
    /// a file after the next write, durable after the next sync. Entries that are already there are skipped.
    ///
    /// # Errors
    /// `BadAppend` and `EntryTooLarge` leave the log as it was; any other is fatal.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        self.shared.check_writable()?;
        self.check_entries(entries)?;
        let known = self.known_prefix(entries)?;
        let entries = &entries[known..];
        let Some(first) = entries.first() else { return Ok(()) };
        let shared = self.shared.clone();
        if first.index <= self.last_index().0 {
            shared.latch(self.truncate(first.index))?;
        }
        shared.latch(self.add_entries(entries))?;
        shared.request_preparation();
        Ok(())
    }

    fn check_entries(&self, entries: &[Entry]) -> Result<(), LogError> {
        let Some(first) = entries.first() else { return Ok(()) };
        let (start, end) = {
            let table = self.shared.table();
            (table.start.index.0, table.end.index.0)
        };
        if first.index <= start || first.index > end + 1 {
            return Err(LogError::BadAppend(format!(
                "the first has index {}, the log reaches from {start} to {end}",
                first.index
            )));
        }
        let payload_bytes_max = self.payload_bytes_max();
        let mut previous = (first.index - 1, 0);
        for entry in entries {
            if entry.index != previous.0 + 1 || entry.term < previous.1 {
                return Err(LogError::BadAppend(format!(
                    "index {} of term {} follows index {} of term {}",
                    entry.index, entry.term, previous.0, previous.1
                )));
            }
            if !entry.context.is_empty() {
                return Err(LogError::BadAppend(format!(
                    "entry {} has a context, which is not stored",
                    entry.index
                )));
            }
            let payload_bytes = entry.data.len();
            if payload_bytes > payload_bytes_max {
                return Err(LogError::EntryTooLarge { payload_bytes, payload_bytes_max });
            }
            previous = (entry.index, entry.term);
        }
        Ok(())
    }

    /// How many of the entries the log holds already: same index and term means same entry.
    fn known_prefix(&self, entries: &[Entry]) -> Result<usize, LogError> {
        let table = self.shared.table();
        let mut known = 0;
        for entry in entries {
            if entry.index > table.end.index.0 || table.term(entry.index)? != entry.term {
                break;
            }
            known += 1;
        }
        Ok(known)
    }

    /// Publishes entries in memory and hands them to the next group that is written.
    fn add_entries(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        let mut end = self.shared.table().end;
        let mut run = Run::new();
        for entry in entries {
            let position =
                place(self.shared.segment_bytes, end.position.0, entry.data.len() as u64);
            if position >= self.active.end() {
                if end.position.0 < self.active.end() {
                    run.push_padding(&self.active, end);
                }
                self.publish(std::mem::replace(&mut run, Run::new()), end);
                self.active = self.shared.take_next_segment(&self.active)?;
            }
            end.position = Position(position);
            let chain_crc = run.push(entry, &self.active, end);
            end = Boundary {
                index: LogIndex(entry.index),
                term: Term(entry.term),
                position: Position(position + stored_bytes(entry.data.len() as u64)),
                chain_crc,
            };
        }
        self.publish(run, end);
        Ok(())
    }

    /// `end` is the log's end with the run.
    fn publish(&self, run: Run<D>, end: Boundary) {
        if !run.records.is_empty() {
            let written_to = self.shared.written_position.load(Ordering::Acquire);
            let mut table = self.shared.table_mut();
            let last = table.segments.last().expect("a log has a segment");
            if last.segment.start != self.active.start {
                let (base_index, previous_crc) = (table.end.index.0 + 1, table.end.chain_crc);
                table.segments.push(TableSegment {
                    segment: self.active.clone(),
                    base_index,
                    previous_crc,
                    index: SegmentIndex::Memory(Vec::new()),
                });
            }
            match &mut table.segments.last_mut().expect("a log has a segment").index {
                SegmentIndex::Memory(records) => records.extend_from_slice(&run.records),
                SegmentIndex::Sealed(_) => unreachable!("a sealed segment is full"),
            }
            for entry in run.entries {
                table.tail.push(entry);
            }
            table.tail.shrink(written_to);
            table.end = end;
        }
        self.shared.unwritten().extend(run.pieces);
    }
}

impl<D: Disk> Drop for Log<D> {
    /// Work that was handed in and has not begun finds the log closed; work under way is waited for,
    /// so that nothing writes after the lock is gone.
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        drop(self.shared.pause_background());
        drop(self.shared.persist());
    }
}
