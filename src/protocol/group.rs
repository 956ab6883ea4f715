//! A consumer group's configuration.
//!
//! Invariant: the JSON has exactly RocketMQ's keys and defaults, in the order fastjson writes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fastjson::JsonBody;
use super::lenient;

/// How long a failed message waits before its next attempt. Kept as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupRetryPolicy {
    /// `CUSTOMIZED` or `EXPONENTIAL`.
    #[serde(rename = "type")]
    pub policy_type: String,
    /// The policy's own settings.
    #[serde(flatten)]
    pub settings: BTreeMap<String, serde_json::Value>,
}

impl Default for GroupRetryPolicy {
    fn default() -> Self {
        Self { policy_type: "CUSTOMIZED".to_owned(), settings: BTreeMap::new() }
    }
}

/// Configuration of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupConfig {
    /// Free attributes.
    #[serde(deserialize_with = "lenient::null_default")]
    pub attributes: BTreeMap<String, String>,
    /// Where to consume from, zero for the master.
    pub broker_id: i64,
    /// Whether broadcasting consumers are allowed.
    pub consume_broadcast_enable: bool,
    /// Whether the group may consume at all.
    pub consume_enable: bool,
    /// Whether a new group may start at the minimum offset.
    pub consume_from_min_enable: bool,
    /// Whether the group consumes in order.
    pub consume_message_orderly: bool,
    /// Minutes after which a message counts as not consumed.
    pub consume_timeout_minute: i32,
    /// Name.
    #[serde(deserialize_with = "lenient::null_default")]
    pub group_name: String,
    /// Retry policy.
    #[serde(deserialize_with = "lenient::null_default")]
    pub group_retry_policy: GroupRetryPolicy,
    /// Bits: 1 unit.
    pub group_sys_flag: i32,
    /// Whether members are told when others join or leave.
    pub notify_consumer_ids_changed_enable: bool,
    /// Attempts before a message goes to the dead letter topic.
    pub retry_max_times: i32,
    /// Queues of the retry topic.
    pub retry_queue_nums: i32,
    /// Subscriptions fixed by the administrator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data_set: Option<Vec<SimpleSubscription>>,
    /// Where to consume from when far behind.
    pub which_broker_when_consume_slowly: i64,
}

/// A subscription fixed by the administrator.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SimpleSubscription {
    /// The expression.
    #[serde(deserialize_with = "lenient::null_default")]
    pub expression: String,
    /// `TAG` or `SQL92`.
    #[serde(deserialize_with = "lenient::null_default")]
    pub expression_type: String,
    /// Topic.
    #[serde(deserialize_with = "lenient::null_default")]
    pub topic: String,
    /// Version.
    #[serde(deserialize_with = "lenient::integer")]
    pub version: i64,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: GroupRetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

impl SubscriptionGroupConfig {
    /// A group with RocketMQ's defaults.
    pub fn new(group_name: impl Into<String>) -> Self {
        Self { group_name: group_name.into(), ..Self::default() }
    }
}

impl JsonBody for SubscriptionGroupConfig {
    const WHAT: &'static str = "subscription group configuration";
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_documented_one() {
        let group = SubscriptionGroupConfig::new("g");
        let text = r#"{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"g","groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}"#;
        assert_eq!(group.encode(), text);
        assert_eq!(SubscriptionGroupConfig::decode(text.as_bytes()).unwrap(), group);
        assert_eq!(
            SubscriptionGroupConfig::decode(br#"{"groupName":"g"}"#).unwrap(),
            group,
            "what is absent has its default"
        );
    }

    #[test]
    fn a_retry_policy_is_kept_as_it_came() {
        let text = br#"{"groupName":"g","groupRetryPolicy":{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":5}}}"#;
        let group = SubscriptionGroupConfig::decode(text).unwrap();
        let again = SubscriptionGroupConfig::decode(&group.encode()).unwrap();
        assert_eq!(again, group);
        assert_eq!(again.group_retry_policy.policy_type, "EXPONENTIAL");
    }
}
