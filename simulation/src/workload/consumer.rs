//! A consumer that takes what it is given, sometimes only at a later time or never, and notes it.
//!
//! Invariant: a message whose body is not that of any message ends the run: nobody ever sent it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use raftmq::client::{Client, ConsumeFrom, ConsumeResult, ConsumerOptions, PushConsumer};

use tokio::sync::Notify;

use super::{CONSUMER_GROUP, IN_ORDER_GROUP, TOPIC, client_options, message, polled};
use crate::cluster::group_of;
use crate::dice::Dice;
use crate::history::{Delivery, History, Queue};
use crate::invariants::Findings;
use crate::invariants::no_gap::NoGap;
use crate::parameters::Parameters;
use crate::trace::Trace;

/// How a consumer consumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Its listener is called for many messages at once.
    Concurrent,
    /// A queue's messages one after the other.
    InOrder,
    /// It is polled.
    Polled,
}

/// Below which position retention has given up a group's log by now.
pub type GivenUp = Arc<dyn Fn(usize) -> i64 + Send + Sync>;

/// What a consumer works with.
#[derive(Clone)]
pub struct Consume {
    /// Which of the consumers it is.
    pub number: usize,
    /// How it consumes.
    pub kind: Kind,
    /// How far those have come that leave nothing out.
    pub no_gap: NoGap,
    /// What they cannot be given any more.
    pub given_up: GivenUp,
    /// The run's parameters.
    pub parameters: Arc<Parameters>,
    /// Where the name server is.
    pub name_server: String,
    /// Where deliveries are entered.
    pub history: History,
    /// The run's events.
    pub trace: Trace,
    /// Where a message that nobody sent is reported.
    pub findings: Findings,
}

/// Consumes until asked to stop, then leaves in good order.
pub async fn consume(with: Consume, stop: &Notify) {
    match with.kind {
        Kind::Concurrent => consume_concurrently(with, stop).await,
        Kind::InOrder => consume_in_order(with, stop).await,
        Kind::Polled => polled::poll(with, stop).await,
    }
}

async fn consume_concurrently(with: Consume, stop: &Notify) {
    let options = client_options(&with.name_server, &format!("consumer-{}", with.number));
    let Ok(client) = Client::start(options).await else { return };
    let mut options = ConsumerOptions::new(CONSUMER_GROUP).subscribe(TOPIC, "*");
    options.consume_from = ConsumeFrom::First;
    options.commit_interval = Duration::from_secs(1);
    options.rebalance_interval = Duration::from_secs(5);
    options.send_back = with.parameters.attempts_max.is_some();
    options.max_reconsume_times = with.parameters.attempts_max;
    options.later_pause = Duration::from_millis(200);
    let dice = Dice::of(with.parameters.seed, &format!("consumer {}", with.number));
    let dice = Arc::new(Mutex::new(dice));
    let with = Arc::new(with);
    let listener = move |messages: Arc<[raftmq::client::ReceivedMessage]>| {
        let attempt = messages.iter().map(|message| message.reconsume_times).max().unwrap_or(0);
        let answer =
            answer(&with, attempt, &mut dice.lock().unwrap_or_else(PoisonError::into_inner));
        for message in messages.iter() {
            note(&with, message, answer);
        }
        async move { answer }
    };
    let Ok(consumer) = PushConsumer::start(&client, options, listener).await else { return };
    stop.notified().await;
    consumer.shutdown().await;
}

/// A message that is wanted later holds its queue: whatever comes behind it waits.
async fn consume_in_order(with: Consume, stop: &Notify) {
    let name = format!("in-order-{}", with.number);
    let Ok(client) = Client::start(client_options(&with.name_server, &name)).await else { return };
    let mut options = ConsumerOptions::new(IN_ORDER_GROUP).subscribe(TOPIC, "*");
    options.in_order = true;
    options.consume_from = ConsumeFrom::First;
    options.commit_interval = Duration::from_secs(1);
    options.rebalance_interval = Duration::from_secs(5);
    options.later_pause = Duration::from_millis(200);
    let dice = Arc::new(Mutex::new(Dice::of(with.parameters.seed, &name)));
    let listener = move |messages: Arc<[raftmq::client::ReceivedMessage]>| {
        let wants_later = dice.lock().unwrap_or_else(PoisonError::into_inner).one_in(50);
        let done = !wants_later || with.history.is_calm();
        for message in messages.iter() {
            let Some((queue, _)) = place_of(&with, message) else { continue };
            let offset = message.queue_offset;
            with.no_gap.given(IN_ORDER_GROUP, queue, offset, (with.given_up)(queue.group));
            if done {
                with.no_gap.consumed(IN_ORDER_GROUP, queue, offset);
            }
        }
        async move { if done { ConsumeResult::Success } else { ConsumeResult::Later } }
    };
    let Ok(consumer) = PushConsumer::start(&client, options, listener).await else { return };
    stop.notified().await;
    consumer.shutdown().await;
}

/// What the listener makes of a message of which so many attempts have failed.
fn answer(with: &Consume, attempt: i32, dice: &mut Dice) -> ConsumeResult {
    use ConsumeResult::{GiveUp, Later, LaterAtLevel, Success};
    let sends_back = with.parameters.attempts_max.is_some();
    let fails = dice.one_in(match (sends_back, attempt) {
        (false, _) => 50,
        (true, 0) => 12,
        (true, _) => 2,
    });
    let how = dice.pick(&[Later, Later, LaterAtLevel(1), LaterAtLevel(2), GiveUp]);
    match fails && !with.history.is_calm() {
        false => Success,
        true if sends_back => how,
        true => Later,
    }
}

/// A message's queue and number. That it has none is a finding.
pub(super) fn place_of(
    with: &Consume,
    received: &raftmq::client::ReceivedMessage,
) -> Option<(Queue, u64)> {
    let queue = group_of(&received.broker_name).map(|group| Queue { group, id: received.queue_id });
    let Some(queue) = queue else {
        let what = format!("{received:?} comes from no group");
        with.findings.report("a delivery names its group", what);
        return None;
    };
    let Some(number) = message::number_of(&received.body, with.parameters.body_bytes_max) else {
        let place = format!("{queue}:{}", received.queue_offset);
        with.findings.report("corruption is never served", format!("at {place}: no such message"));
        return None;
    };
    Some((queue, number))
}

fn note(with: &Consume, received: &raftmq::client::ReceivedMessage, answer: ConsumeResult) {
    let Some((queue, number)) = place_of(with, received) else { return };
    with.trace.note(format_args!(
        "consumer {}: {number} from {queue}:{}, attempt {}: {answer:?}",
        with.number, received.queue_offset, received.reconsume_times
    ));
    with.history.answered(queue.group, received.physical_offset, answer);
    if received.reconsume_times > 0 {
        // From the queue of another topic.
        return;
    }
    with.history.delivered(Delivery {
        message: number,
        queue,
        offset: received.queue_offset,
        position: received.physical_offset,
    });
}
