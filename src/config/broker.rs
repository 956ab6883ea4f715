//! The broker's configuration: one row for each key that the code reads.
//!
//! Invariant: names, units and defaults are RocketMQ's wherever RocketMQ has the key. Three
//! defaults differ and say so: `flushDiskType`, `enableDLegerCommitLog` and `brokerName`.

use std::net::IpAddr;
use std::path::PathBuf;

use super::delay_levels::DelayLevels;
use super::setting::{FlushDiskType, Hours, MemberIds, MetricsExporterType, PeerAddress};
use super::table::{
    Allowed::{Any, Between},
    settings,
};
use super::{Environment, Finding, Problem, Properties, broker_rules};

const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;

settings! {
    /// A broker's settings: one member of one broker group.
    BrokerConfig;

    "Identity and network" => {
        broker_cluster_name: String = "brokerClusterName", "DefaultCluster", "", Any,
            "The cluster this group belongs to, as clients and tools see it.";
        broker_name: String = "brokerName", "", "", Any,
            "The group's name in routes, the same in the files of all its members. Default: \
            dLegerGroup, else the host name. Give it the value of dLegerGroup.";
        broker_ip1: String = "brokerIP1", "", "", Any,
            "The address clients reach this member at. Default: the address this machine talks \
            to the outside from.";
        listen_port: u16 = "listenPort", "10911", "", Between(0, 65_535),
            "The port for clients, tools and forwarded requests. 0 takes any free port.";
        bind_address: IpAddr = "bindAddress", "0.0.0.0", "", Any,
            "The local address to listen on.";
        namesrv_addr: Vec<String> = "namesrvAddr", "", "", Any,
            "The name servers, host:port;host:port; this broker registers with every one. \
            Default: the environment's NAMESRV_ADDR.";
        register_name_server_period_ms: u64 = "registerNameServerPeriod", "30000", "ms",
            Between(1_000, 60_000),
            "How often this broker registers when nothing changed. Changes register at once.";
        register_broker_timeout_ms: u64 = "registerBrokerTimeoutMills", "24000", "ms",
            Between(100, 120_000),
            "How long a name server may take to answer a registration.";
        broker_permission: i32 = "brokerPermission", "6", "", Between(0, 7),
            "What this broker allows on top of each topic's own permission: 2 write, 4 read, \
            6 both.";
        server_channel_max_idle_time_seconds: u64 = "serverChannelMaxIdleTimeSeconds", "120", "s",
            Between(1, 86_400),
            "A client connection without any traffic for this long is closed.";
        server_connections_max: usize = "serverConnectionsMax", "20000", "", Between(16, 1_000_000),
            "Client connections beyond this are refused. (Not a key of RocketMQ.)";
    }

    "Raft group" => {
        enable_dleger_commit_log: bool = "enableDLegerCommitLog", "true", "", Any,
            "Must be true: every group is a Raft group. (RocketMQ's default is false.)";
        dleger_group: String = "dLegerGroup", "", "", Any,
            "The Raft group's name, the same for all its members, by convention that of brokerName. \
            Required.";
        dleger_peers: Vec<PeerAddress> = "dLegerPeers", "", "", Any,
            "All members, n0-host:port;n1-host:port;n2-host:port. The ports are those of the Raft \
            transport, different from every listenPort. Required.";
        dleger_self_id: String = "dLegerSelfId", "", "", Any,
            "Which of dLegerPeers this member is. At the name server a follower has its number \
            plus one as brokerId, the leader 0. Required.";
        preferred_leader_id: MemberIds = "preferredLeaderId", "", "", Any,
            "The member, or members by preference, that should lead. Leadership is handed over \
            once one of them is up and has the whole log. Default: whoever is elected.";
        raft_election_timeout_ms: u64 = "raftElectionTimeoutMs", "1000", "ms", Between(50, 60_000),
            "A follower that heard nothing from the leader for this long, up to twice this long, \
            starts an election. A leader that lost its majority steps down after it. (Not a key \
            of RocketMQ.)";
        raft_heartbeat_interval_ms: u64 = "raftHeartbeatIntervalMs", "100", "ms", Between(5, 20_000),
            "How often a leader tells its followers that it lives; at most a third of \
            raftElectionTimeoutMs. (Not a key of RocketMQ.)";
        raft_slow_sync_ms: u64 = "raftSlowSyncMs", "100", "ms", Between(0, 60_000),
            "A leader whose disk takes at least this long for a sync, for two seconds on average, \
            while a follower's takes a quarter of that or less, hands leadership to the \
            follower with most of the log, at most once a minute. 0: never. (Not a key of RocketMQ.)";
        raft_doubt_wait_ms: u64 = "raftDoubtWaitMs", "30000", "ms", Between(0, 604_800_000),
            "With flushDiskType=ASYNC_FLUSH: a member whose machine lost power takes part again when \
            all other members have said how far their logs reach. Where one of them stays away this \
            long it goes on with a majority, and what only the missing one still has is lost. 0: it \
            waits for ever. (Not a key of RocketMQ.)";
        watchdog_timeout_ms: u64 = "watchdogTimeoutMs", "0", "ms", Between(0, 60_000),
            "A process that stands still for this long, stopped or starved, is killed by a second, small \
            process, so that clients notice at once and do not wait for answers until their own timeouts. \
            For where something starts it again, as systemd does. Of several brokers in a process the \
            smallest counts; at least 100; 0: never. (Not a key of RocketMQ.)";
        raft_entry_bytes_max: usize = "raftEntryBytesMax", "1048576", "bytes",
            Between(4_096, 64 * MIB),
            "Sends that wait together are written as one log entry of up to this size; a larger \
            single send is an entry of its own. A segment smaller than four of them lowers the \
            default. (Not a key of RocketMQ.)";
    }

    "Storage" => {
        store_path_root_dir: PathBuf = "storePathRootDir", "", "", Any,
            "The directory of everything this member stores, not shared with another member. \
            Default: store under the home directory.";
        store_path_dledger_commit_log: PathBuf = "storePathDLedgerCommitLog", "", "", Any,
            "The directory of the log. Default: dledger- and dLegerSelfId under \
            storePathRootDir.";
        mapped_file_size_commit_log: u64 = "mappedFileSizeCommitLog" | "mapedFileSizeCommitLog",
            "1073741824", "bytes", Between(65_536, 2 * GIB),
            "The size of one segment of the log, a multiple of 4096, the same on all members of a \
            group and for the life of its data.";
        extent_bytes: u64 = "extentBytes", "67108864", "bytes", Between(16_384, 2 * GIB),
            "The stretch of the log that one index file covers; a segment is a whole number of \
            them. A smaller segment lowers the default. (Not a key of RocketMQ.)";
        flush_disk_type: FlushDiskType = "flushDiskType", "SYNC_FLUSH", "", Any,
            "SYNC_FLUSH acknowledges a message when it is fsynced on a majority, ASYNC_FLUSH when \
            a majority has written it: faster, and lost when a majority loses power at once (see \
            also raftDoubtWaitMs). (RocketMQ's default is ASYNC_FLUSH.)";
        log_scrub_bytes_per_second: u64 = "logScrubBytesPerSecond", "16777216", "bytes/s",
            Between(0, 10 * GIB),
            "How fast full segments of the log are read again in search of damage, past the page \
            cache. What is damaged is replaced by what another member has. 0 for not at all. (Not \
            a key of RocketMQ.)";
        log_scrub_interval_ms: u64 = "logScrubIntervalMs", "3600000", "ms",
            Between(10, 604_800_000),
            "From the end of one search for damage to the beginning of the next. (Not a key of \
            RocketMQ.)";
        memory_budget_bytes: usize = "memoryBudgetBytes", "268435456", "bytes",
            Between(32 * MIB, 1024 * GIB),
            "The memory that this broker's queues may take together, a quarter each: sends that \
            wait (sendQueueBytesMax), entries not yet committed, entries not yet applied, and \
            messages to the other members. Answers that clients are slow to read are bounded for \
            each connection and come on top. A maxMessageSize, raftEntryBytesMax or \
            sendQueueBytesMax that does not fit raises the default. (Not a key of RocketMQ.)";
    }

    "Retention" => {
        delete_when: Hours = "deleteWhen", "04", "hour of the day", Any,
            "When expired segments are deleted, local time; several hours separated by `;`.";
        file_reserved_time_hours: u64 = "fileReservedTime", "72", "hours", Between(1, 876_000),
            "How long messages are kept at least, unless the disk fills up.";
        disk_max_used_space_ratio: u8 = "diskMaxUsedSpaceRatio", "75", "%", Between(10, 95),
            "Above this disk usage expired segments are deleted at any hour.";
        disk_space_clean_forcibly_ratio: u8 = "diskSpaceCleanForciblyRatio", "85", "%",
            Between(30, 95),
            "Above this disk usage the oldest segments are deleted whatever their age. The default \
            follows the two keys beside it where they are written.";
        disk_space_warning_level_ratio: u8 = "diskSpaceWarningLevelRatio", "90", "%",
            Between(35, 99),
            "Above this disk usage sends are refused; reads go on. The default stays above the two \
            keys before it.";
        clean_resource_interval_ms: u64 = "cleanResourceInterval", "10000", "ms",
            Between(100, 3_600_000),
            "How often the leader looks whether there is something to delete.";
    }

    "Topics and groups" => {
        auto_create_topic_enable: bool = "autoCreateTopicEnable", "true", "", Any,
            "Whether a send to an unknown topic creates it after the template TBW102.";
        default_topic_queue_nums: i32 = "defaultTopicQueueNums", "8", "queues", Between(1, 1_024),
            "The queues of the template TBW102; an automatically created topic has at most these.";
        auto_create_subscription_group: bool = "autoCreateSubscriptionGroup", "true", "", Any,
            "Whether an unknown consumer group is created when it first appears.";
    }

    "Sending" => {
        max_message_size: usize = "maxMessageSize", "4194304", "bytes", Between(1_024, 128 * MIB),
            "The largest body of a message, or of a batch. A segment too small for it lowers the \
            default.";
        send_queue_capacity: usize = "sendThreadPoolQueueCapacity", "10000", "sends",
            Between(1, 10_000_000),
            "Sends that may wait for replication; more are refused as busy, and clients retry.";
        send_queue_bytes_max: usize = "sendQueueBytesMax", "67108864", "bytes",
            Between(65_536, 64 * GIB),
            "The same bound in bytes, half of memoryBudgetBytes at most; the other queues share \
            what it leaves. Default: a quarter of memoryBudgetBytes. (Not a key of RocketMQ.)";
    }

    "Delayed messages" => {
        message_delay_level: DelayLevels = "messageDelayLevel",
            "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h", "", Any,
            "What a message with the property DELAY=1, 2, ... waits before consumers see it, in s, \
            m, h or d. Messages that consumers send back wait as long as level 3, then 4, and so \
            on. A delay longer than fileReservedTime may outlive its message.";
    }

    "Metrics" => {
        metrics_exporter_type: MetricsExporterType = "metricsExporterType", "DISABLE", "", Any,
            "PROM answers Prometheus at metricsPromExporterPort, path /metrics; /live and /ready \
            there are for those who watch over processes. DISABLE: nothing is opened. (RocketMQ's \
            OTLP_GRPC and LOG are as good as DISABLE here.)";
        metrics_prom_exporter_port: u16 = "metricsPromExporterPort", "5557", "", Between(0, 65_535),
            "The port for that. 0 takes any free port; brokerStatus shows which.";
        metrics_prom_exporter_host: String = "metricsPromExporterHost", "", "", Any,
            "The local address for that. Default: bindAddress. (RocketMQ's default is brokerIP1.)";
    }

    "Pulling" => {
        max_transfer_bytes: usize = "maxTransferBytesOnMessageInMemory", "262144", "bytes",
            Between(1_024, 128 * MIB),
            "The most one pull returns, unless its first message alone is larger.";
        max_transfer_count: usize = "maxTransferCountOnMessageInMemory", "32", "messages",
            Between(1, 100_000),
            "The most messages one pull returns.";
        catch_up_bytes_per_second: u64 = "catchUpBytesPerSecond", "0", "bytes", Between(0, 1 << 40),
            "While messages are sent, at most this much is read in a second for all consumers that are \
            so far behind that memory does not hold what they want, or four times what is sent, if that is \
            more. 0: 40 MiB for each core. (Not a key of RocketMQ, whose coldDataFlowControlEnable is off.)";
        long_polling_enable: bool = "longPollingEnable", "true", "", Any,
            "Whether a pull that finds nothing waits at the broker as long as its client asks.";
        short_polling_time_ms: u64 = "shortPollingTimeMills", "1000", "ms", Between(1, 60_000),
            "How long it waits when longPollingEnable is false.";
        long_polling_requests_max: usize = "pullThreadPoolQueueCapacity", "100000", "pulls",
            Between(1, 10_000_000),
            "Pulls that may wait at the broker; one more is answered empty at once.";
        consumer_offset_propose_interval_ms: u64 = "consumerOffsetProposeIntervalMs", "200", "ms",
            Between(1, 60_000),
            "Consumer offsets reported within this time are replicated together. (Not a key of \
            RocketMQ.)";
        queue_lock_return_ms: u64 = "queueLockReturnMs", "5000", "ms", Between(0, 60_000),
            "The queues that a consumer in order has locked are kept for it for this long after \
            its connection closed. One that is back later, after it lost its connection only, \
            may for some seconds consume beside its successor: 33000 rules that out, and makes \
            the queues of one that crashed wait as long. (Not a key of RocketMQ.)";
    }
}

/// What `-m` prints: who this broker is and how it stores.
pub const IMPORTANT_KEYS: &[&str] = &[
    "brokerClusterName",
    "brokerName",
    "brokerIP1",
    "listenPort",
    "namesrvAddr",
    "dLegerGroup",
    "dLegerPeers",
    "dLegerSelfId",
    "storePathRootDir",
    "flushDiskType",
    "deleteWhen",
    "fileReservedTime",
    "autoCreateTopicEnable",
    "autoCreateSubscriptionGroup",
];

/// The keys that say where one member is, and so differ between the members of a group.
pub const MEMBER_KEYS: &[&str] = &[
    "bindAddress",
    "brokerIP1",
    "dLegerSelfId",
    "listenPort",
    "metricsPromExporterHost",
    "metricsPromExporterPort",
    "storePathDLedgerCommitLog",
    "storePathRootDir",
];

/// What a broker tells among its settings and nobody sets: it changes with the leader.
pub const ROLE_FACTS: &[&str] = &["brokerId", "brokerRole"];

impl BrokerConfig {
    /// Reads `properties` and checks the rules between keys.
    pub fn from_properties(
        properties: &Properties,
        environment: &Environment,
    ) -> Result<(BrokerConfig, Vec<Finding>), Problem> {
        let mut findings = Finding::of_keys(properties, Self::KEYS, super::ignored::BROKER_KEYS);
        let mut config = Self::read(properties)?;
        broker_rules::complete(&mut config, properties, environment);
        broker_rules::check(&config, properties, &mut findings)?;
        Ok((config, findings))
    }

    /// This member's id in its group, such as `n0`.
    pub fn member_id(&self) -> &str {
        &self.dleger_self_id
    }

    /// This member among `dLegerPeers`.
    pub fn own_peer(&self) -> &PeerAddress {
        self.dleger_peers
            .iter()
            .find(|peer| peer.name == self.dleger_self_id)
            .expect("a configuration whose dLegerSelfId is not in dLegerPeers is refused")
    }

    /// This member's id in the Raft group.
    pub fn raft_id(&self) -> u64 {
        self.own_peer().raft_id()
    }

    /// The brokerId this member has at the name server while it follows; a leader has 0.
    pub fn follower_broker_id(&self) -> i64 {
        i64::from(self.own_peer().number) + 1
    }

    /// The members that should lead, by preference, as ids in the Raft group.
    pub fn preferred_raft_ids(&self) -> Vec<u64> {
        let peer = |name: &String| self.dleger_peers.iter().find(|peer| peer.name == *name);
        self.preferred_leader_id.0.iter().filter_map(peer).map(PeerAddress::raft_id).collect()
    }

    /// All Raft ids of the group.
    pub fn voters(&self) -> Vec<u64> {
        self.dleger_peers.iter().map(PeerAddress::raft_id).collect()
    }
}
