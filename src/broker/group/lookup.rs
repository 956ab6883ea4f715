//! Finding messages by store time, position and key.
//!
//! Invariant: a position that a client names is believed only if a record that says it is there is
//! there, below the applied end; a message found by the hash of a key is returned only if it has
//! the key.

use bytes::Bytes;
use raft_log::{LogIndex, Position, Term};

use super::view::{GroupView, QueueBounds};
use crate::protocol::properties::Indexed;
use crate::protocol::record::RecordView;
use crate::store::StoreError;
use crate::store::extent::{QueueKey, Unit};

/// Longest beginning of a record up to behind its store timestamp.
const STORE_TIME_END: usize = 76;

/// Which offset a time stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Boundary {
    /// The first message not older.
    #[default]
    Lower,
    /// The last message not newer.
    Upper,
}

/// A search by key.
#[derive(Debug, Clone, Copy)]
pub struct KeyQuery<'a> {
    /// The topic.
    pub topic: &'a str,
    /// A word of `KEYS`, or the unique key.
    pub key: &'a str,
    /// Messages at most.
    pub messages: usize,
    /// Not stored before.
    pub begin_ms: i64,
    /// Not stored after.
    pub end_ms: i64,
}

/// What a search by key found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyQueryResult {
    /// Records, newest first.
    pub records: Vec<Bytes>,
    /// Store timestamp of the last indexed message.
    pub last_store_timestamp_ms: i64,
    /// Position behind the last indexed message.
    pub last_position: Position,
}

impl GroupView {
    /// The offset a store time stands for, within the queue's bounds.
    ///
    /// # Errors
    /// When an index is damaged and cannot be made again, or the log does not have the records.
    pub fn offset_by_time(
        &self,
        topic: &str,
        queue_id: i32,
        timestamp_ms: i64,
        boundary: Boundary,
    ) -> Result<i64, StoreError> {
        let Some((queue, QueueBounds { min, max })) = self.queue(topic, queue_id)? else {
            return Ok(0);
        };
        // First offset in min..max whose time is behind the boundary.
        let (mut low, mut high) = (min, max);
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(stored_ms) = self.store_time_of(queue, middle)? else { return Ok(low) };
            let before = match boundary {
                Boundary::Lower => stored_ms < timestamp_ms,
                Boundary::Upper => stored_ms <= timestamp_ms,
            };
            if before {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(match boundary {
            Boundary::Lower => low,
            Boundary::Upper => (low - 1).max(min),
        })
    }

    /// When the message at an offset was stored; none when it is not kept.
    ///
    /// # Errors
    /// As [`GroupView::offset_by_time`].
    pub fn store_time(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
    ) -> Result<Option<i64>, StoreError> {
        match self.queue(topic, queue_id)? {
            Some((queue, bounds)) if (bounds.min..bounds.max).contains(&offset) => {
                self.store_time_of(queue, offset)
            }
            _ => Ok(None),
        }
    }

    /// The queue's bounds and its units from an offset on, at most so many.
    ///
    /// # Errors
    /// When an index is damaged and cannot be made again.
    pub fn units(
        &self,
        topic: &str,
        queue_id: i32,
        from: i64,
        count: i64,
    ) -> Result<(QueueBounds, Vec<Unit>), StoreError> {
        let Some((queue, bounds)) = self.queue(topic, queue_id)? else {
            return Ok(Default::default());
        };
        let from = from.max(bounds.min);
        let until = from.saturating_add(count).min(bounds.max);
        let mut units = Vec::new();
        if from < until {
            self.shared.extents.scan(queue, from, until, &mut |_, unit| {
                units.push(unit);
                true
            })?;
        }
        Ok((bounds, units))
    }

    /// Where an entry of the log begins.
    pub fn position_of(&self, index: LogIndex) -> Option<Position> {
        self.shared.log.position_of(index)
    }

    /// The term of an entry of the log; none when it is not kept.
    ///
    /// # Errors
    /// When the log is damaged there.
    pub fn term_of(&self, index: LogIndex) -> Result<Option<Term>, StoreError> {
        let Some(position) = self.position_of(index) else { return Ok(None) };
        let entries = self.shared.log.entries_from(position, 1)?;
        Ok(entries.first().map(|entry| entry.term))
    }

    /// The record at a position, if one is there and visible.
    pub fn message_at(&self, position: Position) -> Option<Bytes> {
        const SIZE_BYTES: u64 = 4;
        let end = self.max_position();
        if position < self.min_position() || position.0.checked_add(SIZE_BYTES)? > end.0 {
            return None;
        }
        let size = self.shared.log.read(position, SIZE_BYTES as usize).ok()?;
        let size = u32::from_be_bytes(size.as_ref().try_into().ok()?);
        if position.0.checked_add(u64::from(size))? > end.0 {
            return None;
        }
        let bytes = self.shared.log.read(position, size as usize).ok()?;
        let record = RecordView::parse(&bytes).ok()?;
        (record.physical_offset == position.0.cast_signed()).then_some(())?;
        Some(bytes)
    }

    /// Messages with a key, newest first.
    ///
    /// # Errors
    /// When an index is damaged and cannot be made again.
    pub fn query_keys(&self, query: KeyQuery<'_>) -> Result<KeyQueryResult, StoreError> {
        let mut result = KeyQueryResult {
            records: Vec::new(),
            last_store_timestamp_ms: self.with_state(|state| state.last_store_timestamp_ms()),
            last_position: self.max_position(),
        };
        let Some(topic) = self.topic(query.topic) else { return Ok(result) };
        let range = (query.begin_ms, query.end_ms);
        self.shared.extents.find_key(query.topic, query.key, range, &mut |position| {
            if result.records.len() >= query.messages {
                return false;
            }
            if position < topic.created_position {
                return false;
            }
            if let Some(bytes) = self.message_at(position)
                && matches(&bytes, &query)
            {
                result.records.push(bytes);
            }
            true
        })?;
        Ok(result)
    }

    fn store_time_of(&self, queue: QueueKey<'_>, offset: i64) -> Result<Option<i64>, StoreError> {
        let Some(unit) = self.shared.extents.unit(queue, offset)? else { return Ok(None) };
        let head = self.shared.log.read(unit.position, STORE_TIME_END.min(unit.size as usize))?;
        Ok(crate::store::extent::store_timestamp_ms(&head))
    }
}

fn matches(bytes: &[u8], query: &KeyQuery<'_>) -> bool {
    let Ok(record) = RecordView::parse(bytes) else { return false };
    let in_range = (query.begin_ms..=query.end_ms).contains(&record.store_timestamp_ms);
    let indexed = Indexed::of(record.properties);
    in_range
        && record.topic == query.topic
        && indexed.each_key().chain(indexed.unique_key).any(|key| key == query.key)
}
