//! Pulls everything a topic holds and counts it.
//!
//! One pull in flight a queue, all of a connection's queues at once. Records are walked by their
//! length field: the count is of whole messages, not of answers.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::arguments::ConsumeArgs;
use super::directory::Directory;
use super::frame::{Answer, ext_number, remark, write_request};
use super::pipe::{Pipe, PipeError};
use super::report::Picture;
use super::timeline::Timeline;
use super::{BenchError, progress_line};
use crate::progress;
use crate::protocol::code::{request, response};

/// Report of `bench consume`.
#[derive(Debug, Serialize)]
pub(super) struct ConsumeReport {
    topic: String,
    connections: usize,
    queues: usize,
    messages: u64,
    record_bytes: u64,
    pulls: u64,
    seconds: f64,
    messages_per_second: f64,
    mib_per_second: f64,
}

impl std::fmt::Display for ConsumeReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "topic        {} ({} queues)", self.topic, self.queues)?;
        writeln!(f, "pulled       {} messages in {} pulls", self.messages, self.pulls)?;
        writeln!(f, "time         {:.2} s over {} connections", self.seconds, self.connections)?;
        let (per_second, mib) = (self.messages_per_second, self.mib_per_second);
        write!(f, "throughput   {per_second:.0} msgs/s  {mib:.1} MiB/s")
    }
}

/// The stretch of one queue that is to be read.
#[derive(Debug, Clone)]
pub(super) struct QueueRange {
    pub address: String,
    pub queue_id: u32,
    pub from: i64,
    pub to: i64,
}

/// What was read.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Pulled {
    pub messages: u64,
    pub bytes: u64,
    pub pulls: u64,
}

/// How to ask.
#[derive(Clone)]
pub(super) struct PullOptions {
    pub topic: String,
    pub group: String,
    pub max_messages: u32,
    pub deadline: Option<Instant>,
    /// Where what comes is counted.
    pub timeline: Option<Arc<Mutex<Timeline>>>,
}

/// Runs `bench consume`.
pub(super) async fn run(arguments: &ConsumeArgs) -> Result<(ConsumeReport, Picture), BenchError> {
    let directory = Directory::new(&arguments.target)?;
    let ranges = queue_ranges(&directory).await?;
    let queues = ranges.len();
    let started = Instant::now();
    let span = arguments.duration.unwrap_or_default();
    let timeline = Timeline::new(started, span, vec![arguments.target.topic.clone()]);
    let timeline = Arc::new(Mutex::new(timeline));
    let options = PullOptions {
        topic: directory.topic().to_owned(),
        group: arguments.group.clone(),
        max_messages: arguments.max_messages,
        deadline: arguments.duration.map(|duration| started + duration),
        timeline: Some(timeline.clone()),
    };
    let connections = arguments.connections.clamp(1, queues.max(1));
    let mut shares: Vec<Vec<QueueRange>> = vec![Vec::new(); connections];
    for (index, range) in ranges.into_iter().enumerate() {
        shares[index % connections].push(range);
    }
    let tasks: Vec<_> = shares
        .into_iter()
        .map(|share| {
            let options = options.clone();
            tokio::spawn(async move { pull_all(share, &options, &mut |_| {}).await })
        })
        .collect();
    let all = async {
        let mut total = Pulled::default();
        for task in tasks {
            let pulled = task.await.map_err(|error| BenchError::Task(error.to_string()))??;
            total.messages += pulled.messages;
            total.bytes += pulled.bytes;
            total.pulls += pulled.pulls;
        }
        Ok::<_, BenchError>(total)
    };
    let counts = || timeline.lock().counts();
    let total = progress::during(all, progress_line(started, span, counts)).await?;
    let ended = Instant::now();
    let seconds = (ended - started).as_secs_f64();
    timeline.lock().end_at(ended);
    let mut picture = Picture::of(&timeline.lock());
    picture.title = format!("Catch-up read of {queues} queues");
    picture.set("topic", &options.topic);
    picture.set("connections", connections);
    picture.set("messages asked for in one pull", options.max_messages);
    let report = ConsumeReport {
        topic: options.topic,
        connections,
        queues,
        messages: total.messages,
        record_bytes: total.bytes,
        pulls: total.pulls,
        seconds,
        messages_per_second: total.messages as f64 / seconds,
        mib_per_second: total.bytes as f64 / (1024.0 * 1024.0) / seconds,
    };
    Ok((report, picture))
}

/// What every queue of the topic holds now.
pub(super) async fn queue_ranges(directory: &Directory) -> Result<Vec<QueueRange>, BenchError> {
    let brokers = directory.brokers().await?;
    if brokers.is_empty() {
        return Err(BenchError::NoTopic(directory.topic().to_owned()));
    }
    let mut ranges = Vec::new();
    for broker in brokers {
        let mut pipe = Pipe::connect(&broker.address).await?;
        for queue_id in 0..broker.queues {
            let (from, to) = directory.offsets(&mut pipe, queue_id).await?;
            ranges.push(QueueRange { address: broker.address.clone(), queue_id, from, to });
        }
    }
    Ok(ranges)
}

/// Reads `ranges` to their ends, one connection an address, and shows every record to `visit`.
pub(super) async fn pull_all(
    ranges: Vec<QueueRange>,
    options: &PullOptions,
    visit: &mut (dyn FnMut(&[u8]) + Send),
) -> Result<Pulled, BenchError> {
    let mut by_address = std::collections::BTreeMap::<String, Vec<QueueRange>>::new();
    for range in ranges {
        by_address.entry(range.address.clone()).or_default().push(range);
    }
    let mut pulled = Pulled::default();
    for (address, mut queues) in by_address {
        let mut pipe = Pipe::connect(&address).await?;
        pull_connection(&mut pipe, &mut queues, options, &mut pulled, visit).await?;
    }
    Ok(pulled)
}

async fn pull_connection(
    pipe: &mut Pipe,
    queues: &mut [QueueRange],
    options: &PullOptions,
    pulled: &mut Pulled,
    visit: &mut (dyn FnMut(&[u8]) + Send),
) -> Result<(), BenchError> {
    let mut unfinished = 0usize;
    for (slot, queue) in queues.iter().enumerate() {
        if queue.from < queue.to {
            write_pull(pipe, slot, queue, options);
            unfinished += 1;
        }
    }
    let give_up = Duration::from_secs(30);
    while unfinished > 0 {
        if options.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(());
        }
        let turned = tokio::time::timeout(give_up, pipe.turn(false)).await;
        turned.unwrap_or(Err(PipeError::Timeout))?;
        while let Some(answer) = pipe.next_answer()? {
            let Some(queue) = queues.get_mut(answer.slot) else { continue };
            pulled.pulls += 1;
            let before = pulled.messages;
            take_answer(queue, &answer, pulled, visit)?;
            if let Some(timeline) = &options.timeline
                && let Some(interval) = timeline.lock().at(Instant::now())
            {
                interval.by_broker[0] += pulled.messages - before;
            }
            if queue.from >= queue.to {
                unfinished -= 1;
            } else {
                write_pull(pipe, answer.slot, queue, options);
            }
        }
    }
    Ok(())
}

fn write_pull(pipe: &mut Pipe, slot: usize, queue: &QueueRange, options: &PullOptions) {
    // Flag 4: the subscription travels with the request, so no heartbeat is needed.
    let ext = format!(
        concat!(
            r#""consumerGroup":"{}","topic":"{}","queueId":"{}","queueOffset":"{}","#,
            r#""maxMsgNums":"{}","sysFlag":"4","commitOffset":"0","suspendTimeoutMillis":"0","#,
            r#""subVersion":"0","subscription":"*","expressionType":"TAG""#
        ),
        options.group, options.topic, queue.queue_id, queue.from, options.max_messages
    );
    write_request(&mut pipe.out, request::PULL_MESSAGE, slot, &ext, b"");
}

fn take_answer(
    queue: &mut QueueRange,
    answer: &Answer,
    pulled: &mut Pulled,
    visit: &mut (dyn FnMut(&[u8]) + Send),
) -> Result<(), BenchError> {
    let next = ext_number(&answer.header, "nextBeginOffset");
    match (answer.code, next) {
        (response::SUCCESS, Some(next)) => {
            pulled.bytes += answer.body.len() as u64;
            pulled.messages += walk_records(&answer.body, visit)?;
            if next <= queue.from {
                return Err(BenchError::NoProgress(queue.queue_id, queue.from));
            }
            queue.from = next;
        }
        (response::PULL_NOT_FOUND, _) => queue.to = queue.from,
        (response::PULL_RETRY_IMMEDIATELY | response::PULL_OFFSET_MOVED, Some(next))
            if next > queue.from =>
        {
            queue.from = next;
        }
        (response::PULL_RETRY_IMMEDIATELY, _) => {}
        (code, _) => {
            return Err(PipeError::Refused { code, remark: remark(&answer.header) }.into());
        }
    }
    Ok(())
}

/// Shows every record of a pull answer to `visit`; how many there were.
fn walk_records(mut body: &[u8], visit: &mut (dyn FnMut(&[u8]) + Send)) -> Result<u64, BenchError> {
    let mut records = 0;
    while let Some(length) = body.first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        if length < 8 || length > body.len() {
            return Err(BenchError::Record(length));
        }
        let (record, rest) = body.split_at(length);
        visit(record);
        records += 1;
        body = rest;
    }
    Ok(records)
}
