//! A topic's configuration and its permission bits.
//!
//! Invariant: the JSON has exactly RocketMQ's keys, in the order fastjson writes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fastjson::JsonBody;
use super::lenient::{self, wire_enum};

/// Bits of a topic's or broker's permission.
pub mod permission {
    /// Obsolete.
    pub const PRIORITY: i32 = 8;
    /// Consumers may read.
    pub const READ: i32 = 4;
    /// Producers may write.
    pub const WRITE: i32 = 2;
    /// New topics may be created after this one.
    pub const INHERIT: i32 = 1;
    /// An ordinary topic.
    pub const READ_WRITE: i32 = READ | WRITE;

    /// Whether consumers may read.
    pub fn is_readable(perm: i32) -> bool {
        perm & READ != 0
    }

    /// Whether producers may write.
    pub fn is_writable(perm: i32) -> bool {
        perm & WRITE != 0
    }

    /// Whether new topics may take this one as their model.
    pub fn is_inherited(perm: i32) -> bool {
        perm & INHERIT != 0
    }
}

/// Bits of a topic's system flag.
pub mod unit {
    /// The topic belongs to a unit.
    pub const UNIT: i32 = 1;
    /// Consumers of units subscribe to it.
    pub const UNIT_SUBSCRIBED: i32 = 2;
}

wire_enum! {
    /// Whether a message of the topic has one tag or several.
    pub enum TopicFilterType {
        /// One.
        SingleTag = 0 "SINGLE_TAG",
        /// Several.
        MultiTag = 1 "MULTI_TAG",
    }
    default SingleTag
}

/// Configuration of a topic on one broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    /// Free attributes such as `message.type`.
    #[serde(deserialize_with = "lenient::null_default")]
    pub attributes: BTreeMap<String, String>,
    /// Whether the topic is globally ordered.
    pub order: bool,
    /// [`permission`] bits.
    pub perm: i32,
    /// Queues consumers see.
    pub read_queue_nums: i32,
    /// One tag or several.
    pub topic_filter_type: TopicFilterType,
    /// Name.
    #[serde(deserialize_with = "lenient::null_default")]
    pub topic_name: String,
    /// [`mod@unit`] bits.
    pub topic_sys_flag: i32,
    /// Queues producers see.
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm: permission::READ_WRITE,
            read_queue_nums: 16,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

impl TopicConfig {
    /// An ordinary topic.
    pub fn new(topic_name: impl Into<String>, queue_nums: i32, perm: i32) -> Self {
        Self {
            topic_name: topic_name.into(),
            read_queue_nums: queue_nums,
            write_queue_nums: queue_nums,
            perm,
            ..Self::default()
        }
    }

    /// Queues that exist: what can be read or written.
    pub fn queue_nums(&self) -> i32 {
        self.read_queue_nums.max(self.write_queue_nums)
    }
}

impl JsonBody for TopicConfig {
    const WHAT: &'static str = "topic configuration";
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_documented_one() {
        let topic = TopicConfig::new("t", 8, 6);
        let text = r#"{"attributes":{},"order":false,"perm":6,"readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"t","topicSysFlag":0,"writeQueueNums":8}"#;
        assert_eq!(topic.encode(), text);
        assert_eq!(TopicConfig::decode(text.as_bytes()).unwrap(), topic);
    }

    #[test]
    fn older_brokers_leave_attributes_out() {
        let topic = TopicConfig::decode(
            br#"{"order":false,"perm":6,"readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"t","topicSysFlag":0,"writeQueueNums":4,"unknown":[{}]}"#,
        )
        .unwrap();
        assert_eq!((topic.read_queue_nums, topic.write_queue_nums), (8, 4));
    }
}
