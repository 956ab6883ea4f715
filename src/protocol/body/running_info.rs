//! What a consumer tells of itself: the answer of 307, which its broker passes on.
//!
//! Invariant: what a client of another language leaves out is empty or zero; a client that tells more is
//! read all the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::fastjson::{self, BodyError};
use crate::protocol::heartbeat::SubscriptionData;
use crate::protocol::lenient;
use crate::protocol::queue::QueueMap;

/// What a consumer is doing.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerRunningInfo {
    /// Stacks of its threads, if they were asked for.
    pub jstack: Option<String>,
    /// By queue that it reads.
    pub mq_table: QueueMap<ProcessQueueInfo>,
    /// Its settings: text, or numbers and enums as its language writes them.
    #[serde(deserialize_with = "lenient::null_default")]
    pub properties: BTreeMap<String, serde_json::Value>,
    /// By topic.
    #[serde(deserialize_with = "lenient::null_default")]
    pub status_table: BTreeMap<String, ConsumeStatus>,
    /// What it reads.
    #[serde(deserialize_with = "lenient::null_default")]
    pub subscription_set: Vec<SubscriptionData>,
    /// The application's own.
    #[serde(deserialize_with = "lenient::null_default")]
    pub user_consumer_info: BTreeMap<String, String>,
}

impl ConsumerRunningInfo {
    /// Reads what a client answered.
    ///
    /// # Errors
    /// When it is something else.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        fastjson::decode(body, "description of a running consumer")
    }

    /// A setting as text; empty without one.
    pub fn property(&self, name: &str) -> String {
        match self.properties.get(name) {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        }
    }
}

/// What a consumer holds of one queue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "RocketMQ's names say what they are")]
pub struct ProcessQueueInfo {
    pub commit_offset: i64,
    pub cached_msg_min_offset: i64,
    pub cached_msg_max_offset: i64,
    pub cached_msg_count: i64,
    #[serde(rename = "cachedMsgSizeInMiB")]
    pub cached_msg_mib: i64,
    pub transaction_msg_min_offset: i64,
    pub transaction_msg_max_offset: i64,
    pub transaction_msg_count: i64,
    pub locked: bool,
    pub try_unlock_times: i64,
    pub last_lock_timestamp: i64,
    pub droped: bool,
    pub last_pull_timestamp: i64,
    pub last_consume_timestamp: i64,
}

/// How fast a consumer pulls and consumes of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "RocketMQ's names say what they are")]
pub struct ConsumeStatus {
    #[serde(rename = "pullRT")]
    pub pull_rt: f64,
    #[serde(rename = "pullTPS")]
    pub pull_tps: f64,
    #[serde(rename = "consumeRT")]
    pub consume_rt: f64,
    #[serde(rename = "consumeOKTPS")]
    pub consume_ok_tps: f64,
    #[serde(rename = "consumeFailedTPS")]
    pub consume_failed_tps: f64,
    #[serde(rename = "consumeFailedMsgs")]
    pub consume_failed_messages: i64,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_a_java_client_answers_is_read() {
        let info = ConsumerRunningInfo::decode(
            br#"{"jstack":null,"mqPopTable":{},"mqTable":{{"brokerName":"b","queueId":1,"topic":"T"}:{"cachedMsgCount":3,"cachedMsgSizeInMiB":2,"commitOffset":6,"droped":false}},"properties":{"PROP_CONSUME_TYPE":"CONSUME_PASSIVELY","PROP_CONSUMER_START_TIMESTAMP":17},"statusTable":{"T":{"pullRT":1.5,"consumeFailedMsgs":2}},"subscriptionSet":[{"topic":"T","subString":"*"}],"userConsumerInfo":{}}"#,
        )
        .unwrap();
        let (queue, held) = info.mq_table.0.iter().next().unwrap();
        assert_eq!((queue.queue_id, held.commit_offset), (1, 6));
        assert_eq!((held.cached_msg_count, held.cached_msg_mib), (3, 2));
        assert_eq!(info.property("PROP_CONSUME_TYPE"), "CONSUME_PASSIVELY");
        assert_eq!(info.property("PROP_CONSUMER_START_TIMESTAMP"), "17");
        assert_eq!((info.property("no"), info.subscription_set.len()), (String::new(), 1));
        let status = info.status_table["T"];
        assert_eq!((status.pull_rt, status.consume_failed_messages), (1.5, 2));
    }
}
