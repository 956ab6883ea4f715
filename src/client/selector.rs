//! Which queue the next message goes to.
//!
//! Invariant: with every broker healthy, a topic's queues are used in turn; a broker that just
//! failed is avoided as long as another one has a queue.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::protocol::queue::MessageQueue;

/// Walks the queues of a topic in turn.
#[derive(Debug, Default)]
pub(super) struct RoundRobin(AtomicUsize);

impl RoundRobin {
    /// The next queue that is not on the broker to `avoid`, or just the next one.
    pub(super) fn next<'a>(
        &self,
        queues: &'a [MessageQueue],
        avoid: Option<&str>,
    ) -> Option<&'a MessageQueue> {
        if queues.is_empty() {
            return None;
        }
        let start = self.0.fetch_add(1, Ordering::Relaxed);
        let nth = |step: usize| &queues[start.wrapping_add(step) % queues.len()];
        let elsewhere = |queue: &&MessageQueue| Some(queue.broker_name.as_str()) != avoid;
        (0..queues.len()).map(nth).find(elsewhere).or_else(|| Some(nth(0)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn queue(broker: &str, queue_id: i32) -> MessageQueue {
        MessageQueue { broker_name: broker.into(), queue_id, topic: "T".into() }
    }

    #[test]
    fn in_turn_and_around() {
        let queues = [queue("a", 0), queue("a", 1), queue("b", 0)];
        let selector = RoundRobin::default();
        let picked: Vec<_> =
            (0..4).map(|_| selector.next(&queues, None).unwrap().clone()).collect();
        assert_eq!(picked[..3], queues);
        assert_eq!(picked[3], queues[0]);
        assert!(selector.next(&[], None).is_none());
    }

    #[test]
    fn a_failed_broker_is_avoided_while_there_is_another() {
        let queues = [queue("a", 0), queue("a", 1), queue("b", 0)];
        let selector = RoundRobin::default();
        for _ in 0..10 {
            assert_eq!(selector.next(&queues, Some("a")).unwrap().broker_name, "b");
        }
        assert!(selector.next(&queues[..2], Some("a")).is_some());
    }

    #[test]
    fn the_counter_may_wrap() {
        let selector = RoundRobin(AtomicUsize::new(usize::MAX));
        let queues = [queue("a", 0), queue("b", 0), queue("c", 0)];
        assert!(selector.next(&queues, Some("a")).is_some());
        assert!(selector.next(&queues, None).is_some());
    }
}
