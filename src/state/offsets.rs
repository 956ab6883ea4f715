//! Consumers' progress: the committed offset of each group in each queue.
//!
//! Invariant: what was committed last counts, also when it is lower: a consumer that resets its
//! offset means it.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Committed offsets of one group in one topic, by queue id.
pub type QueueProgress = BTreeMap<i32, i64>;

/// All committed offsets: group, topic, queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offsets {
    by_group: BTreeMap<Arc<str>, BTreeMap<Arc<str>, QueueProgress>>,
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

    /// Sets one offset; the names as kept here, and whether it differed.
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
        let group: Arc<str> = match self.by_group.get_key_value(group) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(group),
        };
        let topics = self.by_group.entry(Arc::clone(&group)).or_default();
        let topic: Arc<str> = match topics.get_key_value(topic) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(topic),
        };
        topics.entry(Arc::clone(&topic)).or_default().insert(queue_id, offset);
        Some((group, topic))
    }

    pub(super) fn restore(&mut self, group: &str, topic: &str, progress: QueueProgress) {
        self.by_group.entry(Arc::from(group)).or_default().insert(Arc::from(topic), progress);
    }

    /// Forgets a group; the topics it had offsets in.
    pub(super) fn remove_group(&mut self, group: &str) -> Vec<Arc<str>> {
        self.by_group.remove(group).map(|t| t.into_keys().collect()).unwrap_or_default()
    }

    /// Forgets a topic; the groups that had offsets in it.
    pub(super) fn remove_topic(&mut self, topic: &str) -> Vec<Arc<str>> {
        let groups: Vec<Arc<str>> = self.groups_of(topic).cloned().collect();
        for group in &groups {
            if let Some(topics) = self.by_group.get_mut(group) {
                topics.remove(topic);
                if topics.is_empty() {
                    self.by_group.remove(group);
                }
            }
        }
        groups
    }
}
