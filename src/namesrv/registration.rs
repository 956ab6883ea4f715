//! A registration as the route table takes it in: read from a request, nothing of the wire left.

use crate::protocol::body::TopicConfigSerializeWrapper;
use crate::protocol::data_version::DataVersion;
use crate::protocol::route::QueueData;

use super::route_table::ConnectionId;

/// What a broker says about itself.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// The cluster it belongs to.
    pub cluster_name: String,
    /// The name of its group.
    pub broker_name: String,
    /// 0 claims leadership.
    pub broker_id: i64,
    /// Where clients reach it.
    pub broker_addr: String,
    /// Where slaves of a broker without Raft reach it.
    pub ha_server_addr: String,
    /// The Raft term it speaks in; absent for brokers without Raft.
    pub raft_term: Option<i64>,
    /// How long it may be silent, if it says so.
    pub heartbeat_timeout_ms: Option<i64>,
    /// Whether a slave may stand in for the master.
    pub enable_acting_master: bool,
    /// Its zone.
    pub zone_name: Option<String>,
    /// The connection the registration came over.
    pub connection: ConnectionId,
    /// The version of its topics.
    pub data_version: DataVersion,
    /// Its topics, if it listed any.
    pub topics: Option<Vec<(String, QueueData)>>,
    /// Whether topics that it no longer lists are to go.
    pub delete_missing_topics: bool,
}

impl Registration {
    /// Adds the topics of a registration's body.
    pub fn with_topics(mut self, wrapper: TopicConfigSerializeWrapper) -> Registration {
        self.data_version = wrapper.data_version;
        let topics = wrapper.topic_config_table.into_iter().map(|(topic, config)| {
            let data = QueueData {
                broker_name: String::new(),
                perm: config.perm,
                read_queue_nums: config.read_queue_nums,
                topic_sys_flag: config.topic_sys_flag,
                write_queue_nums: config.write_queue_nums,
            };
            (topic, data)
        });
        self.topics = Some(topics.collect());
        self
    }
}
