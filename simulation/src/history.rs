//! What clients asked and were told.
//!
//! A send ends in one of three ways: stored (with its place, where it may have to wait), failed (it
//! certainly is nowhere), or unknown (it may be stored, more than once even, or not). Its message's number
//! is in its body.
//!
//! Invariant: nothing is entered that a client could not know; times are virtual and those of the
//! call and the return.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raftmq::client::ConsumeResult;

/// A queue of the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Queue {
    /// Number of the broker group that has it.
    pub group: usize,
    /// Its number there.
    pub id: i32,
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.id)
    }
}

/// How a send ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged.
    Stored {
        /// Queue.
        queue: Queue,
        /// Place in it.
        offset: i64,
        /// Place in the group's log.
        position: i64,
        /// Times it was sent; only the last one's answer is known.
        attempts: u32,
    },
    /// Acknowledged; it waits until it is due.
    Waits {
        /// Its group.
        group: usize,
        /// Place in the group's log.
        position: i64,
    },
    /// Refused before anything was sent.
    Failed,
    /// No answer, or none to be relied on.
    Unknown,
}

/// One message's send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// The message's number, unique in the run.
    pub message: u64,
    /// When the client called.
    pub called: Duration,
    /// When the call returned.
    pub returned: Duration,
    /// How.
    pub outcome: Outcome,
}

impl Send {
    /// By which group it was acknowledged, and where in its log it was said to be.
    pub fn acknowledged(&self) -> Option<(usize, i64)> {
        match self.outcome {
            Outcome::Stored { queue, position, .. } => Some((queue.group, position)),
            Outcome::Waits { group, position } => Some((group, position)),
            Outcome::Failed | Outcome::Unknown => None,
        }
    }
}

/// A message handed to a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The message's number.
    pub message: u64,
    /// Queue.
    pub queue: Queue,
    /// Place in it.
    pub offset: i64,
    /// Where the broker says it is in the log.
    pub position: i64,
}

/// How often listeners answered what, of one record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// Done with it.
    pub consumed: u32,
    /// It shall come again later.
    pub later: u32,
    /// It shall not come again.
    pub given_up: u32,
}

#[derive(Default)]
struct Inner {
    /// By message number; none while under way.
    sends: Vec<Option<Send>>,
    deliveries: Vec<Delivery>,
    /// Numbers of the messages among them.
    delivered: BTreeSet<u64>,
    /// Numbers of messages that were acknowledged and not delivered so far.
    owed: BTreeSet<u64>,
    /// By group and place in its log.
    answers: BTreeMap<(usize, i64), Answers>,
    /// Listeners are done with whatever they are given.
    is_calm: bool,
    /// By group.
    acknowledged: Vec<u64>,
    last_acknowledged_call: Option<Duration>,
}

/// The history of one run; clones share it.
#[derive(Clone, Default)]
pub struct History {
    inner: Arc<Mutex<Inner>>,
}

impl History {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a message that is about to be sent.
    pub fn next_message(&self) -> u64 {
        let mut inner = self.inner();
        inner.sends.push(None);
        inner.sends.len() as u64 - 1
    }

    /// A send returned.
    pub fn returned(&self, send: Send) {
        let mut inner = self.inner();
        if let Some((group, _)) = send.acknowledged() {
            let groups = inner.acknowledged.len().max(group + 1);
            inner.acknowledged.resize(groups, 0);
            inner.acknowledged[group] += 1;
            inner.last_acknowledged_call = inner.last_acknowledged_call.max(Some(send.called));
            if !inner.delivered.contains(&send.message) {
                inner.owed.insert(send.message);
            }
        }
        let at = send.message as usize;
        assert!(inner.sends[at].is_none(), "message {at} returned twice");
        inner.sends[at] = Some(send);
    }

    /// A listener was called.
    pub fn delivered(&self, delivery: Delivery) {
        let mut inner = self.inner();
        inner.delivered.insert(delivery.message);
        inner.owed.remove(&delivery.message);
        inner.deliveries.push(delivery);
    }

    /// What a listener made of the record at a place in a group's log.
    pub fn answered(&self, group: usize, position: i64, answer: ConsumeResult) {
        let mut inner = self.inner();
        let answers = inner.answers.entry((group, position)).or_default();
        match answer {
            ConsumeResult::Success => answers.consumed += 1,
            ConsumeResult::Later | ConsumeResult::LaterAtLevel(_) => answers.later += 1,
            ConsumeResult::GiveUp => answers.given_up += 1,
        }
    }

    /// What listeners made of each record.
    pub fn answers(&self) -> BTreeMap<(usize, i64), Answers> {
        self.inner().answers.clone()
    }

    /// From now on listeners shall be done with whatever they are given.
    pub fn calm_down(&self) {
        self.inner().is_calm = true;
    }

    /// Whether they shall.
    pub fn is_calm(&self) -> bool {
        self.inner().is_calm
    }

    /// Messages acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.inner().acknowledged.iter().sum()
    }

    /// Those that a group acknowledged.
    pub fn acknowledged_by(&self, group: usize) -> u64 {
        self.inner().acknowledged.get(group).copied().unwrap_or(0)
    }

    /// When the youngest of the acknowledged sends was called.
    pub fn last_acknowledged_call(&self) -> Option<Duration> {
        self.inner().last_acknowledged_call
    }

    /// Deliveries so far.
    pub fn delivery_count(&self) -> usize {
        self.inner().deliveries.len()
    }

    /// Sends in the order of their numbers; those under way count as unknown.
    pub fn sends(&self, now: Duration) -> Vec<Send> {
        let inner = self.inner();
        let under_way = |message| Send {
            message,
            called: Duration::ZERO,
            returned: now,
            outcome: Outcome::Unknown,
        };
        let numbered = (0..).zip(&inner.sends);
        numbered.map(|(number, send)| send.clone().unwrap_or_else(|| under_way(number))).collect()
    }

    /// Sends that were acknowledged and whose message was not delivered so far.
    pub fn owed(&self) -> Vec<Send> {
        let inner = self.inner();
        let sends = inner.owed.iter().map(|message| inner.sends[*message as usize].clone());
        sends.flatten().collect()
    }

    /// Deliveries in the order they were made.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.inner().deliveries.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(message: u64, outcome: Outcome) -> Send {
        Send { message, called: Duration::ZERO, returned: Duration::ZERO, outcome }
    }

    #[test]
    fn what_is_acknowledged_is_owed_until_it_is_delivered() {
        let history = History::default();
        let queue = Queue { group: 0, id: 0 };
        let delivery = |message| Delivery { message, queue, offset: 0, position: 0 };
        let owed = || history.owed().iter().map(|send| send.message).collect::<Vec<_>>();
        (0..4).for_each(|number| assert_eq!(history.next_message(), number));
        let waits = Outcome::Waits { group: 0, position: 0 };
        history.returned(send(0, waits.clone()));
        history.returned(send(1, Outcome::Unknown));
        history.returned(send(2, waits.clone()));
        history.delivered(delivery(3));
        history.returned(send(3, waits));
        assert_eq!(owed(), [0, 2], "the last one came before its acknowledgement");
        history.delivered(delivery(2));
        history.delivered(delivery(2));
        assert_eq!(owed(), [0]);
    }
}
