//! Finding messages in the extents: by queue offset, by position, by key.
//!
//! Invariant: the caches hold hints, or answers that stay true for what they are keyed by; dropping
//! them changes no result.

use std::sync::Arc;

use raft_log::Position;

use super::record::{key_hash, topic_seed};
use super::set::{Extent, Extents};
use super::unit::{Run, Unit};
use crate::store::StoreError;
use crate::store::hash::{FastMap, hash_bytes};

/// Queues remembered at most.
const CACHED_QUEUES: usize = 1 << 14;

/// A queue of a topic in its present life.
#[derive(Debug, Clone, Copy)]
pub struct QueueKey<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The queue.
    pub queue_id: i32,
    /// Where the topic was created; records below are a former topic's.
    pub created: Position,
}

/// What earlier searches found.
#[derive(Default)]
pub(super) struct Caches {
    first_offsets: FastMap<u64, FirstOffset>,
}

/// Where a queue begins, given a lower bound on positions.
struct FirstOffset {
    topic: Box<str>,
    queue_id: i32,
    bound: Position,
    /// Its first offset at or above the bound, once there is one.
    offset: Option<i64>,
    /// No closed extent up to this number has it.
    searched: Option<u64>,
}

impl Caches {
    pub(super) fn clear(&mut self) {
        *self = Caches::default();
    }
}

impl QueueKey<'_> {
    fn hash(&self) -> u64 {
        hash_bytes(u64::from(self.queue_id.cast_unsigned()), self.topic.as_bytes())
    }
}

impl Extents {
    /// Shows the units of a queue from offset `from` to below `until` until `visit` returns false.
    /// The offset behind the last one shown.
    ///
    /// # Errors
    /// When an index is damaged and the log cannot be read to make it again.
    pub fn scan(
        &self,
        queue: QueueKey<'_>,
        from: i64,
        until: i64,
        visit: &mut dyn FnMut(i64, Unit) -> bool,
    ) -> Result<i64, StoreError> {
        let mut next = from;
        loop {
            if next >= until {
                return Ok(next);
            }
            // The open extent first: see the invariant of the set.
            let open = self.open.read();
            let run = open.runs(queue.topic, queue.queue_id).next_back();
            let run = run.filter(|run| run.visible_from(queue.created));
            if let Some(run) = run.filter(|run| contains(run, next)) {
                return Ok(visit_run(&run, next, until, visit).0);
            }
            drop(open);
            let closed = Arc::clone(&self.closed.read());
            let Some(extent) = self.find_closed(&closed, queue, next)? else { return Ok(next) };
            let index = self.index_of(extent)?;
            let Some(run) = index.run(queue.topic, queue.queue_id, queue.created) else {
                return Ok(next);
            };
            let (after, go_on) = visit_run(&run, next, until, visit);
            next = after;
            if !go_on {
                return Ok(next);
            }
        }
    }

    /// Where one message of a queue is.
    ///
    /// # Errors
    /// As [`Extents::scan`].
    pub fn unit(&self, queue: QueueKey<'_>, offset: i64) -> Result<Option<Unit>, StoreError> {
        let mut found = None;
        self.scan(queue, offset, offset + 1, &mut |_, unit| {
            found = Some(unit);
            false
        })?;
        Ok(found)
    }

    /// Offset of the queue's first message at or above `bound`, which is not below the topic's
    /// creation; none when there is none.
    ///
    /// # Errors
    /// As [`Extents::scan`].
    pub fn first_offset(
        &self,
        queue: QueueKey<'_>,
        bound: Position,
    ) -> Result<Option<i64>, StoreError> {
        let hash = queue.hash();
        let mut above = None;
        if let Some(known) = self.caches.lock().first_offsets.get(&hash)
            && known.bound == bound
            && known.queue_id == queue.queue_id
            && *known.topic == *queue.topic
        {
            if known.offset.is_some() {
                return Ok(known.offset);
            }
            above = known.searched;
        }
        let in_open = {
            let open = self.open.read();
            let run = open.runs(queue.topic, queue.queue_id).next_back();
            run.and_then(|run| first_above(&run, bound))
        };
        let closed = Arc::clone(&self.closed.read());
        let mut offset = None;
        let mut searched = above;
        let from = self.number_of(bound).max(above.map_or(0, |number| number + 1));
        for extent in &closed[closed.partition_point(|extent| extent.number < from)..] {
            let index = self.index_of(extent)?;
            searched = Some(extent.number);
            let run = index.run(queue.topic, queue.queue_id, queue.created);
            offset = run.and_then(|run| first_above(&run, bound));
            if offset.is_some() {
                break;
            }
        }
        let offset = offset.or(in_open);
        let mut caches = self.caches.lock();
        if caches.first_offsets.len() >= CACHED_QUEUES {
            caches.first_offsets.clear();
        }
        let (topic, queue_id) = (Box::from(queue.topic), queue.queue_id);
        let known = FirstOffset { topic, queue_id, bound, offset, searched };
        caches.first_offsets.insert(hash, known);
        Ok(offset)
    }

    /// Shows the positions of records that may have the key, newest first, from extents with store
    /// times in the range, until `visit` returns false. Another key may have the same hash.
    ///
    /// # Errors
    /// As [`Extents::scan`].
    pub fn find_key(
        &self,
        topic: &str,
        key: &str,
        (begin_ms, end_ms): (i64, i64),
        visit: &mut dyn FnMut(Position) -> bool,
    ) -> Result<(), StoreError> {
        let hash = key_hash(topic_seed(topic), key);
        let in_open = self.open.read().find_key(hash);
        if !in_open.into_iter().rev().all(&mut *visit) {
            return Ok(());
        }
        let closed = Arc::clone(&self.closed.read());
        for extent in closed.iter().rev() {
            let Some((first_ms, last_ms)) = extent.store_times_ms() else { continue };
            if first_ms > end_ms {
                continue;
            }
            if last_ms < begin_ms {
                // Store times never go backwards: every older extent is out of the range too.
                return Ok(());
            }
            if !self.index_of(extent)?.find_key(hash).into_iter().rev().all(&mut *visit) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The closed extent that holds an offset of a queue. Offsets rise from extent to extent, so
    /// this is a binary search that steps over extents without the queue.
    fn find_closed<'a>(
        &self,
        closed: &'a [Arc<Extent>],
        queue: QueueKey<'_>,
        offset: i64,
    ) -> Result<Option<&'a Arc<Extent>>, StoreError> {
        let oldest = self.number_of(queue.created);
        let mut low = closed.partition_point(|extent| extent.number < oldest);
        let mut high = closed.len();
        while low < high {
            let middle = low + (high - low) / 2;
            let mut at = middle;
            loop {
                let index = self.index_of(&closed[at])?;
                if let Some(run) = index.run(queue.topic, queue.queue_id, queue.created) {
                    if contains(&run, offset) {
                        return Ok(Some(&closed[at]));
                    }
                    if offset < run.first_offset {
                        high = at;
                    } else {
                        low = middle + 1;
                    }
                    break;
                }
                if at == low {
                    low = middle + 1;
                    break;
                }
                at -= 1;
            }
        }
        Ok(None)
    }
}

fn contains(run: &Run<'_>, offset: i64) -> bool {
    (run.first_offset..run.end_offset()).contains(&offset)
}

fn first_above(run: &Run<'_>, bound: Position) -> Option<i64> {
    let first = run.units.first_at_or_above(bound);
    (first < run.units.len()).then(|| run.first_offset + first as i64)
}

/// Shows a run's units from `from` on; the offset behind the last one, and whether to go on.
fn visit_run(
    run: &Run<'_>,
    from: i64,
    until: i64,
    visit: &mut dyn FnMut(i64, Unit) -> bool,
) -> (i64, bool) {
    let end = until.min(run.end_offset());
    let number_of = |offset: i64| (offset - run.first_offset) as usize;
    let mut stopped = None;
    run.units.visit(number_of(from)..number_of(end), |number, unit| {
        let offset = run.first_offset + number as i64;
        let go_on = visit(offset, unit);
        if !go_on {
            stopped = Some(offset + 1);
        }
        go_on
    });
    stopped.map_or((end, true), |after| (after, false))
}
