//! Topics: settings, where each was created, its queues' next offsets.
//!
//! Invariant: a topic that is deleted and created again is another topic of the same name. Its
//! queues begin at offset zero, and records below its `created_position` are not its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use raft_log::Position;

use super::queues::QueueOffsets;
use crate::protocol::data_version::DataVersion;
use crate::protocol::topic::TopicConfig;

/// One topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Topic {
    /// Its settings.
    pub config: Arc<TopicConfig>,
    /// Position of the entry that created it: records below belong to a former topic of that name.
    pub created_position: Position,
    /// Next offset of each queue.
    pub queues: QueueOffsets,
    /// Changed since the last checkpoint. No part of the replicated state.
    pub(super) dirty: bool,
}

/// Counts a change made by an entry of that store time.
pub(super) fn bump(version: &mut DataVersion, store_timestamp_ms: i64) {
    version.counter += 1;
    version.timestamp = store_timestamp_ms;
}

/// All topics by name.
#[derive(Debug, Clone, Default)]
pub struct Topics {
    pub(super) by_name: BTreeMap<Arc<str>, Topic>,
    pub(super) version: DataVersion,
}

impl Topics {
    /// The topic of that name.
    pub fn get(&self, topic: &str) -> Option<&Topic> {
        self.by_name.get(topic)
    }

    /// Every topic, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Topic)> {
        self.by_name.iter()
    }

    /// Changes to any topic's settings.
    pub fn version(&self) -> DataVersion {
        self.version
    }

    /// Creates or replaces; returns whether anything changed.
    pub(super) fn upsert(&mut self, name: &Arc<str>, config: TopicConfig, at: Position) -> bool {
        if let Some(topic) = self.by_name.get_mut(name) {
            if *topic.config == config {
                return false;
            }
            topic.config = Arc::new(config);
            return true;
        }
        self.insert(name, config, at)
    }

    /// Creates unless it exists; returns whether it did.
    pub(super) fn insert(&mut self, name: &Arc<str>, config: TopicConfig, at: Position) -> bool {
        if self.by_name.contains_key(name) {
            return false;
        }
        let topic = Topic {
            config: Arc::new(config),
            created_position: at,
            queues: QueueOffsets::default(),
            dirty: false,
        };
        self.by_name.insert(Arc::clone(name), topic);
        true
    }
}
