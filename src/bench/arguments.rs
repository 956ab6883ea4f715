//! Command line of `raftmq bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

/// Arguments of `raftmq bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// What to measure.
    #[command(subcommand)]
    pub command: BenchCommand,
}

/// The measurements on offer.
#[derive(Debug, Clone, Subcommand)]
pub enum BenchCommand {
    /// Sends as fast as a fixed window of unanswered requests allows, or at a fixed rate.
    Produce(ProduceArgs),
    /// Sends at a fixed rate and receives by push: the time from a send to the listener.
    Push(PushArgs),
    /// Pulls everything a topic holds, as fast as it comes.
    Consume(ConsumeArgs),
    /// Send latency: one request in flight, or a fixed rate measured from the intended send time.
    Latency(LatencyArgs),
    /// Sends at a steady rate across a leader's death, then reads everything back.
    Failover(FailoverArgs),
}

/// Where to find the brokers.
#[derive(Debug, Clone, Args)]
pub struct TargetArgs {
    /// NameServer addresses, `host:port;host:port`.
    #[arg(short = 'n', long = "namesrv", env = "NAMESRV_ADDR", value_name = "ADDRS")]
    pub namesrv: Option<String>,
    /// A broker's address, to go there directly; wins over -n.
    #[arg(short = 'b', long = "broker", value_name = "ADDR")]
    pub broker: Option<String>,
    /// Topic; created if the NameServer does not know it.
    #[arg(short = 't', long, default_value = "BenchTopic")]
    pub topic: String,
    /// Queues of the topic: how many to create, and with -b how many to use.
    #[arg(short = 'q', long, default_value_t = 8, value_name = "COUNT")]
    pub queues: u32,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// The run as a page.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Write the run as one page that needs nothing else, or with a name that ends with .svg as a
    /// picture: throughput and latency over time, a histogram, and what happened to the brokers.
    #[arg(long = "report", value_name = "FILE.html")]
    pub file: Option<PathBuf>,
    /// Show figures of other systems in it, as written by tests/peer/compare --results.
    #[arg(long, value_name = "FILE.json", requires = "file")]
    pub beside: Option<PathBuf>,
}

/// Shape of the messages sent.
#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    /// Body of a message, in bytes.
    #[arg(short = 's', long, default_value_t = 1024, value_name = "BYTES")]
    pub size: usize,
    /// How long to measure, in seconds.
    #[arg(short = 'd', long, default_value = "10", value_parser = seconds, value_name = "SECONDS")]
    pub duration: Duration,
    /// How long to send before measuring, in seconds.
    #[arg(long, default_value = "2", value_parser = seconds, value_name = "SECONDS")]
    pub warmup: Duration,
}

/// Arguments of `bench produce`.
#[derive(Debug, Clone, Args)]
pub struct ProduceArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub report: ReportArgs,
    #[command(flatten)]
    pub load: LoadArgs,
    /// Connections over which the window is spread.
    #[arg(short = 'c', long, default_value_t = 1, value_name = "COUNT")]
    pub connections: usize,
    /// Unanswered sends allowed over all connections.
    #[arg(short = 'w', long, default_value_t = 64, value_name = "COUNT")]
    pub window: usize,
    /// Further clients, connected to every broker, that send heartbeats and nothing else.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub clients: usize,
    /// Sends a second over all connections, instead of as fast as the window allows.
    #[arg(short = 'r', long, value_name = "PER_SECOND")]
    pub rate: Option<u64>,
}

/// Arguments of `bench latency`.
#[derive(Debug, Clone, Args)]
pub struct LatencyArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub report: ReportArgs,
    #[command(flatten)]
    pub load: LoadArgs,
    /// Sends a second; without it, the next send waits for the answer of the last.
    #[arg(short = 'r', long, value_name = "PER_SECOND")]
    pub rate: Option<u64>,
}

/// Arguments of `bench push`.
#[derive(Debug, Clone, Args)]
pub struct PushArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub report: ReportArgs,
    #[command(flatten)]
    pub load: LoadArgs,
    /// Sends a second.
    #[arg(short = 'r', long, default_value_t = 5000, value_name = "PER_SECOND")]
    pub rate: u64,
    /// Consumer group of the listener.
    #[arg(short = 'g', long, default_value = "BENCH_PUSH")]
    pub group: String,
}

/// Arguments of `bench consume`.
#[derive(Debug, Clone, Args)]
pub struct ConsumeArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub report: ReportArgs,
    /// Connections; the queues are spread over them, one pull in flight a queue.
    #[arg(short = 'c', long, default_value_t = 2, value_name = "COUNT")]
    pub connections: usize,
    /// Messages asked for in one pull.
    #[arg(short = 'm', long, default_value_t = 512, value_name = "COUNT")]
    pub max_messages: u32,
    /// Consumer group named in the pulls; offsets are never committed.
    #[arg(short = 'g', long, default_value = "TOOLS_CONSUMER")]
    pub group: String,
    /// Stop after this many seconds even if messages are left.
    #[arg(short = 'd', long, value_parser = seconds, value_name = "SECONDS")]
    pub duration: Option<Duration>,
}

/// Arguments of `bench failover`.
#[derive(Debug, Clone, Args)]
pub struct FailoverArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub report: ReportArgs,
    /// Body of a message, in bytes.
    #[arg(short = 's', long, default_value_t = 1024, value_name = "BYTES")]
    pub size: usize,
    /// How long to send, in seconds.
    #[arg(short = 'd', long, default_value = "30", value_parser = seconds, value_name = "SECONDS")]
    pub duration: Duration,
    /// Sends a second.
    #[arg(short = 'r', long, default_value_t = 1000, value_name = "PER_SECOND")]
    pub rate: u64,
    /// Shell command that kills the leader; RAFTMQ_LEADER_ADDR, RAFTMQ_LEADER_HOST and
    /// RAFTMQ_LEADER_PORT are in its environment. Without it, kill the leader by hand.
    #[arg(short = 'k', long, value_name = "COMMAND")]
    pub kill_command: Option<String>,
    /// When to run the kill command, in seconds after the start.
    #[arg(long, default_value = "5", value_parser = seconds, value_name = "SECONDS")]
    pub kill_after: Duration,
    /// Give up when no leader answers for this long, in seconds.
    #[arg(long, default_value = "60", value_parser = seconds, value_name = "SECONDS")]
    pub give_up: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text} is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
