//! `raftmq admin`: the everyday commands of RocketMQ's admin tool, with its flags and its columns.
//!
//! Invariant: a command that could not do all it was asked exits with 1 and says on standard error
//! what is missing; standard output holds only the answer.

mod arguments;
mod calendar;
mod cluster;
mod consumer;
mod doctor;
mod message;
mod raft;
mod table;
mod topic;

use std::process::ExitCode;

pub use arguments::{AdminArgs, AdminCommand};
use arguments::{CommonArgs, OutputFormat};

use crate::client::{Admin, Client, ClientError, ClientOptions};

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
    #[error("{0} of the brokers did not answer")]
    Incomplete(usize),
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
    match &arguments.command {
        AdminCommand::Doctor(a) => doctor::run(&connect(&a.common.namesrv).await?, a).await,
        AdminCommand::ClusterList(a) => cluster::list(&connect(&a.common.namesrv).await?, a).await,
        AdminCommand::TopicList(a) => topic::list(&connect(&a.common.namesrv).await?, a).await,
        AdminCommand::TopicRoute(a) => topic::route(&connect(&a.common.namesrv).await?, a).await,
        AdminCommand::TopicStatus(a) => topic::status(&connect(&a.common.namesrv).await?, a).await,
        AdminCommand::UpdateTopic(a) => {
            let any = a.namesrv.clone().or_else(|| a.broker.clone());
            topic::update(&connect(&any).await?, a).await
        }
        AdminCommand::DeleteTopic(a) => topic::delete(&connect(&a.common.namesrv).await?, a).await,
        AdminCommand::ConsumerProgress(a) => {
            consumer::progress(&connect(&a.common.namesrv).await?, a).await
        }
        AdminCommand::QueryMsgById(a) => {
            message::query_by_id(&connect(&a.common.namesrv).await?, a).await
        }
        AdminCommand::RaftStatus(a) => {
            let any = a.common.namesrv.clone().or_else(|| a.broker.clone());
            raft::status(&connect(&any).await?, a).await
        }
        AdminCommand::TransferLeader(a) => {
            let any = a.common.namesrv.clone().or_else(|| a.broker.clone());
            raft::transfer_leader(&connect(&any).await?, a).await
        }
    }
}

async fn connect(name_servers: &Option<String>) -> Result<Admin, AdminError> {
    let name_servers = name_servers.as_deref().ok_or(AdminError::NoNameServer)?;
    let mut options = ClientOptions::new(name_servers).with_instance_name("admin");
    options.request_timeout = std::time::Duration::from_secs(5);
    match Client::start(options).await {
        Ok(client) => Ok(Admin::new(&client)),
        Err(ClientError::NoNameServer) => Err(AdminError::NoNameServer),
        Err(error) => Err(error.into()),
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
