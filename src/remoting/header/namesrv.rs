//! Requests to the NameServer.
//!
//! Invariant: a registration that carries no term is that of a broker without Raft and is not fenced.

use super::request_header;

request_header! {
    /// 103: a broker tells its topics.
    pub struct RegisterBrokerHeader {
        /// Name of its group.
        broker_name: String = "brokerName" required,
        /// `ip:port`.
        broker_addr: String = "brokerAddr" required,
        /// Cluster.
        cluster_name: String = "clusterName" required,
        /// `ip:port` for slaves, not used by us.
        ha_server_addr: String = "haServerAddr" (String::new()),
        /// Zero for the leader.
        broker_id: i64 = "brokerId" required,
        /// How long the registration holds.
        heartbeat_timeout_ms: i64 = "heartbeatTimeoutMillis" optional,
        /// Whether a slave may stand in for the master.
        enable_acting_master: bool = "enableActingMaster" optional,
        /// The body is compressed.
        compressed: bool = "compressed" (false),
        /// CRC-32 of the body, zero for none.
        body_crc32: i32 = "bodyCrc32" (0),
        /// Zone.
        zone_name: String = "__ZONE_NAME" optional,
        /// Ours: term in which the broker holds its role.
        raft_term: i64 = "raftTerm" optional,
    }
}

request_header! {
    /// 104 and 322: which broker.
    pub struct BrokerHeader {
        /// Name of its group.
        broker_name: String = "brokerName" required,
        /// `ip:port`.
        broker_addr: String = "brokerAddr" required,
        /// Cluster.
        cluster_name: String = "clusterName" required,
        /// Zero for the leader.
        broker_id: i64 = "brokerId" required,
        /// Ours: term in which the broker held its role.
        raft_term: i64 = "raftTerm" optional,
    }
}

request_header! {
    /// 105: the route of a topic.
    pub struct GetRouteInfoHeader {
        /// Topic.
        topic: String = "topic" required,
        /// Quoted integer keys only; ours always are.
        accept_standard_json_only: bool = "acceptStandardJsonOnly" optional,
    }
}

request_header! {
    /// 100: sets an entry.
    pub struct PutKvConfigHeader {
        /// Namespace.
        namespace: String = "namespace" required,
        /// Key.
        key: String = "key" required,
        /// Value.
        value: String = "value" required,
    }
}

request_header! {
    /// 101 and 102: about one entry.
    pub struct KvConfigHeader {
        /// Namespace.
        namespace: String = "namespace" required,
        /// Key.
        key: String = "key" required,
    }
}

request_header! {
    /// 219: all entries of a namespace.
    pub struct KvNamespaceHeader {
        /// Namespace.
        namespace: String = "namespace" required,
    }
}

request_header! {
    /// 205 and 327: about one broker name.
    pub struct BrokerNameHeader {
        /// Name of the group.
        broker_name: String = "brokerName" required,
    }
}

request_header! {
    /// 216: removes a topic's route.
    pub struct DeleteTopicFromNamesrvHeader {
        /// Topic.
        topic: String = "topic" required,
        /// Only from this cluster's brokers.
        cluster_name: String = "clusterName" optional,
    }
}

request_header! {
    /// 224: the topics of a cluster.
    pub struct ClusterHeader {
        /// Name.
        cluster: String = "cluster" required,
    }
}
