//! The index of an extent while it is written, in memory.
//!
//! Invariant: a function of the records inserted, in log order: the same for the first indexing and
//! for any later one from the same stretch of the log. Inserting costs no allocation per record, and none
//! per queue behind an extent that had as many.

use std::collections::BTreeMap;
use std::sync::Arc;

use raft_log::{LogIndex, Position, Term};

use super::chain::{Chain, ChainedRun};
use super::record::{RecordFacts, key_hash, topic_seed};
use super::unit::{Run, Unit, Units};
use crate::store::hash::FastMap;

/// The last entry whose header lies in an extent; ties the extent's file to the log it was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EntryMark {
    /// Its index, zero when no entry begins in the extent.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
    /// Its header's position.
    pub position: Position,
}

/// An extent's index in memory.
#[derive(Debug, Default)]
pub struct OpenExtent {
    pub(super) number: u64,
    /// Position of its first byte.
    pub(super) start: u64,
    pub(super) topics: Vec<OpenTopic>,
    pub(super) queues: Vec<OpenQueue>,
    /// Units of all queues.
    pub(super) chain: Chain,
    /// Runs before the newest, oldest first, of the few queues that have any.
    earlier: BTreeMap<u32, Vec<ChainedRun>>,
    /// `hash << 32 | distance from start` of each key, in log order.
    pub(super) keys: Vec<u64>,
    pub(super) last_entry: EntryMark,
    /// Store timestamps of the first and the last record.
    pub(super) store_times_ms: Option<(i64, i64)>,
    topic_ids: FastMap<Arc<str>, u32>,
    queue_ids: FastMap<u64, u32>,
    /// Queue of the record inserted last: neighbours mostly share it.
    last_queue: u32,
}

#[derive(Debug)]
pub(super) struct OpenTopic {
    pub(super) name: Arc<str>,
    seed: u64,
}

#[derive(Debug)]
pub(super) struct OpenQueue {
    pub(super) topic: u32,
    pub(super) queue_id: i32,
    /// Where records are inserted.
    newest: ChainedRun,
}

impl OpenExtent {
    /// An empty index of the extent of that number.
    pub fn new(number: u64, extent_bytes: u64) -> OpenExtent {
        let start = number * extent_bytes;
        OpenExtent { number, start, chain: Chain::new(start, 0), ..OpenExtent::default() }
    }

    /// An empty index of the extent behind this one, with room for as much.
    pub fn next(&self, extent_bytes: u64) -> OpenExtent {
        let mut next = OpenExtent::new(self.number + 1, extent_bytes);
        next.chain = Chain::new(next.start, self.chain.len());
        next.queues.reserve(self.queues.len());
        next.queue_ids.reserve(self.queues.len());
        next.keys.reserve(self.keys.len());
        next
    }

    /// Takes one record, which follows all inserted before it in the log.
    pub fn insert(&mut self, record: &RecordFacts<'_>) {
        let id = self.queue(record.topic, record.queue_id, record.queue_offset);
        let indexed = record.indexed();
        let unit = Unit {
            position: record.position,
            size: record.size,
            // The code is a 32-bit hash, sign-extended.
            tag_hash: indexed.tags_code() as i32,
        };
        let queue = &mut self.queues[id as usize];
        if queue.newest.next_offset() != record.queue_offset {
            let next = ChainedRun::begin(record.queue_offset);
            let before = std::mem::replace(&mut queue.newest, next);
            self.earlier.entry(id).or_default().push(before);
        }
        self.chain.append(&mut queue.newest, unit);
        let first_ms = self.store_times_ms.map_or(record.store_timestamp_ms, |(first, _)| first);
        self.store_times_ms = Some((first_ms, record.store_timestamp_ms));
        if indexed.unique_key.is_some() || indexed.keys.is_some() {
            let seed = self.topics[queue.topic as usize].seed;
            let distance = record.position.0 - self.start;
            for key in indexed.each_key().chain(indexed.unique_key) {
                self.keys.push(u64::from(key_hash(seed, key)) << 32 | distance);
            }
        }
    }

    /// Notes that the entry begins in this extent.
    pub fn entry(&mut self, mark: EntryMark) {
        self.last_entry = mark;
    }

    /// Runs of a queue, oldest first.
    pub(super) fn runs(
        &self,
        topic: &str,
        queue_id: i32,
    ) -> impl DoubleEndedIterator<Item = Run<'_>> {
        let id = self
            .topic_ids
            .get(topic)
            .and_then(|topic| self.queue_ids.get(&queue_key(*topic, queue_id)));
        id.into_iter().flat_map(|id| self.runs_of(*id))
    }

    /// Runs of the queue of that number, oldest first.
    pub(super) fn runs_of(&self, queue: u32) -> impl DoubleEndedIterator<Item = Run<'_>> {
        let earlier = self.earlier.get(&queue).into_iter().flatten();
        let runs = earlier.chain(std::iter::once(&self.queues[queue as usize].newest));
        runs.map(|run| Run {
            first_offset: run.first_offset,
            units: Units::Memory { chain: &self.chain, run },
        })
    }

    /// Positions of records with that key hash, oldest first.
    pub(super) fn find_key(&self, hash: u32) -> Vec<Position> {
        let matching = self.keys.iter().filter(|key| (**key >> 32) as u32 == hash);
        matching.map(|key| Position(self.start + (key & u64::from(u32::MAX)))).collect()
    }

    /// The queue of that name; one that is new begins at `first_offset`.
    fn queue(&mut self, topic: &str, queue_id: i32, first_offset: i64) -> u32 {
        if let Some(queue) = self.queues.get(self.last_queue as usize)
            && queue.queue_id == queue_id
            && *self.topics[queue.topic as usize].name == *topic
        {
            return self.last_queue;
        }
        let topic = match self.topic_ids.get(topic) {
            Some(id) => *id,
            None => self.new_topic(topic),
        };
        let next = self.queues.len() as u32;
        let id = *self.queue_ids.entry(queue_key(topic, queue_id)).or_insert(next);
        if id == next {
            let newest = ChainedRun::begin(first_offset);
            self.queues.push(OpenQueue { topic, queue_id, newest });
        }
        self.last_queue = id;
        id
    }

    fn new_topic(&mut self, topic: &str) -> u32 {
        let id = self.topics.len() as u32;
        let name: Arc<str> = Arc::from(topic);
        self.topics.push(OpenTopic { name: Arc::clone(&name), seed: topic_seed(topic) });
        self.topic_ids.insert(name, id);
        id
    }
}

fn queue_key(topic: u32, queue_id: i32) -> u64 {
    u64::from(topic) << 32 | u64::from(queue_id.cast_unsigned())
}
