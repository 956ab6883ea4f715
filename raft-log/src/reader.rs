//! Reading the log from any thread, without copying: its end from memory, the rest from mapped files.
//!
//! Invariants: slices are made only of published bytes and while the table is locked, so a truncation
//! sees every slice there is before it decides how to take bytes back; a map is asked only for what
//! was written, which the tail in memory does not hold any more.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use raft::eraftpb::Entry;

use crate::disk::{Disk, DiskMap};
use crate::entry::{ENTRY_HEADER_BYTES, EntryDamage, EntryHeader, EntryKind, HEADER, StoredEntry};
use crate::error::LogError;
use crate::segment::Segment;
use crate::shared::Shared;
use crate::table::{Boundary, Table, TableSegment};
use crate::types::{LogIndex, Position};

/// Who asks for less looks something up, and will not go on from there.
const THROUGH_BYTES: usize = 4 << 10;

/// Reads the header of entry `index`.
pub(crate) fn header_at<D: Disk>(
    held: &TableSegment<D>,
    offset: u32,
    index: u64,
) -> Result<EntryHeader, LogError> {
    let offset = u64::from(offset);
    let position = held.segment.start + offset;
    let range = offset..offset + ENTRY_HEADER_BYTES;
    let (header, _) = held
        .segment
        .map
        .with(range, EntryHeader::decode)
        .map_err(|damage| damaged(&held.segment, position, damage))?;
    if header.index != index || header.position != position {
        return Err(damaged(&held.segment, position, EntryDamage::Position));
    }
    Ok(header)
}

fn damaged<D: Disk>(segment: &Segment<D>, position: u64, damage: impl ToString) -> LogError {
    LogError::corrupt(&segment.path, position, damage.to_string())
}

/// A published stretch of one segment, and walking it.
struct Stretch<D: Disk> {
    segment: Arc<Segment<D>>,
    bytes: Bytes,
    position: u64,
    /// The rest of its segment is empty.
    padded: bool,
}

impl<D: Disk> Stretch<D> {
    /// From `position` to the end of what is published in its segment, or to what is in memory or known to
    /// be damaged: a map must not be asked for a page that cannot be read.
    fn of(table: &Table<D>, position: u64) -> Result<Option<Self>, LogError> {
        let Some(held) = table.segment_at(position) else { return Ok(None) };
        let end = held.segment.end().min(table.end.position.0).min(table.tail.first_position());
        if position >= end {
            return Ok(None);
        }
        let sound_to = table.damaged.first_behind(position).unwrap_or(u64::MAX);
        if sound_to <= position {
            return Err(damaged(&held.segment, sound_to, "it is being mended"));
        }
        let start = held.segment.start;
        let bytes = held.segment.map.slice(position - start..end.min(sound_to) - start);
        Ok(Some(Self { segment: held.segment.clone(), bytes, position, padded: false }))
    }

    /// The verified entry at the front, and its header checksum; `None` where the segment's data
    /// ends.
    fn next(&mut self) -> Result<Option<(StoredEntry, u32)>, LogError> {
        if self.bytes.len() < HEADER {
            return Ok(None);
        }
        let position = self.position;
        let damaged = |damage| damaged(&self.segment, position, damage);
        let (header, crc, payload) = crate::entry::decode_entry(&self.bytes).map_err(damaged)?;
        if header.position != position {
            return Err(damaged(EntryDamage::Position));
        }
        if header.kind == EntryKind::Padding {
            self.padded = true;
            return Ok(None);
        }
        let payload = HEADER..HEADER + payload.len();
        let entry = StoredEntry::new(&header, self.bytes.slice(payload));
        let stored = usize::try_from(header.stored_bytes()).expect("it was decoded from memory");
        self.bytes = self.bytes.split_off(stored.min(self.bytes.len()));
        self.position += stored as u64;
        Ok(Some((entry, crc)))
    }
}

impl<D: Disk> Table<D> {
    /// Entries `low..high` for raft: at least one, then as many as `max_bytes` allows.
    pub(crate) fn entries(
        &self,
        low: u64,
        high: u64,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, LogError> {
        let mut entries = Vec::with_capacity((high.saturating_sub(low) as usize).min(1024));
        let (mut index, mut bytes) = (low, 0_u64);
        while index < high {
            if index >= self.tail.first_index() {
                let count = usize::try_from(high - index).unwrap_or(usize::MAX);
                for held in self.tail.starting_at_index(index).take(count) {
                    let entry = held.to_raft();
                    if !fits(&entry, &mut bytes, max_bytes) && !entries.is_empty() {
                        break;
                    }
                    entries.push(entry);
                }
                return Ok(entries);
            }
            let located = self.locate(index)?;
            let mut stretch = Stretch::of(self, located.position)?
                .expect("a located entry lies in the published part");
            while index < high {
                let Some((stored, crc)) = stretch.next()? else { break };
                let record = self.locate(index)?.record;
                if stored.index.0 != index || crc != record.header_crc {
                    return Err(damaged(&stretch.segment, stored.position.0, EntryDamage::Chain));
                }
                let entry = Entry::from(stored);
                if !fits(&entry, &mut bytes, max_bytes) && !entries.is_empty() {
                    return Ok(entries);
                }
                entries.push(entry);
                index += 1;
            }
        }
        Ok(entries)
    }
}

/// Counts the entry as raft does, and says whether it is within the bound.
fn fits(entry: &Entry, bytes: &mut u64, max_bytes: u64) -> bool {
    *bytes = bytes.saturating_add(u64::from(protobuf::Message::compute_size(entry)));
    *bytes <= max_bytes
}

/// Reads the log from any thread. Sees entries as soon as they are appended, durable or not; who
/// needs committed ones only, bounds what it asks for.
pub struct LogReader<D: Disk> {
    pub(crate) shared: Arc<Shared<D>>,
}

impl<D: Disk> Clone for LogReader<D> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<D: Disk> LogReader<D> {
    pub(crate) fn new(shared: Arc<Shared<D>>) -> Self {
        Self { shared }
    }

    /// Says that about `bytes` bytes from `position` on are read next, by somebody who goes on from there.
    /// False when memory holds them, or nobody does.
    pub fn will_read(&self, position: Position, bytes: usize) -> bool {
        self.shared.will_read(position.0, bytes as u64)
    }

    /// `bytes` bytes from `position` on, as they are stored: a slice of the log, not verified. They
    /// must lie in one segment, as the parts of one entry do.
    ///
    /// # Errors
    /// `Compacted` or `Unavailable` when the log does not hold them.
    pub fn read(&self, position: Position, bytes: usize) -> Result<Bytes, LogError> {
        let table = self.shared.table();
        if position < table.start.position {
            return Err(table.compacted());
        }
        let unavailable = LogError::Unavailable { what: "position", number: position.0 };
        let Some(end) = position.0.checked_add(bytes as u64) else { return Err(unavailable) };
        let held = match table.segment_at(position.0) {
            Some(held) if end <= table.end.position.0.min(held.segment.end()) => held,
            _ => return Err(unavailable),
        };
        let start = held.segment.start;
        let in_file = |from: u64, to: u64| held.segment.map.slice(from - start..to - start);
        let tail = table.tail.first_position();
        if position.0 < tail && table.damaged.touch(position.0, end) {
            return Err(damaged(&held.segment, position.0, "it is being mended"));
        }
        if end <= tail {
            return Ok(in_file(position.0, end));
        }
        if position.0 >= tail {
            return table.tail.bytes(position.0, end).ok_or(unavailable);
        }
        // Over several entries, the last of which are in memory.
        let mut bytes = BytesMut::from(&in_file(position.0, tail)[..]);
        bytes.extend_from_slice(&table.tail.bytes(tail, end).ok_or(unavailable)?);
        Ok(bytes.freeze())
    }

    /// Verified entries from the one whose header is at `position` on (or, when nothing but padding
    /// is left there, from the next segment on): at least one if there is any, then as many as
    /// `limit_bytes` of payload allow. Empty at the tail.
    ///
    /// # Errors
    /// `Corrupt` when an entry does not check, `Compacted` when `position` is gone.
    pub fn entries_from(
        &self,
        position: Position,
        limit_bytes: usize,
    ) -> Result<Vec<StoredEntry>, LogError> {
        let read = self.walk(position, limit_bytes);
        if let Err(LogError::Corrupt { position, reason, .. }) = &read {
            self.shared.note_damage(position.0, reason);
        }
        read
    }

    fn walk(&self, position: Position, limit_bytes: usize) -> Result<Vec<StoredEntry>, LogError> {
        let (mut entries, mut bytes, mut at) = (Vec::new(), 0_usize, position.0);
        // Takes an entry unless there are enough.
        let mut take = |entries: &mut Vec<StoredEntry>, entry: StoredEntry| {
            bytes = bytes.saturating_add(entry.payload.len());
            let taken = bytes <= limit_bytes || entries.is_empty();
            if taken {
                entries.push(entry);
            }
            taken
        };
        loop {
            if limit_bytes >= THROUGH_BYTES {
                self.shared.will_read(at, limit_bytes as u64);
            }
            let stretch = {
                let table = self.shared.table();
                if at < table.first_position() {
                    return Err(table.compacted());
                }
                if at >= table.tail.first_position() {
                    for held in table.tail.starting_at(at) {
                        if !take(&mut entries, held.stored()) {
                            break;
                        }
                    }
                    return Ok(entries);
                }
                Stretch::of(&table, at)?
            };
            let Some(mut stretch) = stretch else { return Ok(entries) };
            while let Some((entry, _)) = stretch.next()? {
                let previous = entries.last().map(|last: &StoredEntry| last.index.0);
                if previous.is_some_and(|index| index + 1 != entry.index.0) {
                    return Err(damaged(&stretch.segment, entry.position.0, EntryDamage::Chain));
                }
                if !take(&mut entries, entry) {
                    return Ok(entries);
                }
            }
            // Behind it are padding, entries in memory, or more segments.
            at = if stretch.padded { stretch.segment.end() } else { stretch.position };
            if stretch.segment.end() - at < ENTRY_HEADER_BYTES {
                at = stretch.segment.end();
            }
        }
    }

    /// Where the header of entry `index` is.
    pub fn position_of(&self, index: LogIndex) -> Option<Position> {
        self.shared.table().locate(index.0).ok().map(|located| Position(located.position))
    }

    /// The log's first position.
    pub fn first_position(&self) -> Position {
        self.shared.table().start.position
    }

    /// Index of the log's first entry; one more than the last index when the log is empty.
    pub fn first_index(&self) -> LogIndex {
        LogIndex(self.shared.table().start.index.0 + 1)
    }

    /// Index of the last entry.
    pub fn last_index(&self) -> LogIndex {
        self.shared.table().end.index
    }

    /// Where the log ends.
    pub fn tail(&self) -> Position {
        self.shared.table().end.position
    }

    /// The first position of the segment that `position` lies in.
    pub fn segment_start(&self, position: Position) -> Position {
        Position(position.0 - position.0 % self.shared.segment_bytes)
    }

    /// The boundary right before the entry at `position`, when that entry is the first of a segment:
    /// the moment at which the state's snapshot may be saved, after the entry before was applied.
    ///
    /// # Errors
    /// `Corrupt` when the index is damaged.
    pub fn boundary_before(&self, position: Position) -> Result<Option<Boundary>, LogError> {
        self.shared.table().boundary_before(position.0)
    }

    /// The boundary at the log's start.
    pub fn start(&self) -> Boundary {
        self.shared.table().start
    }
}
