//! A group that consumes in order, or polls, is given a queue's messages without a gap (S10, S12): a message
//! comes only when every one before it was consumed, whichever of its consumers did that, and however often
//! queues went from one to another.
//!
//! What retention gave up before it was asked for is passed over, and nothing else. How much that was is noted
//! where a gap is seen, and compared with the log in the end. A group that an operator has set back is given
//! everything from there on once more, whatever its consumers were about to commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Findings;
use crate::history::Queue;
use crate::oracle::Placed;

const INVARIANT: &str = "a queue is consumed without a gap";

/// Messages that were passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gap {
    group: &'static str,
    queue: Queue,
    /// Offset of the first one, and of what was given instead.
    from: i64,
    to: i64,
    /// Retention had given up what lies below this position.
    given_up: i64,
}

#[derive(Default)]
struct Inner {
    /// By consumer group and queue, the offset behind what was consumed.
    next: BTreeMap<(&'static str, Queue), i64>,
    gaps: Vec<Gap>,
    /// What a group was given of a queue since it was last asked to be set back.
    given_since: BTreeMap<(&'static str, Queue), BTreeSet<i64>>,
    /// The offset to which it was set back and from which it was given nothing yet.
    awaited: BTreeMap<(&'static str, Queue), i64>,
    /// Where nobody heard what became of a wish to set it back: that may still be done at any time.
    unsettled: BTreeSet<(&'static str, Queue)>,
}

/// How far groups have come; clones share it.
#[derive(Clone, Default)]
pub struct NoGap {
    inner: Arc<Mutex<Inner>>,
}

impl NoGap {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A consumer of the group is given a message; by now retention has given up what lies below a position.
    pub fn given(&self, group: &'static str, queue: Queue, offset: i64, given_up: i64) {
        let mut inner = self.inner();
        if let Some(given) = inner.given_since.get_mut(&(group, queue)) {
            given.insert(offset);
        }
        if inner.awaited.get(&(group, queue)) == Some(&offset) {
            inner.awaited.remove(&(group, queue));
        }
        let from = *inner.next.entry((group, queue)).or_default();
        if offset > from {
            inner.gaps.push(Gap { group, queue, from, to: offset, given_up });
            inner.next.insert((group, queue), offset);
        }
    }

    /// It is done with it.
    pub fn consumed(&self, group: &'static str, queue: Queue, offset: i64) {
        let mut inner = self.inner();
        let next = inner.next.entry((group, queue)).or_default();
        *next = (*next).max(offset + 1);
    }

    /// An operator asks for the group to be set back: from now on nobody knows where it stands.
    pub fn asks_reset(&self, group: &'static str, queue: Queue) {
        let mut inner = self.inner();
        inner.awaited.remove(&(group, queue));
        inner.given_since.insert((group, queue), BTreeSet::new());
    }

    /// It is told that this was done.
    pub fn was_reset(&self, group: &'static str, queue: Queue, to: i64) {
        let mut inner = self.inner();
        let given = inner.given_since.remove(&(group, queue)).unwrap_or_default();
        if !given.contains(&to) && !inner.unsettled.contains(&(group, queue)) {
            inner.awaited.insert((group, queue), to);
        }
    }

    /// It is not told.
    pub fn may_be_reset(&self, group: &'static str, queue: Queue) {
        self.inner().unsettled.insert((group, queue));
    }

    /// The offset to which a group was set back and from which it was given nothing since.
    pub fn awaited(&self, group: &'static str, queue: Queue) -> Option<i64> {
        self.inner().awaited.get(&(group, queue)).copied()
    }

    /// The offset behind what a group has consumed.
    pub fn next(&self, group: &'static str, queue: Queue) -> i64 {
        self.inner().next.get(&(group, queue)).copied().unwrap_or(0)
    }

    /// Compares what was passed over with what the log holds.
    pub fn judge(&self, placed: &[Placed], findings: &Findings) {
        let inner = self.inner();
        for Gap { group, queue, from, to, given_up } in &inner.gaps {
            let skipped = |placed: &&Placed| {
                placed.queue == *queue
                    && (*from..*to).contains(&placed.offset)
                    && placed.position >= *given_up
            };
            if let Some(Placed { offset, position, .. }) = placed.iter().find(skipped) {
                let what = format!(
                    "{group} was given {queue}:{to} when it had consumed up to {from}; {offset} at \
                     {position} was there, given up was what lies below {given_up}"
                );
                findings.report(INVARIANT, what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_over_is_found_unless_it_was_given_up() {
        let queue = Queue { group: 0, id: 1 };
        let placed =
            [0, 1, 2, 3].map(|at| Placed { message: None, queue, offset: at, position: 10 * at });
        let found = |offsets: &[i64], given_up: i64| {
            let (check, findings) = (NoGap::default(), Findings::default());
            for offset in offsets {
                check.given("group", queue, *offset, given_up);
                check.consumed("group", queue, *offset);
            }
            check.judge(&placed, &findings);
            findings.all().len()
        };
        assert_eq!(found(&[0, 1, 0, 1, 2, 1, 2, 3], 0), 0, "again is no gap");
        assert_eq!(found(&[0, 2], 0), 1);
        assert_eq!(found(&[1], 10), 0);
        assert_eq!(found(&[0, 3], 20), 1, "2 was there");
        assert_eq!(found(&[0, 3], 30), 0);
    }

    #[test]
    fn who_is_set_back_is_awaited_there() {
        let queue = Queue { group: 0, id: 0 };
        let check = NoGap::default();
        check.asks_reset("group", queue);
        check.was_reset("group", queue, 3);
        check.given("group", queue, 4, 0);
        assert_eq!(check.awaited("group", queue), Some(3));
        check.given("group", queue, 3, 0);
        assert_eq!(check.awaited("group", queue), None);
        // It may be there before the operator knows.
        check.asks_reset("group", queue);
        check.given("group", queue, 2, 0);
        check.was_reset("group", queue, 2);
        assert_eq!(check.awaited("group", queue), None);
        // An earlier wish may be granted after a later one.
        check.asks_reset("group", queue);
        check.may_be_reset("group", queue);
        check.asks_reset("group", queue);
        check.was_reset("group", queue, 1);
        assert_eq!(check.awaited("group", queue), None);
    }

    #[test]
    fn what_was_given_and_not_consumed_is_given_again() {
        let queue = Queue { group: 0, id: 0 };
        let (check, findings) = (NoGap::default(), Findings::default());
        check.given("group", queue, 0, 0);
        check.given("group", queue, 1, 0);
        let placed = Placed { message: None, queue, offset: 0, position: 0 };
        check.judge(&[placed], &findings);
        assert_eq!((findings.all().len(), check.next("group", queue)), (1, 1));
    }
}
