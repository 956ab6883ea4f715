//! A damaged log whose missing entries stand in no other log any more, but behind them its own goes on: it may
//! begin later, where another member's begins.
//!
//! At a boundary every member's snapshot is the same, and the entry behind it repeats the checksum that vouches
//! for the whole log before. Where our own entry does, the snapshot stands for all that goes, and what follows
//! was promised and is kept: a compaction would have left the same, so term, vote and standing stay.
//!
//! Invariants: the snapshot is durable before the first file goes, and the first one from then on; segments go
//! from the oldest on, each durably. So a crash leaves the damaged log, or a compaction that recovery finishes.
//! What bears witness goes only with what it speaks of, or where the intact entry behind the boundary proves as
//! much.

use bytes::Bytes;

use crate::damage::{DamagedLog, read_entry};
use crate::disk::Disk;
use crate::error::{IoContext, LogError};
use crate::files::{self, FileKind};
use crate::log::Opened;
use crate::snapshot::BoundarySnapshot;
use crate::types::{LogIndex, Position};

impl<D: Disk> DamagedLog<D> {
    /// Where this log can begin with entry `first`: the entry begins a segment, and is intact.
    ///
    /// # Errors
    /// Of the disk.
    pub fn start_at(&self, first: LogIndex) -> Result<Option<Position>, LogError> {
        Ok(self.at_segment_start(first)?.map(|(position, _)| position))
    }

    /// Position of entry `first`, if it can begin the log, and the checksum that it repeats.
    fn at_segment_start(&self, first: LogIndex) -> Result<Option<(Position, u32)>, LogError> {
        let found = self.survey.headers.get(&first.0).filter(|found| found.offset == 0);
        let Some(found) = found else { return Ok(None) };
        let entry = read_entry(&found.segment, found.offset)?.ok();
        Ok(entry.map(|(entry, header)| (entry.position, header.previous_crc)))
    }

    /// Reads a snapshot as a peer has it: one at which this log can begin.
    ///
    /// # Errors
    /// `BadSnapshot` when it is another one. Of the disk.
    pub fn check_start(&self, encoded: Bytes) -> Result<BoundarySnapshot, LogError> {
        let snapshot = BoundarySnapshot::decode(encoded)?;
        let boundary = snapshot.boundary;
        let behind = self.at_segment_start(LogIndex(boundary.index.0 + 1))?;
        if behind != Some((boundary.position, boundary.chain_crc)) {
            let reason =
                format!("what this log has behind index {} does not follow", boundary.index);
            return Err(LogError::BadSnapshot(reason));
        }
        Ok(snapshot)
    }

    /// Lets the log begin at a snapshot that [`DamagedLog::check_start`] gave, and opens it again: whole, or
    /// with the damage that is behind.
    ///
    /// # Errors
    /// All are fatal.
    pub fn begin_at(&self, snapshot: &BoundarySnapshot) -> Result<Opened<D>, LogError> {
        let (disk, dir) = (&self.disk, &self.dir);
        let position = snapshot.boundary.position;
        tracing::warn!(
            dir = %dir.display(), %position, reason = self.damage.reason,
            "the log begins where a peer's does: nobody has the entries before"
        );
        let snapshots = self.snapshots();
        snapshots.put(snapshot)?;
        // Recovery would finish the compaction at one of these, in the midst of the damage.
        snapshots.remove_below(position)?;
        for name in disk.list(dir).during("list", dir)? {
            if let FileKind::Segment(start) = FileKind::of(&name)
                && start < position.0
            {
                files::remove_durably(disk, dir, &files::segment_path(dir, start))?;
                files::remove_durably(disk, dir, &files::index_path(dir, start))?;
            }
        }
        self.open_again()
    }
}
