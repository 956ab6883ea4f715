//! What an entry can ask of the state besides carrying messages.
//!
//! Invariant: a command holds everything its effect depends on. Nothing is looked up outside the
//! state when it is applied, so every member draws the same conclusion from the same bytes.

use crate::protocol::group::SubscriptionGroupConfig;
use crate::protocol::topic::TopicConfig;

/// All commands of one entry, with the time the leader gave it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CommandBatch {
    /// Applied in this order, before the entry's records.
    #[prost(message, repeated, tag = "1")]
    pub commands: Vec<Command>,
    /// Store timestamp of the entry in milliseconds; never goes backwards in the log.
    #[prost(int64, tag = "2")]
    pub store_timestamp_ms: i64,
}

/// One change of the state.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Command {
    /// Absent only when a newer version wrote a kind that this one does not know.
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13")]
    pub kind: Option<Kind>,
}

/// The kinds of commands.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    /// Creates the topic or replaces its settings.
    #[prost(message, tag = "1")]
    UpsertTopic(TopicSettings),
    /// Creates the topic unless it exists.
    #[prost(message, tag = "2")]
    CreateTopicIfAbsent(TopicSettings),
    /// Removes the topic, its queues and the offsets committed on it.
    #[prost(message, tag = "3")]
    DeleteTopic(DeleteTopic),
    /// Creates the group or replaces its settings.
    #[prost(message, tag = "4")]
    UpsertGroup(GroupSettings),
    /// Creates the group unless it exists.
    #[prost(message, tag = "5")]
    CreateGroupIfAbsent(GroupSettings),
    /// Removes the group.
    #[prost(message, tag = "6")]
    DeleteGroup(DeleteGroup),
    /// Moves consumers' progress.
    #[prost(message, tag = "7")]
    CommitOffsets(CommitOffsets),
    /// Gives up everything below a position.
    #[prost(message, tag = "8")]
    Retain(Retain),
    /// Gives a client the locks of queues that nobody else has.
    #[prost(message, tag = "10")]
    LockQueues(LockQueues),
    /// Takes a client's locks.
    #[prost(message, tag = "11")]
    ReleaseLocks(ReleaseLocks),
    /// Sets consumers' progress, which stays until the group pulls from there.
    #[prost(message, tag = "12")]
    ResetOffsets(CommitOffsets),
    /// The group pulls from where these resets put it.
    #[prost(message, tag = "13")]
    ResetsTaken(CommitOffsets),
    /// Moves a delay level on, behind the messages of it that this entry delivers.
    #[prost(message, tag = "9")]
    AdvanceSchedule(AdvanceSchedule),
}

/// A topic's settings in the JSON that the admin protocol uses: one codec wherever they are kept.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TopicSettings {
    /// Name of the topic.
    #[prost(string, tag = "1")]
    pub topic: String,
    /// The `TopicConfig` as JSON.
    #[prost(bytes = "vec", tag = "2")]
    pub config_json: Vec<u8>,
}

/// See [`Kind::DeleteTopic`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteTopic {
    /// Name of the topic.
    #[prost(string, tag = "1")]
    pub topic: String,
}

/// A consumer group's settings in the JSON that the admin protocol uses.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupSettings {
    /// Name of the group.
    #[prost(string, tag = "1")]
    pub group: String,
    /// The `SubscriptionGroupConfig` as JSON.
    #[prost(bytes = "vec", tag = "2")]
    pub config_json: Vec<u8>,
}

/// See [`Kind::DeleteGroup`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteGroup {
    /// Name of the group.
    #[prost(string, tag = "1")]
    pub group: String,
    /// Whether its committed offsets go too.
    #[prost(bool, tag = "2")]
    pub clean_offset: bool,
}

/// See [`Kind::CommitOffsets`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct CommitOffsets {
    /// Applied in order: the last one for a queue wins, a lower value included.
    #[prost(message, repeated, tag = "1")]
    pub offsets: Vec<CommittedOffset>,
}

/// Progress of one group in one queue.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CommittedOffset {
    /// The consumer group.
    #[prost(string, tag = "1")]
    pub group: String,
    /// The topic.
    #[prost(string, tag = "2")]
    pub topic: String,
    /// The queue.
    #[prost(int32, tag = "3")]
    pub queue_id: i32,
    /// Offset of the next message to consume.
    #[prost(int64, tag = "4")]
    pub offset: i64,
}

/// See [`Kind::Retain`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Retain {
    /// First position that stays.
    #[prost(uint64, tag = "1")]
    pub position: u64,
}

/// See [`Kind::LockQueues`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct LockQueues {
    /// The consumer group.
    #[prost(string, tag = "1")]
    pub group: String,
    /// Who asks.
    #[prost(string, tag = "2")]
    pub client_id: String,
    /// For what.
    #[prost(message, repeated, tag = "3")]
    pub queues: Vec<QueueName>,
    /// When, in lease time: the leader says it where it writes the entry.
    #[prost(int64, tag = "4")]
    pub lease_time_ms: i64,
}

/// See [`Kind::ReleaseLocks`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReleaseLocks {
    /// The consumer group.
    #[prost(string, tag = "1")]
    pub group: String,
    /// Whose locks.
    #[prost(string, tag = "2")]
    pub client_id: String,
    /// Which; all when there are none.
    #[prost(message, repeated, tag = "3")]
    pub queues: Vec<QueueName>,
    /// A lock that was granted or renewed after this, in lease time, stays.
    #[prost(int64, tag = "4")]
    pub granted_until_ms: i64,
}

/// A queue of this broker group.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueueName {
    /// Its topic.
    #[prost(string, tag = "1")]
    pub topic: String,
    /// Its number.
    #[prost(int32, tag = "2")]
    pub queue_id: i32,
}

/// See [`Kind::AdvanceSchedule`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct AdvanceSchedule {
    /// The level's queue in the schedule topic.
    #[prost(int32, tag = "1")]
    pub queue_id: i32,
    /// Offset in it at which the level stands.
    #[prost(int64, tag = "2")]
    pub from: i64,
    /// Offset at which it stands from now on.
    #[prost(int64, tag = "3")]
    pub until: i64,
}

fn topic_settings(config: &TopicConfig) -> TopicSettings {
    TopicSettings { topic: config.topic_name.clone(), config_json: to_json(config) }
}

fn group_settings(config: &SubscriptionGroupConfig) -> GroupSettings {
    GroupSettings { group: config.group_name.clone(), config_json: to_json(config) }
}

/// The JSON under which a config is kept.
pub(super) fn to_json<T: serde::Serialize>(config: &T) -> Vec<u8> {
    serde_json::to_vec(config).expect("configs have text keys only, which always encode")
}

impl Command {
    /// Creates the topic or replaces its settings.
    pub fn upsert_topic(config: &TopicConfig) -> Command {
        Kind::UpsertTopic(topic_settings(config)).into()
    }

    /// Creates the topic unless it exists.
    pub fn create_topic_if_absent(config: &TopicConfig) -> Command {
        Kind::CreateTopicIfAbsent(topic_settings(config)).into()
    }

    /// Removes the topic with its queues and the offsets committed on it.
    pub fn delete_topic(topic: &str) -> Command {
        Kind::DeleteTopic(DeleteTopic { topic: topic.to_owned() }).into()
    }

    /// Creates the group or replaces its settings.
    pub fn upsert_group(config: &SubscriptionGroupConfig) -> Command {
        Kind::UpsertGroup(group_settings(config)).into()
    }

    /// Creates the group unless it exists.
    pub fn create_group_if_absent(config: &SubscriptionGroupConfig) -> Command {
        Kind::CreateGroupIfAbsent(group_settings(config)).into()
    }

    /// Removes the group, and its offsets when asked.
    pub fn delete_group(group: &str, clean_offset: bool) -> Command {
        Kind::DeleteGroup(DeleteGroup { group: group.to_owned(), clean_offset }).into()
    }

    /// Moves consumers' progress.
    pub fn commit_offsets(offsets: Vec<CommittedOffset>) -> Command {
        Kind::CommitOffsets(CommitOffsets { offsets }).into()
    }

    /// Sets consumers' progress; commits of what they consumed before are ignored until they pull
    /// from there.
    pub fn reset_offsets(offsets: Vec<CommittedOffset>) -> Command {
        Kind::ResetOffsets(CommitOffsets { offsets }).into()
    }

    /// A group pulls from where a reset put it: its commits count again.
    pub fn reset_taken(offset: CommittedOffset) -> Command {
        Kind::ResetsTaken(CommitOffsets { offsets: vec![offset] }).into()
    }

    /// Gives up everything below `position`, which must be a segment's boundary.
    pub fn retain(position: raft_log::Position) -> Command {
        Kind::Retain(Retain { position: position.0 }).into()
    }

    /// Gives a client the locks of queues that nobody else has, and renews its own.
    pub fn lock_queues(group: &str, client_id: &str, queues: Vec<QueueName>) -> Command {
        let (group, client_id) = (group.to_owned(), client_id.to_owned());
        Kind::LockQueues(LockQueues { group, client_id, queues, lease_time_ms: 0 }).into()
    }

    /// Takes those of a client's locks, all if none is named, that were granted until a time.
    pub fn release_locks(
        group: &str,
        client_id: &str,
        queues: Vec<QueueName>,
        granted_until_ms: i64,
    ) -> Command {
        let (group, client_id) = (group.to_owned(), client_id.to_owned());
        Kind::ReleaseLocks(ReleaseLocks { group, client_id, queues, granted_until_ms }).into()
    }

    /// Moves a delay level on from where it stands.
    pub fn advance_schedule(queue_id: i32, from: i64, until: i64) -> Command {
        Kind::AdvanceSchedule(AdvanceSchedule { queue_id, from, until }).into()
    }
}

impl From<Kind> for Command {
    fn from(kind: Kind) -> Command {
        Command { kind: Some(kind) }
    }
}
