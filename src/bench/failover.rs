//! A steady stream of sends across the death of the leader, and what became of every one of them.
//!
//! A send whose answer never came is sent again with the same unique id, as RocketMQ's producers
//! do. At the end everything is read back: an acknowledged id that is missing is a lost message; an
//! id that is there twice is a duplicate, and explained if it had been sent twice.

use std::collections::{BTreeMap, VecDeque};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::arguments::FailoverArgs;
use super::consume::{PullOptions, QueueRange, pull_all, queue_ranges};
use super::directory::{Broker, Directory};
use super::frame::{SendTemplate, UniqueId};
use super::pipe::{Pipe, PipeError};
use super::produce::{OUT_BYTES_TARGET, TIMER_SLACK, queue_templates};
use super::recorder::LatencySummary;
use super::report::{Picture, grouped};
use super::silence::Watch;
use super::slots::Slots;
use super::timeline::Timeline;
use super::{BenchError, progress_line, reconnect};
use crate::progress;

/// Unanswered sends allowed on one connection.
const WINDOW: usize = 16 * 1024;
/// Without an answer for this long the route is asked again: the leader may hang without dying.
const STALL: Duration = Duration::from_millis(500);
/// Stored, with whatever complaint about flushing or replicas.
const STORED: [i32; 4] = [0, 10, 11, 12];

/// Report of `bench failover`.
#[derive(Debug, Serialize)]
pub(super) struct FailoverReport {
    topic: String,
    rate_per_second: u64,
    sent: u64,
    acknowledged: u64,
    /// Sends written again because their first answer never came or was a refusal.
    sent_again: u64,
    connections_lost: u64,
    refused: BTreeMap<i32, u64>,
    /// From a send's begin to its acknowledgement, however often it was written.
    latency: LatencySummary,
    /// Longest time between two acknowledgements that follow each other.
    gap_ms: f64,
    /// From the kill command's start to the first acknowledgement over a new connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    kill_to_ack_ms: Option<f64>,
    read_back: u64,
    /// Acknowledged, but not there.
    pub lost: u64,
    /// There more than once.
    duplicates: u64,
    /// There more than once although sent once.
    unexplained_duplicates: u64,
}

impl std::fmt::Display for FailoverReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "topic          {} at {} sends/s", self.topic, self.rate_per_second)?;
        writeln!(f, "sent           {} ({} of them again)", self.sent, self.sent_again)?;
        writeln!(f, "acknowledged   {}", self.acknowledged)?;
        writeln!(f, "connections    {} lost", self.connections_lost)?;
        if !self.refused.is_empty() {
            writeln!(f, "refused        {:?} (response code: count)", self.refused)?;
        }
        writeln!(f, "latency        {}", self.latency)?;
        writeln!(f, "gap            {:.0} ms between two acknowledgements", self.gap_ms)?;
        if let Some(ms) = self.kill_to_ack_ms {
            writeln!(f, "kill to ack    {ms:.0} ms")?;
        }
        writeln!(f, "read back      {}", self.read_back)?;
        writeln!(f, "lost           {}", self.lost)?;
        let (duplicates, unexplained) = (self.duplicates, self.unexplained_duplicates);
        write!(f, "duplicates     {duplicates} ({unexplained} of messages sent only once)")
    }
}

/// Runs `bench failover`.
pub(super) async fn run(arguments: &FailoverArgs) -> Result<(FailoverReport, Picture), BenchError> {
    let directory = Directory::new(&arguments.target)?;
    let brokers = directory.ensure_topic().await?;
    let before = queue_ranges(&directory).await?;
    let run = super::run_id();
    let start = Instant::now();
    let body = super::filler(arguments.size);
    let names = brokers.iter().map(|broker| broker.name.clone()).collect();
    let timeline = Arc::new(Mutex::new(Timeline::new(start, arguments.duration, names)));
    let mut senders = Vec::new();
    for (index, broker) in brokers.iter().enumerate() {
        let sender = Sender {
            directory: directory.clone(),
            templates: queue_templates(directory.topic(), broker, &body),
            broker: broker.clone(),
            run,
            sequence_base: (index as u64) << 40,
            rate: arguments.rate as f64 / brokers.len() as f64,
            start,
            stop: start + arguments.duration,
            give_up: arguments.give_up,
            slots: Slots::new(WINDOW),
            again: VecDeque::new(),
            sends: Vec::new(),
            tally: Tally::new(start),
            watch: Watch::new(&broker.name, &broker.address, start),
            broker_index: index,
            timeline: timeline.clone(),
        };
        senders.push(tokio::spawn(sender.run()));
    }
    let all = async {
        let killed_at = kill_leader(arguments, &brokers[0], start, &timeline).await?;
        let mut finished = Vec::new();
        for sender in senders {
            let sender = sender.await.map_err(|error| BenchError::Task(error.to_string()))??;
            finished.push(sender);
        }
        Ok::<_, BenchError>((killed_at, finished))
    };
    let counts = || timeline.lock().counts();
    let line = progress_line(start, arguments.duration, counts);
    let (killed_at, finished) = progress::during(all, line).await?;
    timeline.lock().end_at(start + arguments.duration);
    let latency = timeline.lock().total().summary();
    let mut report = summarise(arguments, &finished, killed_at, latency);
    let reading = || "bench: reading everything back".to_owned();
    let read = read_back(&directory, &before, run, &finished, &mut report);
    progress::during(read, reading).await?;
    let picture = picture(arguments, &brokers, &timeline.lock());
    Ok((report, picture))
}

fn picture(arguments: &FailoverArgs, brokers: &[Broker], timeline: &Timeline) -> Picture {
    let (rate, size) = (grouped(arguments.rate), grouped(arguments.size as u64));
    let mut picture = Picture::of(timeline);
    picture.title = format!("{rate} sends a second of {size} B across a leader's death");
    picture.set("topic", &arguments.target.topic);
    picture.set_brokers(brokers);
    picture
        .set("latency", "from a send's begin to its acknowledgement, however often it was written");
    picture.set("failed sends", "attempts without an acknowledgement; each was written again");
    picture
}

/// Runs the kill command when its time has come; when that was.
async fn kill_leader(
    arguments: &FailoverArgs,
    leader: &Broker,
    start: Instant,
    timeline: &Mutex<Timeline>,
) -> Result<Option<Instant>, BenchError> {
    let Some(command) = &arguments.kill_command else { return Ok(None) };
    sleep_until(start + arguments.kill_after).await;
    let (host, port) = leader.address.rsplit_once(':').unwrap_or((&leader.address, ""));
    let killed_at = Instant::now();
    let what = format!("kill command, for {}'s leader {}", leader.name, leader.address);
    timeline.lock().mark(killed_at, &what);
    let status = tokio::process::Command::new("sh")
        .args(["-c", command])
        .env("RAFTMQ_LEADER_ADDR", &leader.address)
        .env("RAFTMQ_LEADER_HOST", host)
        .env("RAFTMQ_LEADER_PORT", port)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .await
        .map_err(|error| BenchError::KillCommand(error.to_string()))?;
    if status.success() {
        Ok(Some(killed_at))
    } else {
        Err(BenchError::KillCommand(format!("ended with {status}")))
    }
}

/// What happened to one message.
#[derive(Debug, Clone, Copy)]
struct SendState {
    /// When it was first written, or when it was due if that was noticeably earlier.
    begun: Instant,
    writes: u8,
    acknowledged: bool,
    found: u8,
}

struct Tally {
    acknowledged: u64,
    sent_again: u64,
    connections_lost: u64,
    refused: BTreeMap<i32, u64>,
    last_ack: Instant,
    /// The next acknowledgement is the first over its connection.
    is_new_connection: bool,
    /// When the first acknowledgement over each connection came.
    recoveries: Vec<Instant>,
    gap: Duration,
}

impl Tally {
    fn new(start: Instant) -> Tally {
        Tally {
            acknowledged: 0,
            sent_again: 0,
            connections_lost: 0,
            refused: BTreeMap::new(),
            last_ack: start,
            is_new_connection: false,
            recoveries: Vec::new(),
            gap: Duration::ZERO,
        }
    }

    fn acknowledge(&mut self, now: Instant) {
        if self.acknowledged > 0 {
            self.gap = self.gap.max(now - self.last_ack);
        }
        if std::mem::take(&mut self.is_new_connection) {
            self.recoveries.push(now);
        }
        self.acknowledged += 1;
        self.last_ack = now;
    }
}

struct Sender {
    directory: Directory,
    broker: Broker,
    templates: Vec<SendTemplate>,
    run: u64,
    sequence_base: u64,
    rate: f64,
    start: Instant,
    stop: Instant,
    give_up: Duration,
    /// Index into `sends` of each unanswered send.
    slots: Slots<usize>,
    /// Sends to be written again.
    again: VecDeque<usize>,
    sends: Vec<SendState>,
    tally: Tally,
    watch: Watch,
    broker_index: usize,
    timeline: Arc<Mutex<Timeline>>,
}

impl Sender {
    /// Sends at the steady rate until the end, then until everything is acknowledged.
    async fn run(mut self) -> Result<Sender, BenchError> {
        let mut pipe = Pipe::connect(&self.broker.address).await?;
        loop {
            match self.session(&mut pipe).await {
                Ok(()) => return Ok(self),
                Err(error) => {
                    tracing::debug!(broker = self.broker.name, %error, "looking for the leader");
                }
            }
            self.tally.connections_lost += 1;
            self.tally.is_new_connection = true;
            let mut unanswered = self.slots.abandon();
            unanswered.sort_unstable();
            self.timeline.lock().failed(Instant::now(), unanswered.len() as u64);
            unanswered.into_iter().rev().for_each(|send| self.again.push_front(send));
            if self.tally.last_ack.elapsed() > self.give_up {
                let missing = self.sends.len() as u64 - self.tally.acknowledged;
                return Err(BenchError::Unacknowledged(missing, self.give_up));
            }
            let found = reconnect(&self.directory, &self.broker.name, self.give_up).await?;
            (pipe, self.broker) = found;
            self.watch.reconnected(&self.broker.address);
        }
    }

    async fn session(&mut self, pipe: &mut Pipe) -> Result<(), PipeError> {
        let mut heard = Instant::now();
        loop {
            let due = self.write_due(pipe);
            if due.is_none() && self.slots.in_flight() == 0 && self.again.is_empty() {
                return Ok(());
            }
            let stalled_at = heard + STALL;
            let wake = due.map_or(stalled_at, |due| due.min(stalled_at));
            tokio::select! {
                biased;
                turned = pipe.turn(false) => turned?,
                _ = sleep_until(wake) => {}
            }
            let now = Instant::now();
            if self.read_answers(pipe, now)? || self.slots.in_flight() == 0 {
                heard = now;
            } else if now >= stalled_at {
                if now - self.tally.last_ack > self.give_up {
                    return Err(PipeError::Timeout);
                }
                self.check_leader().await?;
                heard = now;
            }
        }
    }

    /// An error if someone else leads by now.
    async fn check_leader(&self) -> Result<(), PipeError> {
        let Ok(brokers) = self.directory.brokers().await else { return Ok(()) };
        let moved = |b: &Broker| b.name == self.broker.name && b.address != self.broker.address;
        if brokers.iter().any(moved) { Err(PipeError::Timeout) } else { Ok(()) }
    }

    /// Writes what is due; when the next will be, or `None` after the last.
    fn write_due(&mut self, pipe: &mut Pipe) -> Option<Instant> {
        let now = Instant::now();
        while pipe.out.len() < OUT_BYTES_TARGET && !self.slots.is_full() {
            let Some(send) = self.again.pop_front() else { break };
            self.tally.sent_again += 1;
            self.write_one(pipe, send);
        }
        loop {
            let next = self.sends.len();
            let due = self.start + Duration::from_secs_f64(next as f64 / self.rate);
            if due >= self.stop {
                return None;
            }
            if due > now || self.slots.is_full() {
                return Some(due.max(now + Duration::from_millis(1)));
            }
            let begun = if now - due > TIMER_SLACK { due } else { now };
            self.sends.push(SendState { begun, writes: 0, acknowledged: false, found: 0 });
            self.write_one(pipe, next);
        }
    }

    fn write_one(&mut self, pipe: &mut Pipe, send: usize) {
        let Some(slot) = self.slots.take(send) else { return self.again.push_front(send) };
        let state = &mut self.sends[send];
        state.writes = state.writes.saturating_add(1);
        let id = UniqueId { run: self.run, sequence: self.sequence_base + send as u64 };
        let template = &self.templates[send % self.templates.len()];
        template.write(&mut pipe.out, slot, crate::clock::now_ms(), id);
    }

    /// Takes in answers; whether any was an acknowledgement. A refusal ends the session: whoever
    /// leads is looked up again.
    fn read_answers(&mut self, pipe: &mut Pipe, now: Instant) -> Result<bool, PipeError> {
        let mut timeline = self.timeline.lock();
        let mut acknowledged = false;
        let mut refusal = None;
        while let Some(answer) = pipe.next_answer()? {
            let Some(send) = self.slots.answer(answer.slot) else { continue };
            if STORED.contains(&answer.code) {
                if !self.sends[send].acknowledged {
                    self.sends[send].acknowledged = true;
                    self.tally.acknowledge(now);
                    let begun = self.sends[send].begun;
                    if let Some(interval) = timeline.at(now) {
                        interval.by_broker[self.broker_index] += 1;
                        interval.latency.record(now - begun);
                    }
                    if !acknowledged && let Some(silence) = self.watch.heard(now, begun) {
                        timeline.silent(silence);
                    }
                    acknowledged = true;
                }
                continue;
            }
            *self.tally.refused.entry(answer.code).or_default() += 1;
            timeline.failed(now, 1);
            self.again.push_back(send);
            refusal = Some(answer);
        }
        match refusal {
            Some(answer) => {
                let remark = super::frame::remark(&answer.header);
                Err(PipeError::Refused { code: answer.code, remark })
            }
            None => Ok(acknowledged),
        }
    }
}

fn summarise(
    arguments: &FailoverArgs,
    senders: &[Sender],
    killed_at: Option<Instant>,
    latency: LatencySummary,
) -> FailoverReport {
    let mut report = FailoverReport {
        topic: arguments.target.topic.clone(),
        rate_per_second: arguments.rate,
        sent: 0,
        acknowledged: 0,
        sent_again: 0,
        connections_lost: 0,
        refused: BTreeMap::new(),
        latency,
        gap_ms: 0.0,
        kill_to_ack_ms: None,
        read_back: 0,
        lost: 0,
        duplicates: 0,
        unexplained_duplicates: 0,
    };
    let ms = |duration: Duration| (duration.as_secs_f64() * 10_000.0).round() / 10.0;
    for Sender { tally, sends, .. } in senders {
        report.sent += sends.len() as u64;
        report.acknowledged += tally.acknowledged;
        report.sent_again += tally.sent_again;
        report.connections_lost += tally.connections_lost;
        for (code, count) in &tally.refused {
            *report.refused.entry(*code).or_default() += count;
        }
        report.gap_ms = report.gap_ms.max(ms(tally.gap));
        let kill_to_ack = killed_at.and_then(|killed_at| {
            let recovery = tally.recoveries.iter().find(|recovery| **recovery > killed_at)?;
            Some(ms(*recovery - killed_at))
        });
        report.kill_to_ack_ms = match (report.kill_to_ack_ms, kill_to_ack) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
    }
    report
}

/// Reads every queue from where it stood before the run and compares with what was acknowledged.
async fn read_back(
    directory: &Directory,
    before: &[QueueRange],
    run: u64,
    senders: &[Sender],
    report: &mut FailoverReport,
) -> Result<(), BenchError> {
    let mut found: Vec<Vec<SendState>> = senders.iter().map(|s| s.sends.clone()).collect();
    let mut ranges = queue_ranges(directory).await?;
    // Addresses may have changed, the order of broker names and queues has not.
    for (range, before) in ranges.iter_mut().zip(before) {
        range.from = before.to;
    }
    let options = PullOptions {
        topic: directory.topic().to_owned(),
        group: "TOOLS_CONSUMER".to_owned(),
        max_messages: 512,
        deadline: None,
        timeline: None,
    };
    let key = memchr::memmem::Finder::new(b"UNIQ_KEY\x01");
    let mut visit = |record: &[u8]| {
        let Some(at) = key.find(record) else { return };
        let id = record.get(at + 9..at + 41).and_then(UniqueId::parse);
        let Some(id) = id.filter(|id| id.run == run) else { return };
        let sender = found.get_mut((id.sequence >> 40) as usize);
        let send = (id.sequence & ((1 << 40) - 1)) as usize;
        if let Some(state) = sender.and_then(|sends| sends.get_mut(send)) {
            state.found = state.found.saturating_add(1);
        }
    };
    pull_all(ranges, &options, &mut visit).await?;
    for state in found.iter().flatten() {
        report.read_back += u64::from(state.found);
        report.lost += u64::from(state.acknowledged && state.found == 0);
        report.duplicates += u64::from(state.found > 1);
        report.unexplained_duplicates += u64::from(state.found > 1 && state.writes == 1);
    }
    Ok(())
}
