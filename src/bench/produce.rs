//! Sends with a fixed window of unanswered requests, or at a fixed rate.
//!
//! With a rate, a send that had to wait because the window was full is measured from when it was
//! due, not from when it was written: a stalled broker cannot hide its stall by stalling us.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::arguments::{LatencyArgs, LoadArgs, ProduceArgs, TargetArgs};
use super::directory::{Broker, Directory};
use super::frame::{SendTemplate, UniqueId};
use super::pipe::{Pipe, PipeError};
use super::recorder::{LatencySummary, Recorder};
use super::slots::Slots;
use super::{BenchError, reconnect};

/// Requests are handed to the socket in portions of about this many bytes.
pub(super) const OUT_BYTES_TARGET: usize = 128 * 1024;
/// A timer may be this late before a send counts as delayed by the broker.
const TIMER_SLACK: Duration = Duration::from_millis(2);
/// Unanswered sends allowed in rate mode.
const RATE_WINDOW: usize = 16 * 1024;
const SUCCESS: i32 = 0;
const GIVE_UP: Duration = Duration::from_secs(60);

/// Report of `bench produce` and `bench latency`.
#[derive(Debug, Serialize)]
pub(super) struct ProduceReport {
    topic: String,
    connections: usize,
    window: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_per_second: Option<u64>,
    body_bytes: usize,
    seconds: f64,
    sent: u64,
    sent_per_second: f64,
    body_mib_per_second: f64,
    latency: LatencySummary,
    /// Answers other than success, by response code.
    refused: BTreeMap<i32, u64>,
    connections_lost: u64,
    /// Sends whose answer never came because their connection was lost.
    unknown: u64,
}

impl std::fmt::Display for ProduceReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (per_second, mib) = (self.sent_per_second, self.body_mib_per_second);
        writeln!(f, "topic        {}", self.topic)?;
        match self.rate_per_second {
            Some(rate) => writeln!(f, "load         {rate} sends/s of {} B", self.body_bytes)?,
            None => writeln!(
                f,
                "load         {} in flight over {} connections, {} B",
                self.window, self.connections, self.body_bytes
            )?,
        }
        writeln!(f, "sent         {} in {:.1} s", self.sent, self.seconds)?;
        writeln!(f, "throughput   {per_second:.0} msgs/s  {mib:.1} MiB/s")?;
        write!(f, "latency      {}", self.latency)?;
        if !self.refused.is_empty() {
            write!(f, "\nrefused      {:?} (response code: count)", self.refused)?;
        }
        if self.connections_lost > 0 {
            let (lost, unknown) = (self.connections_lost, self.unknown);
            write!(f, "\nconnections  {lost} lost, with {unknown} sends unanswered")?;
        }
        Ok(())
    }
}

/// What one connection has to do.
#[derive(Clone)]
struct Plan {
    directory: Directory,
    body: Vec<u8>,
    window: usize,
    rate: Option<f64>,
    run: u64,
    start: Instant,
    measure_from: Instant,
    stop: Instant,
}

/// What one connection has seen.
struct Tally {
    recorder: Recorder,
    refused: BTreeMap<i32, u64>,
    connections_lost: u64,
    unknown: u64,
}

/// Runs `bench produce`.
pub(super) async fn run(arguments: &ProduceArgs) -> Result<ProduceReport, BenchError> {
    let connections = arguments.connections.max(1);
    let window = arguments.window.max(connections);
    drive(&arguments.target, &arguments.load, connections, window, arguments.rate).await
}

/// Runs `bench latency`: one in flight, or an open loop.
pub(super) async fn run_latency(arguments: &LatencyArgs) -> Result<ProduceReport, BenchError> {
    drive(&arguments.target, &arguments.load, 1, 1, arguments.rate).await
}

async fn drive(
    target: &TargetArgs,
    load: &LoadArgs,
    connections: usize,
    window: usize,
    rate: Option<u64>,
) -> Result<ProduceReport, BenchError> {
    let directory = Directory::new(target)?;
    let brokers = directory.ensure_topic().await?;
    let start = Instant::now();
    let measure_from = start + load.warmup;
    let plan = Plan {
        directory,
        body: super::filler(load.size),
        window: if rate.is_some() { RATE_WINDOW } else { window.div_ceil(connections) },
        rate: rate.map(|rate| rate as f64 / connections as f64),
        run: super::run_id(),
        start,
        measure_from,
        stop: measure_from + load.duration,
    };
    let tasks: Vec<_> = (0..connections)
        .map(|index| {
            let broker = brokers[index % brokers.len()].clone();
            tokio::spawn(connection(plan.clone(), broker, index))
        })
        .collect();
    let mut total = Tally::new();
    for task in tasks {
        total.add(task.await.map_err(|error| BenchError::Task(error.to_string()))??);
    }
    let seconds = load.duration.as_secs_f64();
    let per_second = total.recorder.count() as f64 / seconds;
    Ok(ProduceReport {
        topic: target.topic.clone(),
        connections,
        window,
        rate_per_second: rate,
        body_bytes: load.size,
        seconds,
        sent: total.recorder.count(),
        sent_per_second: per_second,
        body_mib_per_second: per_second * load.size as f64 / (1024.0 * 1024.0),
        latency: total.recorder.summary(),
        refused: total.refused,
        connections_lost: total.connections_lost,
        unknown: total.unknown,
    })
}

impl Tally {
    fn new() -> Tally {
        let (recorder, refused) = (Recorder::new(), BTreeMap::new());
        Tally { recorder, refused, connections_lost: 0, unknown: 0 }
    }

    fn add(&mut self, other: Tally) {
        self.recorder.merge(&other.recorder);
        for (code, count) in other.refused {
            *self.refused.entry(code).or_default() += count;
        }
        self.connections_lost += other.connections_lost;
        self.unknown += other.unknown;
    }
}

/// One connection for the whole run, reconnecting as often as it takes.
async fn connection(plan: Plan, broker: Broker, index: usize) -> Result<Tally, BenchError> {
    let mut sender = Sender {
        templates: templates(&plan, &broker),
        slots: Slots::new(plan.window),
        sequence: (index as u64) << 40,
        written: 0,
        tally: Tally::new(),
        plan,
    };
    let mut pipe = Pipe::connect(&broker.address).await?;
    loop {
        match sender.session(&mut pipe).await {
            Ok(()) => return Ok(sender.tally),
            Err(error) => tracing::debug!(broker = broker.name, %error, "connection lost"),
        }
        sender.tally.connections_lost += 1;
        sender.tally.unknown += sender.slots.abandon().len() as u64;
        if Instant::now() >= sender.plan.stop {
            return Ok(sender.tally);
        }
        pipe = reconnect(&sender.plan.directory, &broker.name, GIVE_UP).await?.0;
    }
}

pub(super) fn queue_templates(topic: &str, broker: &Broker, body: &[u8]) -> Vec<SendTemplate> {
    (0..broker.queues).map(|queue| SendTemplate::new(topic, &broker.name, queue, body)).collect()
}

fn templates(plan: &Plan, broker: &Broker) -> Vec<SendTemplate> {
    queue_templates(plan.directory.topic(), broker, &plan.body)
}

struct Sender {
    plan: Plan,
    templates: Vec<SendTemplate>,
    /// When each unanswered send counts as begun.
    slots: Slots<Instant>,
    sequence: u64,
    written: u64,
    tally: Tally,
}

impl Sender {
    /// Sends over one connection until the run ends (`Ok`) or the connection is of no use.
    async fn session(&mut self, pipe: &mut Pipe) -> Result<(), PipeError> {
        let stop = sleep_until(self.plan.stop);
        tokio::pin!(stop);
        loop {
            let due = self.write_due(pipe);
            let more_to_write = !self.slots.is_full() && self.plan.rate.is_none();
            let wake = due.unwrap_or(self.plan.stop);
            tokio::select! {
                biased;
                turned = pipe.turn(more_to_write) => turned?,
                _ = &mut stop => return Ok(()),
                _ = sleep_until(wake), if due.is_some() => {}
            }
            let refused = self.read_answers(pipe)?;
            if refused {
                // A broker that refuses is not helped by being asked again at once.
                sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Writes what the window or the rate allows now; in rate mode, says when the next is due.
    fn write_due(&mut self, pipe: &mut Pipe) -> Option<Instant> {
        let now = Instant::now();
        let born_ms = crate::clock::now_ms();
        let Some(rate) = self.plan.rate else {
            while pipe.out.len() < OUT_BYTES_TARGET && !self.slots.is_full() {
                self.write_one(pipe, now, born_ms);
            }
            return None;
        };
        let plan_start = self.plan.start;
        let due_at = |n: u64| plan_start + Duration::from_secs_f64(n as f64 / rate);
        while due_at(self.written) <= now && !self.slots.is_full() {
            let due = due_at(self.written);
            let begun = if now - due > TIMER_SLACK { due } else { now };
            self.write_one(pipe, begun, born_ms);
        }
        (!self.slots.is_full()).then(|| due_at(self.written))
    }

    fn write_one(&mut self, pipe: &mut Pipe, begun: Instant, born_ms: i64) {
        let Some(slot) = self.slots.take(begun) else { return };
        let template = &self.templates[self.written as usize % self.templates.len()];
        let id = UniqueId { run: self.plan.run, sequence: self.sequence };
        template.write(&mut pipe.out, slot, born_ms, id);
        self.sequence += 1;
        self.written += 1;
    }

    /// Takes in the answers that have come. `Ok(true)`: every one of them was a refusal.
    fn read_answers(&mut self, pipe: &mut Pipe) -> Result<bool, PipeError> {
        let now = Instant::now();
        let measured = now >= self.plan.measure_from && now < self.plan.stop;
        let (mut refused, mut accepted) = (0u64, 0u64);
        while let Some(answer) = pipe.next_answer()? {
            let Some(begun) = self.slots.answer(answer.slot) else { continue };
            if answer.code == SUCCESS {
                accepted += 1;
                if measured {
                    self.tally.recorder.record(now - begun);
                }
                continue;
            }
            refused += 1;
            *self.tally.refused.entry(answer.code).or_default() += 1;
            if super::is_not_leader(answer.code) {
                let remark = super::frame::remark(&answer.header);
                return Err(PipeError::Refused { code: answer.code, remark });
            }
        }
        Ok(refused > 0 && accepted == 0)
    }
}
