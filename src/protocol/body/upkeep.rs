//! What operators are told of replication and of a queue's units: answers of 321, 907 and 1007, and the
//! body of 401.
//!
//! Invariant: the keys are those that RocketMQ's tools read.

use serde::{Deserialize, Serialize};

use crate::protocol::fastjson::JsonBody;
use crate::protocol::lenient;

/// One unit of a consume queue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeQueueData {
    /// Whether the group's filter takes it.
    pub eval: bool,
    /// Where its message is in the log.
    pub physic_offset: i64,
    /// How long that is.
    pub physic_size: i32,
    /// Hash of its tags.
    pub tags_code: i64,
}

/// Answer of 321: a stretch of a consume queue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryConsumeQueueBody {
    /// How the group filters, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_data: Option<String>,
    /// Offset of the next message.
    pub max_queue_index: i64,
    /// Offset of the first message kept.
    pub min_queue_index: i64,
    /// The units.
    pub queue_data: Vec<ConsumeQueueData>,
}

impl JsonBody for QueryConsumeQueueBody {
    const WHAT: &'static str = "stretch of a consume queue";
}

/// How far one follower is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaConnectionInfo {
    /// Its address.
    pub addr: String,
    /// Bytes that it does not have.
    pub diff: i64,
    /// Whether it follows closely.
    pub in_sync: bool,
    /// Position up to which it has the log.
    pub slave_ack_offset: i64,
    /// Position from which it gets the log.
    pub transfer_from_where: i64,
    /// Not measured here.
    pub transferred_byte_in_second: i64,
}

/// How far this follower is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaClientInfo {
    /// Whether it is connected to the leader.
    pub activated: bool,
    /// Not measured here.
    pub last_read_timestamp: i64,
    /// Not measured here.
    pub last_write_timestamp: i64,
    /// Where the leader is.
    pub master_addr: String,
    /// Position up to which it knows the log to be committed.
    pub master_flush_offset: i64,
    /// Position up to which it has the log.
    pub max_offset: i64,
    /// Not measured here.
    pub transferred_byte_in_second: i64,
}

/// Answer of 907: replication as a leader or a follower sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaRuntimeInfo {
    /// A follower's view.
    pub ha_client_runtime_info: HaClientInfo,
    /// A leader's view.
    pub ha_connection_info: Vec<HaConnectionInfo>,
    /// How many follow closely.
    pub in_sync_slave_nums: i32,
    /// Whether it leads.
    pub master: bool,
    /// Position where its log ends.
    pub master_commit_log_max_offset: i64,
}

impl JsonBody for HaRuntimeInfo {
    const WHAT: &'static str = "state of replication";
}

/// A term's stretch of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EpochEntry {
    /// Position behind it.
    pub end_offset: i64,
    /// The term.
    pub epoch: i64,
    /// Position of its first entry.
    pub start_offset: i64,
}

/// Answer of 1007: the terms in the log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EpochEntryCache {
    /// The member's broker id: 0 for the leader.
    pub broker_id: i64,
    /// The group.
    pub broker_name: String,
    /// The cluster.
    pub cluster_name: String,
    /// The terms, oldest first.
    pub epoch_list: Vec<EpochEntry>,
    /// Where the log ends.
    pub max_offset: i64,
}

impl JsonBody for EpochEntryCache {
    const WHAT: &'static str = "list of terms";
}

/// Body of 401.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageRequestModeBody {
    /// The group.
    #[serde(deserialize_with = "lenient::null_default")]
    pub consumer_group: String,
    /// `PULL` or `POP`.
    #[serde(deserialize_with = "lenient::null_default")]
    pub mode: String,
    /// The topic.
    #[serde(deserialize_with = "lenient::null_default")]
    pub topic: String,
}

impl JsonBody for MessageRequestModeBody {
    const WHAT: &'static str = "way of getting messages";
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_that_the_tools_read() {
        let info = HaRuntimeInfo {
            ha_connection_info: vec![HaConnectionInfo::default()],
            ..HaRuntimeInfo::default()
        };
        let text = String::from_utf8(info.encode().to_vec()).unwrap();
        for key in [
            r#""master":false"#,
            r#""masterCommitLogMaxOffset":0"#,
            r#""inSyncSlaveNums":0"#,
            r#""slaveAckOffset":0"#,
            r#""transferredByteInSecond":0"#,
            r#""haClientRuntimeInfo":{"activated":false"#,
        ] {
            assert!(text.contains(key), "{key} in {text}");
        }
        let body = br#"{"consumerGroup":"g","mode":"POP","popShareQueueNum":0,"topic":null}"#;
        let read = MessageRequestModeBody::decode(body).unwrap();
        assert_eq!((read.mode.as_str(), read.topic.as_str()), ("POP", ""));
    }
}
