//! What the indexes need to know of a record.
//!
//! Invariant: a function of the record's bytes alone, so that an index made again from the log is
//! the same index.

use raft_log::Position;

use crate::protocol::properties::Indexed;
use crate::protocol::record::RecordView;
use crate::protocol::sysflag;
use crate::store::StoreError;
use crate::store::hash::hash_bytes;

/// The indexed facts of one record.
#[derive(Debug, Clone, Copy)]
pub struct RecordFacts<'a> {
    /// Where it is.
    pub position: Position,
    /// Its length in bytes.
    pub size: u32,
    /// Topic.
    pub topic: &'a str,
    /// Queue.
    pub queue_id: i32,
    /// Offset in the queue.
    pub queue_offset: i64,
    /// When the leader stored it.
    pub store_timestamp_ms: i64,
    /// Property string.
    pub properties: &'a [u8],
}

impl<'a> RecordFacts<'a> {
    /// Facts of the record at the front of `records`, which is at `position` of the log.
    ///
    /// # Errors
    /// When it does not parse or says it is elsewhere.
    pub fn parse(records: &'a [u8], position: Position) -> Result<RecordFacts<'a>, StoreError> {
        let bad = |message: String| StoreError::Record { position, message };
        let record = RecordView::parse(records).map_err(|error| bad(error.to_string()))?;
        if record.physical_offset != position.0.cast_signed() {
            return Err(bad(format!("it says it is at {}", record.physical_offset)));
        }
        Ok(RecordFacts {
            position,
            size: u32::try_from(record.bytes.len()).expect("a record's length is an i32"),
            topic: record.topic,
            queue_id: record.queue_id,
            queue_offset: record.queue_offset,
            store_timestamp_ms: record.store_timestamp_ms,
            properties: record.properties,
        })
    }

    /// The properties that are indexed, in one pass.
    pub(super) fn indexed(&self) -> Indexed<'a> {
        Indexed::of(self.properties)
    }
}

/// What a topic contributes to the hashes of its keys.
pub fn topic_seed(topic: &str) -> u64 {
    hash_bytes(0, topic.as_bytes())
}

/// Hash under which a key of the topic with that seed is indexed.
pub fn key_hash(topic_seed: u64, key: &str) -> u32 {
    // The lower half of a hash whose bits are all alike.
    hash_bytes(topic_seed, key.as_bytes()) as u32
}

/// Store timestamp in the beginning of a record; none when it is cut before.
pub fn store_timestamp_ms(head: &[u8]) -> Option<i64> {
    const SYS_FLAG_AT: usize = 36;
    const BORN_HOST_AT: usize = 48;
    let sys_flag = i32::from_be_bytes(*head.get(SYS_FLAG_AT..)?.first_chunk()?);
    let host_bytes = if sys_flag & sysflag::BORN_HOST_V6 == 0 { 8 } else { 20 };
    Some(i64::from_be_bytes(*head.get(BORN_HOST_AT + host_bytes..)?.first_chunk()?))
}
