//! What consumers see of queues.

use super::*;
use crate::protocol::tags::tags_code;

#[test]
fn messages_come_back_as_they_were_sent() {
    let mut node = Node::new();
    node.create_topic("t");
    let stored = node.send("t", 1, "one");
    assert_eq!((stored.queue_id, stored.first_queue_offset), (1, 0));
    node.send("t", 1, "two");
    let fetched = node.fetch("t", 1, 0);
    assert_eq!(fetched.status, FetchStatus::Found);
    assert_eq!(bodies(&fetched.records), ["one", "two"]);
    assert_eq!((fetched.message_count, fetched.next_begin_offset), (2, 2));
    let record = record::RecordView::parse(&fetched.records).unwrap();
    assert_eq!(record.physical_offset as u64, stored.first_position.0);
    assert_eq!(record.store_timestamp_ms, stored.store_timestamp_ms);
    assert!(record.body_is_intact());
}

#[test]
fn each_status_has_its_offset() {
    let mut node = Node::new();
    node.create_topic("t");
    for body in ["a", "b", "c"] {
        node.send("t", 0, body);
    }
    let status = |queue_id, offset| {
        let fetched = node.fetch("t", queue_id, offset);
        (fetched.status, fetched.next_begin_offset)
    };
    assert_eq!(status(0, 3), (FetchStatus::OffsetOverflowOne, 3));
    assert_eq!(status(0, 4), (FetchStatus::OffsetOverflowBadly, 3));
    assert_eq!(status(0, -1), (FetchStatus::OffsetTooSmall, 0));
    assert_eq!(status(1, 0), (FetchStatus::NoMessageInQueue, 0));
    assert_eq!(status(9, 5), (FetchStatus::NoMatchedLogicQueue, 0));
    assert_eq!(node.fetch("u", 0, 0).status, FetchStatus::NoMatchedLogicQueue);
}

#[test]
fn limits_leave_at_least_one_message() {
    let mut node = Node::new();
    node.create_topic("t");
    for body in ["a", "b", "c"] {
        node.send("t", 0, body);
    }
    let size = node.fetch("t", 0, 2).records.len();
    let fetch = |messages, bytes, scanned| {
        let limits = FetchLimits { messages, bytes, scanned };
        let fetched = node.group.view.fetch("t", 0, 0, limits, None).unwrap();
        assert_eq!(fetched.next_begin_offset, fetched.message_count as i64);
        fetched.message_count
    };
    assert_eq!(fetch(2, 1 << 20, 100), 2);
    assert_eq!(fetch(10, 1, 100), 1);
    assert_eq!(fetch(10, 2 * size, 100), 2);
    assert_eq!(fetch(10, 1 << 20, 2), 2);
}

#[test]
fn who_has_to_wait_for_a_turn_reads_nothing_and_stays_where_it_is() {
    let mut node = Node::new();
    node.create_topic("t");
    for body in ["a", "b", "c"] {
        node.send("t", 0, body);
    }
    let view = &node.group.view;
    let bytes = view.fetch("t", 0, 1, ALL, None).unwrap().records.len();
    let asked = std::cell::RefCell::new(Vec::new());
    let fetch = |offset, may| {
        let may_read = |bytes| {
            asked.borrow_mut().push(bytes);
            may
        };
        view.fetch_in_turn("t", 0, offset, ALL, None, &may_read).unwrap()
    };
    let waits = fetch(1, false);
    assert_eq!((waits.status, waits.next_begin_offset), (FetchStatus::NotYet, 1));
    assert_eq!((waits.records.len(), waits.max_offset), (0, 3));
    assert_eq!(bodies(&fetch(1, true).records), ["b", "c"]);
    assert_eq!(fetch(3, false).status, FetchStatus::OffsetOverflowOne);
    assert_eq!(*asked.borrow(), [bytes, bytes], "only where there is something to read");
}

#[test]
fn a_filter_skips_and_says_how_far_it_looked() {
    let mut node = Node::new();
    node.create_topic("t");
    for (i, tag) in ["A", "B", "A", "", "B"].into_iter().enumerate() {
        node.send_message("t", 0, message(&i.to_string(), tag, ""));
    }
    let only = |tag: &'static str| move |code: i64| code == tags_code(tag);
    let view = &node.group.view;
    let a = view.fetch("t", 0, 0, ALL, Some(&only("A"))).unwrap();
    assert_eq!((bodies(&a.records), a.next_begin_offset), (vec!["0".into(), "2".into()], 5));
    let few = FetchLimits { scanned: 3, ..ALL };
    let none = view.fetch("t", 0, 0, few, Some(&only("C"))).unwrap();
    assert_eq!((none.status, none.next_begin_offset), (FetchStatus::NoMatchedMessage, 3));
}

#[test]
fn sends_of_one_entry_lie_together_by_queue() {
    let mut node = Node::new();
    node.create_topic("t");
    for (queue_id, body) in [(0, "a0"), (1, "b0"), (0, "a1"), (1, "b1"), (0, "a2")] {
        node.offer("t", queue_id, &[message(body, "", "")]);
    }
    node.settle();
    let fetched = node.fetch("t", 0, 0);
    assert_eq!(bodies(&fetched.records), ["a0", "a1", "a2"]);
    let entry = node.disk.log.entries().pop().unwrap();
    let inside = entry.payload.as_ptr_range();
    assert!(inside.contains(&fetched.records.as_ptr()), "one slice of the log, not a copy");
    assert_eq!(bodies(&node.fetch("t", 1, 0).records), ["b0", "b1"]);
}

#[test]
fn a_topic_created_again_shows_nothing_of_its_former_life() {
    let mut node = Node::new();
    node.create_topic("t");
    for i in 0..12 {
        node.send_message("t", 0, message(&long(&i.to_string()), "", "old"));
    }
    node.command(Command::delete_topic("t"));
    assert_eq!(node.fetch("t", 0, 0).status, FetchStatus::NoMatchedLogicQueue);
    node.create_topic("t");
    assert_eq!(node.fetch("t", 0, 0).status, FetchStatus::NoMessageInQueue);
    node.send_message("t", 0, message("new", "", "new"));
    let check = |node: &Node| {
        assert_eq!(node.bounds("t", 0), (0, 1));
        assert_eq!(bodies(&node.fetch("t", 0, 0).records), ["new"]);
        assert_eq!(node.group.view.query_keys(keys("old")).unwrap().records.len(), 0);
        assert_eq!(node.group.view.query_keys(keys("new")).unwrap().records.len(), 1);
    };
    check(&node);
    check(&node.restart());
}

fn keys(key: &str) -> KeyQuery<'_> {
    KeyQuery { topic: "t", key, messages: 64, begin_ms: 0, end_ms: i64::MAX }
}

#[test]
fn keys_find_messages_newest_first_in_open_and_closed_extents() {
    let mut node = Node::new();
    node.create_topic("t");
    for i in 0..20 {
        node.now_ms = 1_000 + i * 10;
        let key = format!("order-{} all", i % 2);
        node.send_message("t", 0, message(&long(&i.to_string()), "", &key));
    }
    let found = |query: KeyQuery<'_>| -> Vec<i64> {
        let result = node.group.view.query_keys(query).unwrap();
        let offset = |record: &Bytes| record::RecordView::parse(record).unwrap().queue_offset;
        result.records.iter().map(offset).collect()
    };
    assert_eq!(found(keys("order-1")), [19, 17, 15, 13, 11, 9, 7, 5, 3, 1]);
    assert_eq!(found(KeyQuery { messages: 3, ..keys("all") }), [19, 18, 17]);
    assert_eq!(found(KeyQuery { begin_ms: 1_030, end_ms: 1_050, ..keys("all") }), [5, 4, 3]);
    assert!(found(keys("order")).is_empty());
    assert!(!node.disk.files.names().is_empty(), "some of it came from files");
}

#[test]
fn a_time_stands_for_an_offset() {
    let mut node = Node::new();
    node.create_topic("t");
    for stored_ms in [2_000, 2_000, 3_000, 5_000] {
        node.now_ms = stored_ms;
        node.send("t", 0, &long("x"));
    }
    let at = |timestamp_ms, boundary| {
        node.group.view.offset_by_time("t", 0, timestamp_ms, boundary).unwrap()
    };
    assert_eq!([1, 2_000, 2_001, 5_000, 5_001].map(|t| at(t, Boundary::Lower)), [0, 0, 2, 3, 4]);
    assert_eq!([1, 2_000, 2_999, 3_000, 9_000].map(|t| at(t, Boundary::Upper)), [0, 1, 1, 2, 3]);
    assert_eq!(node.group.view.store_time("t", 0, 2).unwrap(), Some(3_000));
    assert_eq!(node.group.view.store_time("t", 0, 4).unwrap(), None);
}

#[test]
fn a_position_is_believed_only_where_a_record_is() {
    let mut node = Node::new();
    node.create_topic("t");
    let stored = node.send("t", 0, "body");
    let view = &node.group.view;
    let record = view.message_at(stored.first_position).unwrap();
    assert_eq!(bodies(&record), ["body"]);
    let end = stored.first_position.0 + record.len() as u64 + 64;
    for position in (0..end).filter(|p| *p != stored.first_position.0) {
        assert_eq!(view.message_at(Position(position)), None, "at {position}");
    }
    assert_eq!(view.message_at(Position(u64::MAX)), None);
}

#[test]
fn arrivals_are_told_once_a_batch_with_the_last_offset() {
    let mut node = Node::new();
    node.create_topic("t");
    for queue_id in [0, 1, 0] {
        node.offer("t", queue_id, &[message("x", "", "")]);
        node.sequence();
    }
    node.settle();
    let arrivals = std::mem::take(&mut *node.heard.arrivals.lock());
    let seen: Vec<_> = arrivals.iter().map(|a| (&*a.topic, a.queue_id, a.max_offset)).collect();
    assert_eq!(seen, [("t", 0, 2), ("t", 1, 1)]);
    assert_eq!(*node.heard.topics.lock(), [Arc::from("t")]);
}
