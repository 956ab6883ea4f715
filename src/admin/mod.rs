//! `raftmq admin`: the everyday commands of RocketMQ's admin tool, with its flags and its columns.
//!
//! Invariant: a command that could not do all it was asked exits with 1 and says on standard error
//! what is missing; standard output holds only the answer.

mod allocate;
mod arguments;
mod behind;
mod charset;
mod cluster;
mod connection;
mod consume;
mod consumer;
mod contents;
mod controller;
mod direct;
mod doctor;
mod export;
mod group;
mod group_settings;
mod ha;
mod lists;
mod message;
mod namesrv;
mod offsets;
mod permission;
mod probe;
mod queue_units;
mod raft;
mod resend;
mod retry_policy;
mod running;
mod send;
mod settings;
mod stats;
mod table;
mod terms;
mod topic;
mod topic_settings;
mod trace;
mod track;
mod upkeep;

use std::process::ExitCode;
use std::time::Duration;

pub use arguments::{AdminArgs, AdminCommand, BROKER_NAME_FLAG, BROKER_NAME_LONG_FLAG};
use arguments::{CommonArgs, OutputFormat};

use crate::calendar;
use crate::client::{Admin, Client, ClientError, ClientOptions, Upkeep, WritePermission};

/// For what does not answer, in all: no command hangs over 5 s because brokers are paused.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum AdminError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("-n or NAMESRV_ADDR must say where the NameServer is")]
    NoNameServer,
    #[error("cluster {0} has no broker with a leader")]
    NoMaster(String),
    #[error("topic {0} has no broker with a leader: is the group electing one?")]
    NoTopicMaster(String),
    #[error("no consumer group {0}: it has never sent a heartbeat, or was deleted")]
    NoGroup(String),
    #[error("no message {id}: {why}")]
    NoMessage { id: String, why: String },
    #[error("{0} is not a member such as n0")]
    NotAMember(String),
    #[error("broker name {0} is not registered at the NameServer")]
    NoBrokerName(String),
    #[error("topic {topic} has no such queue for consumers on {broker_name:?}")]
    NoQueue { topic: String, broker_name: String },
    #[error("the name servers keep nothing of ordered topic {0}")]
    NoOrder(String),
    #[error("file {file}: {source}")]
    File { file: String, source: std::io::Error },
    #[error("file {file} is no list of what it should be: {source}")]
    List { file: String, source: serde_json::Error },
    #[error("group {0} has no member that is connected")]
    NoMembers(String),
    #[error("{0} is no push consumer: only one with a listener can be told to consume")]
    NoListener(String),
    #[error("{0} is no time: say now, milliseconds since 1970, or yyyy-MM-dd#HH:mm:ss:SSS")]
    NoMoment(String),
    #[error("{0} of the brokers did not answer")]
    Incomplete(usize),
    #[error("{0} of the group's members did not answer")]
    SilentMembers(usize),
    #[error("{errors} errors and {warnings} warnings")]
    Unwell { errors: usize, warnings: usize },
    #[error("output: {0}")]
    Output(#[from] serde_json::Error),
    #[error("runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

impl AdminError {
    fn exit_code(&self) -> ExitCode {
        match self {
            AdminError::Unwell { errors, .. } if *errors > 0 => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Runs one admin command. Exit code 0 on success, otherwise 1, or 2 where `doctor` found errors, with
/// a message on standard error.
pub fn run(arguments: AdminArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(AdminError::from).and_then(|rt| rt.block_on(dispatch(arguments)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("admin: {error}");
            error.exit_code()
        }
    }
}

async fn dispatch(arguments: AdminArgs) -> Result<(), AdminError> {
    use AdminCommand as C;
    let command = &arguments.command;
    let admin = &connect(&command.somebody(), command.unit_name()).await?;
    match command {
        C::Doctor(a) => doctor::run(admin, a).await,
        C::ClusterList(a) => cluster::list(admin, a).await,
        C::TopicList(a) => topic::list(admin, a).await,
        C::TopicRoute(a) => topic::route(admin, a).await,
        C::TopicStatus(a) => topic::status(admin, a).await,
        C::TopicClusterList(a) => topic::clusters(admin, a).await,
        C::UpdateTopic(a) => topic_settings::update(admin, a).await,
        C::UpdateTopicPerm(a) => permission::update(admin, a).await,
        C::DeleteTopic(a) => topic::delete(admin, a).await,
        C::StatsAll(a) => stats::all(admin, a).await,
        C::ConsumerProgress(a) => consumer::progress(admin, a).await,
        C::BrokerConsumeStats(a) => behind::all(admin, a).await,
        C::UpdateSubGroup(a) => group::update(admin, a).await,
        C::DeleteSubGroup(a) => group::delete(admin, a).await,
        C::ConsumerConnection(a) => connection::consumers(admin, a).await,
        C::ConsumerStatus(a) => running::status(admin, a).await,
        C::ProducerConnection(a) => connection::producers(admin, a).await,
        C::ResetOffsetByTime(a) => offsets::reset(admin, a).await,
        C::SkipAccumulatedMessage(a) => offsets::skip(admin, a).await,
        C::CloneGroupOffset(a) => offsets::clone(admin, a).await,
        C::BrokerStatus(a) => settings::status(admin, a).await,
        C::HaStatus(a) => ha::status(admin, a).await,
        C::GetBrokerConfig(a) => settings::config(admin, a).await,
        C::UpdateBrokerConfig(a) => settings::update(admin, a).await,
        C::WipeWritePerm(a) => settings::write_permission(admin, a, WritePermission::Wipe).await,
        C::AddWritePerm(a) => settings::write_permission(admin, a, WritePermission::Add).await,
        C::GetNamesrvConfig(a) => namesrv::config(admin, &a.common).await,
        C::UpdateNamesrvConfig(a) => namesrv::update(admin, a).await,
        C::UpdateKvConfig(a) => namesrv::put(admin, a).await,
        C::DeleteKvConfig(a) => namesrv::delete(admin, a).await,
        C::SendMessage(a) => send::send(admin, a).await,
        C::PrintMsg(a) => contents::of_topic(admin, a).await,
        C::PrintMsgByQueue(a) => contents::of_queue(admin, a).await,
        C::QueryMsgById(a) => message::query_by_id(admin, a).await,
        C::QueryMsgByKey(a) => message::query_by_key(admin, a).await,
        C::QueryMsgByUniqueKey(a) => message::query_by_unique_key(admin, a).await,
        C::QueryMsgByOffset(a) => message::query_by_offset(admin, a).await,
        C::QueryMsgTraceById(a) => trace::query(admin, a).await,
        C::GetSyncStateSet(a) => controller::sync_state(admin, a).await,
        C::ElectMaster(a) => controller::elect(admin, a).await,
        C::GetControllerMetaData(a) => controller::metadata(admin, a).await,
        C::GetControllerConfig(a) => controller::config(admin, a).await,
        C::UpdateControllerConfig(a) => controller::update(admin, a).await,
        C::GetBrokerEpoch(a) => terms::of_brokers(admin, a).await,
        C::CheckMsgSendRt(a) => probe::of_topic(admin, a).await,
        C::ClusterRt(a) => probe::of_clusters(admin, a).await,
        C::SendMsgStatus(a) => probe::of_group(admin, a).await,
        C::ConsumeMessage(a) => consume::some(admin, a).await,
        C::UpdateOrderConf(a) => namesrv::order(admin, a).await,
        C::AllocateMq(a) => allocate::queues(admin, a).await,
        C::GetConsumerConfig(a) => group_settings::show(admin, a).await,
        C::Producer(a) => connection::all_producers(admin, a).await,
        C::QueryCq(a) => queue_units::list(admin, a).await,
        C::CleanExpiredCq(a) => upkeep::run(admin, a, Upkeep::CleanExpiredQueues).await,
        C::CleanUnusedTopic(a) => upkeep::run(admin, a, Upkeep::CleanUnusedTopics).await,
        C::DeleteExpiredCommitLog(a) => upkeep::run(admin, a, Upkeep::DeleteExpired).await,
        C::UpdateTopicList(a) => lists::topics(admin, a).await,
        C::UpdateSubGroupList(a) => lists::groups(admin, a).await,
        C::ExportMetadata(a) => export::metadata(admin, a).await,
        C::ExportConfigs(a) => export::configs(admin, a).await,
        C::RaftStatus(a) => raft::status(admin, a).await,
        C::TransferLeader(a) => raft::transfer_leader(admin, a).await,
    }
}

async fn connect(
    name_servers: &Option<String>,
    unit_name: Option<&str>,
) -> Result<Admin, AdminError> {
    let name_servers = name_servers.as_deref().ok_or(AdminError::NoNameServer)?;
    let mut options = ClientOptions::new(name_servers).with_instance_name("admin");
    options.request_timeout = PATIENCE;
    options.unit_name = unit_name.map(str::to_owned);
    match Client::start(options).await {
        Ok(client) => Ok(Admin::for_a_command(&client, PATIENCE)),
        Err(ClientError::NoNameServer) => Err(AdminError::NoNameServer),
        Err(error) => Err(error.into()),
    }
}

/// Runs a command once, or again and again with pauses between; each time it is a command of its own.
async fn repeat(
    admin: &Admin,
    interval_seconds: Option<u64>,
    once: impl AsyncFn() -> Result<(), AdminError>,
) -> Result<(), AdminError> {
    loop {
        admin.renew_patience();
        once().await?;
        let Some(seconds) = interval_seconds else { return Ok(()) };
        tokio::time::sleep(Duration::from_secs(seconds.max(1))).await;
    }
}

/// Prints an answer in the format asked for.
fn print(
    common: &CommonArgs,
    table: impl FnOnce() -> String,
    json: impl FnOnce() -> serde_json::Value,
) -> Result<(), AdminError> {
    match common.output {
        OutputFormat::Table => print!("{}", table()),
        OutputFormat::Json => println!("{}", serde_json::to_string_pretty(&json())?),
    }
    Ok(())
}
