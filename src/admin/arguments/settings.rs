//! Arguments of the commands about settings.

use clap::{ArgAction, Args};

use super::CommonArgs;

/// One broker, or every group of a cluster.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct WhereArgs {
    /// On this broker only.
    #[arg(short = 'b', long = "brokerAddr", value_name = "ADDR")]
    pub broker: Option<String>,
    /// On the brokers of this cluster.
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    pub cluster: Option<String>,
}

/// Arguments of `brokerStatus` and `getBrokerConfig`.
#[derive(Debug, Clone, Args)]
pub struct BrokersArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub place: WhereArgs,
}

/// Arguments of `updateBrokerConfig`.
#[derive(Debug, Clone, Args)]
pub struct UpdateBrokerConfigArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub place: WhereArgs,
    /// Key.
    #[arg(short = 'k', long = "key")]
    pub key: String,
    /// Value.
    #[arg(short = 'v', long = "value")]
    pub value: String,
    /// With -c: followers too.
    #[arg(short = 'a', long = "updateAllBroker", default_value_t = false, action = ArgAction::Set)]
    pub all: bool,
}

/// Arguments of `wipeWritePerm` and `addWritePerm`.
#[derive(Debug, Clone, Args)]
pub struct BrokerNameArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Name of the broker group.
    #[arg(short = 'b', long = "brokerName", value_name = "NAME")]
    pub broker_name: String,
}
