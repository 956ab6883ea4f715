//! Replacing the log by another member's snapshot, and dropping the log's oldest segments.
//!
//! Invariant of an installation: the marker file is the moment of change. Before it is durable, a
//! crash leaves the old log (and a snapshot file that recovery removes, since it matches nothing);
//! from then on, opening the log carries the installation through before looking at anything else.
//! Every step can be repeated. The marker goes when the new log is whole. One that cannot be read is followed only
//! after the member has noted, durably, that it forgot what it promised.
//!
//! Invariant of compaction: segments go from the oldest on, each durably before the next, so what
//! remains is always contiguous and begins where a snapshot stands.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use raft::eraftpb::{ConfState, Snapshot};

use crate::disk::{Disk, Lane};
use crate::entry::{be32, be64};
use crate::error::{IoContext, LogError};
use crate::files::{self, FileKind};
use crate::format::Format;
use crate::hard_state::{HardStateFile, HardStateValue};
use crate::index::SegmentIndex;
use crate::log::Log;
use crate::scrub::DamagedEntries;
use crate::segment::{Segment, Witness};
use crate::shared::{Next, Shared};
use crate::snapshot::{BoundarySnapshot, SnapshotStore, boundary_of};
use crate::standing::Standing;
use crate::table::{Boundary, TableSegment};
use crate::types::Position;

const MAGIC: u32 = 0x524d_514e; // "RMQN"
const VERSION: u16 = 1;
pub(crate) const FORMAT: Format = Format { magic: MAGIC, version: VERSION, checked_bytes: 16 };
const MARKER_BYTES: usize = 20;

pub(crate) fn encode_marker(position: u64) -> [u8; MARKER_BYTES] {
    let mut out = [0; MARKER_BYTES];
    out[0..4].copy_from_slice(&MAGIC.to_be_bytes());
    out[4..6].copy_from_slice(&VERSION.to_be_bytes());
    out[8..16].copy_from_slice(&position.to_be_bytes());
    let crc = crc32fast::hash(&out[..16]);
    out[16..20].copy_from_slice(&crc.to_be_bytes());
    out
}

pub(crate) fn decode_marker(bytes: &[u8]) -> Option<u64> {
    let marker: &[u8; MARKER_BYTES] = bytes.first_chunk()?;
    let sound = bytes.len() == MARKER_BYTES
        && be32(marker, 0) == MAGIC
        && u16::from_be_bytes([marker[4], marker[5]]) == VERSION
        && be32(marker, 16) == crc32fast::hash(&marker[..16]);
    sound.then(|| be64(marker, 8))
}

/// An installation that was cut short.
pub(crate) struct Begun {
    /// Where its snapshot is.
    pub(crate) position: Position,
    /// The marker says so. Otherwise it cannot be read.
    pub(crate) is_stated: bool,
}

/// The installation that the marker says began, if one did. What is installed is behind all that is committed, so
/// where the marker cannot be read it is the newest snapshot.
pub(crate) fn begun<D: Disk>(disk: &D, dir: &Path, commit: u64) -> Result<Option<Begun>, LogError> {
    let path = dir.join(files::INSTALL);
    if !files::exists(disk, &path)? {
        return Ok(None);
    }
    let marker = files::read_if_readable(disk, &path)?.unwrap_or_default();
    if let Some(position) = decode_marker(&marker) {
        return Ok(Some(Begun { position: Position(position), is_stated: true }));
    }
    let store = SnapshotStore::new(disk.clone(), dir.to_path_buf(), ConfState::default());
    let newest = store.positions()?.last().copied();
    if let Some(position) = newest
        && boundary_of(disk, dir, position.0)?.is_none_or(|(found, _)| found.index.0 >= commit)
    {
        return Ok(Some(Begun { position, is_stated: false }));
    }
    Err(LogError::corrupt(
        &path,
        0,
        "the marker of an installation is damaged, its snapshot missing",
    ))
}

/// The marker of an installation cannot be read, and the newest snapshot is taken for what was installed. Should
/// there have been a newer one, the member goes back behind what it acknowledged: it hears from all others first.
pub(crate) fn without_marker<D: Disk>(
    disk: &D,
    dir: &Path,
    standing: Standing,
    position: Position,
) -> Result<Standing, LogError> {
    let standing = standing.without_votes();
    tracing::error!(
        file = %dir.join(files::INSTALL).display(), %position, ?standing,
        "the marker of an installation is damaged: the newest snapshot is installed"
    );
    standing.store(disk, dir)?;
    Ok(standing)
}

/// Carries an installation through. False when its snapshot cannot be read.
pub(crate) fn finish<D: Disk>(
    disk: &D,
    dir: &Path,
    segment_bytes: u64,
    begun: &Begun,
    hard_state: &mut HardStateFile<D::File>,
) -> Result<bool, LogError> {
    let Position(position) = begun.position;
    if boundary_of(disk, dir, position)?.is_none() {
        return Ok(false);
    }
    drop(carry_out(disk, dir, segment_bytes, position, hard_state)?);
    Ok(true)
}

/// Replaces whatever log there is by an empty one that begins behind the snapshot at `position`.
fn carry_out<D: Disk>(
    disk: &D,
    dir: &Path,
    segment_bytes: u64,
    position: u64,
    hard_state: &mut HardStateFile<D::File>,
) -> Result<Segment<D>, LogError> {
    let Some((boundary, _)) = boundary_of(disk, dir, position)? else {
        let path = files::snapshot_path(dir, position);
        return Err(LogError::corrupt(&path, position, "the snapshot being installed is damaged"));
    };
    for name in disk.list(dir).during("list", dir)? {
        let goes = match FileKind::of(&name) {
            FileKind::Segment(_) | FileKind::Index(_) => true,
            FileKind::Snapshot(other) => other != position,
            FileKind::Temporary | FileKind::Other => false,
        };
        if goes {
            let path = dir.join(name);
            disk.remove(&path).during("remove", &path)?;
        }
    }
    // The names must be gone before one of them is used again.
    files::sync_dir(disk, dir)?;
    let segment = Segment::create(disk, dir, position, segment_bytes)?;
    let old = hard_state.durable();
    let mut value = HardStateValue { commit: boundary.index.0, ..old };
    if boundary.term.0 > old.term {
        value = HardStateValue { term: boundary.term.0, vote: 0, ..value };
    }
    hard_state.store(value, true)?;
    files::remove_durably(disk, dir, &dir.join(files::INSTALL))?;
    Ok(segment)
}

impl<D: Disk> Log<D> {
    /// Replaces the log by a snapshot of another member: the next entry is the one behind it, at the
    /// snapshot's boundary. Durable on return; a crash leaves the old log or the new one.
    ///
    /// # Errors
    /// `BadSnapshot` leaves the log as it was; any other is fatal.
    pub fn install_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), LogError> {
        self.shared.check_writable()?;
        let snapshot = BoundarySnapshot::from_raft(snapshot)?;
        let boundary = snapshot.boundary;
        let segment_bytes = self.shared.segment_bytes;
        if boundary.index.0 == 0 || !boundary.position.0.is_multiple_of(segment_bytes) {
            return Err(LogError::BadSnapshot(format!(
                "it ends at position {}, which is no boundary of segments of {segment_bytes} bytes; \
                 the members' segment sizes must be equal",
                boundary.position
            )));
        }
        if boundary.index.0 < self.hard_state.commit {
            return Err(LogError::BadSnapshot(format!(
                "it is for index {}, index {} is committed here",
                boundary.index, self.hard_state.commit
            )));
        }
        let shared = self.shared.clone();
        shared.latch(self.install(&snapshot))?;
        tracing::info!(
            dir = %shared.dir.display(), index = %boundary.index, position = %boundary.position,
            "snapshot installed"
        );
        shared.request_preparation();
        Ok(())
    }

    fn install(&mut self, snapshot: &BoundarySnapshot) -> Result<(), LogError> {
        let shared = self.shared.clone();
        let (disk, dir) = (&shared.disk, &shared.dir);
        let boundary = snapshot.boundary;
        let _background = shared.pause_background();
        let mut persist = shared.persist();
        self.snapshots.put(snapshot)?;
        let marker = encode_marker(boundary.position.0);
        files::replace_with(disk, dir, &dir.join(files::INSTALL), &[&marker])?;

        persist.epoch += 1;
        self.epoch = persist.epoch;
        // Before the files change, so that nobody reads from what is going away; what readers hold
        // stays readable.
        let mut table = shared.table_mut();
        let segment = carry_out(
            disk,
            dir,
            shared.segment_bytes,
            boundary.position.0,
            &mut persist.hard_state,
        )?;
        self.active = Arc::new(segment);
        table.start = boundary;
        table.end = boundary;
        table.tail.clear();
        table.damaged = DamagedEntries::default();
        table.segments = vec![TableSegment {
            segment: self.active.clone(),
            base_index: boundary.index.0 + 1,
            previous_crc: boundary.chain_crc,
            index: SegmentIndex::Memory(Vec::new()),
        }];
        drop(table);
        *shared.next() = Next { start: self.active.end(), segment: None };
        shared.unwritten().clear();
        persist.writer.forget();
        shared.written_position.store(boundary.position.0, Ordering::Release);
        persist.durable = Witness { position: boundary.position.0, index: boundary.index.0 };
        persist.witnessed = Witness::default();
        shared.durable_position.store(boundary.position.0, Ordering::Release);
        let value = persist.hard_state.durable();
        drop(persist);
        self.hard_state.commit = self.hard_state.commit.max(boundary.index.0);
        if value.term > self.hard_state.term {
            self.hard_state.term = value.term;
            self.hard_state.vote = 0;
        }
        self.conf_state = snapshot.conf_state.clone();
        self.snapshots.set_conf_state(self.conf_state.clone());
        Ok(())
    }

    /// Lets the log begin at the newest boundary at or below `position` that has a snapshot, and has
    /// the segments before it removed by the disk's helper. Returns the log's new first position.
    ///
    /// # Errors
    /// Of the disk; fatal. Those of the removal are met by the next write.
    pub fn compact_to(&mut self, position: Position) -> Result<Position, LogError> {
        self.shared.check_writable()?;
        let limit = position.min(Position(self.active.start));
        if limit <= self.first_position() {
            return Ok(self.first_position());
        }
        let shared = self.shared.clone();
        if let Some(BoundarySnapshot { boundary, .. }) = self.snapshots.at_or_below(limit)?
            && boundary.position > self.first_position()
        {
            let removed = shared.latch(self.compact(boundary))?;
            self.remove(removed, boundary.position);
        }
        Ok(self.first_position())
    }

    /// Takes the segments before a boundary out of the table.
    fn compact(&self, boundary: Boundary) -> Result<Vec<Arc<Segment<D>>>, LogError> {
        let position = boundary.position;
        let mut table = self.shared.table_mut();
        if table.boundary_before(position.0)? != Some(boundary) {
            return Err(LogError::corrupt(
                &files::snapshot_path(&self.shared.dir, position.0),
                position.0,
                "its boundary is not one of this log's".to_owned(),
            ));
        }
        let keep = table.segments.partition_point(|held| held.segment.start < position.0);
        table.start = boundary;
        table.damaged.compact(position.0);
        Ok(table.segments.drain(..keep).map(|held| held.segment).collect())
    }

    /// Has files removed that are not part of the log any more. Not here: to free a large file and to
    /// sync its directory takes a busy disk seconds, in which nothing would be acknowledged.
    fn remove(&self, segments: Vec<Arc<Segment<D>>>, position: Position) {
        let shared = self.shared.clone();
        let snapshots = self.snapshots.clone();
        let work = self.shared.disk.offload(Lane::Prepare, move || {
            let removed = match remove_oldest_first(&shared, &segments) {
                Ok(true) => snapshots.remove_below(position),
                // What is left still needs its snapshot.
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
            // Reported by whoever writes next.
            let _ = shared.latch(removed);
        });
        // Work that was handed in is done whether or not somebody awaits it.
        drop(work);
    }
}

/// Removes segments one by one, each durably before the next. False when the log was closed before
/// the last: what is left is found again, and removed by the next compaction.
fn remove_oldest_first<D: Disk>(
    shared: &Shared<D>,
    segments: &[Arc<Segment<D>>],
) -> Result<bool, LogError> {
    let (disk, dir) = (&shared.disk, &shared.dir);
    for segment in segments {
        let _background = shared.background();
        if shared.closed.load(Ordering::Acquire) {
            return Ok(false);
        }
        files::remove_durably(disk, dir, &segment.path)?;
        files::remove_durably(disk, dir, &files::index_path(dir, segment.start))?;
        tracing::debug!(file = %segment.path.display(), "segment removed");
    }
    Ok(true)
}
