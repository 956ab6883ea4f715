//! Fetching messages of a queue.
//!
//! Invariant: what is returned are whole records as they lie in the log, in queue order, below the
//! queue's applied maximum. Records that lie together are one slice of the map; others are gathered
//! into one buffer, which is cheaper than many small slices.

use bytes::{Bytes, BytesMut};
use raft_log::Position;
use smallvec::SmallVec;

use super::view::{GroupView, QueueBounds};
use crate::store::StoreError;
use crate::store::extent::{QueueKey, Unit};

/// How much one fetch may return; at least one message, however long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// Messages.
    pub messages: usize,
    /// Bytes of their records.
    pub bytes: usize,
    /// Messages looked at, matching or not.
    pub scanned: usize,
}

impl FetchLimits {
    /// Limits of a pull for that many messages, by the broker's rules.
    pub fn of_pull(messages: usize, bytes: usize) -> FetchLimits {
        FetchLimits { messages, bytes, scanned: messages.max(800) }
    }
}

/// How a fetch went; [`FetchStatus::name`] is what clients see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchStatus {
    /// At least one message.
    Found,
    /// Messages, but none that the filter wants.
    NoMatchedMessage,
    /// The topic or queue does not exist.
    NoMatchedLogicQueue,
    /// The queue never had a message.
    NoMessageInQueue,
    /// Below the first message kept.
    OffsetTooSmall,
    /// Right behind the last message.
    OffsetOverflowOne,
    /// Farther behind.
    OffsetOverflowBadly,
    /// Given up by retention while it was being read.
    MessageWasRemoving,
    /// An operator has put the group elsewhere.
    OffsetReset,
    /// Memory does not hold them, and it is not this reader's turn. They are being fetched meanwhile.
    NotYet,
}

impl FetchStatus {
    /// The name by which RocketMQ calls it.
    pub fn name(self) -> &'static str {
        match self {
            FetchStatus::Found => "FOUND",
            // Clients do not hear of the second.
            FetchStatus::NoMatchedMessage | FetchStatus::NotYet => "NO_MATCHED_MESSAGE",
            FetchStatus::NoMatchedLogicQueue => "NO_MATCHED_LOGIC_QUEUE",
            FetchStatus::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
            FetchStatus::OffsetTooSmall => "OFFSET_TOO_SMALL",
            FetchStatus::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            FetchStatus::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            FetchStatus::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
            FetchStatus::OffsetReset => "OFFSET_RESET",
        }
    }
}

/// What a fetch found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchResult {
    /// How it went.
    pub status: FetchStatus,
    /// Records, back to back.
    pub records: Bytes,
    /// How many.
    pub message_count: usize,
    /// Where the next fetch goes on.
    pub next_begin_offset: i64,
    /// The queue's first offset.
    pub min_offset: i64,
    /// The queue's next offset.
    pub max_offset: i64,
}

/// Neighbouring records: position and bytes.
type Span = (Position, usize);

/// What a scan of the units took.
#[derive(Default)]
struct Taken {
    spans: SmallVec<[Span; 4]>,
    messages: usize,
    bytes: usize,
    next_offset: i64,
}

impl GroupView {
    /// Messages of a queue from `offset` on whose tag hash the filter accepts.
    ///
    /// # Errors
    /// When an index is damaged and cannot be made again from the log, or the log itself is damaged.
    pub fn fetch(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
        limits: FetchLimits,
        filter: Option<&dyn Fn(i64) -> bool>,
    ) -> Result<FetchResult, StoreError> {
        self.fetch_in_turn(topic, queue_id, offset, limits, filter, &|_| true)
    }

    /// The same. Before records are read from files, `may_read` is asked with the number of bytes.
    ///
    /// # Errors
    /// As of [`GroupView::fetch`].
    pub fn fetch_in_turn(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
        limits: FetchLimits,
        filter: Option<&dyn Fn(i64) -> bool>,
        may_read: &dyn Fn(usize) -> bool,
    ) -> Result<FetchResult, StoreError> {
        let Some((queue, bounds)) = self.queue(topic, queue_id)? else {
            let bounds = QueueBounds::default();
            return Ok(empty(FetchStatus::NoMatchedLogicQueue, 0, bounds));
        };
        let QueueBounds { min, max } = bounds;
        if max == 0 {
            return Ok(empty(FetchStatus::NoMessageInQueue, 0, bounds));
        }
        if offset < min {
            return Ok(empty(FetchStatus::OffsetTooSmall, min, bounds));
        }
        if offset == max {
            return Ok(empty(FetchStatus::OffsetOverflowOne, offset, bounds));
        }
        if offset > max {
            return Ok(empty(FetchStatus::OffsetOverflowBadly, max, bounds));
        }
        let taken = self.take_units(queue, offset, max, limits, filter)?;
        if taken.next_offset == offset {
            // Retention went on between the bounds and the scan.
            let min = self.min_offset(topic, queue_id)?;
            return Ok(empty(FetchStatus::MessageWasRemoving, min.max(offset), bounds));
        }
        if taken.messages == 0 {
            return Ok(empty(FetchStatus::NoMatchedMessage, taken.next_offset, bounds));
        }
        if self.is_in_files(&taken) && !may_read(taken.bytes) {
            return Ok(empty(FetchStatus::NotYet, offset, bounds));
        }
        let records = match self.read_spans(&taken) {
            Ok(records) => records,
            Err(error @ StoreError::Damaged { .. }) => return Err(error),
            Err(_) => {
                let min = self.min_offset(topic, queue_id)?;
                return Ok(empty(FetchStatus::MessageWasRemoving, min.max(offset), bounds));
            }
        };
        Ok(FetchResult {
            status: FetchStatus::Found,
            records,
            message_count: taken.messages,
            next_begin_offset: taken.next_offset,
            min_offset: min,
            max_offset: max,
        })
    }

    fn take_units(
        &self,
        queue: QueueKey<'_>,
        offset: i64,
        max: i64,
        limits: FetchLimits,
        filter: Option<&dyn Fn(i64) -> bool>,
    ) -> Result<Taken, StoreError> {
        let mut taken = Taken { next_offset: offset, ..Taken::default() };
        let mut scanned = 0;
        self.shared.extents.scan(queue, offset, max, &mut |at, unit| {
            scanned += 1;
            if filter.is_none_or(|accepts| accepts(i64::from(unit.tag_hash)))
                && !taken.add(unit, limits)
            {
                return false;
            }
            taken.next_offset = at + 1;
            taken.messages < limits.messages && scanned < limits.scanned
        })?;
        Ok(taken)
    }

    /// Whether memory does not hold the records; then they are fetched ahead.
    fn is_in_files(&self, taken: &Taken) -> bool {
        let (Some((first, _)), Some((last, bytes))) = (taken.spans.first(), taken.spans.last())
        else {
            return false;
        };
        self.shared.log.will_read(*first, (last.0 - first.0) as usize + bytes)
    }

    fn read_spans(&self, taken: &Taken) -> Result<Bytes, StoreError> {
        if let [(position, bytes)] = taken.spans[..] {
            return self.shared.log.read(position, bytes);
        }
        let mut records = BytesMut::with_capacity(taken.bytes);
        for (position, bytes) in &taken.spans {
            records.extend_from_slice(&self.shared.log.read(*position, *bytes)?);
        }
        Ok(records.freeze())
    }
}

impl Taken {
    /// Takes a unit unless that is too much.
    fn add(&mut self, unit: Unit, limits: FetchLimits) -> bool {
        let size = unit.size as usize;
        if self.messages > 0 && self.bytes + size > limits.bytes {
            return false;
        }
        self.messages += 1;
        self.bytes += size;
        match self.spans.last_mut() {
            Some((position, bytes)) if position.0 + *bytes as u64 == unit.position.0 => {
                *bytes += size;
            }
            _ => self.spans.push((unit.position, size)),
        }
        true
    }
}

fn empty(status: FetchStatus, next_begin_offset: i64, bounds: QueueBounds) -> FetchResult {
    FetchResult {
        status,
        records: Bytes::new(),
        message_count: 0,
        next_begin_offset,
        min_offset: bounds.min,
        max_offset: bounds.max,
    }
}
