//! A queue has one holder of its lock at a time (S12), by what clients were told.
//!
//! A client goes by an answer for 30 s from when it came, or until it says that it lets go, or ends. It
//! waits for an answer for less than the 3 s that brokers allow for it. Whether wall clocks agree or jump
//! makes no difference; but a client that lost its connection keeps its locks for that long only where
//! `queueLockReturnMs` says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raftmq::state::LOCK_BELIEF_MS;

use super::Findings;
use crate::history::Queue;

const INVARIANT: &str = "a queue's lock has one holder";

/// Until when each client goes by its lock of a queue.
type Holders = BTreeMap<Queue, BTreeMap<String, Duration>>;

/// Who goes by which locks; clones share it.
#[derive(Clone, Default)]
pub struct OneHolder {
    holders: Arc<Mutex<Holders>>,
}

impl OneHolder {
    fn holders(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client is told which of a group's queues that it asked for it has.
    pub fn told(
        &self,
        client: &str,
        (asked, held): (&BTreeSet<Queue>, &BTreeSet<Queue>),
        now: Duration,
        findings: &Findings,
    ) {
        let mut holders = self.holders();
        for queue in asked {
            let of_queue = holders.entry(*queue).or_default();
            of_queue.remove(client);
            if !held.contains(queue) {
                continue;
            }
            for (other, until) in of_queue.iter().filter(|(_, until)| **until > now) {
                let what = format!(
                    "{queue} is {client}'s at {now:?}, and {other} goes by its lock until {until:?}"
                );
                findings.report(INVARIANT, what);
            }
            let until = now + Duration::from_millis(LOCK_BELIEF_MS.unsigned_abs());
            of_queue.insert(client.to_owned(), until);
        }
    }

    /// A client goes by none of its locks of these queues any more.
    pub fn lets_go(&self, client: &str, queues: impl IntoIterator<Item = Queue>) {
        let mut holders = self.holders();
        for queue in queues {
            holders.entry(queue).or_default().remove(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_holders_at_once_are_found() {
        let (check, findings) = (OneHolder::default(), Findings::default());
        let queues = BTreeSet::from([Queue { group: 0, id: 1 }]);
        let told = |client: &str, at_s: u64, has: bool| {
            let held = if has { queues.clone() } else { BTreeSet::new() };
            check.told(client, (&queues, &held), Duration::from_secs(at_s), &findings);
            findings.all().len()
        };
        assert_eq!(told("a", 0, true), 0);
        assert_eq!(told("b", 1, false), 0);
        assert_eq!(told("b", 30, true), 0, "a goes by it no more");
        assert_eq!(told("a", 40, false), 0);
        check.lets_go("b", queues.clone());
        assert_eq!(told("a", 41, true), 0);
        assert_eq!(told("b", 70, true), 1);
    }
}
