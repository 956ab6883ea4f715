//! Progress that consumers committed covers only messages that some listener was given (S9), however often
//! queues went from one consumer to another.
//!
//! Looked at in the end, in the state that the log gives. What retention gave up need not have been given
//! to anybody.

use std::collections::{BTreeMap, BTreeSet};

use super::Findings;
use crate::history::{Delivery, Queue};
use crate::oracle::Placed;

const INVARIANT: &str = "progress covers only what was delivered";

/// Compares each queue's progress with what was delivered of it.
pub fn judge(
    progress: &BTreeMap<Queue, i64>,
    placed: &[Placed],
    deliveries: &[Delivery],
    given_up: &[i64],
    findings: &Findings,
) {
    let delivered: BTreeSet<(Queue, i64)> =
        deliveries.iter().map(|delivery| (delivery.queue, delivery.offset)).collect();
    for Placed { queue, offset, position, .. } in placed {
        let Some(reached) = progress.get(queue) else { continue };
        let kept = *position >= given_up.get(queue.group).copied().unwrap_or(0);
        if kept && offset < reached && !delivered.contains(&(*queue, *offset)) {
            let what = format!("{queue} is consumed up to {reached}; nobody was given {offset}");
            findings.report(INVARIANT, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_over_what_nobody_was_given_is_found() {
        let queue = Queue { group: 0, id: 1 };
        let placed = [0, 1, 2].map(|at| Placed { message: None, queue, offset: at, position: at });
        let deliveries = [0, 2].map(|at| Delivery { message: 0, queue, offset: at, position: at });
        let found = |reached: i64, given_up: i64| {
            let (findings, progress) = (Findings::default(), BTreeMap::from([(queue, reached)]));
            judge(&progress, &placed, &deliveries, &[given_up], &findings);
            findings.all().len()
        };
        assert_eq!(found(1, 0), 0);
        assert_eq!(found(2, 0), 1);
        assert_eq!(found(3, 0), 1);
        assert_eq!(found(3, 2), 0, "it was given up");
    }
}
