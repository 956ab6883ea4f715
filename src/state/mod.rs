//! The deterministic state: what a broker group knows, as a function of its committed log.
//!
//! [`State::apply`] folds one committed entry into it. Invariant: no clock, no I/O and no order that
//! depends on anything but the entries, so members that applied the same entries hold the same
//! bytes, which [`State::snapshot`] shows.

pub mod command;
mod defaults;
mod groups;
mod locks;
mod offsets;
pub mod payload;
mod queues;
mod schedule;
mod snapshot;
mod topics;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use raft_log::Position;

use self::snapshot::Key;
use self::topics::bump;
use crate::protocol::data_version::DataVersion;

pub use self::command::{Command, CommandBatch, CommittedOffset, Kind, QueueName};
pub use self::defaults::{DefaultTopics, default_groups, default_topics, schedule_topic};
pub use self::groups::Groups;
pub use self::locks::{GroupLocks, LOCK_BELIEF_MS, LOCK_LIFE_MS, Locks, QueueLock};
pub use self::offsets::{Offsets, QueueProgress};
pub use self::queues::QueueOffsets;
pub use self::schedule::Schedule;
pub use self::snapshot::{Change, SnapshotError};
pub use self::topics::{Topic, Topics};

/// Neighbouring records of one queue in an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRun {
    /// The topic.
    pub topic: Arc<str>,
    /// The queue.
    pub queue_id: i32,
    /// Queue offset of the first.
    pub first_offset: i64,
    /// How many.
    pub count: u32,
}

/// What others must hear of after an entry was applied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// Topics created, changed or removed.
    pub topics_changed: Vec<Arc<str>>,
    /// Groups created, changed or removed.
    pub groups_changed: Vec<Arc<str>>,
    /// Everything below was given up.
    pub retain: Option<Position>,
}

/// Everything a broker group knows, but for the messages themselves.
#[derive(Debug, Clone, Default)]
pub struct State {
    topics: Topics,
    groups: Groups,
    offsets: Offsets,
    locks: Locks,
    offsets_version: DataVersion,
    schedule: Schedule,
    min_position: Position,
    last_store_timestamp_ms: i64,
    /// What changed since the last checkpoint; topics also carry a mark, to be found at once.
    changed: BTreeSet<Key>,
}

impl State {
    /// Folds in one committed entry that begins at `at`: its commands, then its records.
    ///
    /// # Panics
    /// When records do not continue their queues, see [`QueueOffsets::advance`], or belong to no
    /// topic, or a delay level does not stand where the entry says: each would mean that two leaders
    /// wrote to one log position.
    pub fn apply(&mut self, at: Position, batch: &CommandBatch, runs: &[QueueRun]) -> Effects {
        let mut effects = Effects::default();
        self.last_store_timestamp_ms = self.last_store_timestamp_ms.max(batch.store_timestamp_ms);
        for command in &batch.commands {
            self.command(at, command, &mut effects);
        }
        for run in runs {
            self.advance(run);
        }
        effects
    }

    /// Topics and their queues.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Consumer groups.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Consumers' progress.
    pub fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// Changes to consumers' progress.
    pub fn offsets_version(&self) -> DataVersion {
        self.offsets_version
    }

    /// How far the delivery of delayed messages is.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Messages below were given up by retention.
    pub fn min_position(&self) -> Position {
        self.min_position
    }

    /// Store timestamp of the last entry; the next one's is not lower.
    pub fn last_store_timestamp_ms(&self) -> i64 {
        self.last_store_timestamp_ms
    }

    fn advance(&mut self, run: &QueueRun) {
        let Some(topic) = self.topics.by_name.get_mut(&*run.topic) else {
            panic!("the log holds messages of topic {}, which does not exist there", run.topic);
        };
        topic.queues.advance(run.queue_id, run.first_offset, run.count);
        if !topic.dirty {
            topic.dirty = true;
            self.changed.insert(Key::Topic(Arc::clone(&run.topic)));
        }
    }

    fn command(&mut self, at: Position, command: &Command, effects: &mut Effects) {
        match &command.kind {
            Some(Kind::UpsertTopic(settings)) => {
                self.set_topic(at, settings, true, effects);
            }
            Some(Kind::CreateTopicIfAbsent(settings)) => {
                self.set_topic(at, settings, false, effects);
            }
            Some(Kind::DeleteTopic(delete)) => self.delete_topic(&delete.topic, effects),
            Some(Kind::UpsertGroup(settings)) => self.set_group(settings, true, effects),
            Some(Kind::CreateGroupIfAbsent(settings)) => self.set_group(settings, false, effects),
            Some(Kind::DeleteGroup(delete)) => self.delete_group(delete, effects),
            Some(Kind::CommitOffsets(commit)) => self.commit_offsets(commit),
            Some(Kind::ResetOffsets(reset)) => self.reset_offsets(reset),
            Some(Kind::ResetsTaken(taken)) => self.resets_taken(taken),
            Some(Kind::LockQueues(lock)) => self.lock_queues(lock),
            Some(Kind::ReleaseLocks(release)) => self.release_locks(release),
            Some(Kind::Retain(retain)) => {
                if Position(retain.position) > self.min_position {
                    self.min_position = Position(retain.position);
                    effects.retain = Some(self.min_position);
                }
            }
            Some(Kind::AdvanceSchedule(advance)) => {
                self.schedule.advance(advance.queue_id, advance.from, advance.until);
                self.changed.insert(Key::Schedule);
            }
            None => {
                tracing::error!(%at, "a command of a kind this version does not know is skipped")
            }
        }
    }

    fn set_topic(
        &mut self,
        at: Position,
        settings: &command::TopicSettings,
        replace: bool,
        effects: &mut Effects,
    ) {
        let Some(config) = decode_config(&settings.topic, &settings.config_json) else { return };
        let name: Arc<str> = Arc::from(settings.topic.as_str());
        let changed = if replace {
            self.topics.upsert(&name, config, at)
        } else {
            self.topics.insert(&name, config, at)
        };
        if changed {
            bump(&mut self.topics.version, self.last_store_timestamp_ms);
            self.topic_changed(Arc::clone(&name));
            effects.topics_changed.push(name);
        }
    }

    fn topic_changed(&mut self, name: Arc<str>) {
        if let Some(topic) = self.topics.by_name.get_mut(&name) {
            topic.dirty = true;
        }
        self.changed.insert(Key::Topic(name));
    }

    fn delete_topic(&mut self, topic: &str, effects: &mut Effects) {
        let Some((name, _)) = self.topics.by_name.remove_entry(topic) else { return };
        for group in self.offsets.remove_topic(topic) {
            self.changed.insert(Key::Offsets(group, Arc::clone(&name)));
        }
        self.remove_locks_of_topic(topic);
        bump(&mut self.topics.version, self.last_store_timestamp_ms);
        self.changed.insert(Key::Topic(Arc::clone(&name)));
        effects.topics_changed.push(name);
    }

    fn set_group(
        &mut self,
        settings: &command::GroupSettings,
        replace: bool,
        effects: &mut Effects,
    ) {
        let Some(config) = decode_config(&settings.group, &settings.config_json) else { return };
        let name: Arc<str> = Arc::from(settings.group.as_str());
        let changed = if replace {
            self.groups.upsert(&name, config)
        } else {
            self.groups.insert(&name, config)
        };
        if changed {
            bump(&mut self.groups.version, self.last_store_timestamp_ms);
            self.changed.insert(Key::Group(Arc::clone(&name)));
            effects.groups_changed.push(name);
        }
    }

    fn delete_group(&mut self, delete: &command::DeleteGroup, effects: &mut Effects) {
        let name: Arc<str> = Arc::from(delete.group.as_str());
        if self.groups.by_name.remove(&name).is_some() {
            bump(&mut self.groups.version, self.last_store_timestamp_ms);
            self.changed.insert(Key::Group(Arc::clone(&name)));
            effects.groups_changed.push(Arc::clone(&name));
        }
        self.remove_locks_of_group(&name);
        if delete.clean_offset {
            for topic in self.offsets.remove_group(&name) {
                self.changed.insert(Key::Offsets(Arc::clone(&name), topic));
            }
        }
    }

    fn commit_offsets(&mut self, commit: &command::CommitOffsets) {
        for offset in &commit.offsets {
            // A commit that was under way when its topic went must not leave an orphan behind.
            if self.topics.get(&offset.topic).is_none() {
                continue;
            }
            let stands =
                self.offsets.reset(&offset.group, &offset.topic, offset.queue_id).is_some();
            #[cfg(madsim)]
            let stands =
                stands && !crate::mistake::made(crate::mistake::Mistake::CommitsUndoResets);
            if stands {
                continue;
            }
            self.set_offset(offset);
        }
    }

    fn set_offset(&mut self, offset: &CommittedOffset) {
        let set = self.offsets.set(&offset.group, &offset.topic, offset.queue_id, offset.offset);
        if let Some((group, topic)) = set {
            bump(&mut self.offsets_version, self.last_store_timestamp_ms);
            self.changed.insert(Key::Offsets(group, topic));
        }
    }

    fn reset_offsets(&mut self, reset: &command::CommitOffsets) {
        for offset in &reset.offsets {
            if self.topics.get(&offset.topic).is_none() {
                continue;
            }
            self.set_offset(offset);
            let names = self.offsets.names(&offset.group, &offset.topic);
            self.offsets.stand(names.clone(), offset.queue_id, offset.offset);
            self.changed.insert(Key::Offsets(names.0, names.1));
        }
    }

    fn resets_taken(&mut self, taken: &command::CommitOffsets) {
        for offset in &taken.offsets {
            let CommittedOffset { group, topic, queue_id, offset } = offset;
            if self.offsets.taken(group, topic, *queue_id, *offset) {
                let (group, topic) = self.offsets.names(group, topic);
                self.changed.insert(Key::Offsets(group, topic));
            }
        }
    }
}

fn decode_config<T: serde::de::DeserializeOwned>(name: &str, json: &[u8]) -> Option<T> {
    serde_json::from_slice(json)
        .inspect_err(
            |error| tracing::error!(name, %error, "settings that do not decode are skipped"),
        )
        .ok()
}
