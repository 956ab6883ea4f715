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
mod crowd;
mod directory;
mod failover;
mod frame;
mod pipe;
mod produce;
mod push;
mod recorder;
mod report;
mod silence;
mod slots;
mod timeline;

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use arguments::{BenchArgs, BenchCommand};
use arguments::{ReportArgs, TargetArgs};
use directory::{Broker, Directory, DirectoryError};
use pipe::{Pipe, PipeError};
use report::{Picture, ReportError};

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
    #[error("a push consumer finds its brokers by their route: say where the NameServer is (-n)")]
    PushNeedsRoutes,
    #[error(transparent)]
    Client(#[from] crate::client::ClientError),
    #[error("kill command: {0}")]
    KillCommand(String),
    #[error("task ended: {0}")]
    Task(String),
    #[error("report: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Report(#[from] ReportError),
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
        BenchCommand::Produce(a) => {
            let wanted = Wanted::new(&a.target, &a.report)?;
            let (report, picture) = produce::run(a).await?;
            wanted.put_out(&report, picture)?;
        }
        BenchCommand::Latency(a) => {
            let wanted = Wanted::new(&a.target, &a.report)?;
            let (report, picture) = produce::run_latency(a).await?;
            wanted.put_out(&report, picture)?;
        }
        BenchCommand::Push(a) => {
            let wanted = Wanted::new(&a.target, &a.report)?;
            let (report, picture) = push::run(a).await?;
            wanted.put_out(&report, picture)?;
            if report.missing > 0 {
                return Ok(ExitCode::FAILURE);
            }
        }
        BenchCommand::Consume(a) => {
            let wanted = Wanted::new(&a.target, &a.report)?;
            let (report, picture) = consume::run(a).await?;
            wanted.put_out(&report, picture)?;
        }
        BenchCommand::Failover(a) => {
            let wanted = Wanted::new(&a.target, &a.report)?;
            let (report, picture) = failover::run(a).await?;
            wanted.put_out(&report, picture)?;
            if report.lost > 0 {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How a run is to be put out. What is wrong with that is found before anything is measured.
struct Wanted<'a> {
    json: bool,
    report: &'a ReportArgs,
    beside: Option<report::Beside>,
}

impl<'a> Wanted<'a> {
    fn new(target: &TargetArgs, report: &'a ReportArgs) -> Result<Wanted<'a>, ReportError> {
        if let Some(file) = &report.file {
            report::check_name(file)?;
        }
        let beside = report.beside.as_deref().map(report::read_beside).transpose()?;
        Ok(Wanted { json: target.json, report, beside })
    }

    fn put_out<R: serde::Serialize + std::fmt::Display>(
        self,
        report: &R,
        mut picture: Picture,
    ) -> Result<(), BenchError> {
        if self.json {
            println!("{}", serde_json::to_string(report)?);
        } else {
            println!("{report}");
        }
        if let Some(file) = &self.report.file {
            picture.printed = report.to_string();
            picture.beside = self.beside;
            picture.set("command", command_line());
            report::write(file, &mut picture)?;
        }
        Ok(())
    }
}

/// How this program was called, so that a report can be made again.
fn command_line() -> String {
    let quoted = |argument: String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:;,".contains(c);
        if argument.chars().all(plain) { argument } else { format!("'{argument}'") }
    };
    let arguments: Vec<String> = std::env::args().skip(1).map(quoted).collect();
    format!("raftmq {}", arguments.join(" "))
}

/// A line of progress: how far a run is, and what came of it since the last line.
fn progress_line(
    start: Instant,
    span: Duration,
    counts: impl Fn() -> (u64, u64),
) -> impl FnMut() -> String {
    let mut last = (start, 0);
    move || {
        let now = Instant::now();
        let Some(elapsed) = now.checked_duration_since(start) else {
            return "bench: warming up".to_owned();
        };
        let (answered, failed) = counts();
        let since = now.saturating_duration_since(last.0).as_secs_f64().max(0.001);
        let rate = (answered - last.1) as f64 / since;
        last = (now, answered);
        let (elapsed_s, span_s) = (elapsed.as_secs(), span.as_secs());
        let of = if span.is_zero() { String::new() } else { format!(" of {span_s} s") };
        format!(
            "bench: {elapsed_s} s{of}, {rate:.0} messages/s, {answered} so far, {failed} failed"
        )
    }
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
