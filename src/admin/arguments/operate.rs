//! Arguments of the commands about name servers' settings, replication and permissions.

use clap::{ArgAction, Args};

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
