//! Arguments of the commands about who leads: those of a controller, and of the terms in the logs.

use clap::Args;

use super::CommonArgs;

/// Arguments of `getSyncStateSet`.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("groups").required(true).args(["broker_name", "cluster"]))]
pub struct SyncStateSetArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Controllers, which every name server is.
    #[arg(short = 'a', long = "controllerAddress", value_name = "ADDRS")]
    pub controller: String,
    /// The groups of this cluster.
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    pub cluster: Option<String>,
    /// Only this group.
    #[arg(short = 'b', long = "brokerName", value_name = "NAME")]
    pub broker_name: Option<String>,
    /// Repeat every so many seconds.
    #[arg(short = 'i', long = "interval", value_name = "SECONDS")]
    pub interval_seconds: Option<u64>,
}

/// How mqadmin spells [`ElectMasterArgs::broker_name`]'s short flag, of two letters.
pub const BROKER_NAME_FLAG: &str = "-bn";
/// The same as this program's command line spells it.
pub const BROKER_NAME_LONG_FLAG: &str = "--brokerName";

/// Arguments of `electMaster`.
#[derive(Debug, Clone, Args)]
pub struct ElectMasterArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Controllers, which every name server is.
    #[arg(short = 'a', long = "controllerAddress", value_name = "ADDRS")]
    pub controller: String,
    /// The member that is to lead, by its number in the group as getSyncStateSet shows it.
    #[arg(short = 'b', long = "brokerId", value_name = "ID")]
    pub broker_id: i64,
    /// Name of the group; also `-bn`.
    #[arg(long = "brokerName", value_name = "NAME")]
    pub broker_name: String,
    /// Its cluster.
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    pub cluster: String,
}

/// Arguments of `getControllerMetaData`.
#[derive(Debug, Clone, Args)]
pub struct ControllerArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Controllers, which every name server is.
    #[arg(short = 'a', long = "controllerAddress", value_name = "ADDRS")]
    pub controller: String,
}

/// Arguments of `getControllerConfig`.
#[derive(Debug, Clone, Args)]
pub struct ControllersArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Controllers, which every name server is, `host:port;host:port`.
    #[arg(short = 'a', long = "controllerAddress", value_name = "ADDRS")]
    pub controllers: String,
}

/// Arguments of `updateControllerConfig`.
#[derive(Debug, Clone, Args)]
pub struct UpdateControllerArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Controllers, which every name server is, `host:port;host:port`.
    #[arg(short = 'a', long = "controllerAddress", value_name = "ADDRS")]
    pub controllers: String,
    /// Key.
    #[arg(short = 'k', long = "key")]
    pub key: String,
    /// Value.
    #[arg(short = 'v', long = "value")]
    pub value: String,
}

/// Arguments of `getBrokerEpoch`.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("members").required(true).args(["broker_name", "cluster"]))]
pub struct BrokerEpochArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// The brokers of this cluster.
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    pub cluster: Option<String>,
    /// The members of this group.
    #[arg(short = 'b', long = "brokerName", value_name = "NAME")]
    pub broker_name: Option<String>,
    /// Repeat every so many seconds.
    #[arg(short = 'i', long = "interval", value_name = "SECONDS")]
    pub interval_seconds: Option<u64>,
}
