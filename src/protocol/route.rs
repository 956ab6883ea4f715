//! Where a topic's queues are: what the NameServer answers and what clients cache.
//!
//! Invariant: written compact, with quoted integer keys and always with `brokerAddrs`: Go clients
//! cut that text by hand. Read with or without quotes, because Java NameServers leave them out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::fastjson::JsonBody;
use super::lenient;

/// Id under which a broker group's leader is known to every client.
pub const MASTER_ID: i64 = 0;

/// The addresses behind one broker name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerData {
    /// Broker id to `ip:port`.
    #[serde(deserialize_with = "lenient::null_default")]
    pub broker_addrs: BTreeMap<i64, String>,
    /// Name of the group.
    #[serde(deserialize_with = "lenient::null_default")]
    pub broker_name: String,
    /// Cluster it belongs to.
    #[serde(deserialize_with = "lenient::null_default")]
    pub cluster: String,
    /// Whether a slave may stand in for the master.
    pub enable_acting_master: bool,
    /// Zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_name: Option<String>,
}

impl BrokerData {
    /// The master's address.
    pub fn master(&self) -> Option<&str> {
        self.broker_addrs.get(&MASTER_ID).map(String::as_str)
    }
}

impl TopicRouteData {
    /// The masters' addresses, of the broker names that have one.
    pub fn masters(&self) -> impl Iterator<Item = &str> {
        self.broker_datas.iter().filter_map(BrokerData::master)
    }
}

/// The queues of a topic on one broker name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueData {
    /// Name of the group.
    #[serde(deserialize_with = "lenient::null_default")]
    pub broker_name: String,
    /// Permission bits.
    pub perm: i32,
    /// Queues consumers see.
    pub read_queue_nums: i32,
    /// Bits: 1 unit, 2 unit subscription.
    pub topic_sys_flag: i32,
    /// Queues producers see.
    pub write_queue_nums: i32,
}

/// The route of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRouteData {
    /// One per broker name.
    #[serde(deserialize_with = "lenient::null_default")]
    pub broker_datas: Vec<BrokerData>,
    /// Obsolete, always empty.
    #[serde(deserialize_with = "lenient::null_default")]
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// `brokerName:queueNum;…`, without a trailing separator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_topic_conf: Option<String>,
    /// One per broker name.
    #[serde(deserialize_with = "lenient::null_default")]
    pub queue_datas: Vec<QueueData>,
}

impl JsonBody for TopicRouteData {
    const WHAT: &'static str = "topic route";
}

/// Every broker of every cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInfo {
    /// By broker name.
    #[serde(deserialize_with = "lenient::null_default")]
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Cluster to broker names.
    #[serde(deserialize_with = "lenient::null_default")]
    pub cluster_addr_table: BTreeMap<String, BTreeSet<String>>,
}

impl JsonBody for ClusterInfo {
    const WHAT: &'static str = "cluster description";
}

/// Names of topics.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicList {
    /// Some broker, for lists of system topics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_addr: Option<String>,
    /// The names.
    #[serde(deserialize_with = "lenient::null_default")]
    pub topic_list: BTreeSet<String>,
}

impl JsonBody for TopicList {
    const WHAT: &'static str = "topic list";
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn route() -> TopicRouteData {
        TopicRouteData {
            broker_datas: vec![BrokerData {
                broker_addrs: [(0, "10.0.0.1:10911".to_owned()), (1, "10.0.0.2:10911".to_owned())]
                    .into(),
                broker_name: "broker-a".to_owned(),
                cluster: "DefaultCluster".to_owned(),
                ..BrokerData::default()
            }],
            order_topic_conf: Some("broker-a:8".to_owned()),
            queue_datas: vec![QueueData {
                broker_name: "broker-a".to_owned(),
                perm: 6,
                read_queue_nums: 8,
                topic_sys_flag: 0,
                write_queue_nums: 8,
            }],
            ..TopicRouteData::default()
        }
    }

    #[test]
    fn written_as_every_client_reads_it() {
        assert_eq!(
            route().encode(),
            r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"},"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}],"filterServerTable":{},"orderTopicConf":"broker-a:8","queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":8}]}"#
        );
    }

    #[test]
    fn read_without_quotes_too() {
        let text = r#"{"brokerDatas":[{"brokerAddrs":{0:"10.0.0.1:10911",1:"10.0.0.2:10911"},"brokerName":"broker-a","cluster":"DefaultCluster"}],"filterServerTable":{},"orderTopicConf":"broker-a:8","queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":8,"topicSynFlag":0,"writeQueueNums":8}]}"#;
        assert_eq!(TopicRouteData::decode(text.as_bytes()).unwrap(), route());
        let info = ClusterInfo::decode(
            br#"{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"a:1"},"brokerName":"broker-a","cluster":"c"}},"clusterAddrTable":{"c":["broker-a"]}}"#,
        )
        .unwrap();
        assert_eq!(info.broker_addr_table["broker-a"].master(), Some("a:1"));
    }

    #[test]
    fn a_list_has_no_address_unless_given() {
        let list = TopicList { broker_addr: None, topic_list: ["b".into(), "a".into()].into() };
        assert_eq!(list.encode(), r#"{"topicList":["a","b"]}"#);
    }
}
