//! Offsets and rates per queue: the bodies whose maps are keyed by queue.
//!
//! Invariant: these maps are written with bare objects as keys, because Java's tools read nothing
//! else; [`crate::protocol::fastjson::normalize`] makes the same text readable here.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::protocol::fastjson::{self, BodyError};
use crate::protocol::lenient;
use crate::protocol::queue::{QueueMap, write_json, write_queue_map};

/// What a topic's queue holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicOffset {
    /// Store time of the last message.
    #[serde(deserialize_with = "lenient::integer")]
    pub last_update_timestamp: i64,
    /// Offset of the next message.
    #[serde(deserialize_with = "lenient::integer")]
    pub max_offset: i64,
    /// Offset of the first message kept.
    #[serde(deserialize_with = "lenient::integer")]
    pub min_offset: i64,
}

/// Answer of 202.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStatsTable {
    /// By queue.
    pub offset_table: QueueMap<TopicOffset>,
    /// Messages stored per second.
    pub topic_put_tps: f64,
}

impl TopicStatsTable {
    /// In fastjson's form.
    pub fn encode(&self) -> Bytes {
        let mut out = br#"{"offsetTable":"#.to_vec();
        write_queue_map(&mut out, &self.offset_table);
        out.extend_from_slice(br#","topicPutTps":"#);
        write_json(&mut out, &self.topic_put_tps);
        out.push(b'}');
        Bytes::from(out)
    }

    /// Reads what a broker answered.
    ///
    /// # Errors
    /// When it is something else.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        fastjson::decode(body, "topic statistics")
    }
}

/// How far a group is in one queue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OffsetWrapper {
    /// Offset of the next message of the queue.
    #[serde(deserialize_with = "lenient::integer")]
    pub broker_offset: i64,
    /// Offset the group committed.
    #[serde(deserialize_with = "lenient::integer")]
    pub consumer_offset: i64,
    /// Store time of the last message consumed, zero if none.
    #[serde(deserialize_with = "lenient::integer")]
    pub last_timestamp: i64,
    /// Offset the group pulls next.
    #[serde(deserialize_with = "lenient::integer")]
    pub pull_offset: i64,
}

/// Answer of 208.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStats {
    /// Messages consumed per second.
    pub consume_tps: f64,
    /// By queue.
    pub offset_table: QueueMap<OffsetWrapper>,
}

impl ConsumeStats {
    /// In fastjson's form.
    pub fn encode(&self) -> Bytes {
        let mut out = br#"{"consumeTps":"#.to_vec();
        write_json(&mut out, &self.consume_tps);
        out.extend_from_slice(br#","offsetTable":"#);
        write_queue_map(&mut out, &self.offset_table);
        out.push(b'}');
        Bytes::from(out)
    }

    /// Reads what a broker answered.
    ///
    /// # Errors
    /// When it is something else.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        fastjson::decode(body, "consumption statistics")
    }

    /// Messages not consumed yet, over all queues.
    pub fn total_diff(&self) -> i64 {
        self.offset_table.0.values().map(|queue| queue.broker_offset - queue.consumer_offset).sum()
    }
}

/// Answer of 317: how far every group is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConsumeStatsList {
    /// Who answered.
    pub broker_addr: String,
    /// By group, a table for each of its topics.
    pub groups: BTreeMap<String, Vec<ConsumeStats>>,
    /// Messages not consumed yet, over all of them.
    pub total_diff: i64,
}

impl ConsumeStatsList {
    /// In fastjson's form: a list of maps, each of one group.
    pub fn encode(&self) -> Bytes {
        let mut out = br#"{"brokerAddr":"#.to_vec();
        write_json(&mut out, &self.broker_addr);
        out.extend_from_slice(br#","consumeStatsList":["#);
        for (index, (group, tables)) in self.groups.iter().enumerate() {
            out.extend_from_slice(if index > 0 { b",{" } else { b"{" });
            write_json(&mut out, group);
            out.extend_from_slice(b":[");
            for (index, table) in tables.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(&table.encode());
            }
            out.extend_from_slice(b"]}");
        }
        out.extend_from_slice(br#"],"totalDiff":"#);
        write_json(&mut out, &self.total_diff);
        out.extend_from_slice(br#","totalInflightDiff":0}"#);
        Bytes::from(out)
    }

    /// Reads what a broker answered.
    ///
    /// # Errors
    /// When it is something else.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Read {
            broker_addr: String,
            consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
            total_diff: i64,
        }
        let read: Read = fastjson::decode(body, "consumption statistics of all groups")?;
        let groups = read.consume_stats_list.into_iter().flatten().collect();
        Ok(ConsumeStatsList { broker_addr: read.broker_addr, groups, total_diff: read.total_diff })
    }
}

/// Of one span in [`BrokerStatsData`].
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerStatsItem {
    /// Counted each time, on average.
    pub avgpt: f64,
    /// Counted.
    pub sum: i64,
    /// Counted per second.
    pub tps: f64,
}

/// Answer of 315: what was counted under a name within the last minute, hour and day.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerStatsData {
    /// The last 24 hours.
    pub stats_day: BrokerStatsItem,
    /// The last hour.
    pub stats_hour: BrokerStatsItem,
    /// The last minute.
    pub stats_minute: BrokerStatsItem,
}

impl crate::protocol::fastjson::JsonBody for BrokerStatsData {
    const WHAT: &'static str = "broker statistics";
}

/// Answer of 222 and body of 220: new offsets by queue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsetBody {
    /// By queue.
    pub offset_table: QueueMap<i64>,
}

impl ResetOffsetBody {
    /// In fastjson's form.
    pub fn encode(&self) -> Bytes {
        let mut out = br#"{"offsetTable":"#.to_vec();
        write_queue_map(&mut out, &self.offset_table);
        out.push(b'}');
        Bytes::from(out)
    }

    /// Reads what a broker sent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        fastjson::decode(body, "table of offsets")
    }
}

/// Answer of 28, 219 and 103: a table of texts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    /// The entries.
    #[serde(deserialize_with = "lenient::null_default")]
    pub table: BTreeMap<String, String>,
}

impl crate::protocol::fastjson::JsonBody for KvTable {
    const WHAT: &'static str = "table of keys and values";
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::queue::MessageQueue;

    fn queue(queue_id: i32) -> MessageQueue {
        MessageQueue { broker_name: "b".into(), queue_id, topic: "t".into() }
    }

    #[test]
    fn topic_statistics_have_objects_as_keys() {
        let table = TopicStatsTable {
            offset_table: QueueMap(
                [
                    (queue(0), TopicOffset { max_offset: 5, ..TopicOffset::default() }),
                    (queue(1), TopicOffset::default()),
                ]
                .into(),
            ),
            topic_put_tps: 0.0,
        };
        let text = table.encode();
        assert_eq!(
            text,
            r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:{"lastUpdateTimestamp":0,"maxOffset":5,"minOffset":0},{"brokerName":"b","queueId":1,"topic":"t"}:{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0}},"topicPutTps":0.0}"#
        );
        assert_eq!(TopicStatsTable::decode(&text).unwrap(), table);
        assert_eq!(
            TopicStatsTable::decode(br#"{"offsetTable":{}}"#).unwrap().offset_table.0.len(),
            0
        );
    }

    #[test]
    fn consumption_statistics_come_back() {
        let wrapper = OffsetWrapper {
            broker_offset: 10,
            consumer_offset: 8,
            last_timestamp: 3,
            pull_offset: 9,
        };
        let stats =
            ConsumeStats { consume_tps: 1.5, offset_table: QueueMap([(queue(7), wrapper)].into()) };
        let text = stats.encode();
        assert!(text.starts_with(br#"{"consumeTps":1.5,"offsetTable":{{"brokerName":"b""#));
        let read = ConsumeStats::decode(&text).unwrap();
        assert_eq!(read, stats);
        assert_eq!(read.total_diff(), 2);
    }

    #[test]
    fn consumption_of_all_groups_is_a_list_of_maps() {
        let mut list = ConsumeStatsList { broker_addr: "b:1".into(), ..Default::default() };
        assert_eq!(
            list.encode(),
            r#"{"brokerAddr":"b:1","consumeStatsList":[],"totalDiff":0,"totalInflightDiff":0}"#
        );
        list.groups.insert("g".into(), vec![ConsumeStats::default(); 2]);
        list.groups.insert("h".into(), vec![ConsumeStats::default()]);
        let one = r#"{"consumeTps":0.0,"offsetTable":{}}"#;
        let groups = format!(r#"[{{"g":[{one},{one}]}},{{"h":[{one}]}}]"#);
        let text = String::from_utf8(list.encode().to_vec()).unwrap();
        assert!(text.contains(&groups), "{text}");
        assert_eq!(ConsumeStatsList::decode(text.as_bytes()).unwrap(), list);
    }

    #[test]
    fn offsets_to_reset_come_back() {
        let body = ResetOffsetBody { offset_table: QueueMap([(queue(0), 123)].into()) };
        assert_eq!(
            body.encode(),
            r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:123}}"#
        );
        assert_eq!(ResetOffsetBody::decode(&body.encode()).unwrap(), body);
    }

    #[test]
    fn a_key_that_is_no_queue_is_refused() {
        assert!(ResetOffsetBody::decode(br#"{"offsetTable":{{"x":1}:123}}"#).is_err());
        assert!(ResetOffsetBody::decode(br#"{"offsetTable":{5:123}}"#).is_err());
    }
}
