//! Queue locks: which client of a group consumes a queue in order.
//!
//! A lock is a lease by lease time, which is in the entries that grant: never more of it passes between
//! two of them than by any leader's monotonic clock, whatever wall clocks do. A client takes its own lock
//! to last [`LOCK_BELIEF_MS`] from the answer, and asks again well before; here it lasts [`LOCK_LIFE_MS`]
//! from the entry that granted it.
//!
//! Invariant: a queue has one holder at most, and another client becomes it only after the lease has
//! run out or was released. Both are decided by entries alone, so a new leader knows every lock that
//! an earlier one granted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::State;
use super::command::{LockQueues, QueueName, ReleaseLocks};
use super::snapshot::Key;

/// How long a lock lasts unless it is asked for again (`rocketmq.broker.rebalance.lockMaxLiveTime`).
pub const LOCK_LIFE_MS: i64 = 60_000;
/// How long a client goes by an answer (`rocketmq.client.rebalance.lockMaxLiveTime`).
pub const LOCK_BELIEF_MS: i64 = 30_000;

/// Who consumes a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueLock {
    /// Id of the client.
    pub client_id: Arc<str>,
    /// Lease time of the entry that granted it last.
    pub granted_ms: i64,
}

/// The locks of one group, by topic and queue.
pub type GroupLocks = BTreeMap<(Arc<str>, i32), QueueLock>;

/// All locks, by consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Locks {
    by_group: BTreeMap<Arc<str>, GroupLocks>,
    lease_time_ms: i64,
}

impl Locks {
    /// Locks of a group, those that have run out included.
    pub fn of_group(&self, group: &str) -> Option<&GroupLocks> {
        self.by_group.get(group)
    }

    /// Every group with a lock.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &GroupLocks)> {
        self.by_group.iter()
    }

    /// Lease time of the newest grant; the next one's is not lower.
    pub fn lease_time_ms(&self) -> i64 {
        self.lease_time_ms
    }

    pub(super) fn restore_lease_time(&mut self, lease_time_ms: i64) {
        self.lease_time_ms = self.lease_time_ms.max(lease_time_ms);
    }

    pub(super) fn restore(&mut self, group: &str, locks: GroupLocks) {
        // Older versions kept store timestamps, and no lease time.
        let newest_ms = locks.values().map(|lock| lock.granted_ms).max();
        self.restore_lease_time(newest_ms.unwrap_or(0));
        self.by_group.insert(Arc::from(group), locks);
    }
}

impl State {
    /// Who consumes what in order.
    pub fn locks(&self) -> &Locks {
        &self.locks
    }

    pub(super) fn lock_queues(&mut self, command: &LockQueues) {
        let now_ms = self.locks.lease_time_ms.max(command.lease_time_ms);
        self.locks.lease_time_ms = now_ms;
        let group: Arc<str> = match self.locks.by_group.get_key_value(&*command.group) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(&*command.group),
        };
        let client_id: Arc<str> = Arc::from(&*command.client_id);
        let locks = self.locks.by_group.entry(Arc::clone(&group)).or_default();
        locks.retain(|_, lock| lock.lasts(now_ms));
        for QueueName { topic, queue_id } in &command.queues {
            // A topic that went while this was under way must not leave a lock behind.
            let Some((topic, _)) = self.topics.by_name.get_key_value(&**topic) else { continue };
            let granted = QueueLock { client_id: Arc::clone(&client_id), granted_ms: now_ms };
            let lock = locks.entry((Arc::clone(topic), *queue_id)).or_insert(granted);
            #[cfg(madsim)]
            if crate::mistake::made(crate::mistake::Mistake::LocksHeldQueues) {
                lock.client_id = Arc::clone(&client_id);
            }
            if lock.client_id == client_id {
                lock.granted_ms = now_ms;
            }
        }
        self.locks_changed(group);
    }

    pub(super) fn release_locks(&mut self, command: &ReleaseLocks) {
        let Some((group, _)) = self.locks.by_group.get_key_value(&*command.group) else { return };
        let group = Arc::clone(group);
        let named = |topic: &str, queue_id: i32| {
            command.queues.is_empty()
                || command.queues.iter().any(|q| q.topic == topic && q.queue_id == queue_id)
        };
        if let Some(locks) = self.locks.by_group.get_mut(&group) {
            locks.retain(|(topic, queue_id), lock| {
                *lock.client_id != *command.client_id
                    || lock.granted_ms > command.granted_until_ms
                    || !named(topic, *queue_id)
            });
        }
        self.locks_changed(group);
    }

    /// Forgets the locks on a topic that goes.
    pub(super) fn remove_locks_of_topic(&mut self, topic: &str) {
        let with_topic = |locks: &GroupLocks| locks.keys().any(|(locked, _)| **locked == *topic);
        let groups = self.locks.by_group.iter().filter(|(_, locks)| with_topic(locks));
        let groups: Vec<Arc<str>> = groups.map(|(group, _)| Arc::clone(group)).collect();
        for group in groups {
            if let Some(locks) = self.locks.by_group.get_mut(&group) {
                locks.retain(|(locked, _), _| **locked != *topic);
            }
            self.locks_changed(group);
        }
    }

    /// Forgets the locks of a group that goes.
    pub(super) fn remove_locks_of_group(&mut self, group: &Arc<str>) {
        if self.locks.by_group.remove(group).is_some() {
            self.changed.insert(Key::Locks(Arc::clone(group)));
        }
    }

    fn locks_changed(&mut self, group: Arc<str>) {
        if self.locks.by_group.get(&group).is_some_and(BTreeMap::is_empty) {
            self.locks.by_group.remove(&group);
        }
        self.changed.insert(Key::Locks(group));
    }
}

impl QueueLock {
    /// Whether nobody else may have the queue yet.
    pub fn lasts(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.granted_ms) < LOCK_LIFE_MS
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use raft_log::Position;

    use super::super::{Command, CommandBatch, Kind};
    use super::*;
    use crate::protocol::topic::TopicConfig;

    fn apply(state: &mut State, store_timestamp_ms: i64, command: Command) {
        let batch = CommandBatch { commands: vec![command], store_timestamp_ms };
        state.apply(Position(8), &batch, &[]);
    }

    fn with_topic() -> State {
        let mut state = State::default();
        let create = Command::create_topic_if_absent(&TopicConfig::new("t", 4, 6));
        apply(&mut state, 1, create);
        state
    }

    fn queues(ids: &[i32]) -> Vec<QueueName> {
        ids.iter().map(|&queue_id| QueueName { topic: "t".into(), queue_id }).collect()
    }

    fn lock(state: &mut State, lease_time_ms: i64, client: &str, ids: &[i32]) {
        let (group, client_id, queues) = ("g".to_owned(), client.to_owned(), queues(ids));
        let lock = LockQueues { group, client_id, queues, lease_time_ms };
        // Whatever the wall clock says.
        apply(state, 1, Kind::LockQueues(lock).into());
    }

    fn holders(state: &State) -> Vec<(i32, String, i64)> {
        let locks = state.locks().of_group("g").into_iter().flatten();
        locks.map(|((_, id), lock)| (*id, lock.client_id.to_string(), lock.granted_ms)).collect()
    }

    #[test]
    fn a_queue_has_one_holder_until_its_lease_has_run_out() {
        let mut state = with_topic();
        lock(&mut state, 100, "a", &[0, 1]);
        lock(&mut state, 200, "b", &[1, 2]);
        let expected = [(0, "a".into(), 100), (1, "a".into(), 100), (2, "b".into(), 200)];
        assert_eq!(holders(&state), expected);
        lock(&mut state, 300, "a", &[0]);
        lock(&mut state, 100 + LOCK_LIFE_MS - 1, "b", &[1]);
        assert_eq!(holders(&state)[1].1, "a", "one millisecond is left");
        lock(&mut state, 100 + LOCK_LIFE_MS, "b", &[0, 1]);
        let now_ms = 100 + LOCK_LIFE_MS;
        let expected = [(0, "a".into(), 300), (1, "b".into(), now_ms), (2, "b".into(), 200)];
        assert_eq!(holders(&state), expected);
    }

    #[test]
    fn a_release_takes_only_what_the_client_was_granted_until_then() {
        let mut state = with_topic();
        lock(&mut state, 100, "a", &[0, 1, 2]);
        lock(&mut state, 200, "a", &[2]);
        lock(&mut state, 200, "b", &[3]);
        apply(&mut state, 300, Command::release_locks("g", "b", queues(&[0]), i64::MAX));
        assert_eq!(holders(&state).len(), 4, "not b's");
        apply(&mut state, 300, Command::release_locks("g", "a", queues(&[0]), i64::MAX));
        apply(&mut state, 300, Command::release_locks("g", "a", Vec::new(), 199));
        assert_eq!(holders(&state), [(2, "a".into(), 200), (3, "b".into(), 200)]);
        apply(&mut state, 300, Command::release_locks("g", "a", Vec::new(), 200));
        apply(&mut state, 300, Command::release_locks("g", "b", Vec::new(), 200));
        assert!(state.locks().of_group("g").is_none(), "a group without locks is not kept");
    }

    #[test]
    fn lease_time_never_goes_back() {
        let mut state = with_topic();
        lock(&mut state, 500, "a", &[0]);
        let mut state = State::restore(&state.snapshot()).unwrap();
        lock(&mut state, 400, "b", &[1]);
        assert_eq!(holders(&state), [(0, "a".into(), 500), (1, "b".into(), 500)]);
        apply(&mut state, 1, Command::release_locks("g", "a", Vec::new(), 500));
        apply(&mut state, 1, Command::release_locks("g", "b", Vec::new(), 500));
        let state = State::restore(&state.snapshot()).unwrap();
        assert_eq!(state.locks().lease_time_ms(), 500, "nor when nothing is locked");
    }

    #[test]
    fn locks_go_with_their_topic_and_with_their_group() {
        let mut state = with_topic();
        lock(&mut state, 100, "a", &[0]);
        apply(&mut state, 100, Command::delete_topic("t"));
        assert!(state.locks().of_group("g").is_none());
        lock(&mut state, 100, "a", &[0]);
        assert!(state.locks().of_group("g").is_none(), "there is no such topic any more");
        let mut state = with_topic();
        lock(&mut state, 100, "a", &[0]);
        apply(&mut state, 100, Command::delete_group("g", false));
        assert!(state.locks().of_group("g").is_none());
    }
}
