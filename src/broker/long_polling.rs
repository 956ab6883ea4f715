//! Pulls that found nothing and wait for their queue.
//!
//! A parked pull is keyed by topic and queue and holds the offset it waits to see passed. It leaves
//! the table exactly once, with the reason: its queue grew, its deadline passed, or the broker asked
//! every waiter to leave (leadership changed, shutdown). Whoever takes it evaluates the pull again
//! and answers it; nothing in here answers.
//!
//! Invariant: a pull that is parked while its queue already has a message beyond its offset is woken
//! by the caller's re-check after [`LongPolling::park`], so no arrival falls between look and park.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A pull that waits.
#[derive(Debug)]
pub struct Parked<P> {
    /// Topic of the queue.
    pub topic: String,
    /// Queue in the topic.
    pub queue_id: i32,
    /// Wakes as soon as the queue's maximum offset is greater than this.
    pub offset: i64,
    /// Leaves at the latest now.
    pub deadline: Instant,
    /// Connection whose closing discards the pull.
    pub connection_id: u64,
    /// What to evaluate again.
    pub pull: P,
}

/// Why a parked pull left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its queue has a message beyond its offset.
    Arrived,
    /// Its time is over.
    Deadline,
    /// Everybody was asked to leave.
    Released,
}

/// A parked pull on its way to be answered.
#[derive(Debug)]
pub struct Woken<P> {
    /// The pull.
    pub parked: Parked<P>,
    /// Why it left.
    pub reason: Reason,
}

struct Table<P> {
    queues: HashMap<String, HashMap<i32, Vec<Parked<P>>>>,
    ready: Vec<Woken<P>>,
}

/// The table of parked pulls.
pub struct LongPolling<P> {
    table: Mutex<Table<P>>,
    /// Pulls in `queues`; read without the lock to make an arrival nobody waits for free.
    parked: AtomicUsize,
    parked_max: usize,
    wake: Notify,
}

impl<P> LongPolling<P> {
    /// An empty table that refuses more than `parked_max` waiters.
    pub fn new(parked_max: usize) -> Self {
        LongPolling {
            table: Mutex::new(Table { queues: HashMap::new(), ready: Vec::new() }),
            parked: AtomicUsize::new(0),
            parked_max,
            wake: Notify::new(),
        }
    }

    /// How many pulls wait.
    pub fn parked(&self) -> usize {
        self.parked.load(Ordering::Acquire)
    }

    /// Parks a pull, or hands it back when too many wait already. The caller must look at the
    /// queue's maximum afterwards and report it with [`LongPolling::arrived`].
    pub fn park(&self, parked: Parked<P>) -> Result<(), Parked<P>> {
        let mut table = self.table.lock();
        if self.parked.load(Ordering::Relaxed) >= self.parked_max {
            return Err(parked);
        }
        self.parked.fetch_add(1, Ordering::AcqRel);
        let queues = match table.queues.get_mut(parked.topic.as_str()) {
            Some(queues) => queues,
            None => table.queues.entry(parked.topic.clone()).or_default(),
        };
        queues.entry(parked.queue_id).or_default().push(parked);
        Ok(())
    }

    /// The queue's maximum offset is now `max_offset`: wakes who waited for less.
    pub fn arrived(&self, topic: &str, queue_id: i32, max_offset: i64) {
        if self.parked() == 0 {
            return;
        }
        let mut table = self.table.lock();
        let Table { queues, ready } = &mut *table;
        let Some(waiting) = queues.get_mut(topic).and_then(|queues| queues.get_mut(&queue_id))
        else {
            return;
        };
        let before = ready.len();
        move_out(waiting, ready, Reason::Arrived, |parked| parked.offset < max_offset);
        self.left(ready.len() - before);
    }

    /// Moves every pull whose deadline has passed out of the table.
    pub fn expire(&self, now: Instant) {
        self.release_if(Reason::Deadline, |parked| parked.deadline <= now);
    }

    /// Moves everybody out of the table, to be answered with what there is.
    pub fn release_all(&self) {
        self.release_if(Reason::Released, |_| true);
    }

    /// Discards the pulls of a connection that is gone.
    pub fn connection_closed(&self, connection_id: u64) {
        if self.parked() == 0 {
            return;
        }
        let mut discarded = Vec::new();
        {
            let mut table = self.table.lock();
            table.sweep(&mut discarded, Reason::Released, |parked| {
                parked.connection_id == connection_id
            });
            self.parked.fetch_sub(discarded.len(), Ordering::AcqRel);
        }
        // Dropped outside the lock: a pull owns its connection's responder.
        drop(discarded);
    }

    /// Waits for pulls that left the table.
    pub async fn woken(&self) -> Vec<Woken<P>> {
        loop {
            let ready = std::mem::take(&mut self.table.lock().ready);
            if !ready.is_empty() {
                return ready;
            }
            self.wake.notified().await;
        }
    }

    fn release_if(&self, reason: Reason, leaves: impl Fn(&Parked<P>) -> bool) {
        if self.parked() == 0 {
            return;
        }
        let mut table = self.table.lock();
        let mut out = std::mem::take(&mut table.ready);
        let before = out.len();
        table.sweep(&mut out, reason, leaves);
        self.left(out.len() - before);
        table.ready = out;
    }

    fn left(&self, count: usize) {
        if count > 0 {
            self.parked.fetch_sub(count, Ordering::AcqRel);
            self.wake.notify_one();
        }
    }
}

impl<P> Table<P> {
    /// Goes over every waiter and forgets queues nobody waits for.
    fn sweep(
        &mut self,
        out: &mut Vec<Woken<P>>,
        reason: Reason,
        leaves: impl Fn(&Parked<P>) -> bool,
    ) {
        self.queues.retain(|_, queues| {
            queues.retain(|_, waiting| {
                move_out(waiting, out, reason, &leaves);
                !waiting.is_empty()
            });
            !queues.is_empty()
        });
    }
}

fn move_out<P>(
    waiting: &mut Vec<Parked<P>>,
    out: &mut Vec<Woken<P>>,
    reason: Reason,
    leaves: impl Fn(&Parked<P>) -> bool,
) {
    let mut at = 0;
    while at < waiting.len() {
        if leaves(&waiting[at]) {
            out.push(Woken { parked: waiting.swap_remove(at), reason });
        } else {
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    fn parked(topic: &str, queue_id: i32, offset: i64, deadline: Instant) -> Parked<&'static str> {
        let topic = topic.to_owned();
        Parked { topic, queue_id, offset, deadline, connection_id: 7, pull: "pull" }
    }

    #[tokio::test]
    async fn an_arrival_wakes_only_its_queue_and_only_who_waits_for_less() {
        let table = LongPolling::new(10);
        let far = Instant::now() + Duration::from_secs(60);
        table.park(parked("T", 0, 5, far)).unwrap();
        table.park(parked("T", 0, 9, far)).unwrap();
        table.park(parked("T", 1, 0, far)).unwrap();
        table.arrived("T", 0, 5);
        assert_eq!(table.parked(), 3, "a maximum equal to the offset is no message");
        table.arrived("T", 0, 6);
        let woken = table.woken().await;
        assert_eq!(woken.len(), 1);
        assert_eq!(woken[0].parked.offset, 5);
        assert_eq!(woken[0].reason, Reason::Arrived);
        assert_eq!(table.parked(), 2);
    }

    #[tokio::test]
    async fn deadline_and_release_give_each_pull_back_once() {
        let table = LongPolling::new(10);
        let now = Instant::now();
        table.park(parked("T", 0, 0, now)).unwrap();
        table.park(parked("T", 0, 0, now + Duration::from_secs(9))).unwrap();
        table.expire(now);
        assert_eq!(table.woken().await[0].reason, Reason::Deadline);
        table.release_all();
        let woken = table.woken().await;
        assert_eq!((woken.len(), woken[0].reason), (1, Reason::Released));
        assert_eq!(table.parked(), 0);
        assert!(table.table.lock().queues.is_empty());
    }

    #[tokio::test]
    async fn a_closed_connection_takes_its_pulls_along_and_the_bound_holds() {
        let table = LongPolling::new(1);
        let far = Instant::now() + Duration::from_secs(60);
        table.park(parked("T", 0, 0, far)).unwrap();
        assert!(table.park(parked("T", 0, 0, far)).is_err());
        table.connection_closed(8);
        assert_eq!(table.parked(), 1);
        table.connection_closed(7);
        assert_eq!(table.parked(), 0);
        table.park(parked("T", 0, 0, far)).unwrap();
    }
}
