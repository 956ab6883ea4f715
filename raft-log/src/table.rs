//! The published shape of the log: which entries exist and where. One writer, many readers.
//!
//! Invariants: segments are contiguous and of equal size; every segment but a first, empty one holds
//! at least one entry; everything between `start` and `tail` is written and visible. Positions are a
//! function of the payload sizes before and of the segment size alone, so they are equal on every
//! member.

use std::sync::Arc;

use crate::disk::Disk;
use crate::entry::stored_bytes;
use crate::error::LogError;
use crate::index::{IndexRecord, SegmentIndex};
use crate::scrub::DamagedEntries;
use crate::segment::Segment;
use crate::tail::Tail;
use crate::types::{LogIndex, Position, Term};

/// The log up to an entry: its index and term, where the next one begins, and the checksum that the
/// next one chains to. At the beginning of a segment it is what a snapshot needs to stand for the
/// log before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Boundary {
    /// Index of the last entry before.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
    /// The position that follows.
    pub position: Position,
    /// Header checksum of the last entry before.
    pub chain_crc: u32,
}

/// Where an entry of this size goes when the log ends at `at`: there, or at the next segment.
pub(crate) fn place(segment_bytes: u64, at: u64, payload_bytes: u64) -> u64 {
    let left = segment_bytes - at % segment_bytes;
    if stored_bytes(payload_bytes) <= left { at } else { at + left }
}

/// A segment and the index of its entries.
pub(crate) struct TableSegment<D: Disk> {
    pub(crate) segment: Arc<Segment<D>>,
    pub(crate) base_index: u64,
    /// What the segment's first entry chains to.
    pub(crate) previous_crc: u32,
    pub(crate) index: SegmentIndex<D>,
}

/// An entry found in the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Located {
    pub(crate) position: u64,
    pub(crate) record: IndexRecord,
}

pub(crate) struct Table<D: Disk> {
    pub(crate) segment_bytes: u64,
    /// The log before the first segment.
    pub(crate) start: Boundary,
    pub(crate) segments: Vec<TableSegment<D>>,
    /// The log as a whole; its position is the tail.
    pub(crate) end: Boundary,
    /// The newest entries in memory; what is not among them is read from files.
    pub(crate) tail: Tail,
    /// Entries that nobody may read.
    pub(crate) damaged: DamagedEntries,
}

impl<D: Disk> Table<D> {
    pub(crate) fn first_position(&self) -> u64 {
        self.start.position.0
    }

    /// The segment that holds `position`, which must not be before the first.
    pub(crate) fn segment_at(&self, position: u64) -> Option<&TableSegment<D>> {
        let offset = position.checked_sub(self.first_position())?;
        self.segments.get(usize::try_from(offset / self.segment_bytes).ok()?)
    }

    /// The segment that holds the entry `index`.
    fn segment_of(&self, index: u64) -> Option<&TableSegment<D>> {
        // Nearly every lookup is for a recent entry.
        let last = self.segments.last()?;
        if index >= last.base_index {
            return Some(last);
        }
        let after = self.segments.partition_point(|held| held.base_index <= index);
        self.segments.get(after.checked_sub(1)?)
    }

    /// Where the entry `index` is.
    pub(crate) fn locate(&self, index: u64) -> Result<Located, LogError> {
        if index <= self.start.index.0 {
            return Err(self.compacted());
        }
        if index > self.end.index.0 {
            return Err(LogError::Unavailable { what: "index", number: index });
        }
        let held = self.segment_of(index).expect("a log with entries has a segment for each");
        let record = held.index.get(index - held.base_index).ok_or_else(|| {
            LogError::corrupt(
                &held.segment.path,
                held.segment.start,
                format!("the index file of the segment is damaged at entry {index}"),
            )
        })?;
        Ok(Located { position: held.segment.start + u64::from(record.offset), record })
    }

    pub(crate) fn term(&self, index: u64) -> Result<u64, LogError> {
        if index == self.start.index.0 {
            return Ok(self.start.term.0);
        }
        if index == self.end.index.0 {
            return Ok(self.end.term.0);
        }
        Ok(self.locate(index)?.record.term)
    }

    /// The log as it is up to and including `index`. Its position is where that entry ends.
    pub(crate) fn boundary_at(&self, index: u64) -> Result<Boundary, LogError> {
        if index == self.start.index.0 {
            return Ok(self.start);
        }
        if index == self.end.index.0 {
            return Ok(self.end);
        }
        let located = self.locate(index)?;
        let next = self.locate(index + 1)?;
        let held = self.segment_at(next.position).expect("a located entry has a segment");
        let position = if next.record.offset == 0 && next.position > self.first_position() {
            self.data_end_before(held.segment.start, index, &located)?
        } else {
            next.position
        };
        Ok(Boundary {
            index: LogIndex(index),
            term: Term(located.record.term),
            position: Position(position),
            chain_crc: located.record.header_crc,
        })
    }

    /// Where entry `index`, the last of its segment, ends. Only its header knows.
    fn data_end_before(&self, end: u64, index: u64, located: &Located) -> Result<u64, LogError> {
        let held = self.segment_at(located.position).expect("a located entry has a segment");
        if let SegmentIndex::Sealed(sealed) = &held.index {
            return Ok(held.segment.start + u64::from(sealed.header.data_end));
        }
        if let Some(entry) = self.tail.starting_at_index(index).next()
            && entry.index == index
        {
            return Ok(entry.end());
        }
        let header = crate::reader::header_at(held, located.record.offset, index)?;
        let data_end = located.position + header.stored_bytes();
        assert!(data_end <= end, "an entry never straddles a segment");
        Ok(data_end)
    }

    /// The boundary at a segment's first position, none when no entry begins there.
    pub(crate) fn boundary_before(&self, position: u64) -> Result<Option<Boundary>, LogError> {
        if position == self.first_position() {
            return Ok(Some(self.start));
        }
        let Some(held) = self.segment_at(position) else { return Ok(None) };
        if held.segment.start != position || held.index.count() == 0 {
            return Ok(None);
        }
        let index = held.base_index - 1;
        Ok(Some(Boundary {
            index: LogIndex(index),
            term: Term(self.term(index)?),
            position: Position(position),
            chain_crc: held.previous_crc,
        }))
    }

    pub(crate) fn compacted(&self) -> LogError {
        LogError::Compacted {
            index: LogIndex(self.start.index.0 + 1),
            position: self.start.position,
        }
    }
}
