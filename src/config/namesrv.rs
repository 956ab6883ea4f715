//! The name server's configuration: one row for each key that the code reads.

use std::net::IpAddr;
use std::path::PathBuf;

use super::table::{
    Allowed::{Any, Between},
    settings,
};
use super::{Environment, Finding, Problem, Properties};

settings! {
    /// A name server's settings.
    NamesrvConfig;

    "Network" => {
        listen_port: u16 = "listenPort", "9876", "", Between(0, 65_535),
            "The port for brokers, clients and tools. 0 takes any free port.";
        bind_address: IpAddr = "bindAddress", "0.0.0.0", "", Any,
            "The local address to listen on.";
        server_channel_max_idle_time_seconds: u64 = "serverChannelMaxIdleTimeSeconds", "120", "s",
            Between(1, 86_400),
            "A connection without any traffic for this long is closed.";
        server_connections_max: usize = "serverConnectionsMax", "20000", "", Between(16, 1_000_000),
            "Connections beyond this are refused. (Not a key of RocketMQ.)";
    }

    "Brokers" => {
        broker_expired_timeout_ms: u64 = "brokerExpiredTimeoutMillis", "120000", "ms",
            Between(1_000, 3_600_000),
            "A broker that was not heard of for this long is dropped, unless its registration \
            names a time of its own. One whose connection closes is dropped at once. (Not a key \
            of RocketMQ, where it is fixed.)";
        scan_not_active_broker_interval_ms: u64 = "scanNotActiveBrokerInterval", "5000", "ms",
            Between(10, 600_000),
            "How often silent brokers are looked for.";
        delete_topic_with_broker_registration: bool = "deleteTopicWithBrokerRegistration", "false",
            "", Any,
            "Whether a leader's registration also removes its topics that it no longer lists.";
    }

    "Routes after a start" => {
        route_grace_ms: u64 = "routeGraceMillis", "30000", "ms", Between(0, 600_000),
            "For at most this long after a start an unknown topic is answered `name server not \
            ready`, on which clients keep the route they have, instead of `no such topic`. One \
            registration period. (Not a key of RocketMQ.)";
        route_settle_ms: u64 = "routeSettleMillis", "2000", "ms", Between(0, 600_000),
            "That grace ends early when some broker has registered and no further one came \
            within this time. (Not a key of RocketMQ.)";
        need_wait_for_service: bool = "needWaitForService", "false", "", Any,
            "Whether no route at all is answered until waitSecondsForService after a start.";
        wait_seconds_for_service: u64 = "waitSecondsForService", "45", "s", Between(0, 3_600),
            "See needWaitForService.";
    }

    "Topics" => {
        order_message_enable: bool = "orderMessageEnable", "false", "", Any,
            "Whether a route carries the queues that ORDER_TOPIC_CONFIG fixes for its topic.";
        return_order_topic_config_to_broker: bool = "returnOrderTopicConfigToBroker", "true", "",
            Any,
            "Whether a registration is answered with ORDER_TOPIC_CONFIG.";
        enable_all_topic_list: bool = "enableAllTopicList", "true", "", Any,
            "Whether the list of all topics may be asked for.";
        enable_topic_list: bool = "enableTopicList", "true", "", Any,
            "Whether the other topic lists may be asked for.";
        kv_config_path: PathBuf = "kvConfigPath", "", "", Any,
            "The file that keeps the key-value settings made by tools. Default: \
            namesrv/kvConfig.json under the home directory.";
    }
}

/// Keys that `updateNamesrvConfig` may not touch.
pub const LOCKED_KEYS: &[&str] = &["configBlackList", "configStorePath", "kvConfigPath"];

/// Keys that need a restart, because something was built from them at the start.
pub const RESTART_KEYS: &[&str] = &[
    "listenPort",
    "bindAddress",
    "serverChannelMaxIdleTimeSeconds",
    "serverConnectionsMax",
    "scanNotActiveBrokerInterval",
    "brokerExpiredTimeoutMillis",
];

impl NamesrvConfig {
    /// Reads `properties`.
    pub fn from_properties(
        properties: &Properties,
        environment: &Environment,
    ) -> Result<(NamesrvConfig, Vec<Finding>), Problem> {
        let findings = Finding::of_keys(properties, Self::KEYS, super::ignored::NAMESRV_KEYS);
        let mut config = Self::read(properties)?;
        if config.kv_config_path.as_os_str().is_empty() {
            config.kv_config_path = environment.home.join("namesrv").join("kvConfig.json");
        }
        Ok((config, findings))
    }
}
