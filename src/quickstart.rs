//! `raftmq quickstart`: a NameServer and three brokers of one Raft group, for a first look.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

/// Arguments of `raftmq quickstart`.
#[derive(Debug, Clone, Args)]
pub struct QuickstartArgs {
    /// Where logs and state are kept.
    #[arg(long, default_value = "raftmq-data", value_name = "DIR")]
    pub dir: PathBuf,
    /// The NameServer's port; the brokers take the ports above it.
    #[arg(long, default_value_t = 9876, value_name = "PORT")]
    pub base_port: u16,
    /// Send and consume 10,000 messages while the leader is killed, report, and exit.
    #[arg(long)]
    pub demo: bool,
}

/// Runs the quickstart until it is interrupted, or the demo to its end.
pub fn run(arguments: QuickstartArgs) -> ExitCode {
    let _ = arguments;
    eprintln!("quickstart: not built yet");
    ExitCode::FAILURE
}
