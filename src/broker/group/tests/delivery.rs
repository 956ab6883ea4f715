//! Delayed messages leave their level once.

use super::*;
use crate::protocol::names::SCHEDULE_TOPIC;

type Outcomes = Arc<Mutex<Vec<DeliveryOutcome>>>;

/// A group with a topic, and two messages for it that wait in a level's queue.
fn with_waiting() -> Node {
    let mut node = Node::new();
    node.create_topic("t");
    node.create_topic(SCHEDULE_TOPIC);
    for body in ["first", "second"] {
        node.send(SCHEDULE_TOPIC, 1, body);
    }
    node
}

fn due(topic: &str, queue_id: i32, bodies: &[&str]) -> DueMessages {
    let messages = bodies.iter().map(|body| message(body, "", "")).collect();
    DueMessages { topic: Arc::from(topic), queue_id, messages }
}

/// Proposes to deliver a stretch of the level; its outcome will be the next in `outcomes`.
fn offer(
    node: &mut Node,
    outcomes: &Outcomes,
    (from, until): (i64, i64),
    messages: Vec<DueMessages>,
) {
    let outcomes = Arc::clone(outcomes);
    let due_ms = 1_000;
    let reply = Box::new(move |outcome| outcomes.lock().push(outcome));
    let delivery = DeliveryProposal { queue_id: 1, from, until, due_ms, messages, reply };
    node.propose(Proposal::Delivery(delivery));
}

#[test]
fn one_entry_brings_the_messages_and_moves_the_level_on() {
    let (mut node, outcomes) = (with_waiting(), Outcomes::default());
    let before = node.disk.log.entries().len();
    offer(&mut node, &outcomes, (0, 2), vec![due("t", 0, &["first"]), due("t", 3, &["second"])]);
    node.settle();
    assert_eq!(*outcomes.lock(), [DeliveryOutcome::Delivered { discarded: 0 }]);
    assert_eq!(node.disk.log.entries().len(), before + 1);
    assert_eq!(bodies(&node.fetch("t", 0, 0).records), ["first"]);
    assert_eq!(bodies(&node.fetch("t", 3, 0).records), ["second"]);
    let node = node.restart();
    assert_eq!(node.group.view.schedule_next(1), 2);
    assert_eq!(node.bounds("t", 0), (0, 1));
}

#[test]
fn a_repeated_proposal_is_void_while_the_first_is_in_flight_and_afterwards() {
    let (mut node, outcomes) = (with_waiting(), Outcomes::default());
    offer(&mut node, &outcomes, (0, 1), vec![due("t", 0, &["first"])]);
    assert!(node.sequence());
    offer(&mut node, &outcomes, (0, 1), vec![due("t", 0, &["first"])]);
    assert!(!node.sequence(), "nothing is written");
    node.settle();
    offer(&mut node, &outcomes, (0, 2), vec![due("t", 0, &["first", "second"])]);
    node.settle();
    let delivered = DeliveryOutcome::Delivered { discarded: 0 };
    assert_eq!(*outcomes.lock(), [DeliveryOutcome::Void, delivered, DeliveryOutcome::Void]);
    assert_eq!(node.bounds("t", 0), (0, 1));
}

#[test]
fn what_a_lost_leader_had_in_flight_is_delivered_by_the_next() {
    let (mut node, outcomes) = (with_waiting(), Outcomes::default());
    let last = node.disk.log.last_index();
    offer(&mut node, &outcomes, (0, 1), vec![due("t", 0, &["first"])]);
    assert!(node.sequence());
    let (_, pending) = node.in_flight.pop_front().unwrap();
    GroupSequencer::abandon(pending, crate::replication::machine::Refusal::Unknown);
    node.group.sequencer.end_term();
    node.disk.log.truncate_after(last);
    node.group.sequencer.begin_term(Term(2));
    offer(&mut node, &outcomes, (0, 1), vec![due("t", 0, &["first"])]);
    node.settle();
    assert_eq!(outcomes.lock()[1], DeliveryOutcome::Delivered { discarded: 0 });
    assert_eq!((node.bounds("t", 0), node.group.view.schedule_next(1)), ((0, 1), 1));
}

#[test]
fn messages_whose_topic_is_gone_go_too() {
    let (mut node, outcomes) = (with_waiting(), Outcomes::default());
    offer(&mut node, &outcomes, (0, 2), vec![due("gone", 0, &["first"]), due("t", 0, &["second"])]);
    node.settle();
    assert_eq!(*outcomes.lock(), [DeliveryOutcome::Delivered { discarded: 1 }]);
    assert_eq!(bodies(&node.fetch("t", 0, 0).records), ["second"]);
    assert!(node.group.view.topic("gone").is_none());
    assert_eq!(node.group.view.schedule_next(1), 2);
}

#[test]
fn nothing_is_delivered_before_its_time() {
    let (mut node, outcomes) = (with_waiting(), Outcomes::default());
    let mut early = Node::new();
    early.now_ms = 999;
    early.create_topic("t");
    offer(&mut early, &outcomes, (0, 1), vec![due("t", 0, &["first"])]);
    early.settle();
    assert_eq!(*outcomes.lock(), [DeliveryOutcome::Void]);
    offer(&mut node, &outcomes, (0, 1), vec![due("t", 0, &["first"])]);
    node.settle();
    assert_eq!(outcomes.lock()[1], DeliveryOutcome::Delivered { discarded: 0 });
}

#[test]
fn a_delivery_too_large_for_an_entry_moves_nothing() {
    let (mut node, outcomes) = (with_waiting(), Outcomes::default());
    let large = "x".repeat(40_000);
    offer(&mut node, &outcomes, (0, 1), vec![due("t", 0, &[&large])]);
    node.settle();
    let refused = DeliveryOutcome::Refused(crate::replication::machine::Refusal::TooLarge);
    assert_eq!(*outcomes.lock(), [refused]);
    assert_eq!((node.bounds("t", 0), node.group.view.schedule_next(1)), ((0, 0), 0));
}

#[test]
fn a_message_that_waits_creates_the_topic_it_waits_for() {
    let mut node = with_waiting();
    node.propose(Proposal::Messages(MessagesProposal {
        topic: Arc::from(SCHEDULE_TOPIC),
        create_topics: vec![Arc::new(TopicConfig::new("later", 4, 6))],
        messages: smallvec![message("x", "", "")],
        queue_id: 1,
        reply: Box::new(drop),
    }));
    node.settle();
    assert!(node.group.view.topic("later").is_some());
    assert_eq!(node.bounds(SCHEDULE_TOPIC, 1), (0, 3));
}
