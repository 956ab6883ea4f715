//! `raftmq quickstart`: a NameServer and three brokers of one Raft group, for a first look.
//!
//! Each of the four is a process of its own, started from this program, so that a broker can be
//! killed the way a machine dies. Configuration, logs and data lie in one folder.
//!
//! Invariant: no process outlives the quickstart, however it ends: killed itself, its children see
//! their standard input end.

mod demo;
mod group;
mod layout;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

use crate::client::ClientError;
use group::Group;
use layout::Layout;

/// The flag that makes a server stop when its standard input ends.
pub const OWNED_FLAG: &str = "owned";

/// Arguments of `raftmq quickstart`.
#[derive(Debug, Clone, Args)]
pub struct QuickstartArgs {
    /// Where configuration, logs and data are kept.
    #[arg(long, default_value = "raftmq-data", value_name = "DIR")]
    pub dir: PathBuf,
    /// The NameServer's port; the brokers take the next few.
    #[arg(long, default_value_t = 9876, value_name = "PORT")]
    pub base_port: u16,
    /// Send and consume messages while the leader is killed, report, and exit.
    #[arg(long)]
    pub demo: bool,
    /// How many messages the demo sends.
    #[arg(long, default_value_t = 10_000, value_name = "COUNT")]
    pub messages: u32,
}

/// Why the quickstart did not work out.
#[derive(Debug, thiserror::Error)]
enum QuickstartError {
    #[error("port {port} is in use: choose others with --base-port ({role})")]
    PortInUse { port: u16, role: String },
    #[error("--base-port {0} leaves no room for the ports above it")]
    PortRange(u16),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{role} could not be started: {source}")]
    Spawn { role: String, source: std::io::Error },
    #[error("{role} ended ({status}); its log is {log}")]
    Ended { role: String, status: String, log: PathBuf },
    #[error("no leader within {0:?}; the logs are in {1}")]
    NoLeader(Duration, PathBuf),
    #[error("topic {0} has no route after it was created")]
    NoRoute(String),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Runs the quickstart until it is interrupted, or the demo to its end. The demo's exit code is 0
/// only when no acknowledged message was lost.
pub fn run(arguments: QuickstartArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let run = |runtime: tokio::runtime::Runtime| {
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = interrupted() => Ok(ExitCode::from(130)),
                done = dispatch(&arguments) => done,
            }
        })
    };
    match runtime.map_err(QuickstartError::from).and_then(run) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(arguments: &QuickstartArgs) -> Result<ExitCode, QuickstartError> {
    if arguments.demo {
        // A folder of its own, emptied first: what an earlier demo left says nothing about this one.
        let layout = Layout::new(arguments.dir.join("demo"), arguments.base_port)?;
        layout.clear()?;
        return demo::run(layout, arguments.messages).await;
    }
    serve(Layout::new(arguments.dir.clone(), arguments.base_port)?).await
}

/// Runs the group and prints who leads, whenever that changes.
async fn serve(layout: Layout) -> Result<ExitCode, QuickstartError> {
    let mut group = Group::start(layout).await?;
    let mut shown = group.await_leader().await?;
    println!("NameServer  {}", group.layout.name_server());
    print!("{}", shown.describe(&group.layout));
    println!("data        {}", group.layout.dir.display());
    println!("Try: raftmq admin raftStatus -n {}", group.layout.name_server());
    println!("Stop with Ctrl-C.");
    loop {
        sleep(Duration::from_millis(500)).await;
        for ended in group.ended_brokers() {
            println!("{ended}");
        }
        let Ok(roles) = group.roles().await else { continue };
        if roles != shown {
            print!("{}", roles.describe(&group.layout));
            shown = roles;
        }
    }
}

/// Ctrl-C, or a polite request to end.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    match (interrupt, terminate) {
        (Ok(mut interrupt), Ok(mut terminate)) => tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        },
        // Without handlers the signals do what they always do.
        _ => std::future::pending().await,
    }
}
