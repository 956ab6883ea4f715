//! How the leader lays out entries.

use super::*;
use crate::replication::machine::Refusal;

#[test]
fn offsets_go_on_over_entries_in_flight() {
    let mut node = Node::new();
    node.create_topic("t");
    node.send("t", 0, "applied");
    for body in ["a", "b"] {
        node.offer("t", 0, &[message(body, "", ""), message(body, "", "")]);
        assert!(node.sequence());
    }
    assert_eq!(node.bounds("t", 0), (0, 1), "in flight is invisible");
    node.settle();
    let firsts: Vec<_> = node
        .outcomes
        .lock()
        .iter()
        .map(|outcome| match outcome {
            SendOutcome::Stored(stored) => {
                let positions: Vec<_> = stored.positions().collect();
                for position in &positions {
                    assert!(node.group.view.message_at(*position).is_some());
                }
                (stored.first_queue_offset, positions.len())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(firsts, [(1, 2), (3, 2)]);
}

#[test]
fn a_first_message_creates_its_topic_in_its_own_entry() {
    let mut node = Node::new();
    let before = node.disk.log.entries().len();
    for body in ["one", "two"] {
        let outcomes = Arc::clone(&node.outcomes);
        node.propose(Proposal::Messages(MessagesProposal {
            topic: Arc::from("new"),
            create_topics: vec![Arc::new(TopicConfig::new("new", 4, 6))],
            messages: smallvec![message(body, "", "")],
            queue_id: 2,
            reply: Box::new(move |outcome| outcomes.lock().push(outcome)),
        }));
    }
    node.settle();
    assert_eq!(node.disk.log.entries().len(), before + 1);
    assert_eq!(bodies(&node.fetch("new", 2, 0).records), ["one", "two"]);
    assert_eq!(node.group.view.topics_version().counter, 1);
}

#[test]
fn without_topic_nothing_is_written() {
    let mut node = Node::new();
    node.offer("t", 0, &[message("x", "", "")]);
    assert!(!node.sequence());
    assert_eq!(*node.outcomes.lock(), [SendOutcome::TopicNotFound]);
}

#[test]
fn a_deletion_comes_behind_the_messages_sent_before_it() {
    let mut node = Node::new();
    node.create_topic("t");
    node.offer("t", 0, &[message("before", "", "")]);
    let delete = Command::delete_topic("t");
    node.propose(Proposal::Command { command: delete, reply: Box::new(drop) });
    node.offer("t", 0, &[message("after", "", "")]);
    node.settle();
    let outcomes = node.outcomes.lock();
    assert!(outcomes.contains(&SendOutcome::TopicNotFound), "{outcomes:?}");
    assert!(outcomes.iter().any(|outcome| matches!(outcome, SendOutcome::Stored(_))));
    assert!(node.group.view.topic("t").is_none());
}

#[test]
fn deletion_creation_and_messages_in_flight_begin_at_zero() {
    let mut node = Node::new();
    node.create_topic("t");
    node.send("t", 0, "old");
    for command in
        [Command::delete_topic("t"), Command::create_topic_if_absent(&TopicConfig::new("t", 4, 6))]
    {
        node.propose(Proposal::Command { command, reply: Box::new(drop) });
    }
    node.offer("t", 0, &[message("new", "", "")]);
    node.settle();
    assert_eq!(bodies(&node.fetch("t", 0, 0).records), ["new"]);
}

#[test]
fn entries_are_bounded_and_a_message_too_large_is_refused() {
    let mut node = Node::new();
    node.create_topic("t");
    node.payload_bytes_target = 2_500;
    let before = node.disk.log.entries().len();
    for i in 0..5 {
        node.offer("t", 0, &[message(&long(&i.to_string()), "", "")]);
    }
    node.offer("t", 0, &[message(&"x".repeat(40_000), "", "")]);
    node.offer("t", 0, &[message(&"y".repeat(9_000), "", "")]);
    node.settle();
    assert_eq!(node.disk.log.entries().len(), before + 4, "two, two, one, and the long one alone");
    assert_eq!(node.bounds("t", 0), (0, 6));
    assert!(node.outcomes.lock().contains(&SendOutcome::Refused(Refusal::TooLarge)));
}

#[test]
fn store_timestamps_never_go_backwards() {
    let mut node = Node::new();
    node.create_topic("t");
    node.now_ms = 5_000;
    assert_eq!(node.send("t", 0, "a").store_timestamp_ms, 5_000);
    node.now_ms = 4_000;
    assert_eq!(node.send("t", 0, "b").store_timestamp_ms, 5_000);
    let mut node = node.restart();
    node.now_ms = 3_000;
    assert_eq!(node.send("t", 0, "c").store_timestamp_ms, 5_000, "nor with another leader");
}

#[test]
fn messages_without_queue_take_turns() {
    let mut node = Node::new();
    node.create_topic("t");
    let mut queues: Vec<i32> = (0..4).map(|_| node.send("t", -1, "x").queue_id).collect();
    queues.sort_unstable();
    assert_eq!(queues, [0, 1, 2, 3]);
}

#[test]
fn those_who_wait_for_an_abandoned_entry_hear_that_it_is_unknown() {
    let mut node = Node::new();
    node.create_topic("t");
    node.offer("t", 0, &[message("x", "", "")]);
    node.sequence();
    let (_, pending) = node.in_flight.pop_front().unwrap();
    GroupSequencer::abandon(pending, Refusal::Unknown);
    assert_eq!(*node.outcomes.lock(), [SendOutcome::Refused(Refusal::Unknown)]);
}

#[test]
fn a_new_term_forgets_what_did_not_commit() {
    let mut node = Node::new();
    node.create_topic("t");
    node.send("t", 0, "kept");
    let last = node.disk.log.last_index();
    node.offer("t", 0, &[message("lost", "", "")]);
    node.sequence();
    node.in_flight.clear();
    node.group.sequencer.end_term();
    node.disk.log.truncate_after(last);
    node.group.sequencer.begin_term(Term(2));
    assert_eq!(node.send("t", 0, "next").first_queue_offset, 1);
}
