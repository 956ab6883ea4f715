//! The demo: messages flow while the leader dies, and every one is accounted for.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::QuickstartError;
use super::group::Group;
use super::layout::Layout;
use super::report::{Ledger, Summary};
use crate::client::{
    Admin, ConsumeFrom, ConsumeResult, ConsumerOptions, Message, Producer, ProducerOptions,
    PushConsumer,
};
use crate::protocol::topic::TopicConfig;

const TOPIC: &str = "QuickstartDemo";
const QUEUES: i32 = 8;
/// Slow enough that the leader dies in the middle of it.
const SENDS_PER_SECOND: u32 = 2000;
const BODY_BYTES: usize = 256;
/// How long the consumer may be silent before the rest counts as lost.
const CONSUMER_PATIENCE: Duration = Duration::from_secs(30);
const ROUTE_LIMIT: Duration = Duration::from_secs(60);

/// What the tasks of the demo share.
struct Board {
    ledger: Mutex<Ledger>,
    /// Something was acknowledged, given up or consumed.
    progress: Notify,
}

/// Runs the demo and prints its table.
pub(super) async fn run(layout: Layout, messages: u32) -> Result<ExitCode, QuickstartError> {
    eprintln!("starting a NameServer and three brokers in {}", layout.dir.display());
    let mut group = Group::start(layout).await?;
    let roles = group.await_leader().await?;
    eprint!("{}", roles.describe(&group.layout));
    let summary = exchange(&mut group, messages).await;
    group.stop().await;
    let summary = summary?;
    println!("{summary}");
    Ok(if summary.lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn exchange(group: &mut Group, messages: u32) -> Result<Summary, QuickstartError> {
    create_topic(group).await?;
    let board = Arc::new(Board { ledger: Mutex::default(), progress: Notify::new() });
    let consumer = consume(group, &board).await?;
    let options = ProducerOptions::new("quickstart_producer");
    let producer = Producer::start(&group.client, options)?;
    let sending = tokio::spawn(send_all(producer.clone(), board.clone(), messages));
    watch(group, &board, messages).await?;
    if let Err(error) = sending.await {
        tracing::warn!(%error, "the sending task ended abnormally");
    }
    await_consumer(&board, messages).await;
    let summary = board.ledger.lock().summary(u64::from(messages));
    let leave = async {
        consumer.shutdown().await;
        producer.shutdown().await;
    };
    if timeout(Duration::from_secs(5), leave).await.is_err() {
        tracing::warn!("clients did not leave in time");
    }
    Ok(summary)
}

async fn create_topic(group: &Group) -> Result<(), QuickstartError> {
    let admin = Admin::new(&group.client);
    let started = Instant::now();
    let topic = TopicConfig::new(TOPIC, QUEUES, 6);
    loop {
        if let Some(leader) = leader(group).await {
            let address = group.layout.client_address(leader);
            match admin.update_topic(&address, &topic, None).await {
                Ok(()) if admin.route(TOPIC).await.is_ok() => return Ok(()),
                Ok(()) => {}
                Err(error) => tracing::debug!(%error, "topic not created yet"),
            }
        }
        if started.elapsed() > ROUTE_LIMIT {
            return Err(QuickstartError::NoRoute(TOPIC.to_owned()));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Who leads as far as the NameServer knows, if it answers at once.
async fn leader(group: &Group) -> Option<u16> {
    group.roles().await.ok()?.leader()
}

async fn consume(group: &Group, board: &Arc<Board>) -> Result<PushConsumer, QuickstartError> {
    let mut options = ConsumerOptions::new("quickstart_consumer").subscribe(TOPIC, "*");
    options.consume_from = ConsumeFrom::First;
    options.consume_batch_max = 32;
    let board = board.clone();
    let consumer = PushConsumer::start(&group.client, options, move |messages| {
        let board = board.clone();
        async move {
            let mut ledger = board.ledger.lock();
            messages.iter().for_each(|message| ledger.consumed(&message.message_id()));
            drop(ledger);
            board.progress.notify_waiters();
            ConsumeResult::Success
        }
    });
    Ok(consumer.await?)
}

/// Sends at a steady pace; returns when the last send has its outcome.
async fn send_all(producer: Producer, board: Arc<Board>, messages: u32) {
    let start = Instant::now();
    let body = vec![b'x'; BODY_BYTES];
    let (done, mut all_done) = tokio::sync::mpsc::channel::<()>(1);
    for number in 0..messages {
        sleep_until(start + Duration::from_secs(1) * number / SENDS_PER_SECOND).await;
        let message = Message::new(TOPIC, body.clone()).with_key(&number.to_string());
        let (board, done) = (board.clone(), done.clone());
        producer
            .send_async(message, move |outcome| {
                {
                    let mut ledger = board.ledger.lock();
                    match outcome {
                        Ok(result) => ledger.acknowledged(&result.message_id, Instant::now()),
                        Err(error) => {
                            tracing::warn!(%error, "send given up");
                            ledger.failed += 1;
                        }
                    }
                }
                board.progress.notify_waiters();
                drop(done);
            })
            .await;
    }
    // Nothing is ever sent: the channel closes when the last callback has run.
    drop(done);
    all_done.recv().await;
}

/// Shows progress, and kills the leader half way.
async fn watch(group: &mut Group, board: &Board, messages: u32) -> Result<(), QuickstartError> {
    let mut killed = false;
    let mut line = ProgressLine::new();
    let messages = u64::from(messages);
    loop {
        let progress = board.progress.notified();
        let (summary, failed) = {
            let ledger = board.ledger.lock();
            (ledger.summary(messages), ledger.failed)
        };
        line.show(&summary, killed);
        if summary.acknowledged + failed >= messages {
            line.end(&summary, killed);
            return Ok(());
        }
        if !killed
            && summary.acknowledged >= messages * 2 / 5
            && let Some(leader) = leader(group).await
        {
            group.kill_broker(leader)?;
            board.ledger.lock().killed(Instant::now());
            killed = true;
            line.interrupt(&format!("kill -9 of the leader, broker n{leader}"));
        }
        // A summary walks the whole ledger: not more often than eyes can follow.
        let _ = timeout(Duration::from_millis(100), progress).await;
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until every acknowledged message was consumed, or the consumer has stopped getting any.
async fn await_consumer(board: &Board, messages: u32) {
    let mut line = ProgressLine::new();
    loop {
        let progress = board.progress.notified();
        tokio::pin!(progress);
        progress.as_mut().enable();
        let summary = board.ledger.lock().summary(u64::from(messages));
        line.show(&summary, true);
        if summary.lost == 0 || timeout(CONSUMER_PATIENCE, progress).await.is_err() {
            line.end(&summary, true);
            return;
        }
    }
}

/// A line that is rewritten on a terminal, and written anew each second elsewhere.
struct ProgressLine {
    terminal: bool,
    next: Instant,
}

impl ProgressLine {
    fn new() -> ProgressLine {
        ProgressLine { terminal: std::io::stderr().is_terminal(), next: Instant::now() }
    }

    fn show(&mut self, summary: &Summary, killed: bool) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        let pause = if self.terminal { 100 } else { 1000 };
        self.next = now + Duration::from_millis(pause);
        let leader = if killed { ", leader killed" } else { "" };
        let (acknowledged, sent) = (summary.acknowledged, summary.sent);
        let text =
            format!("{acknowledged}/{sent} acknowledged, {} consumed{leader}", summary.consumed);
        if self.terminal {
            eprint!("\r{text:<70}");
        } else {
            eprintln!("{text}");
        }
    }

    fn interrupt(&mut self, text: &str) {
        let clear = if self.terminal { "\r" } else { "" };
        eprintln!("{clear}{text:<70}");
    }

    fn end(&mut self, summary: &Summary, killed: bool) {
        if self.terminal {
            self.next = Instant::now();
            self.show(summary, killed);
            eprintln!();
        }
    }
}
