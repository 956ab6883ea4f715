//! Command line of `raftmq admin`: command names and flags are those of RocketMQ's mqadmin.

mod controller;
mod messages;
mod operate;
mod settings;

use clap::{ArgAction, Args, Subcommand, ValueEnum};

pub use controller::*;
pub use messages::*;
pub use operate::*;
use settings::changes;
pub use settings::*;

/// Arguments of `raftmq admin`.
#[derive(Debug, Clone, Args)]
pub struct AdminArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: AdminCommand,
}

/// How a command prints its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OutputFormat {
    /// Columns, as mqadmin prints them.
    #[default]
    Table,
    /// One JSON document.
    Json,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// NameServer addresses, `host:port;host:port`.
    #[arg(short = 'n', long = "namesrvAddr", env = "NAMESRV_ADDR", value_name = "ADDRS")]
    pub namesrv: Option<String>,
    /// How to print the answer.
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// The same for a command in which `-o` means something else.
#[derive(Debug, Clone, Args)]
pub struct LongArgs {
    /// NameServer addresses, `host:port;host:port`.
    #[arg(short = 'n', long = "namesrvAddr", env = "NAMESRV_ADDR", value_name = "ADDRS")]
    pub namesrv: Option<String>,
    /// How to print the answer.
    #[arg(long = "output", value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// What mqadmin finds light queues by, which there are none of here.
#[derive(Debug, Clone, Args)]
pub struct LightQueueArgs {
    /// Taken and not used.
    #[arg(short = 'c', long = "cluster", value_name = "CLUSTER", hide = true)]
    pub cluster: Option<String>,
}

impl LongArgs {
    pub(super) fn common(&self) -> CommonArgs {
        CommonArgs { namesrv: self.namesrv.clone(), output: self.output }
    }
}

/// The admin commands.
#[derive(Debug, Clone, Subcommand)]
#[command(rename_all = "camelCase")]
pub enum AdminCommand {
    /// Brokers of every cluster with their load.
    ClusterList(ClusterListArgs),
    /// Topics the NameServer knows.
    TopicList(TopicListArgs),
    /// Route of a topic.
    TopicRoute(TopicRouteArgs),
    /// Minimum and maximum offset of every queue of a topic.
    TopicStatus(TopicStatusArgs),
    /// Creates a topic or changes its configuration.
    UpdateTopic(UpdateTopicArgs),
    /// Changes whether a topic is read and written.
    UpdateTopicPerm(TopicPermissionArgs),
    /// Deletes a topic from the brokers of a cluster and from the NameServers.
    DeleteTopic(DeleteTopicArgs),
    /// How far consumer groups are behind.
    ConsumerProgress(ConsumerProgressArgs),
    /// Clusters that have a topic.
    TopicClusterList(TopicArgs),
    /// What came in and went out, topic by topic and group by group.
    StatsAll(StatsAllArgs),
    /// How far every group of a broker is, queue by queue.
    BrokerConsumeStats(BrokerConsumeStatsArgs),
    /// Creates a consumer group or changes its settings.
    UpdateSubGroup(UpdateSubGroupArgs),
    /// Deletes a consumer group; with -c its retry and dead letter topics too.
    DeleteSubGroup(DeleteSubGroupArgs),
    /// Members of a consumer group that are connected, and what they subscribe to.
    ConsumerConnection(ConsumerConnectionArgs),
    /// What the members of a consumer group are doing.
    ConsumerStatus(ConsumerStatusArgs),
    /// Members of a producer group that are connected.
    ProducerConnection(ProducerConnectionArgs),
    /// Puts a group at a time or an offset of a topic; its members hear of it at once.
    ResetOffsetByTime(ResetOffsetArgs),
    /// Puts a group at the end of a topic.
    SkipAccumulatedMessage(SkipArgs),
    /// Gives a group the offsets of another one.
    CloneGroupOffset(CloneOffsetArgs),
    /// Figures of a broker, or of all members of a cluster.
    BrokerStatus(BrokersArgs),
    /// How closely the followers follow a broker, or those of a cluster's leaders.
    HaStatus(HaStatusArgs),
    /// Settings in force of a broker, or of all members of a cluster.
    GetBrokerConfig(BrokersArgs),
    /// Changes a setting of a running broker, until its process ends.
    UpdateBrokerConfig(UpdateBrokerConfigArgs),
    /// Lets no producer write to a broker group any more.
    WipeWritePerm(BrokerNameArgs),
    /// Lets producers write to a broker group again.
    AddWritePerm(BrokerNameArgs),
    /// Settings in force of every name server.
    GetNamesrvConfig(NameServersArgs),
    /// Changes a setting of every name server, for good.
    UpdateNamesrvConfig(KeyValueArgs),
    /// Has every name server keep a value.
    UpdateKvConfig(UpdateKvArgs),
    /// Has every name server forget a value.
    DeleteKvConfig(DeleteKvArgs),
    /// Sends a message.
    SendMessage(SendMessageArgs),
    /// Every message of a topic, queue by queue.
    PrintMsg(PrintMsgArgs),
    /// The messages of one queue, or how many there are of each tag.
    PrintMsgByQueue(PrintMsgByQueueArgs),
    /// Looks a message up by its id.
    QueryMsgById(QueryMsgByIdArgs),
    /// Looks messages up by a key.
    QueryMsgByKey(QueryMsgByKeyArgs),
    /// Looks a message up by the id that its producer gave it.
    QueryMsgByUniqueKey(QueryMsgByUniqueKeyArgs),
    /// The message at an offset of a queue.
    QueryMsgByOffset(QueryMsgByOffsetArgs),
    /// When a message was sent and consumed, as far as the clients wrote it down.
    #[command(alias = "QueryMsgTraceById")]
    QueryMsgTraceById(QueryMsgTraceByIdArgs),
    /// Who leads each group and who follows closely; a name server is asked as a controller.
    GetSyncStateSet(SyncStateSetArgs),
    /// Has a member lead its group; a name server is asked as a controller.
    ElectMaster(ElectMasterArgs),
    /// Where the controller is.
    GetControllerMetaData(ControllerArgs),
    /// Settings in force of a controller, which is a name server.
    GetControllerConfig(ControllersArgs),
    /// Changes a setting of a controller, which is a name server.
    UpdateControllerConfig(UpdateControllerArgs),
    /// The terms in the logs of a group's members.
    GetBrokerEpoch(BrokerEpochArgs),
    /// How long sends to each queue of a topic take.
    #[command(name = "checkMsgSendRT")]
    CheckMsgSendRt(CheckMsgSendRtArgs),
    /// How long sends to each broker group take.
    #[command(name = "clusterRT")]
    ClusterRt(ClusterRtArgs),
    /// How long sends to one broker group take, one by one.
    SendMsgStatus(SendMsgStatusArgs),
    /// Some messages of a topic or of a queue.
    ConsumeMessage(ConsumeMessageArgs),
    /// What name servers keep of an ordered topic: how many queues each group has of it.
    UpdateOrderConf(OrderConfArgs),
    /// Which member of a group would get which queues of a topic.
    #[command(name = "allocateMQ")]
    AllocateMq(AllocateMqArgs),
    /// Settings of a consumer group.
    GetConsumerConfig(ConsumerConfigArgs),
    /// Producers of a broker, group by group.
    Producer(ProducerArgs),
    /// Entries of a queue as they are stored.
    QueryCq(QueryCqArgs),
    /// Has brokers clean up queues whose messages are gone.
    #[command(name = "cleanExpiredCQ")]
    CleanExpiredCq(UpkeepArgs),
    /// Has brokers clean up queues whose topic is gone.
    CleanUnusedTopic(UpkeepArgs),
    /// Has brokers give up expired messages now.
    DeleteExpiredCommitLog(UpkeepArgs),
    /// Creates or changes the topics that a file lists.
    UpdateTopicList(ListFileArgs),
    /// Creates or changes the consumer groups that a file lists.
    UpdateSubGroupList(ListFileArgs),
    /// Writes topics and groups to a file.
    ExportMetadata(ExportMetadataArgs),
    /// Writes the settings of a cluster's brokers to a file.
    ExportConfigs(ExportConfigsArgs),
    /// Members of a broker's Raft group: role, term, commit and lag.
    RaftStatus(RaftStatusArgs),
    /// Hands a Raft group's leadership to another member.
    TransferLeader(TransferLeaderArgs),
    /// Looks a whole cluster over: members, leaders, lag, clocks, disks, configurations; says what to do.
    ///
    /// Exits with 0 when all is well, 1 with warnings, 2 with errors.
    Doctor(DoctorArgs),
}

impl AdminCommand {
    /// A name server or, for a command that asks one broker only, that broker.
    pub(super) fn somebody(&self) -> Option<String> {
        use AdminCommand as C;
        let (name_servers, broker) = match self {
            C::ElectMaster(a) => return Some(a.controller.clone()),
            C::GetSyncStateSet(a) => {
                return a.common.namesrv.clone().or_else(|| Some(a.controller.clone()));
            }
            C::GetControllerMetaData(a) => return Some(a.controller.clone()),
            C::GetControllerConfig(a) => return Some(a.controllers.clone()),
            C::UpdateControllerConfig(a) => return Some(a.controllers.clone()),
            C::Producer(a) => return a.common.namesrv.clone().or_else(|| Some(a.broker.clone())),
            C::CleanExpiredCq(a) | C::CleanUnusedTopic(a) | C::DeleteExpiredCommitLog(a) => {
                (&a.common.namesrv, &a.broker)
            }
            C::UpdateTopicList(a) | C::UpdateSubGroupList(a) => {
                (&a.common.namesrv, &a.place.broker)
            }
            C::ExportMetadata(a) => (&a.common.namesrv, &a.place.broker),
            C::QueryCq(a) => (&a.common.namesrv, &a.broker),
            C::GetBrokerEpoch(a) => (&a.common.namesrv, &None),
            C::CheckMsgSendRt(a) => (&a.common.namesrv, &None),
            C::ClusterRt(a) => (&a.common.namesrv, &None),
            C::SendMsgStatus(a) => (&a.common.namesrv, &None),
            C::ConsumeMessage(a) => (&a.common.namesrv, &None),
            C::UpdateOrderConf(a) => (&a.common.namesrv, &None),
            C::AllocateMq(a) => (&a.common.namesrv, &None),
            C::GetConsumerConfig(a) => (&a.common.namesrv, &None),
            C::ExportConfigs(a) => (&a.common.namesrv, &None),
            C::UpdateTopic(a) => (&a.common.namesrv, &a.broker),
            C::RaftStatus(a) => (&a.common.namesrv, &a.broker),
            C::TransferLeader(a) => (&a.common.namesrv, &a.broker),
            C::UpdateSubGroup(a) => (&a.common.namesrv, &a.place.broker),
            C::DeleteSubGroup(a) => (&a.common.namesrv, &a.place.broker),
            C::BrokerStatus(a) | C::GetBrokerConfig(a) => (&a.common.namesrv, &a.place.broker),
            C::UpdateBrokerConfig(a) => (&a.common.namesrv, &a.place.broker),
            C::HaStatus(a) => (&a.common.namesrv, &a.place.broker),
            C::UpdateTopicPerm(a) => (&a.common.namesrv, &a.place.broker),
            C::BrokerConsumeStats(a) => return a.common.namesrv.clone().or(Some(a.broker.clone())),
            C::GetNamesrvConfig(a) => (&a.common.namesrv, &None),
            C::UpdateNamesrvConfig(a) => (&a.common.namesrv, &None),
            C::UpdateKvConfig(a) => (&a.common.namesrv, &None),
            C::DeleteKvConfig(a) => (&a.common.namesrv, &None),
            C::ResetOffsetByTime(a) => (&a.common.namesrv, &a.broker),
            C::ConsumerStatus(a) => (&a.common.namesrv, &a.broker),
            C::ConsumerConnection(a) => (&a.common.namesrv, &a.broker),
            C::Doctor(a) => (&a.common.namesrv, &None),
            C::ClusterList(a) => (&a.common.namesrv, &None),
            C::TopicList(a) => (&a.common.namesrv, &None),
            C::TopicRoute(a) => (&a.common.namesrv, &None),
            C::TopicStatus(a) => (&a.common.namesrv, &None),
            C::TopicClusterList(a) => (&a.common.namesrv, &None),
            C::DeleteTopic(a) => (&a.common.namesrv, &None),
            C::StatsAll(a) => (&a.common.namesrv, &None),
            C::ConsumerProgress(a) => (&a.common.namesrv, &None),
            C::ProducerConnection(a) => (&a.common.namesrv, &None),
            C::SkipAccumulatedMessage(a) => (&a.common.namesrv, &None),
            C::CloneGroupOffset(a) => (&a.common.namesrv, &None),
            C::WipeWritePerm(a) | C::AddWritePerm(a) => (&a.common.namesrv, &None),
            C::PrintMsg(a) => (&a.common.namesrv, &None),
            C::PrintMsgByQueue(a) => (&a.common.namesrv, &None),
            C::SendMessage(a) => (&a.common.namesrv, &None),
            C::QueryMsgById(a) => (&a.common.namesrv, &None),
            C::QueryMsgByKey(a) => (&a.common.namesrv, &None),
            C::QueryMsgByUniqueKey(a) => (&a.common.namesrv, &None),
            C::QueryMsgByOffset(a) => (&a.common.namesrv, &None),
            C::QueryMsgTraceById(a) => (&a.common.namesrv, &None),
        };
        name_servers.clone().or_else(|| broker.clone())
    }

    /// Of which unit the command's client is.
    pub(super) fn unit_name(&self) -> Option<&str> {
        match self {
            AdminCommand::QueryMsgById(a) => a.unit_name.as_deref(),
            _ => None,
        }
    }
}

/// Arguments of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Arguments of `clusterList`.
#[derive(Debug, Clone, Args)]
pub struct ClusterListArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Only this cluster.
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    pub cluster: Option<String>,
    /// Print message totals instead of load.
    #[arg(short = 'm', long = "moreStats")]
    pub more_stats: bool,
    /// Repeat every so many seconds.
    #[arg(short = 'i', long = "interval", value_name = "SECONDS")]
    pub interval_seconds: Option<u64>,
}

/// Arguments of `topicList`.
#[derive(Debug, Clone, Args)]
pub struct TopicListArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Show the cluster and the consumer groups of each topic.
    #[arg(short = 'c', long = "clusterModel")]
    pub cluster_model: bool,
}

/// Arguments of `topicRoute`.
#[derive(Debug, Clone, Args)]
pub struct TopicRouteArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
    /// Print a table instead of JSON.
    #[arg(short = 'l', long = "list")]
    pub list: bool,
}

/// Arguments of `topicStatus`.
#[derive(Debug, Clone, Args)]
pub struct TopicStatusArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
    #[command(flatten)]
    pub light: LightQueueArgs,
}

/// Arguments of `topicClusterList`.
#[derive(Debug, Clone, Args)]
pub struct TopicArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
}

/// Arguments of `updateTopic`. `-o` is the order flag here, as in mqadmin.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["broker", "cluster"]))]
pub struct UpdateTopicArgs {
    #[command(flatten)]
    pub common: LongArgs,
    /// Create it on this broker only.
    #[arg(short = 'b', long = "brokerAddr", value_name = "ADDR")]
    pub broker: Option<String>,
    /// Create it on every broker group of this cluster.
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    pub cluster: Option<String>,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
    /// Queues that consumers read.
    #[arg(short = 'r', long = "readQueueNums", default_value_t = 8, value_name = "COUNT")]
    pub read_queues: i32,
    /// Queues that producers write.
    #[arg(short = 'w', long = "writeQueueNums", default_value_t = 8, value_name = "COUNT")]
    pub write_queues: i32,
    /// Permission: 2 write, 4 read, 6 both.
    #[arg(short = 'p', long = "perm", default_value_t = 6)]
    pub permission: i32,
    /// Whether the topic is ordered; the name servers then keep how many queues each group has of it.
    #[arg(short = 'o', long = "order", default_value_t = false, action = ArgAction::Set)]
    pub order: bool,
    /// Whether the topic belongs to a unit.
    #[arg(short = 'u', long = "unit", value_name = "BOOL", default_value_t = false, action = ArgAction::Set)]
    pub unit: bool,
    /// Whether consumers of units subscribe to the topic.
    #[arg(short = 's', long = "hasUnitSub", value_name = "BOOL", default_value_t = false, action = ArgAction::Set)]
    pub unit_subscribed: bool,
    /// Attributes, `+key=value,-key`.
    #[arg(short = 'a', long = "attributes", value_name = "LIST", allow_hyphen_values = true, value_parser = changes)]
    pub attributes: Option<AttributeChanges>,
}

impl UpdateTopicArgs {
    /// The changes of attributes as they are sent.
    pub(super) fn attributes_text(&self) -> Option<String> {
        let change = |(key, value): (&String, &String)| match value.is_empty() {
            true => key.clone(),
            false => format!("{key}={value}"),
        };
        let changes = self.attributes.as_ref()?.iter().map(change);
        Some(changes.collect::<Vec<_>>().join(","))
    }
}

/// Arguments of `deleteTopic`.
#[derive(Debug, Clone, Args)]
pub struct DeleteTopicArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Cluster to delete it from.
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    pub cluster: String,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
}

/// Arguments of `consumerProgress`.
#[derive(Debug, Clone, Args)]
pub struct ConsumerProgressArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Only this group, queue by queue.
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    pub group: Option<String>,
    /// Only this topic.
    #[arg(short = 't', long = "topicName", value_name = "TOPIC")]
    pub topic: Option<String>,
    /// With -g: show who reads each queue.
    #[arg(short = 's', long = "showClientIP", value_name = "BOOL", default_value_t = false, action = ArgAction::Set)]
    pub client_ips: bool,
    #[command(flatten)]
    pub light: LightQueueArgs,
}

/// Arguments of `raftStatus`.
#[derive(Debug, Clone, Args)]
pub struct RaftStatusArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Ask only this broker.
    #[arg(short = 'b', long = "brokerAddr", value_name = "ADDR", conflicts_with = "cluster")]
    pub broker: Option<String>,
    /// Only this cluster.
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    pub cluster: Option<String>,
}

/// Arguments of `transferLeader`.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("group").required(true).args(["broker", "broker_name"]))]
pub struct TransferLeaderArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// A broker of the group.
    #[arg(short = 'b', long = "brokerAddr", value_name = "ADDR")]
    pub broker: Option<String>,
    /// Name of the broker group.
    #[arg(short = 'g', long = "brokerName", value_name = "NAME")]
    pub broker_name: Option<String>,
    /// Member to lead next, such as n1; without it the group picks its most advanced member.
    #[arg(short = 'm', long = "member", value_name = "MEMBER")]
    pub member: Option<String>,
}
