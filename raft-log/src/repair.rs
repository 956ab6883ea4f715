//! Mending a damaged log with entries that a peer gives.
//!
//! An entry's stored form is a function of the entries before it, so a member can write what it lost
//! exactly as it was. It does so only with proof. The checksum of a header vouches for the whole log
//! up to it: when the last missing entry comes out with the checksum that is known from behind the
//! gap, everything is as it was. When nothing behind is known, only what the peer knows to be
//! committed is taken: such an entry is the same on every member for ever.
//!
//! That also tells when what is damaged was never committed: the group has committed another entry in
//! the place of one whose checksum is known here, so it has given up that one and all behind it, as
//! raft would have told this member. They are taken back then, and nothing else is missing.
//!
//! Invariants: what does not prove itself changes nothing; a patch is written whole or, when power
//! goes meanwhile, in parts that are each right, and the rest is still found missing; what was
//! committed is in the file before anything behind it is taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use raft::eraftpb;

use crate::anew;
use crate::damage::{DamageEnd, DamagedLog, read_entry};
use crate::disk::{Disk, Lane};
use crate::entry::{ENTRY_HEADER_BYTES, EntryHeader, EntryKind, HEADER, StoredEntry, stored_form};
use crate::error::{IoContext, LogError};
use crate::files::{self, FileKind};
use crate::hard_state::{HardStateFile, HardStateValue};
use crate::log::{Log, Opened};
use crate::options::payload_bytes_max;
use crate::pages::Patchwork;
use crate::reader::LogReader;
use crate::recovery;
use crate::segment::{Segment, Witness};
use crate::standing::Standing;
use crate::table::{Boundary, place};
use crate::types::{LogIndex, Position, Term};

/// A patch is written before it is complete once it has this many bytes, if it may be.
const PATCH_BYTES_MAX: usize = 64 << 20;

/// Entries of one member's log for another's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Header checksum of the entry before the first.
    pub previous_crc: u32,
    /// Verified entries in order, without a gap.
    pub entries: Vec<StoredEntry>,
}

/// Why entries do not mend the damage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchRefused {
    /// Nothing was given.
    #[error("it has none of the missing entries")]
    Nothing,
    /// The giver's log differs before the damage.
    #[error("its log differs before index {0}")]
    OtherPast(LogIndex),
    /// The entries do not follow each other, or are of a kind that no log holds.
    #[error("entry {0} cannot stand where it would have to")]
    Disorder(LogIndex),
    /// The last missing entry is another one.
    #[error("with it, entry {0} is not the one that was there")]
    OtherEntry(LogIndex),
    /// Nothing proves the entry.
    #[error("entry {0} is not known to be committed, and nothing behind it is intact")]
    Unproven(LogIndex),
}

/// What to do with a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patched {
    /// More entries are missing.
    Wants(LogIndex),
    /// It can be written.
    Ready,
}

/// The bytes that mend a damage, as far as they are known.
pub struct Patch {
    segment_bytes: u64,
    payload_bytes_max: usize,
    goal: DamageEnd,
    /// What is missing is of no newer term.
    term_behind: Option<Term>,
    end: Boundary,
    /// The log one entry shorter than it is intact.
    shorter: Option<Boundary>,
    /// This log's first missing entry is not before this position: the segment before is sealed.
    sealed_to: u64,
    /// Everything up to here was committed when the log was last used.
    known_committed: LogIndex,
    pieces: Vec<(u64, Bytes)>,
    bytes: usize,
    /// Every entry in it is committed.
    committed: bool,
    /// The newest term among what was given.
    term: Term,
    /// What the log has behind the patch, the group has given up.
    supersedes: bool,
}

impl Patch {
    /// For the first damage of a log; nothing is known yet.
    fn new<D: Disk>(log: &DamagedLog<D>) -> Self {
        let segment_bytes = log.options.segment_bytes;
        let Boundary { index: LogIndex(last), .. } = log.damage.before;
        let longer = last > log.table.start.index.0;
        Self {
            segment_bytes,
            payload_bytes_max: payload_bytes_max(segment_bytes),
            goal: log.damage.end,
            term_behind: log.term_behind(),
            end: log.damage.before,
            sealed_to: match log.table.segments.last() {
                Some(held) if held.index.is_sealed() => held.segment.end(),
                _ => 0,
            },
            shorter: longer.then(|| log.table.boundary_at(last - 1).ok()).flatten(),
            known_committed: log.commit,
            pieces: Vec::new(),
            bytes: 0,
            committed: true,
            term: Term(0),
            supersedes: false,
        }
    }

    /// For who takes back everything behind `end`, where the group has committed `other`.
    pub(crate) fn ending_with<D: Disk>(
        log: &DamagedLog<D>,
        end: Boundary,
        other: &eraftpb::Entry,
    ) -> Self {
        let mut patch = Self { end, term: Term(other.term), ..Self::new(log) };
        patch.supersede();
        patch
    }

    /// What to do now.
    pub fn state(&self) -> Patched {
        let complete = match self.goal {
            DamageEnd::Chain { index, .. } | DamageEnd::Open(index) => self.end.index >= index,
        };
        let enough = self.committed && self.bytes >= PATCH_BYTES_MAX;
        if complete || enough { Patched::Ready } else { Patched::Wants(self.next()) }
    }

    /// Number of entries in it.
    pub fn entries(&self) -> usize {
        self.pieces.iter().filter(|(_, bytes)| !is_padding(bytes)).count()
    }

    fn next(&self) -> LogIndex {
        LogIndex(self.end.index.0 + 1)
    }

    /// Takes entries that a peer gave, which knows everything up to `committed` to be committed. On
    /// an error the patch is of no more use.
    ///
    /// # Errors
    /// See [`PatchRefused`].
    pub fn add(
        &mut self,
        previous_crc: u32,
        entries: &[eraftpb::Entry],
        committed: LogIndex,
    ) -> Result<Patched, PatchRefused> {
        if entries.is_empty() {
            return Err(PatchRefused::Nothing);
        }
        self.term = entries.iter().fold(self.term, |newest, entry| newest.max(Term(entry.term)));
        if previous_crc != self.end.chain_crc {
            return match self.shorter {
                Some(shorter)
                    if self.pieces.is_empty() && self.is_given_up(self.end.index, committed) =>
                {
                    self.end = shorter;
                    self.supersede();
                    Ok(self.state())
                }
                _ => Err(PatchRefused::OtherPast(self.next())),
            };
        }
        for entry in entries {
            if let Patched::Ready = self.state() {
                break;
            }
            self.push(entry, committed)?;
        }
        Ok(self.state())
    }

    fn push(&mut self, entry: &eraftpb::Entry, committed: LogIndex) -> Result<(), PatchRefused> {
        let index = self.next();
        let sound = entry.index == index.0
            && entry.term >= self.end.term.0
            && entry.context.is_empty()
            && entry.data.len() <= self.payload_bytes_max;
        if !sound {
            return Err(PatchRefused::Disorder(index));
        }
        let is_committed = index <= committed;
        self.committed &= is_committed;
        let (position, payload_bytes) = (self.end.position.0, entry.data.len() as u64);
        let at = place(self.segment_bytes, position, payload_bytes);
        if at != position {
            self.pad_to(at);
        }
        let (header, crc) = EntryHeader::of(entry, at, self.end.chain_crc).encode();
        let differs = match self.goal {
            DamageEnd::Chain { index: last, crc: wanted, .. } => last == index && crc != wanted,
            DamageEnd::Open(_) => false,
        };
        // What fits where this log has padding is not what it had either, nor what is newer than what follows.
        let newer = self.term_behind.is_some_and(|behind| Term(entry.term) > behind);
        let another = differs || newer || at < self.sealed_to;
        if another && !(self.committed && self.is_given_up(index, committed)) {
            return Err(PatchRefused::OtherEntry(index));
        }
        if !is_committed && matches!(self.goal, DamageEnd::Open(_)) {
            return Err(PatchRefused::Unproven(index));
        }
        let bytes = stored_form(&header, &entry.data);
        let end = at + bytes.len() as u64;
        self.put(at, bytes);
        self.end =
            Boundary { index, term: Term(entry.term), position: Position(end), chain_crc: crc };
        if another {
            self.supersede();
        }
        Ok(())
    }

    fn is_given_up(&self, index: LogIndex, committed: LogIndex) -> bool {
        is_given_up(index, self.known_committed, committed)
    }

    /// The log ends with what is in the patch.
    fn supersede(&mut self) {
        self.goal = DamageEnd::Open(self.end.index);
        self.supersedes = true;
    }

    /// Says that the rest of the segment, which ends at `to`, is empty.
    fn pad_to(&mut self, to: u64) {
        let bytes = padding(self.end, to);
        self.put(self.end.position.0, bytes);
    }

    fn put(&mut self, position: u64, bytes: Bytes) {
        self.bytes += bytes.len();
        self.pieces.push((position, bytes));
    }

    /// The pieces, with what follows the last missing entry if that is padding.
    fn finish(mut self) -> Vec<(u64, Bytes)> {
        if let DamageEnd::Chain { index, next: Some(next), .. } = self.goal
            && self.end.index == index
            && next > self.end.position
        {
            self.pad_to(next.0);
        }
        self.pieces
    }
}

/// Whether the group gave up entry `index` of this log: a peer that knows everything up to `committed` to be
/// committed has another one, and this member never knew its own to be.
pub(crate) fn is_given_up(index: LogIndex, known_committed: LogIndex, committed: LogIndex) -> bool {
    known_committed < index && index <= committed
}

/// What stands between the end of an entry and the end of its segment at `to`.
pub(crate) fn padding(end: Boundary, to: u64) -> Bytes {
    let left = to - end.position.0;
    let mut bytes = BytesMut::zeroed(usize::try_from(left).expect("smaller than a segment"));
    if left >= ENTRY_HEADER_BYTES {
        let (header, _) = EntryHeader::padding(end.position.0, left, end.chain_crc).encode();
        bytes[..HEADER].copy_from_slice(&header);
    }
    bytes.freeze()
}

fn is_padding(bytes: &[u8]) -> bool {
    !EntryHeader::decode(bytes).is_ok_and(|(header, _)| header.kind != EntryKind::Padding)
}

impl<D: Disk> DamagedLog<D> {
    /// An empty patch for the first damage.
    pub fn patch(&self) -> Patch {
        Patch::new(self)
    }

    /// Intact entries from `first` on: up to `last`, and about `limit_bytes` of payload. Work that
    /// reads the disk is done away from the caller.
    pub fn fetch(
        self: &Arc<Self>,
        first: LogIndex,
        last: LogIndex,
        limit_bytes: usize,
    ) -> impl Future<Output = Result<Option<Fetched>, LogError>> + Send + 'static {
        let log = self.clone();
        let read =
            self.disk.offload(Lane::Prepare, move || log.fetch_now(first, last, limit_bytes));
        async move { read.await.unwrap_or(Err(LogError::Closed)) }
    }

    fn fetch_now(
        &self,
        first: LogIndex,
        last: LogIndex,
        limit_bytes: usize,
    ) -> Result<Option<Fetched>, LogError> {
        let mut fetched: Option<Fetched> = None;
        let mut bytes = 0;
        for index in first.0..=last.0 {
            let Some((segment, offset)) = self.place_of(index) else { break };
            let Ok((entry, header)) = read_entry(segment, offset)? else { break };
            bytes += entry.payload.len();
            if entry.index.0 != index || (fetched.is_some() && bytes > limit_bytes) {
                break;
            }
            fetched
                .get_or_insert_with(|| Fetched {
                    previous_crc: header.previous_crc,
                    entries: Vec::new(),
                })
                .entries
                .push(entry);
        }
        Ok(fetched)
    }

    /// Writes a patch and opens the log again: whole, or with the damage that is left.
    ///
    /// # Errors
    /// All are fatal.
    pub fn mend(&self, patch: Patch) -> Result<Opened<D>, LogError> {
        assert_eq!(patch.state(), Patched::Ready, "only what proved itself is written");
        let segment_bytes = self.options.segment_bytes;
        let (end, supersedes) = (patch.end, patch.supersedes);
        self.come_to(patch.term, supersedes)?;
        let mut runs: BTreeMap<u64, (u64, BytesMut)> = BTreeMap::new();
        for (position, bytes) in patch.finish() {
            let start = position - position % segment_bytes;
            let (_, run) = runs.entry(start).or_insert_with(|| (position, BytesMut::new()));
            run.extend_from_slice(&bytes);
        }
        for (start, (position, run)) in runs {
            let segment = self.segment(start)?;
            self.write_run(&segment, position - start, &run, supersedes)?;
        }
        if supersedes {
            self.take_back(end)?;
        }
        self.open_again()
    }

    /// No log holds an entry of a term that its member has not come to, and nothing is taken back before a
    /// newer term than the member claimed it in is durable: the group has come to one, even if all entries that
    /// were given are older. No vote was given in it.
    fn come_to(&self, term: Term, supersedes: bool) -> Result<(), LogError> {
        let Some(mut file) = HardStateFile::open(&self.disk, &self.dir)? else { return Ok(()) };
        let held = file.durable();
        let term = term.0.max(held.term + u64::from(supersedes));
        if held.term < term {
            file.store(HardStateValue { term, vote: raft::INVALID_ID, ..held }, true)?;
        }
        Ok(())
    }

    /// Removes what stands behind `end`, and what bears witness to it, in the order of a truncation.
    fn take_back(&self, end: Boundary) -> Result<(), LogError> {
        let segment_bytes = self.options.segment_bytes;
        // Where the last byte before is, if the log has any.
        let last = end.position.0.max(self.table.first_position() + 1) - 1;
        let target = last - last % segment_bytes;
        tracing::warn!(
            dir = %self.dir.display(), index = end.index.0 + 1,
            "the group has committed other entries than this log ends with, and they are taken back"
        );
        let names = self.disk.list(&self.dir).during("list", &self.dir)?;
        let kinds = || names.iter().map(|name| FileKind::of(name));
        for kind in kinds() {
            if let FileKind::Index(start) = kind
                && start >= target
            {
                files::remove_durably(&self.disk, &self.dir, &files::index_path(&self.dir, start))?;
            }
        }
        // What is behind bears witness to itself until it has gone.
        let segment = Segment::open(&self.disk, &self.dir, target, segment_bytes)?;
        segment.renew_lost_trailer()?;
        segment.lower_witness(Witness { position: end.position.0, index: end.index.0 })?;
        let later: BTreeSet<u64> = kinds()
            .filter_map(|kind| match kind {
                FileKind::Segment(start) if start > target => Some(start),
                _ => None,
            })
            .collect();
        for start in later.into_iter().rev() {
            files::remove_durably(&self.disk, &self.dir, &files::segment_path(&self.dir, start))?;
        }
        segment.clear_from(end.position.0 - target)?;
        segment.sync()
    }

    /// Writes what stood at an offset of a segment, in whole pages; durable on return.
    fn write_run(
        &self,
        segment: &Segment<D>,
        offset: u64,
        run: &[u8],
        supersedes: bool,
    ) -> Result<(), LogError> {
        let patchwork = Patchwork::around(segment, offset, run)?;
        if patchwork.lost_before {
            let reason = "the disk cannot read what precedes the damage either";
            return Err(LogError::corrupt(&segment.path, segment.start + offset, reason));
        }
        if patchwork.lost_behind && !supersedes {
            // Zeros take the place of what may have been acknowledged, and would be cut as a torn tail.
            let standing = Standing::load(&self.disk, &self.dir)?.without_votes();
            tracing::error!(
                file = %segment.path.display(), position = segment.start + offset, ?standing,
                "the disk cannot read what follows in the log: what this member acknowledged last \
                 may be lost"
            );
            standing.store(&self.disk, &self.dir)?;
        }
        patchwork.write(segment)?;
        segment.sync()
    }

    /// Gives up what is there, and opens an empty log of a member that is lost. For who knows that every
    /// other member holds all that may go: everything up to [`DamagedLog::reach`], committed.
    ///
    /// # Errors
    /// All are fatal.
    pub fn begin_anew(&self) -> Result<Opened<D>, LogError> {
        tracing::error!(
            position = %self.damage.before.position, reason = self.damage.reason,
            "nobody has what is missing in the log"
        );
        anew::give_up(&self.disk, &self.dir)?;
        self.open_again()
    }

    /// Opens the log again as it is now.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_again(&self) -> Result<Opened<D>, LogError> {
        let (disk, dir, options) = (&self.disk, &self.dir, &self.options);
        let outcome = recovery::open_locked(disk, dir, options, self.lock.clone())?;
        Ok(Log::around(disk.clone(), dir, options, outcome))
    }

    /// The segment that begins at `start`, made anew when it is gone.
    fn segment(&self, start: u64) -> Result<Arc<Segment<D>>, LogError> {
        if let Some(segment) = self.survey.segments.get(&start) {
            return Ok(segment.clone());
        }
        // One whose creation was cut short is left, and as empty as one that is gone.
        files::remove_durably(&self.disk, &self.dir, &files::segment_path(&self.dir, start))?;
        let bytes = self.options.segment_bytes;
        Ok(Arc::new(Segment::create(&self.disk, &self.dir, start, bytes)?))
    }
}

impl<D: Disk> LogReader<D> {
    /// Verified entries from `first` on: up to `last`, and about `limit_bytes` of payload; none when
    /// the log does not hold the first, or it is damaged. Work that reads the disk is done away from
    /// the caller.
    pub fn fetch(
        &self,
        first: LogIndex,
        last: LogIndex,
        limit_bytes: usize,
    ) -> impl Future<Output = Result<Option<Fetched>, LogError>> + Send + 'static {
        let reader = self.clone();
        let read = self.shared.disk.offload(Lane::Prepare, move || {
            // A closed log's files may be another's by now.
            if reader.shared.closed.load(Ordering::Acquire) {
                return Err(LogError::Closed);
            }
            reader.fetch_now(first, last, limit_bytes)
        });
        async move { read.await.unwrap_or(Err(LogError::Closed)) }
    }

    fn fetch_now(
        &self,
        first: LogIndex,
        last: LogIndex,
        limit_bytes: usize,
    ) -> Result<Option<Fetched>, LogError> {
        let (position, previous_crc) = {
            let table = self.shared.table();
            if first <= table.start.index || first > table.end.index {
                return Ok(None);
            }
            let before = table.boundary_at(first.0 - 1)?;
            (Position(table.locate(first.0)?.position), before.chain_crc)
        };
        let mut entries = match self.entries_from(position, limit_bytes) {
            Ok(entries) => entries,
            Err(LogError::Corrupt { .. } | LogError::Compacted { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        entries.retain(|entry| entry.index <= last);
        let starts_there = entries.first().is_some_and(|entry| entry.index == first);
        Ok(starts_there.then_some(Fetched { previous_crc, entries }))
    }
}
