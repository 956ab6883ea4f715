//! Sends with a fixed window of unanswered requests, or at a fixed rate.
//!
//! With a rate, a send that had to wait because the window was full is measured from when it was
//! due, not from when it was written: a stalled broker cannot hide its stall by stalling us.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::arguments::{LatencyArgs, LoadArgs, ProduceArgs, TargetArgs};
use super::crowd;
use super::directory::{Broker, Directory};
use super::frame::{SendTemplate, UniqueId};
use super::pipe::{Pipe, PipeError};
use super::recorder::LatencySummary;
use super::report::{Picture, grouped};
use super::silence::Watch;
use super::slots::Slots;
use super::timeline::Timeline;
use super::{BenchError, progress_line, reconnect};
use crate::progress;

/// Requests are handed to the socket in portions of about this many bytes.
pub(super) const OUT_BYTES_TARGET: usize = 128 * 1024;
/// A timer may be this late before a send counts as delayed by the broker.
pub(super) const TIMER_SLACK: Duration = Duration::from_millis(2);
/// Unanswered sends allowed in rate mode, over all connections.
const RATE_WINDOW: usize = 16 * 1024;
const SUCCESS: i32 = 0;
const GIVE_UP: Duration = Duration::from_secs(60);

/// Report of `bench produce` and `bench latency`.
#[derive(Debug, Serialize)]
pub(super) struct ProduceReport {
    topic: String,
    connections: usize,
    window: usize,
    /// Further clients that were connected.
    #[serde(skip_serializing_if = "is_none_at_all")]
    clients: usize,
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
    /// Successes, also outside the measured time.
    #[serde(skip)]
    pub acknowledged: u64,
}

fn is_none_at_all(count: &usize) -> bool {
    *count == 0
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
        if self.clients > 0 {
            writeln!(f, "clients      {} more are connected", self.clients)?;
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

/// What all connections have to do.
#[derive(Clone)]
struct Plan {
    directory: Directory,
    rate: Option<f64>,
    run: u64,
    start: Instant,
    begin: Instant,
    stop: Instant,
}

/// What all connections have seen. They share one thread; a connection holds this for as long as it
/// takes in the answers of one read.
struct Tally {
    timeline: Timeline,
    /// Also outside the measured time.
    acknowledged: u64,
    refused: BTreeMap<i32, u64>,
    connections_lost: u64,
    unknown: u64,
}

/// How a load is driven.
pub(super) struct Drive {
    pub connections: usize,
    /// Unanswered sends over all connections, unless there is a rate.
    pub window: usize,
    pub rate: Option<u64>,
    /// Further clients that are connected.
    pub clients: usize,
    pub run: u64,
    /// The sends' ids tell how long after this they began.
    pub start: Instant,
}

impl Drive {
    fn new(connections: usize, window: usize, rate: Option<u64>, clients: usize) -> Drive {
        let (run, start) = (super::run_id(), Instant::now());
        Drive { connections, window, rate, clients, run, start }
    }
}

/// Runs `bench produce`.
pub(super) async fn run(arguments: &ProduceArgs) -> Result<(ProduceReport, Picture), BenchError> {
    let connections = arguments.connections.max(1);
    let window = arguments.window.max(connections);
    let how = Drive::new(connections, window, arguments.rate, arguments.clients);
    drive(&arguments.target, &arguments.load, &how).await
}

/// Runs `bench latency`: one in flight, or an open loop.
pub(super) async fn run_latency(
    arguments: &LatencyArgs,
) -> Result<(ProduceReport, Picture), BenchError> {
    let how = Drive::new(1, 1, arguments.rate, 0);
    drive(&arguments.target, &arguments.load, &how).await
}

/// Sends until the measured time is over.
pub(super) async fn drive(
    target: &TargetArgs,
    load: &LoadArgs,
    how: &Drive,
) -> Result<(ProduceReport, Picture), BenchError> {
    let &Drive { connections, window, rate, clients, run, .. } = how;
    let directory = Directory::new(target)?;
    let brokers = directory.ensure_topic().await?;
    let body = super::filler(load.size);
    let templates: Vec<Arc<[SendTemplate]>> = brokers
        .iter()
        .map(|broker| queue_templates(directory.topic(), broker, &body).into())
        .collect();
    let crowd = crowd::connect(&brokers, clients, run).await?;
    // A crowd takes a while to gather; nobody sends meanwhile.
    let begin = if clients > 0 { Instant::now() } else { how.start };
    let measure_from = begin + load.warmup;
    let names = brokers.iter().map(|broker| broker.name.clone()).collect();
    let tally = Arc::new(Mutex::new(Tally {
        timeline: Timeline::new(measure_from, load.duration, names),
        acknowledged: 0,
        refused: BTreeMap::new(),
        connections_lost: 0,
        unknown: 0,
    }));
    let plan = Plan {
        directory,
        rate: rate.map(|rate| rate as f64 / connections as f64),
        run,
        start: how.start,
        begin,
        stop: measure_from + load.duration,
    };
    let tasks: Vec<_> = (0..connections)
        .map(|index| {
            let broker_index = index % brokers.len();
            let broker = brokers[broker_index].clone();
            let share = window / connections + usize::from(index < window % connections);
            let sender = Sender {
                templates: templates[broker_index].clone(),
                slots: Slots::new(if rate.is_some() {
                    RATE_WINDOW / connections + 64
                } else {
                    share
                }),
                first_queue: index * templates[broker_index].len() / connections,
                index,
                written: 0,
                watch: Watch::new(&broker.name, &broker.address, begin),
                broker_index,
                tally: tally.clone(),
                plan: plan.clone(),
            };
            tokio::spawn(sender.run(broker))
        })
        .collect();
    let all = async {
        for task in tasks {
            task.await.map_err(|error| BenchError::Task(error.to_string()))??;
        }
        Ok::<(), BenchError>(())
    };
    let counts = || tally.lock().timeline.counts();
    progress::during(all, progress_line(measure_from, load.duration, counts)).await?;
    let mut tally = tally.lock();
    drop(crowd);
    tally.timeline.end_at(plan.stop);
    let report = report(target, load, how, &tally);
    Ok((report, picture(target, load, how, &brokers, &tally)))
}

fn report(target: &TargetArgs, load: &LoadArgs, how: &Drive, tally: &Tally) -> ProduceReport {
    let total = tally.timeline.total();
    let seconds = load.duration.as_secs_f64();
    let per_second = total.count() as f64 / seconds;
    ProduceReport {
        topic: target.topic.clone(),
        connections: how.connections,
        window: how.window,
        clients: how.clients,
        rate_per_second: how.rate,
        body_bytes: load.size,
        seconds,
        sent: total.count(),
        sent_per_second: per_second,
        body_mib_per_second: per_second * load.size as f64 / (1024.0 * 1024.0),
        latency: total.summary(),
        refused: tally.refused.clone(),
        connections_lost: tally.connections_lost,
        unknown: tally.unknown,
        acknowledged: tally.acknowledged,
    }
}

fn picture(
    target: &TargetArgs,
    load: &LoadArgs,
    how: &Drive,
    brokers: &[Broker],
    tally: &Tally,
) -> Picture {
    let mut picture = Picture::of(&tally.timeline);
    let size = grouped(load.size as u64);
    picture.title = match how.rate {
        Some(rate) => format!("{} sends a second of {size} B", grouped(rate)),
        None => format!("{} sends of {size} B in flight", grouped(how.window as u64)),
    };
    picture.set("topic", &target.topic);
    picture.set_brokers(brokers);
    picture.set("connections", how.connections);
    if how.clients > 0 {
        picture.set("further clients, connected", how.clients);
    }
    picture.set("warm-up before", format!("{} s", load.warmup.as_secs_f64()));
    picture
}

pub(super) fn queue_templates(topic: &str, broker: &Broker, body: &[u8]) -> Vec<SendTemplate> {
    (0..broker.queues).map(|queue| SendTemplate::new(topic, &broker.name, queue, body)).collect()
}

struct Sender {
    plan: Plan,
    templates: Arc<[SendTemplate]>,
    /// When each unanswered send counts as begun.
    slots: Slots<Instant>,
    index: usize,
    /// Connections begin at different queues, so that together they use all of them.
    first_queue: usize,
    written: u64,
    watch: Watch,
    broker_index: usize,
    tally: Arc<Mutex<Tally>>,
}

impl Sender {
    /// One connection for the whole run, reconnecting as often as it takes.
    async fn run(mut self, broker: Broker) -> Result<(), BenchError> {
        let mut pipe = Pipe::connect(&broker.address).await?;
        loop {
            match self.session(&mut pipe).await {
                Ok(()) => break,
                Err(error) => tracing::debug!(broker = broker.name, %error, "connection lost"),
            }
            if self.is_over_after_loss() {
                break;
            }
            let (connected, broker) =
                reconnect(&self.plan.directory, &broker.name, GIVE_UP).await?;
            self.watch.reconnected(&broker.address);
            pipe = connected;
        }
        let oldest = self.slots.abandon().into_iter().min();
        if let Some(silence) = self.watch.end(self.plan.stop, oldest) {
            self.tally.lock().timeline.silent(silence);
        }
        Ok(())
    }

    /// Counts what a lost connection leaves unanswered; whether the run is over.
    fn is_over_after_loss(&mut self) -> bool {
        let now = Instant::now();
        let unanswered = self.slots.abandon().len() as u64;
        let mut tally = self.tally.lock();
        tally.connections_lost += 1;
        tally.unknown += unanswered;
        if now < self.plan.stop {
            tally.timeline.failed(now, unanswered);
        }
        now >= self.plan.stop
    }

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
        let begin = self.plan.begin;
        let due_at = |n: u64| begin + Duration::from_secs_f64(n as f64 / rate);
        while due_at(self.written) <= now && !self.slots.is_full() {
            let due = due_at(self.written);
            let begun = if now - due > TIMER_SLACK { due } else { now };
            self.write_one(pipe, begun, born_ms);
        }
        (!self.slots.is_full()).then(|| due_at(self.written))
    }

    fn write_one(&mut self, pipe: &mut Pipe, begun: Instant, born_ms: i64) {
        let Some(slot) = self.slots.take(begun) else { return };
        let queue = (self.first_queue + self.written as usize) % self.templates.len();
        let template = &self.templates[queue];
        let id = UniqueId::timed(self.plan.run, begun - self.plan.start, self.index, self.written);
        template.write(&mut pipe.out, slot, born_ms, id);
        self.written += 1;
    }

    /// Takes in the answers that have come. `Ok(true)`: every one of them was a refusal.
    fn read_answers(&mut self, pipe: &mut Pipe) -> Result<bool, PipeError> {
        let now = Instant::now();
        let mut tally = self.tally.lock();
        let tally = &mut *tally;
        let mut interval = if now < self.plan.stop { tally.timeline.at(now) } else { None };
        let (mut refused, mut accepted) = (0u64, 0u64);
        let mut oldest = None;
        let useless = loop {
            let answer = match pipe.next_answer() {
                Ok(Some(answer)) => answer,
                Ok(None) => break None,
                Err(error) => break Some(error),
            };
            let Some(begun) = self.slots.answer(answer.slot) else { continue };
            if answer.code == SUCCESS {
                accepted += 1;
                oldest.get_or_insert(begun);
                if let Some(interval) = &mut interval {
                    interval.latency.record(now - begun);
                }
                continue;
            }
            refused += 1;
            *tally.refused.entry(answer.code).or_default() += 1;
            if super::is_not_leader(answer.code) {
                let remark = super::frame::remark(&answer.header);
                break Some(PipeError::Refused { code: answer.code, remark });
            }
        };
        tally.acknowledged += accepted;
        if let Some(interval) = interval {
            interval.by_broker[self.broker_index] += accepted;
            interval.failed += refused;
        }
        if let Some(silence) = oldest.and_then(|oldest| self.watch.heard(now, oldest)) {
            tally.timeline.silent(silence);
        }
        useless.map_or(Ok(refused > 0 && accepted == 0), Err)
    }
}
