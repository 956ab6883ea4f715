//! Leases of queue locks last as long as they say, whatever wall clocks do and whoever leads.

use std::time::Duration;

use tokio::time::advance;

use super::*;
use crate::state::{LOCK_LIFE_MS, QueueName};

const DAY_MS: i64 = 86_400_000;
const LEASE: Duration = Duration::from_millis(LOCK_LIFE_MS.unsigned_abs());
const MOMENT: Duration = Duration::from_millis(10);

impl Node {
    /// Who has the queue once this client has asked for it.
    fn lock(&mut self, client: &str) -> String {
        let queue = QueueName { topic: "t".into(), queue_id: 0 };
        let command = Command::lock_queues("g", client, vec![queue]);
        self.propose(Proposal::Command { command, reply: Box::new(drop) });
        self.settle();
        self.group.view.queue_lock("g", "t", 0).unwrap().client_id.to_string()
    }

    fn another_leads(&mut self) {
        self.group.sequencer.end_term();
        self.term = Term(self.term.0 + 1);
        self.group.sequencer.begin_term(self.term);
    }

    /// For how long the lock has been held, by this member.
    fn age_ms(&self) -> i64 {
        let lock = self.group.view.queue_lock("g", "t", 0).unwrap();
        self.group.view.lease_time_ms() - lock.granted_ms
    }
}

fn with_topic() -> Node {
    let mut node = Node::new();
    node.create_topic("t");
    node
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_ahead_ends_no_lease() {
    let mut node = with_topic();
    assert_eq!(node.lock("a"), "a");
    node.now_ms += DAY_MS;
    assert_eq!(node.lock("b"), "a");
    advance(LEASE - MOMENT).await;
    assert_eq!(node.lock("b"), "a");
    advance(MOMENT).await;
    assert_eq!(node.lock("b"), "b", "its time is over");
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_back_makes_no_lease_longer() {
    let mut node = with_topic();
    node.now_ms += DAY_MS;
    assert_eq!(node.lock("a"), "a");
    node.now_ms -= DAY_MS;
    advance(LEASE).await;
    assert!(node.age_ms() >= LOCK_LIFE_MS, "{}", node.age_ms());
    assert_eq!(node.lock("b"), "b");
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_goes_on_from_what_the_log_says() {
    let mut node = with_topic();
    assert_eq!(node.lock("a"), "a");
    node.now_ms += DAY_MS;
    node.another_leads();
    assert_eq!(node.age_ms(), 1, "what passed since then is not known here");
    advance(LEASE - MOMENT).await;
    assert_eq!(node.lock("b"), "a");
    advance(MOMENT).await;
    assert_eq!(node.lock("b"), "b");
}

#[tokio::test(start_paused = true)]
async fn lease_time_stands_where_nobody_leads() {
    let mut node = with_topic();
    assert_eq!(node.lock("a"), "a");
    node.group.sequencer.end_term();
    advance(LEASE).await;
    assert_eq!(node.age_ms(), 0);
}
