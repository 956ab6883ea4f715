//! Arguments of the commands about name servers' settings, replication, permissions and upkeep, and of
//! those that read or write files.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use super::{CommonArgs, LongArgs, WhereArgs};

/// What name servers keep a value by.
#[derive(Debug, Clone, Args)]
pub struct KeptArgs {
    /// Namespace.
    #[arg(short = 's', long = "namespace")]
    pub namespace: String,
    /// Key.
    #[arg(short = 'k', long = "key")]
    pub key: String,
}

/// Arguments of `updateKvConfig`.
#[derive(Debug, Clone, Args)]
pub struct UpdateKvArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub kept: KeptArgs,
    /// Value.
    #[arg(short = 'v', long = "value")]
    pub value: String,
}

/// Arguments of `deleteKvConfig`.
#[derive(Debug, Clone, Args)]
pub struct DeleteKvArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub kept: KeptArgs,
}

/// Arguments of `getNamesrvConfig`.
#[derive(Debug, Clone, Args)]
pub struct NameServersArgs {
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Arguments of `updateNamesrvConfig`.
#[derive(Debug, Clone, Args)]
pub struct KeyValueArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Key.
    #[arg(short = 'k', long = "key")]
    pub key: String,
    /// Value.
    #[arg(short = 'v', long = "value")]
    pub value: String,
}

/// Arguments of `haStatus`.
#[derive(Debug, Clone, Args)]
pub struct HaStatusArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub place: WhereArgs,
    /// Repeat every so many seconds.
    #[arg(short = 'i', long = "interval", value_name = "SECONDS")]
    pub interval_seconds: Option<u64>,
}

/// Arguments of `updateTopicPerm`.
#[derive(Debug, Clone, Args)]
pub struct TopicPermissionArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub place: WhereArgs,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
    /// Permission: 2 write, 4 read, 6 both.
    #[arg(short = 'p', long = "perm")]
    pub permission: i32,
}

/// Arguments of `brokerConsumeStats`. `-o` chooses topics here, as in mqadmin.
#[derive(Debug, Clone, Args)]
pub struct BrokerConsumeStatsArgs {
    #[command(flatten)]
    pub common: LongArgs,
    /// Broker.
    #[arg(short = 'b', long = "brokerAddr", value_name = "ADDR")]
    pub broker: String,
    /// How long to wait for its answer.
    #[arg(short = 't', long = "timeoutMillis", value_name = "MS", default_value_t = 50_000)]
    pub timeout_ms: u64,
    /// Only queues with at least so many messages left.
    #[arg(short = 'l', long = "level", value_name = "COUNT", default_value_t = 0)]
    pub level: i64,
    /// Only ordered topics.
    #[arg(short = 'o', long = "order", default_value_t = false, action = ArgAction::Set)]
    pub order: bool,
}

/// What is done with what the name servers keep of an ordered topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OrderConfMethod {
    /// Keep it.
    Put,
    /// Show it.
    Get,
    /// Forget it.
    Delete,
}

/// Arguments of `updateOrderConf`.
#[derive(Debug, Clone, Args)]
pub struct OrderConfArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
    /// How many queues each group has of it, `group:count;group:count`.
    #[arg(short = 'v', long = "orderConf", value_name = "QUEUES", required_if_eq("method", "put"))]
    pub queues: Option<String>,
    /// What to do.
    #[arg(short = 'm', long = "method", value_enum)]
    pub method: OrderConfMethod,
}

/// Arguments of `allocateMQ`.
#[derive(Debug, Clone, Args)]
pub struct AllocateMqArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
    /// Members by client id or address, one after the other.
    #[arg(short = 'i', long = "ipList", value_name = "ID,ID", value_delimiter = ',')]
    pub members: Vec<String>,
}

/// Arguments of `getConsumerConfig`.
#[derive(Debug, Clone, Args)]
pub struct ConsumerConfigArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Group.
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    pub group: String,
}

/// Arguments of `producer`.
#[derive(Debug, Clone, Args)]
pub struct ProducerArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Broker.
    #[arg(short = 'b', long = "broker", value_name = "ADDR")]
    pub broker: String,
}

/// Arguments of `queryCq`.
#[derive(Debug, Clone, Args)]
pub struct QueryCqArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
    /// Queue.
    #[arg(short = 'q', long = "queue", value_name = "ID")]
    pub queue_id: i32,
    /// Offset of the first entry.
    #[arg(short = 'i', long = "index", value_name = "OFFSET")]
    pub index: i64,
    /// How many entries.
    #[arg(short = 'c', long = "count", default_value_t = 10)]
    pub count: i32,
    /// Broker to ask; without it the leader of the topic's first group.
    #[arg(short = 'b', long = "broker", value_name = "ADDR")]
    pub broker: Option<String>,
    /// Say which entries this group's filter takes.
    #[arg(short = 'g', long = "consumer", value_name = "GROUP")]
    pub group: Option<String>,
}

/// Arguments of `cleanExpiredCQ`, `cleanUnusedTopic` and `deleteExpiredCommitLog`.
#[derive(Debug, Clone, Args)]
pub struct UpkeepArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Only this broker.
    #[arg(short = 'b', long = "brokerAddr", value_name = "ADDR", conflicts_with = "cluster")]
    pub broker: Option<String>,
    /// The leaders of this cluster; without both, of every cluster.
    #[arg(short = 'c', long = "cluster", value_name = "CLUSTER")]
    pub cluster: Option<String>,
}

/// Arguments of `updateTopicList` and `updateSubGroupList`.
#[derive(Debug, Clone, Args)]
pub struct ListFileArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub place: WhereArgs,
    /// File with a JSON list of their settings, or one that exportMetadata wrote.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub file: PathBuf,
}

/// Where RocketMQ's tools put what they export.
const EXPORT_DIRECTORY: &str = "/tmp/rocketmq/export";

/// Arguments of `exportMetadata`.
#[derive(Debug, Clone, Args)]
pub struct ExportMetadataArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub place: WhereArgs,
    /// Directory to write to.
    #[arg(short = 'f', long = "filePath", value_name = "DIRECTORY", default_value = EXPORT_DIRECTORY)]
    pub directory: PathBuf,
    /// Only topics.
    #[arg(short = 't', long = "topic", conflicts_with = "groups")]
    pub topics: bool,
    /// Only groups.
    #[arg(short = 'g', long = "subscriptionGroup")]
    pub groups: bool,
    /// Retry and dead letter topics too.
    #[arg(short = 's', long = "specialTopic")]
    pub special: bool,
}

/// Arguments of `exportConfigs`.
#[derive(Debug, Clone, Args)]
pub struct ExportConfigsArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Cluster.
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    pub cluster: String,
    /// Directory to write to.
    #[arg(short = 'f', long = "filePath", value_name = "DIRECTORY", default_value = EXPORT_DIRECTORY)]
    pub directory: PathBuf,
}
