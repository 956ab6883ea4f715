//! From a send to a listener: sends at a steady rate, received by a push consumer in the same process.
//!
//! Invariant: one clock. A message carries when its send began, so its latency is a difference of two
//! readings of this process, whatever the brokers' clocks say.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use super::BenchError;
use super::arguments::PushArgs;
use super::directory::Directory;
use super::frame::UniqueId;
use super::produce::{Drive, ProduceReport, drive};
use super::recorder::LatencySummary;
use super::report::{Picture, grouped};
use super::timeline::Timeline;
use crate::client::{
    Client, ClientError, ClientOptions, ConsumeFrom, ConsumeResult, ConsumerOptions, PushConsumer,
    ReceivedMessage,
};

/// How long to wait for what was sent last.
const LAST_MESSAGES: Duration = Duration::from_secs(10);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
const UNIQUE_KEY: &str = "UNIQ_KEY";

/// Report of `bench push`.
#[derive(Debug, Serialize)]
pub(super) struct PushReport {
    /// The sends, from their begin to their acknowledgement.
    send: ProduceReport,
    group: String,
    /// Messages that reached the listener and whose send began in the measured time.
    received: u64,
    /// Acknowledged messages of the run, warm-up included, less those that came: at least so many are
    /// missing.
    pub missing: u64,
    /// From a send's begin to the listener.
    push: LatencySummary,
}

impl std::fmt::Display for PushReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.send)?;
        writeln!(
            f,
            "received     {} by group {}, {} missing",
            self.received, self.group, self.missing
        )?;
        write!(f, "push         {}", self.push)
    }
}

/// What the listener has seen.
struct Received {
    /// The sends' ids tell how long after this they began.
    start: Instant,
    timeline: Timeline,
    /// Of this run, whenever they were sent.
    all: u64,
    end: Instant,
}

/// Runs `bench push`.
pub(super) async fn run(arguments: &PushArgs) -> Result<(PushReport, Picture), BenchError> {
    let directory = Directory::new(&arguments.target)?;
    let brokers = directory.ensure_topic().await?;
    let name_servers = arguments.target.namesrv.as_deref().ok_or(BenchError::PushNeedsRoutes)?;
    let client =
        Client::start(ClientOptions::new(name_servers).with_instance_name("bench")).await?;
    let run = super::run_id();
    let received = Arc::new(Mutex::new(Received::from(Instant::now(), arguments)));
    let consumer = listen(&client, arguments, run, received.clone()).await?;
    // What a consumer takes to start is no part of the load's time; nothing was sent yet.
    let start = Instant::now();
    *received.lock() = Received::from(start, arguments);
    let drive_by = Drive {
        connections: brokers.len(),
        window: brokers.len(),
        rate: Some(arguments.rate),
        clients: 0,
        run,
        start,
    };
    let (send, _) = drive(&arguments.target, &arguments.load, &drive_by).await?;
    let arrived = async {
        while received.lock().all < send.acknowledged {
            sleep(BETWEEN_LOOKS).await;
        }
    };
    // Whoever is late counts as missing.
    let _ = timeout(LAST_MESSAGES, arrived).await;
    consumer.shutdown().await;
    let mut received = received.lock();
    let end = received.end;
    received.timeline.end_at(end);
    let total = received.timeline.total();
    let missing = send.acknowledged.saturating_sub(received.all);
    let group = arguments.group.clone();
    let report =
        PushReport { send, group, received: total.count(), missing, push: total.summary() };
    let mut picture = Picture::of(&received.timeline);
    picture.title = format!("{} messages a second, from send to listener", grouped(arguments.rate));
    picture.set("topic", &arguments.target.topic);
    picture.set_brokers(&brokers);
    picture.set("latency", "from a send's begin to the listener");
    Ok((report, picture))
}

async fn listen(
    client: &Client,
    arguments: &PushArgs,
    run: u64,
    received: Arc<Mutex<Received>>,
) -> Result<PushConsumer, ClientError> {
    let mut options =
        ConsumerOptions::new(&arguments.group).subscribe(&arguments.target.topic, "*");
    // Not the end: what is sent before this group has its offsets would never come.
    options.consume_from = ConsumeFrom::Timestamp(crate::clock::now_ms());
    let listener = move |messages: Arc<[ReceivedMessage]>| {
        let now = Instant::now();
        let mut received = received.lock();
        for message in messages.iter() {
            let id = message.property(UNIQUE_KEY).and_then(|id| UniqueId::parse(id.as_bytes()));
            if let Some(id) = id.filter(|id| id.run == run) {
                received.take(id.begun(), now);
            }
        }
        std::future::ready(ConsumeResult::Success)
    };
    PushConsumer::start(client, options, listener).await
}

impl Received {
    fn from(start: Instant, arguments: &PushArgs) -> Received {
        let measure_from = start + arguments.load.warmup;
        let names = vec![arguments.target.topic.clone()];
        Received {
            start,
            timeline: Timeline::new(measure_from, arguments.load.duration, names),
            all: 0,
            end: measure_from + arguments.load.duration,
        }
    }

    /// A message arrived; it is measured if its send began in the measured time.
    fn take(&mut self, begun: Duration, now: Instant) {
        self.all += 1;
        let begun = self.start + begun;
        // In the interval of its send: a message that comes late belongs to when it was sent.
        if begun < self.end
            && let Some(interval) = self.timeline.at(begun)
        {
            interval.by_broker[0] += 1;
            interval.latency.record(now.saturating_duration_since(begun));
        }
    }
}
