//! Who is connected and what is configured: answers of the inspection requests.
//!
//! Invariant: collections are written even when empty; Java's getters iterate them unchecked.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::protocol::data_version::DataVersion;
use crate::protocol::fastjson::JsonBody;
use crate::protocol::group::SubscriptionGroupConfig;
use crate::protocol::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use crate::protocol::lenient;
use crate::protocol::queue::MessageQueue;

/// Answer of 38: the members of a consumer group. Never sent empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerIdList {
    /// Client ids.
    #[serde(deserialize_with = "lenient::null_default")]
    pub consumer_id_list: Vec<String>,
}

impl JsonBody for ConsumerIdList {
    const WHAT: &'static str = "list of consumers";
}

/// One client of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientConnection {
    /// `ip:port` it connected from.
    #[serde(deserialize_with = "lenient::null_default")]
    pub client_addr: String,
    /// Its id.
    #[serde(deserialize_with = "lenient::null_default")]
    pub client_id: String,
    /// Name of its language, one that version 4.9 knows.
    #[serde(deserialize_with = "lenient::null_default")]
    pub language: String,
    /// Number of its version.
    pub version: i32,
}

/// Answer of 203.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerConnection {
    /// The members.
    #[serde(deserialize_with = "lenient::null_default")]
    pub connection_set: Vec<ClientConnection>,
    /// Where a new group begins.
    pub consume_from_where: ConsumeFromWhere,
    /// Push, pull or pop.
    pub consume_type: ConsumeType,
    /// One member or all.
    pub message_model: MessageModel,
    /// By topic.
    #[serde(deserialize_with = "lenient::null_default")]
    pub subscription_table: BTreeMap<String, SubscriptionData>,
}

impl JsonBody for ConsumerConnection {
    const WHAT: &'static str = "description of a consumer group's connections";
}

/// Answer of 204.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerConnection {
    /// The producers.
    #[serde(deserialize_with = "lenient::null_default")]
    pub connection_set: Vec<ClientConnection>,
}

impl JsonBody for ProducerConnection {
    const WHAT: &'static str = "description of a producer group's connections";
}

/// Answer of 300.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupList {
    /// Names.
    #[serde(deserialize_with = "lenient::null_default")]
    pub group_list: BTreeSet<String>,
}

impl JsonBody for GroupList {
    const WHAT: &'static str = "list of groups";
}

/// Answer of 201.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupWrapper {
    /// Version of the table.
    #[serde(deserialize_with = "lenient::null_default")]
    pub data_version: DataVersion,
    /// What groups may not read, by group and topic.
    #[serde(deserialize_with = "lenient::null_default")]
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    /// By group.
    #[serde(deserialize_with = "lenient::null_default")]
    pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

impl JsonBody for SubscriptionGroupWrapper {
    const WHAT: &'static str = "table of subscription groups";
}

/// Body of 225: groups to be stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupConfigList {
    /// Their settings; attributes are changes.
    #[serde(deserialize_with = "lenient::null_default")]
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}

impl JsonBody for GroupConfigList {
    const WHAT: &'static str = "list of subscription groups";
}

/// A producer as the table of all of them shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerInfo {
    /// Its id.
    #[serde(deserialize_with = "lenient::null_default")]
    pub client_id: String,
    /// `ip:port` it connected from.
    #[serde(rename = "remoteIP", deserialize_with = "lenient::null_default")]
    pub remote_ip: String,
    /// Name of its language.
    #[serde(deserialize_with = "lenient::null_default")]
    pub language: String,
    /// Number of its version.
    pub version: i32,
    /// When it was heard of last, in milliseconds since 1970.
    pub last_update_timestamp: i64,
}

/// Answer of 328: the producers by group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerTable {
    /// The groups.
    #[serde(deserialize_with = "lenient::null_default")]
    pub data: BTreeMap<String, Vec<ProducerInfo>>,
}

impl JsonBody for ProducerTable {
    const WHAT: &'static str = "table of producers";
}

/// Body of 41 and 42.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockBatchRequest {
    /// Who locks.
    #[serde(deserialize_with = "lenient::null_default")]
    pub client_id: String,
    /// In which group.
    #[serde(deserialize_with = "lenient::null_default")]
    pub consumer_group: String,
    /// Which queues.
    #[serde(deserialize_with = "lenient::null_default")]
    pub mq_set: BTreeSet<MessageQueue>,
    /// Not to be passed on to other brokers of the group.
    pub only_this_broker: bool,
}

impl JsonBody for LockBatchRequest {
    const WHAT: &'static str = "request to lock queues";
}

/// Answer of 41.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LockBatchResponse {
    /// The queues that are locked now; what is missing is not.
    #[serde(rename = "lockOKMQSet", deserialize_with = "lenient::null_default")]
    pub locked: BTreeSet<MessageQueue>,
}

impl JsonBody for LockBatchResponse {
    const WHAT: &'static str = "list of locked queues";
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn empty_collections_are_written() {
        assert_eq!(ConsumerIdList::default().encode(), r#"{"consumerIdList":[]}"#);
        assert_eq!(
            ConsumerConnection::default().encode(),
            r#"{"connectionSet":[],"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","subscriptionTable":{}}"#
        );
        assert_eq!(
            SubscriptionGroupWrapper::default().encode(),
            r#"{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":0},"forbiddenTable":{},"subscriptionGroupTable":{}}"#
        );
    }

    #[test]
    fn locks_have_their_own_spelling() {
        let request = LockBatchRequest::decode(
            br#"{"clientId":"c","consumerGroup":"g","mqSet":[{"brokerName":"b","queueId":0,"topic":"t"}]}"#,
        )
        .unwrap();
        let response = LockBatchResponse { locked: request.mq_set };
        assert_eq!(
            response.encode(),
            r#"{"lockOKMQSet":[{"brokerName":"b","queueId":0,"topic":"t"}]}"#
        );
    }
}
