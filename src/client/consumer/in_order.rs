//! Consuming a queue in order.
//!
//! Invariant: of one queue there is one listener call at a time in this process, in the order of
//! offsets, and it begins only while the queue's lock is held by all that is known here. A message is
//! not offered before the one in front of it is consumed or sent to the dead letter topic.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedMutexGuard};
use tokio::time::{Instant, sleep};

use super::puller::Puller;
use super::{ConsumeResult, Shared, deliver};
use crate::client::message::ReceivedMessage;

/// A lock that was not renewed for so long may be another's.
const LOCK_VALIDITY: Duration = Duration::from_secs(30);
/// Puts messages into the dead letter topic.
const GIVE_UP_LEVEL: i32 = -1;

type Turn = Arc<tokio::sync::Mutex<()>>;

/// Who may call the listener, queue by queue. It outlives pullers: the call of one that was dropped
/// may still be under way when the next one begins.
#[derive(Default)]
pub(super) struct Turns(Mutex<BTreeMap<crate::protocol::queue::MessageQueue, Turn>>);

impl Turns {
    /// None while somebody still has the queue's turn.
    pub(super) fn free(&self, queue: &crate::protocol::queue::MessageQueue) -> Option<Turn> {
        let turn = self.0.lock().entry(queue.clone()).or_default().clone();
        let is_free = turn.try_lock().is_ok();
        is_free.then_some(turn)
    }
}

/// The messages of a queue in their order, and the right to consume them.
pub(super) struct Line {
    waiting: Mutex<VecDeque<ReceivedMessage>>,
    /// When the lock that is held was asked for; none where nobody else consumes the queue.
    locked_at: Option<Mutex<Instant>>,
    /// Something came, the lock was renewed, or the puller was stopped.
    news: Notify,
    turn: Turn,
}

impl Line {
    pub(super) fn new(turn: Turn, locked_at: Option<Instant>) -> Line {
        Line {
            waiting: Mutex::default(),
            locked_at: locked_at.map(Mutex::new),
            news: Notify::new(),
            turn,
        }
    }

    /// The lock is held since then.
    pub(super) fn renewed(&self, asked_at: Instant) {
        if let Some(locked_at) = &self.locked_at {
            *locked_at.lock() = asked_at;
        }
        self.wake();
    }

    /// Whether nobody else can have the queue.
    pub(super) fn holds(&self) -> bool {
        let locked_at = self.locked_at.as_ref().map(|locked_at| *locked_at.lock());
        locked_at.is_none_or(|locked_at| locked_at.elapsed() < LOCK_VALIDITY)
    }

    /// Messages to be consumed behind all others.
    pub(super) fn push(&self, messages: Vec<ReceivedMessage>) {
        self.waiting.lock().extend(messages);
        self.wake();
    }

    /// What waits is not to be consumed.
    pub(super) fn clear(&self) {
        self.waiting.lock().clear();
    }

    pub(super) fn wake(&self) {
        // One permit, stored if nobody waits now.
        self.news.notify_one();
    }

    /// When the listener's call is over; until this is dropped there is no other.
    pub(super) async fn turn(&self) -> OwnedMutexGuard<()> {
        self.turn.clone().lock_owned().await
    }

    fn next(&self, messages_max: usize) -> Vec<ReceivedMessage> {
        let mut waiting = self.waiting.lock();
        let count = waiting.len().min(messages_max.max(1));
        waiting.drain(..count).collect()
    }
}

/// Consumes until the puller is stopped.
pub(super) async fn consume(shared: Arc<Shared>, puller: Arc<Puller>) {
    let Some(line) = &puller.line else { return };
    while !puller.is_stopped() {
        let batch = line.next(shared.options.consume_batch_max);
        match batch.is_empty() {
            true => line.news.notified().await,
            false => offer(&shared, &puller, line, batch).await,
        }
    }
}

/// Offers messages until the listener is done with them, or the puller is stopped.
async fn offer(
    shared: &Arc<Shared>,
    puller: &Arc<Puller>,
    line: &Line,
    mut batch: Vec<ReceivedMessage>,
) {
    loop {
        let turn = line.turn().await;
        if puller.is_stopped() {
            return;
        }
        // The broker has put the group elsewhere: they are not to be consumed any more.
        batch.retain(|message| puller.is_in_flight(message.queue_offset));
        if batch.is_empty() {
            return;
        }
        if !line.holds() {
            drop(turn);
            line.news.notified().await;
            continue;
        }
        let result = {
            let permit = shared.permits.acquire().await;
            let _permit = permit.expect("the semaphore is never closed");
            (shared.listener)(batch.as_slice().into()).await
        };
        batch = left(shared, puller, batch, result).await;
        drop(turn);
        #[cfg(madsim)]
        if crate::mistake::made(crate::mistake::Mistake::PassesOverWaiting) {
            return;
        }
        if batch.is_empty() {
            return;
        }
        tokio::select! {
            biased;
            () = puller.until_stopped() => return,
            () = sleep(shared.options.later_pause) => {}
        }
    }
}

/// What is to be offered again, one attempt older.
async fn left(
    shared: &Shared,
    puller: &Puller,
    batch: Vec<ReceivedMessage>,
    result: ConsumeResult,
) -> Vec<ReceivedMessage> {
    if result == ConsumeResult::Success {
        puller.consumed(&batch);
        return Vec::new();
    }
    let attempts_max = shared.options.max_reconsume_times.unwrap_or(i32::MAX);
    let given_up = |message: &ReceivedMessage| {
        result == ConsumeResult::GiveUp || message.reconsume_times >= attempts_max
    };
    let (given_up, mut left): (Vec<_>, Vec<_>) = batch.into_iter().partition(given_up);
    if shared.is_broadcast() {
        // There is no dead letter topic for one of many.
        puller.consumed(&given_up);
    } else if shared.options.send_back {
        let refused = deliver::send_back(shared, puller, &given_up, GIVE_UP_LEVEL).await;
        left.extend_from_slice(&refused);
    } else {
        left.extend(given_up);
    }
    left.sort_by_key(|message| message.queue_offset);
    left.iter_mut().for_each(|message| message.reconsume_times += 1);
    left
}
