//! `raftmq bench`: a load generator for any broker that speaks RocketMQ's remoting protocol.
//!
//! It shares its machine with the brokers it measures, so it is built to be light: one thread, one
//! task a connection that both writes and reads, request frames encoded once and patched, answers
//! looked at only as far as code and opaque.
//!
//! Invariant: a figure counts only what was answered with success inside the measured window;
//! whatever was refused or lost on the way is reported beside it, never silently dropped.

mod arguments;
mod consume;
mod directory;
mod failover;
mod frame;
mod pipe;
mod produce;
mod recorder;
mod slots;

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use arguments::{BenchArgs, BenchCommand};
use directory::{Broker, Directory, DirectoryError};
use pipe::{Pipe, PipeError};

/// Between two attempts to find a living leader.
const RECONNECT_PAUSE: Duration = Duration::from_millis(5);

/// Why a benchmark came to no result.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Pipe(#[from] PipeError),
    #[error("no leader of {broker} answered within {waited:?}; the last attempt said: {last}")]
    NoLeader { broker: String, waited: Duration, last: String },
    #[error("topic {0} has no route: produce to it first")]
    NoTopic(String),
    #[error("a record of {0} bytes in a pull answer: the stream is broken")]
    Record(usize),
    #[error("queue {0}: a pull from offset {1} found messages but did not move on")]
    NoProgress(u32, i64),
    #[error("{0} of the sends were not acknowledged within {1:?}")]
    Unacknowledged(u64, Duration),
    #[error("kill command: {0}")]
    KillCommand(String),
    #[error("task ended: {0}")]
    Task(String),
    #[error("report: {0}")]
    Report(#[from] serde_json::Error),
    #[error("runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Runs one benchmark and prints its report.
pub fn run(arguments: BenchArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(BenchError::from).and_then(|rt| rt.block_on(dispatch(arguments)));
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(arguments: BenchArgs) -> Result<ExitCode, BenchError> {
    match &arguments.command {
        BenchCommand::Produce(a) => print(&produce::run(a).await?, a.target.json)?,
        BenchCommand::Latency(a) => print(&produce::run_latency(a).await?, a.target.json)?,
        BenchCommand::Consume(a) => print(&consume::run(a).await?, a.target.json)?,
        BenchCommand::Failover(a) => {
            let report = failover::run(a).await?;
            print(&report, a.target.json)?;
            if report.lost > 0 {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print<R: serde::Serialize + std::fmt::Display>(
    report: &R,
    json: bool,
) -> Result<(), BenchError> {
    if json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

/// Whether an answer says that the broker asked does not lead (any more).
fn is_not_leader(code: i32) -> bool {
    const SERVICE_NOT_AVAILABLE: i32 = 14;
    const NOT_LEADER_FOR_QUEUE: i32 = 501;
    matches!(code, SERVICE_NOT_AVAILABLE | NOT_LEADER_FOR_QUEUE)
}

/// Connects to whoever leads `broker_name` now, asking for the route before every attempt.
async fn reconnect(
    directory: &Directory,
    broker_name: &str,
    give_up: Duration,
) -> Result<(Pipe, Broker), BenchError> {
    let started = Instant::now();
    loop {
        let last = match directory.brokers().await {
            Ok(brokers) => match brokers.into_iter().find(|broker| broker.name == broker_name) {
                Some(broker) => match Pipe::connect(&broker.address).await {
                    Ok(pipe) => return Ok((pipe, broker)),
                    Err(error) => error.to_string(),
                },
                None => "the route shows no leader".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        if started.elapsed() > give_up {
            let broker = broker_name.to_owned();
            return Err(BenchError::NoLeader { broker, waited: give_up, last });
        }
        sleep(RECONNECT_PAUSE).await;
    }
}

/// A body that does not compress to nothing.
fn filler(bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'a' + (state % 26) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// Tells the messages of this run from those of any other.
fn run_id() -> u64 {
    ((crate::clock::now_ms() as u64) << 16) ^ u64::from(crate::process::number())
}
