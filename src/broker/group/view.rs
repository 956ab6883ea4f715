//! What processors may ask of a group.
//!
//! Invariant: answers hold what is applied and nothing else. No call waits for the disk under a lock
//! that applying needs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use raft_log::{LogIndex, Position};

use super::shared::{Shared, TopicRef};
use crate::metrics::traffic::Traffic;
use crate::protocol::data_version::DataVersion;
use crate::protocol::group::SubscriptionGroupConfig;
use crate::state::{QueueLock, QueueProgress, State};
use crate::store::StoreError;
use crate::store::extent::QueueKey;

/// A group's name and settings.
pub type NamedGroup = (Arc<str>, Arc<SubscriptionGroupConfig>);
/// How far a group is in a topic: the group, the topic, its committed offset in each queue.
pub type GroupProgress = (Arc<str>, Arc<str>, QueueProgress);

/// A handle on a group's applied state; cheap to clone.
#[derive(Clone)]
pub struct GroupView {
    pub(super) shared: Arc<Shared>,
}

/// The offsets of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueBounds {
    /// Offset of the first message kept; equal to `max` when there is none.
    pub min: i64,
    /// Offset that the next message gets.
    pub max: i64,
}

impl GroupView {
    pub(super) fn new(shared: Arc<Shared>) -> GroupView {
        GroupView { shared }
    }

    /// What passes through this member.
    pub fn traffic(&self) -> &Traffic {
        &self.shared.traffic
    }

    /// Index of the last applied entry.
    pub fn applied(&self) -> LogIndex {
        LogIndex(self.shared.applied.load(Ordering::Acquire))
    }

    /// Position behind the last applied entry.
    pub fn max_position(&self) -> Position {
        Position(self.shared.applied_end.load(Ordering::Acquire))
    }

    /// First position whose messages are kept.
    pub fn min_position(&self) -> Position {
        self.shared.state.read().min_position().max(self.shared.log.first_position())
    }

    /// Runs a query on the state. Entries wait meanwhile, so it should be short.
    pub fn with_state<T>(&self, query: impl FnOnce(&State) -> T) -> T {
        query(&self.shared.state.read())
    }

    /// A topic; never waits for an entry being applied.
    pub fn topic(&self, topic: &str) -> Option<Arc<TopicRef>> {
        self.shared.topics.read().get(topic).cloned()
    }

    /// All topics by name, and their version.
    pub fn topics(&self) -> (Vec<TopicRef>, DataVersion) {
        let state = self.shared.state.read();
        let topics = state.topics().iter().map(|(name, topic)| TopicRef {
            name: Arc::clone(name),
            config: Arc::clone(&topic.config),
            created_position: topic.created_position,
        });
        (topics.collect(), state.topics().version())
    }

    /// Version of the topics.
    pub fn topics_version(&self) -> DataVersion {
        self.shared.state.read().topics().version()
    }

    /// Settings of a group.
    pub fn group(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        self.shared.state.read().groups().get(group).cloned()
    }

    /// Where a reset has put a group in a queue that it does not know of yet.
    pub fn reset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.shared.state.read().offsets().reset(group, topic, queue_id)
    }

    /// Settings of a group, and where a reset has put it in a queue that it does not know of yet.
    pub fn group_in_queue(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
    ) -> Option<(Arc<SubscriptionGroupConfig>, Option<i64>)> {
        let state = self.shared.state.read();
        let config = state.groups().get(group).cloned()?;
        Some((config, state.offsets().reset(group, topic, queue_id)))
    }

    /// All groups by name, and their version.
    pub fn groups(&self) -> (Vec<NamedGroup>, DataVersion) {
        let state = self.shared.state.read();
        let groups =
            state.groups().iter().map(|(name, group)| (Arc::clone(name), Arc::clone(group)));
        (groups.collect(), state.groups().version())
    }

    /// Committed offset of a group in a queue.
    pub fn offset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.shared.state.read().offsets().get(group, topic, queue_id)
    }

    /// Committed offsets of a group in a topic.
    pub fn progress(&self, group: &str, topic: &str) -> QueueProgress {
        self.shared.state.read().offsets().progress(group, topic).cloned().unwrap_or_default()
    }

    /// All committed offsets, and their version.
    pub fn offsets(&self) -> (Vec<GroupProgress>, DataVersion) {
        let state = self.shared.state.read();
        let offsets = state.offsets().iter();
        let offsets = offsets.map(|(g, t, queues)| (Arc::clone(g), Arc::clone(t), queues.clone()));
        (offsets.collect(), state.offsets_version())
    }

    /// Topics in which a group committed offsets.
    pub fn topics_of_group(&self, group: &str) -> Vec<Arc<str>> {
        self.shared.state.read().offsets().topics_of(group).cloned().collect()
    }

    /// Groups that committed offsets in a topic.
    pub fn groups_of_topic(&self, topic: &str) -> Vec<Arc<str>> {
        self.shared.state.read().offsets().groups_of(topic).cloned().collect()
    }

    /// Offset that the queue's next message gets; zero for a queue or topic that does not exist.
    pub fn max_offset(&self, topic: &str, queue_id: i32) -> i64 {
        let state = self.shared.state.read();
        state.topics().get(topic).map_or(0, |topic| topic.queues.next(queue_id))
    }

    /// Offset of the first message of a delay level's queue that was not delivered.
    pub fn schedule_next(&self, queue_id: i32) -> i64 {
        self.shared.state.read().schedule().next(queue_id)
    }

    /// Offset of the queue's first message.
    ///
    /// # Errors
    /// When an index is damaged and cannot be made again.
    pub fn min_offset(&self, topic: &str, queue_id: i32) -> Result<i64, StoreError> {
        Ok(self.bounds(topic, queue_id)?.min)
    }

    /// Both.
    ///
    /// # Errors
    /// As [`GroupView::min_offset`].
    pub fn bounds(&self, topic: &str, queue_id: i32) -> Result<QueueBounds, StoreError> {
        Ok(self.queue(topic, queue_id)?.map(|(_, bounds)| bounds).unwrap_or_default())
    }

    /// Who consumes a queue in order for a group, if anybody was granted that; it may have run out.
    pub fn queue_lock(&self, group: &str, topic: &str, queue_id: i32) -> Option<QueueLock> {
        let state = self.shared.state.read();
        let locks = state.locks().of_group(group)?;
        locks.get(&(Arc::from(topic), queue_id)).cloned()
    }

    /// The time by which leases of queue locks last. Where nobody leads it is that of the newest grant.
    ///
    /// To be asked for after the lock that is compared with it: a term may end and a new one begin between.
    pub fn lease_time_ms(&self) -> i64 {
        let running_ms = self.shared.lease_clock.now_ms();
        running_ms.unwrap_or_else(|| self.shared.state.read().locks().lease_time_ms())
    }

    /// Whether a client of the group holds a lock.
    pub fn consumes_in_order(&self, group: &str) -> bool {
        let now_ms = self.lease_time_ms();
        let state = self.shared.state.read();
        let locks = state.locks().of_group(group);
        locks.is_some_and(|locks| locks.values().any(|lock| lock.lasts(now_ms)))
    }

    /// When, in lease time, a client was last granted a lock that it still has.
    pub fn last_lock_ms(&self, group: &str, client_id: &str) -> Option<i64> {
        let state = self.shared.state.read();
        let locks = state.locks().of_group(group)?.values();
        locks.filter(|lock| *lock.client_id == *client_id).map(|lock| lock.granted_ms).max()
    }

    /// A number that members which applied the same entries share.
    pub fn digest(&self) -> u32 {
        self.shared.state.read().digest()
    }

    /// The closed extents whose index is not what the log gives.
    ///
    /// # Errors
    /// When the log cannot be read.
    #[cfg(madsim)]
    pub fn derived_differences(&self) -> Result<Vec<u64>, StoreError> {
        self.shared.extents.differences()
    }

    /// The queue in its topic's present life and its bounds; none when there is no such queue.
    pub(super) fn queue<'a>(
        &self,
        topic: &'a str,
        queue_id: i32,
    ) -> Result<Option<(QueueKey<'a>, QueueBounds)>, StoreError> {
        let (created, max, min_position) = {
            let state = self.shared.state.read();
            let Some(known) = state.topics().get(topic) else { return Ok(None) };
            let max = known.queues.next(queue_id);
            let exists = (0..known.config.queue_nums()).contains(&queue_id) || max > 0;
            if !exists {
                return Ok(None);
            }
            (known.created_position, max, state.min_position())
        };
        let key = QueueKey { topic, queue_id, created };
        let bound = min_position.max(self.shared.log.first_position());
        let min = if bound <= created || max == 0 {
            // Nothing of this life was given up.
            0
        } else {
            self.shared.extents.first_offset(key, bound)?.map_or(max, |first| first.min(max))
        };
        Ok(Some((key, QueueBounds { min, max })))
    }
}
