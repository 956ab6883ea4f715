//! Consumers' progress: the committed offset of each group in each queue.
//!
//! An operator's reset counts at once, and stands until the group pulls from there: consumers that have
//! not heard of it yet go on committing what they consume, and must not undo it.
//!
//! Invariant: of commits the last one counts, also when it is lower: a consumer that goes back means
//! it. While a reset stands, none does.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Committed offsets of one group in one topic, by queue id.
pub type QueueProgress = BTreeMap<i32, i64>;

/// By group and topic.
type ByGroup = BTreeMap<Arc<str>, BTreeMap<Arc<str>, QueueProgress>>;

/// All committed offsets: group, topic, queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offsets {
    by_group: ByGroup,
    /// Resets that the group does not know of yet.
    resets: ByGroup,
}

impl Offsets {
    /// Offset of the next message the group consumes from the queue, if it ever committed one.
    pub fn get(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.progress(group, topic)?.get(&queue_id).copied()
    }

    /// Progress of a group in a topic.
    pub fn progress(&self, group: &str, topic: &str) -> Option<&QueueProgress> {
        self.by_group.get(group)?.get(topic)
    }

    /// Where a reset that still stands has put the group.
    pub fn reset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.resets_in(group, topic)?.get(&queue_id).copied()
    }

    /// The resets of a group in a topic that still stand.
    pub(super) fn resets_in(&self, group: &str, topic: &str) -> Option<&QueueProgress> {
        self.resets.get(group)?.get(topic)
    }

    /// A reset of what was set just before stands from now on.
    pub(super) fn stand(&mut self, names: (Arc<str>, Arc<str>), queue_id: i32, offset: i64) {
        let topics = self.resets.entry(names.0).or_default();
        topics.entry(names.1).or_default().insert(queue_id, offset);
    }

    /// The group took the reset to that offset; whether there was one.
    pub(super) fn taken(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) -> bool {
        let topics = self.resets.get_mut(group);
        let Some(resets) = topics.and_then(|topics| topics.get_mut(topic)) else { return false };
        if resets.get(&queue_id) != Some(&offset) {
            return false;
        }
        resets.remove(&queue_id);
        if resets.is_empty() {
            remove(&mut self.resets, group, topic);
        }
        true
    }

    /// Topics in which the group committed offsets.
    pub fn topics_of(&self, group: &str) -> impl Iterator<Item = &Arc<str>> {
        self.by_group.get(group).into_iter().flat_map(BTreeMap::keys)
    }

    /// Groups that committed offsets in the topic.
    pub fn groups_of(&self, topic: &str) -> impl Iterator<Item = &Arc<str>> {
        self.by_group.iter().filter(move |(_, topics)| topics.contains_key(topic)).map(|(g, _)| g)
    }

    /// Everything, by group and topic.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &QueueProgress)> {
        self.by_group
            .iter()
            .flat_map(|(group, topics)| topics.iter().map(move |(topic, q)| (group, topic, q)))
    }

    /// Sets one offset; the names as kept here, if it differed.
    pub(super) fn set(
        &mut self,
        group: &str,
        topic: &str,
        queue_id: i32,
        offset: i64,
    ) -> Option<(Arc<str>, Arc<str>)> {
        if self.get(group, topic, queue_id) == Some(offset) {
            return None;
        }
        let names = self.names(group, topic);
        let topics = self.by_group.entry(Arc::clone(&names.0)).or_default();
        topics.entry(Arc::clone(&names.1)).or_default().insert(queue_id, offset);
        Some(names)
    }

    /// The names as kept here, or to be kept.
    pub(super) fn names(&self, group: &str, topic: &str) -> (Arc<str>, Arc<str>) {
        let group: Arc<str> = match self.by_group.get_key_value(group) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(group),
        };
        let topics = self.by_group.get(&group);
        let topic: Arc<str> = match topics.and_then(|topics| topics.get_key_value(topic)) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(topic),
        };
        (group, topic)
    }

    pub(super) fn restore(
        &mut self,
        group: &str,
        topic: &str,
        progress: QueueProgress,
        resets: QueueProgress,
    ) {
        let (group, topic): (Arc<str>, Arc<str>) = (Arc::from(group), Arc::from(topic));
        self.by_group.entry(Arc::clone(&group)).or_default().insert(Arc::clone(&topic), progress);
        if !resets.is_empty() {
            self.resets.entry(group).or_default().insert(topic, resets);
        }
    }

    /// Forgets a group; the topics it had offsets in.
    pub(super) fn remove_group(&mut self, group: &str) -> Vec<Arc<str>> {
        self.resets.remove(group);
        self.by_group.remove(group).map(|t| t.into_keys().collect()).unwrap_or_default()
    }

    /// Forgets a topic; the groups that had offsets in it.
    pub(super) fn remove_topic(&mut self, topic: &str) -> Vec<Arc<str>> {
        let groups: Vec<Arc<str>> = self.groups_of(topic).cloned().collect();
        for group in &groups {
            remove(&mut self.by_group, group, topic);
            remove(&mut self.resets, group, topic);
        }
        groups
    }
}

/// Forgets a group's topic; a group without topics is not kept.
fn remove(by_group: &mut ByGroup, group: &str, topic: &str) {
    if let Some(topics) = by_group.get_mut(group) {
        topics.remove(topic);
        if topics.is_empty() {
            by_group.remove(group);
        }
    }
}
