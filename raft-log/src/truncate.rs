//! Taking back a suffix that conflicts with the leader's log.
//!
//! Invariants. The suffix never resurfaces: it is gone from the disk, durably, before its
//! replacement is written. A crash in between leaves a prefix of the old log that reaches at least
//! to the cut, and nothing that claims more was there: whatever witnesses the suffix (index files,
//! trailers) is taken back before the suffix itself, the last segment first. Bytes that somebody
//! still holds a slice of are not changed: the segment is replaced by a copy of its prefix.

use std::sync::Arc;

use crate::disk::{Disk, DiskMap};
use crate::error::LogError;
use crate::files;
use crate::index::SegmentIndex;
use crate::log::Log;
use crate::segment::{Segment, Witness};
use crate::table::{Boundary, TableSegment};

/// What the table gave up.
struct Cut<D: Disk> {
    target: Arc<Segment<D>>,
    target_was_sealed: bool,
    removed: Vec<TableSegment<D>>,
}

impl<D: Disk> Log<D> {
    /// Removes the entries from `from_index` on, durably.
    pub(crate) fn truncate(&mut self, from_index: u64) -> Result<(), LogError> {
        assert!(
            from_index > self.hard_state.commit,
            "a committed entry would be replaced: index {from_index}, commit {}",
            self.hard_state.commit
        );
        let shared = self.shared.clone();
        let _background = shared.pause_background();
        let mut persist = shared.persist();
        let keep = shared.table().boundary_at(from_index - 1)?;
        let witness = Witness { position: keep.position.0, index: keep.index.0 };
        persist.epoch += 1;
        self.epoch = persist.epoch;
        persist.durable = persist.durable.min(witness);
        persist.witnessed = persist.durable;
        let durable = persist.durable;
        shared.durable_position.store(durable.position, std::sync::atomic::Ordering::Release);

        // The prefix has to be in the files, where the rest of this looks for it.
        let mut prefix = std::mem::take(&mut *shared.unwritten());
        prefix.retain(|piece| piece.position() < keep.position.0);
        persist.writer.write(&prefix, true)?;
        persist.writer.forget();
        shared.written_position.store(keep.position.0, std::sync::atomic::Ordering::Release);

        let cut = self.unpublish(keep)?;
        self.remove_later_segments(&cut)?;
        self.active = self.clear_target(&cut, keep, durable)?;
        tracing::info!(dir = %shared.dir.display(), index = from_index, "log truncated");
        Ok(())
    }

    /// Ends the table at `keep`, so that no new slice of the suffix can be made.
    fn unpublish(&self, keep: Boundary) -> Result<Cut<D>, LogError> {
        let mut table = self.shared.table_mut();
        let first = table.first_position();
        let nth = usize::try_from((keep.position.0 - first) / table.segment_bytes)
            .expect("the table is in memory");
        let count = (keep.index.0 + 1).saturating_sub(table.segments[nth].base_index);
        let target = &mut table.segments[nth];
        let records = target.index.to_memory(count).ok_or_else(|| {
            LogError::corrupt(&target.segment.path, keep.position.0, "the index is damaged")
        })?;
        let target_was_sealed = target.index.is_sealed();
        target.index = SegmentIndex::Memory(records);
        let target = target.segment.clone();
        let removed = table.segments.split_off(nth + 1);
        table.end = keep;
        table.tail.cut(keep.position.0);
        table.damaged.cut(keep.index.0 + 1);
        Ok(Cut { target, target_was_sealed, removed })
    }

    /// The index files go first, all of them: one that stayed would vouch for the segment behind.
    fn remove_later_segments(&self, cut: &Cut<D>) -> Result<(), LogError> {
        let (disk, dir) = (&self.shared.disk, &self.shared.dir);
        let sealed = cut.removed.iter().filter(|held| held.index.is_sealed());
        let mut sealed: Vec<u64> = sealed.map(|held| held.segment.start).collect();
        if cut.target_was_sealed {
            sealed.push(cut.target.start);
        }
        for start in &sealed {
            files::remove_if_exists(disk, &files::index_path(dir, *start))?;
        }
        if !sealed.is_empty() {
            files::sync_dir(disk, dir)?;
        }
        if cut.removed.is_empty() {
            return Ok(());
        }
        let mut next = self.shared.next();
        next.start = cut.target.end();
        if let Some(next) = next.segment.take() {
            files::remove_durably(disk, dir, &next.path)?;
        }
        for held in cut.removed.iter().rev() {
            files::remove_durably(disk, dir, &held.segment.path)?;
        }
        Ok(())
    }

    /// Zeros what lies behind the cut, in place when nobody holds a slice of the segment.
    fn clear_target(
        &self,
        cut: &Cut<D>,
        keep: Boundary,
        witness: Witness,
    ) -> Result<Arc<Segment<D>>, LogError> {
        let offset = keep.position.0 - cut.target.start;
        if !cut.target.map.has_slices() {
            cut.target.lower_witness(witness)?;
            cut.target.clear_from(offset)?;
            cut.target.sync()?;
            return Ok(cut.target.clone());
        }
        let (disk, dir) = (&self.shared.disk, &self.shared.dir);
        let copy = Arc::new(cut.target.replace_by_prefix(disk, dir, offset, witness)?);
        let mut table = self.shared.table_mut();
        let last = table.segments.last_mut().expect("the target stays");
        last.segment = copy.clone();
        Ok(copy)
    }
}
