//! The state as keyed entries: the form of its snapshot and of its checkpoint.
//!
//! Invariant: equal states give equal bytes. Entries are written in the order of their keys, every
//! value is a function of the state alone, and maps are ordered.

use std::sync::Arc;

use prost::Message as _;
use raft_log::Position;

use super::State;
use super::command::to_json;
use super::locks::QueueLock;
use super::topics::Topic;
use crate::protocol::data_version::DataVersion;

/// Grows when the meaning of an entry changes.
const FORMAT: u32 = 1;

/// What a piece of the state is kept under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Meta,
    Topic(Arc<str>),
    Group(Arc<str>),
    Offsets(Arc<str>, Arc<str>),
    Schedule,
    Locks(Arc<str>),
}

/// A snapshot or checkpoint that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not readable as one.
    #[error("the state does not decode ({0}): it is damaged or of a newer version")]
    Decode(String),
    /// Readable, but of another format.
    #[error("the state has format {0}, which this version does not read")]
    Format(u32),
    /// Written by a newer program.
    #[error("the state has format {0}, this program knows {FORMAT}: a newer one has run here")]
    Newer(u32),
}

/// One changed piece: its key and its value, none when it is gone.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

#[derive(Clone, PartialEq, prost::Message)]
struct SnapshotFile {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MetaValue {
    #[prost(uint64, tag = "1")]
    min_position: u64,
    #[prost(int64, tag = "2")]
    last_store_timestamp_ms: i64,
    #[prost(int64, tag = "3")]
    topics_counter: i64,
    #[prost(int64, tag = "4")]
    topics_timestamp_ms: i64,
    #[prost(int64, tag = "5")]
    groups_counter: i64,
    #[prost(int64, tag = "6")]
    groups_timestamp_ms: i64,
    #[prost(int64, tag = "7")]
    offsets_counter: i64,
    #[prost(int64, tag = "8")]
    offsets_timestamp_ms: i64,
    #[prost(uint32, tag = "9")]
    format: u32,
    #[prost(int64, tag = "10")]
    lease_time_ms: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TopicValue {
    #[prost(bytes = "vec", tag = "1")]
    config_json: Vec<u8>,
    #[prost(uint64, tag = "2")]
    created_position: u64,
    #[prost(int64, repeated, tag = "3")]
    next_offsets: Vec<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OffsetsValue {
    #[prost(int32, repeated, tag = "1")]
    queue_ids: Vec<i32>,
    #[prost(int64, repeated, tag = "2")]
    offsets: Vec<i64>,
    #[prost(int32, repeated, tag = "3")]
    reset_queue_ids: Vec<i32>,
    #[prost(int64, repeated, tag = "4")]
    reset_offsets: Vec<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScheduleValue {
    /// By queue id.
    #[prost(int64, repeated, tag = "1")]
    next: Vec<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LocksValue {
    #[prost(message, repeated, tag = "1")]
    locks: Vec<LockValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LockValue {
    #[prost(string, tag = "1")]
    topic: String,
    #[prost(int32, tag = "2")]
    queue_id: i32,
    #[prost(string, tag = "3")]
    client_id: String,
    #[prost(int64, tag = "4")]
    granted_ms: i64,
}

impl Key {
    fn encode(&self) -> Vec<u8> {
        match self {
            Key::Meta => vec![0],
            Key::Topic(name) => [&[1], name.as_bytes()].concat(),
            Key::Group(name) => [&[2], name.as_bytes()].concat(),
            // Names hold no control characters, so a zero byte ends the first.
            Key::Offsets(group, topic) => [&[3], group.as_bytes(), &[0], topic.as_bytes()].concat(),
            Key::Schedule => vec![4],
            Key::Locks(group) => [&[5], group.as_bytes()].concat(),
        }
    }
}

impl State {
    /// The whole state, byte for byte the same on every member that applied the same entries.
    pub fn snapshot(&self) -> Vec<u8> {
        let entries = self.entries().map(|(key, value)| Entry { key, value }).collect();
        SnapshotFile { format: FORMAT, entries }.encode_to_vec()
    }

    /// The state that [`State::snapshot`] wrote.
    ///
    /// # Errors
    /// When the bytes are not a snapshot this version reads.
    pub fn restore(snapshot: &[u8]) -> Result<State, SnapshotError> {
        let file = SnapshotFile::decode(snapshot).map_err(decode_error)?;
        check_format(file.format)?;
        State::from_entries(file.entries.into_iter().map(|entry| (entry.key, entry.value)))
    }

    /// The state whose pieces these are.
    ///
    /// # Errors
    /// When a piece does not decode or none says which format they have.
    pub fn from_entries(
        entries: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<State, SnapshotError> {
        let mut state = State::default();
        let mut format = 0;
        for (key, value) in entries {
            #[cfg(madsim)]
            if key.first() == Some(&3)
                && crate::mistake::made(crate::mistake::Mistake::RestoresHalf)
            {
                continue;
            }
            if key == [0] {
                let meta = MetaValue::decode(&value[..]).map_err(decode_error)?;
                // The other pieces of another format need not decode.
                check_format(meta.format)?;
                format = meta.format;
                state.read_meta(&meta);
            } else {
                state.read_entry(&key, &value)?;
            }
        }
        check_format(format)?;
        Ok(state)
    }

    /// Every piece, in the order of the keys.
    pub fn entries(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
        let meta = std::iter::once(Key::Meta);
        let topics = self.topics.iter().map(|(name, _)| Key::Topic(Arc::clone(name)));
        let groups = self.groups.iter().map(|(name, _)| Key::Group(Arc::clone(name)));
        let offsets =
            self.offsets.iter().map(|(g, t, _)| Key::Offsets(Arc::clone(g), Arc::clone(t)));
        let schedule = std::iter::once(Key::Schedule);
        let locks = self.locks.iter().map(|(group, _)| Key::Locks(Arc::clone(group)));
        let keys = meta.chain(topics).chain(groups).chain(offsets).chain(schedule).chain(locks);
        keys.filter_map(|key| {
            let value = self.value(&key)?;
            Some((key.encode(), value))
        })
    }

    /// Hands out the pieces changed since the last call.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let mut keys = std::mem::take(&mut self.changed);
        for key in &keys {
            if let Key::Topic(name) = key
                && let Some(topic) = self.topics.by_name.get_mut(name)
            {
                topic.dirty = false;
            }
        }
        keys.insert(Key::Meta);
        keys.iter().map(|key| (key.encode(), self.value(key))).collect()
    }

    /// A number that differs, but for chance, when the states do.
    pub fn digest(&self) -> u32 {
        crc32fast::hash(&self.snapshot())
    }

    fn value(&self, key: &Key) -> Option<Vec<u8>> {
        match key {
            Key::Meta => Some(self.meta_value().encode_to_vec()),
            Key::Topic(name) => self.topics.get(name).map(|topic| {
                let value = TopicValue {
                    config_json: to_json(&*topic.config),
                    created_position: topic.created_position.0,
                    next_offsets: topic.queues.as_slice().to_vec(),
                };
                value.encode_to_vec()
            }),
            Key::Group(name) => self.groups.get(name).map(|config| to_json(&**config)),
            Key::Offsets(group, topic) => self.offsets.progress(group, topic).map(|progress| {
                let resets = self.offsets.resets_in(group, topic).into_iter().flatten();
                let (reset_queue_ids, reset_offsets) = resets.unzip();
                let value = OffsetsValue {
                    queue_ids: progress.keys().copied().collect(),
                    offsets: progress.values().copied().collect(),
                    reset_queue_ids,
                    reset_offsets,
                };
                value.encode_to_vec()
            }),
            // Absent until the first delivery, as in what older versions wrote.
            Key::Schedule => (!self.schedule.as_slice().is_empty())
                .then(|| ScheduleValue { next: self.schedule.as_slice().to_vec() }.encode_to_vec()),
            Key::Locks(group) => self.locks.of_group(group).map(|locks| {
                let locks = locks.iter().map(|((topic, queue_id), lock)| LockValue {
                    topic: topic.to_string(),
                    queue_id: *queue_id,
                    client_id: lock.client_id.to_string(),
                    granted_ms: lock.granted_ms,
                });
                LocksValue { locks: locks.collect() }.encode_to_vec()
            }),
        }
    }

    fn meta_value(&self) -> MetaValue {
        MetaValue {
            min_position: self.min_position.0,
            last_store_timestamp_ms: self.last_store_timestamp_ms,
            topics_counter: self.topics.version.counter,
            topics_timestamp_ms: self.topics.version.timestamp,
            groups_counter: self.groups.version.counter,
            groups_timestamp_ms: self.groups.version.timestamp,
            offsets_counter: self.offsets_version.counter,
            offsets_timestamp_ms: self.offsets_version.timestamp,
            format: FORMAT,
            lease_time_ms: self.locks.lease_time_ms(),
        }
    }

    fn read_meta(&mut self, meta: &MetaValue) {
        let version =
            |counter, timestamp| DataVersion { counter, timestamp, ..DataVersion::default() };
        self.min_position = Position(meta.min_position);
        self.last_store_timestamp_ms = meta.last_store_timestamp_ms;
        self.locks.restore_lease_time(meta.lease_time_ms);
        self.topics.version = version(meta.topics_counter, meta.topics_timestamp_ms);
        self.groups.version = version(meta.groups_counter, meta.groups_timestamp_ms);
        self.offsets_version = version(meta.offsets_counter, meta.offsets_timestamp_ms);
    }

    fn read_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        let (&kind, name) =
            key.split_first().ok_or_else(|| SnapshotError::Decode("empty key".to_owned()))?;
        let name = std::str::from_utf8(name).map_err(decode_error)?;
        match kind {
            1 => {
                let value = TopicValue::decode(value).map_err(decode_error)?;
                let config = serde_json::from_slice(&value.config_json).map_err(decode_error)?;
                let topic = Topic {
                    config: Arc::new(config),
                    created_position: Position(value.created_position),
                    queues: value.next_offsets.into(),
                    dirty: false,
                };
                self.topics.by_name.insert(Arc::from(name), topic);
            }
            2 => {
                let config = serde_json::from_slice(value).map_err(decode_error)?;
                self.groups.by_name.insert(Arc::from(name), Arc::new(config));
            }
            3 => {
                let (group, topic) = name
                    .split_once('\0')
                    .ok_or_else(|| SnapshotError::Decode("offsets without topic".to_owned()))?;
                let value = OffsetsValue::decode(value).map_err(decode_error)?;
                let progress = value.queue_ids.into_iter().zip(value.offsets).collect();
                let resets = value.reset_queue_ids.into_iter().zip(value.reset_offsets).collect();
                self.offsets.restore(group, topic, progress, resets);
            }
            4 => {
                let value = ScheduleValue::decode(value).map_err(decode_error)?;
                self.schedule = value.next.into();
            }
            5 => {
                let value = LocksValue::decode(value).map_err(decode_error)?;
                let locks = value.locks.into_iter().map(|lock| {
                    let (client_id, granted_ms) = (Arc::from(lock.client_id), lock.granted_ms);
                    ((Arc::from(lock.topic), lock.queue_id), QueueLock { client_id, granted_ms })
                });
                self.locks.restore(name, locks.collect());
            }
            other => return Err(SnapshotError::Decode(format!("unknown kind {other}"))),
        }
        Ok(())
    }
}

fn check_format(format: u32) -> Result<(), SnapshotError> {
    match format {
        FORMAT => Ok(()),
        newer if newer > FORMAT => Err(SnapshotError::Newer(newer)),
        other => Err(SnapshotError::Format(other)),
    }
}

fn decode_error(error: impl std::fmt::Display) -> SnapshotError {
    SnapshotError::Decode(error.to_string())
}
