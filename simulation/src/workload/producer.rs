//! A producer that sends one message, or one batch, after the other, and notes what it was told.
//!
//! Invariant: a send counts as failed only if it was refused before it left the client; whatever else
//! went wrong leaves it unknown.

use std::sync::Arc;
use std::time::Duration;

use raftmq::client::{
    Client, ClientError, Message, Producer, ProducerOptions, SendResult, SendStatus,
};
use raftmq::protocol::message_id::OffsetMessageId;
use tokio::sync::watch;
use tokio::time::sleep;

use super::{PRODUCER_GROUP, TOPIC, client_options, message};
use crate::cluster::group_of;
use crate::dice::Dice;
use crate::history::{History, Outcome, Queue, Send};
use crate::invariants::quorum_durable::QuorumDurable;
use crate::parameters::Parameters;
use crate::trace::Trace;

/// What a producer works with.
pub struct Produce {
    /// Which of the producers it is.
    pub number: usize,
    /// The run's parameters.
    pub parameters: Arc<Parameters>,
    /// Where the name server is.
    pub name_server: String,
    /// Where outcomes are entered.
    pub history: History,
    /// The run's events.
    pub trace: Trace,
    /// Of each group, asked at each acknowledgement.
    pub durable: Vec<QuorumDurable>,
    /// Becomes true when it shall stop.
    pub stop: watch::Receiver<bool>,
}

/// Sends until told to stop.
pub async fn produce(with: Produce) {
    let Produce { number, parameters, .. } = &with;
    let mut dice = Dice::of(parameters.seed, &format!("producer {number}"));
    let mut delays = Dice::of(parameters.seed, &format!("delays of producer {number}"));
    let Some(producer) = start(&with).await else { return };
    while !*with.stop.borrow() {
        match dice.below(20) {
            0 => refused(&with, &producer).await,
            1 | 2 => batch(&with, &producer, dice.between(2, 5)).await,
            _ => one(&with, &producer, delay_level(parameters, &mut delays)).await,
        }
        sleep(Duration::from_millis(dice.between(0, parameters.send_pause_ms))).await;
    }
    producer.shutdown().await;
}

async fn start(with: &Produce) -> Option<Producer> {
    let options = client_options(&with.name_server, &format!("producer-{}", with.number));
    let client = Client::start(options).await.ok()?;
    let mut options = ProducerOptions::new(PRODUCER_GROUP);
    options.send_timeout = Duration::from_secs(8);
    options.attempt_timeout = Duration::from_secs(2);
    Producer::start(&client, options).ok()
}

fn new_message(with: &Produce) -> (u64, Message) {
    let number = with.history.next_message();
    let body = message::body(number, with.parameters.body_bytes_max);
    (number, Message::new(TOPIC, body))
}

/// The level at which the next message is delayed, if it is.
fn delay_level(parameters: &Parameters, dice: &mut Dice) -> Option<u32> {
    let levels = parameters.delay_levels_s.len() as u64;
    let delayed = parameters.delayed_one_in > 0 && dice.one_in(parameters.delayed_one_in);
    delayed.then(|| u32::try_from(dice.between(1, levels)).expect("levels are few"))
}

async fn one(with: &Produce, producer: &Producer, delay_level: Option<u32>) {
    let (number, mut message) = new_message(with);
    if let Some(level) = delay_level {
        message = message.with_delay_level(level);
    }
    let called = with.trace.elapsed();
    let result = producer.send(&message).await;
    settle(with, &[number], called, &result, delay_level);
}

async fn batch(with: &Produce, producer: &Producer, count: u64) {
    let (numbers, messages): (Vec<u64>, Vec<Message>) =
        (0..count).map(|_| new_message(with)).unzip();
    let called = with.trace.elapsed();
    let result = producer.send_batch(&messages).await;
    settle(with, &numbers, called, &result, None);
}

/// Sends what the client must refuse by itself.
async fn refused(with: &Produce, producer: &Producer) {
    let (number, message) = new_message(with);
    let called = with.trace.elapsed();
    let message = Message::new("no spaces allowed", message.body);
    let result = producer.send(&message).await;
    settle(with, &[number], called, &result, None);
}

/// Enters the outcome of a call; the messages of a batch lie one behind the other.
fn settle(
    with: &Produce,
    numbers: &[u64],
    called: Duration,
    result: &Result<SendResult, ClientError>,
    delay_level: Option<u32>,
) {
    let returned = with.trace.elapsed();
    let positions = positions(result);
    let name = with.number;
    match result {
        Ok(sent) => with.trace.note(format_args!(
            "producer {name}: {numbers:?} stored at {}/{}:{} in {} attempts, delayed {delay_level:?}",
            sent.queue.broker_name, sent.queue.queue_id, sent.queue_offset, sent.attempts
        )),
        Err(error) => with.trace.note(format_args!("producer {name}: {numbers:?}: {error}")),
    }
    let sent = result.as_ref().ok();
    let group = sent.map_or(0, |sent| {
        group_of(&sent.queue.broker_name).expect("only brokers of the run can be sent to")
    });
    for (at, &message) in (0..).zip(numbers) {
        let position = positions.get(usize::try_from(at).unwrap_or(0)).copied().unwrap_or(-1);
        let outcome = match result {
            Ok(sent) if sent.status == SendStatus::SendOk && delay_level.is_some() => {
                Outcome::Waits { group, position }
            }
            Ok(sent) if sent.status == SendStatus::SendOk => Outcome::Stored {
                queue: Queue { group, id: sent.queue.queue_id },
                offset: sent.queue_offset + at,
                position,
                attempts: sent.attempts,
            },
            Err(ClientError::IllegalMessage(_) | ClientError::IllegalArgument(_)) => {
                Outcome::Failed
            }
            _ => Outcome::Unknown,
        };
        with.history.returned(Send { message, called, returned, outcome });
    }
    if result.is_ok() && !with.parameters.flush_async {
        with.durable[group].acknowledged(numbers, &positions);
    }
}

/// Where the broker says that the messages of a call lie in the log.
fn positions(result: &Result<SendResult, ClientError>) -> Vec<i64> {
    let ids = result.as_ref().map_or("", |sent| sent.offset_message_id.as_str());
    let decoded = ids.split(',').map(OffsetMessageId::decode);
    decoded.filter_map(|id| Some(id.ok()?.offset)).collect()
}
