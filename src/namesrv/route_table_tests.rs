//! Registrations, terms, departures and expiry, as short stories: one line is one event, and after
//! each the whole table must satisfy its invariants.

use super::registration::Registration;
use super::route_table::{Outcome, RouteTable};
use crate::protocol::data_version::DataVersion;
use crate::protocol::route::QueueData;

/// Plays `story` and returns the table. An event is a line of words:
/// `reg ADDRESS ID TERM CONNECTION [> OUTCOME]`, `old ADDRESS ID [> OUTCOME]` (a broker without terms),
/// `close CONNECTION`, `unreg ADDRESS`, `at MS` (the clock, and a scan), `ids 0=A 1=B` (a check).
fn play(story: &str) -> RouteTable {
    let mut table = RouteTable::new(120_000);
    let mut now_ms = 0;
    for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (event, expected) = line.split_once('>').unwrap_or((line, ""));
        let words: Vec<&str> = event.split_whitespace().collect();
        let outcome = match words[..] {
            ["reg", address, id, term, connection] => {
                let mut registration = registration(address, id.parse().unwrap());
                registration.raft_term = Some(term.parse().unwrap());
                registration.connection = connection.parse().unwrap();
                Some(table.register(now_ms, registration))
            }
            ["old", address, id] => {
                Some(table.register(now_ms, registration(address, id.parse().unwrap())))
            }
            ["close", connection] => {
                table.connection_closed(connection.parse().unwrap());
                None
            }
            ["unreg", address] => {
                table.unregister("b", address);
                None
            }
            ["at", ms] => {
                now_ms = ms.parse().unwrap();
                table.expire(now_ms);
                None
            }
            ["ids", ..] => {
                let data = table.broker_data("b").unwrap_or_default();
                let ids = data.broker_addrs.iter().map(|(id, address)| format!("{id}={address}"));
                assert_eq!(ids.collect::<Vec<_>>(), words[1..], "{line}");
                None
            }
            _ => panic!("not an event: {line}"),
        };
        match (expected.trim(), outcome) {
            ("", None | Some(Outcome::Accepted { .. })) => {}
            ("stale", Some(Outcome::Stale { .. })) => {}
            ("moved", Some(Outcome::Accepted { leader_changed: true, .. })) => {}
            ("stayed", Some(Outcome::Accepted { leader_changed: false, .. })) => {}
            (expected, outcome) => panic!("{line}: expected {expected:?}, got {outcome:?}"),
        }
        table.assert_invariants();
    }
    table
}

fn registration(address: &str, id: i64) -> Registration {
    Registration {
        cluster_name: "c".to_owned(),
        broker_name: "b".to_owned(),
        broker_id: id,
        broker_addr: address.to_owned(),
        ..Registration::default()
    }
}

fn leading(address: &str, term: i64, version: i64, topics: &[(&str, i32)]) -> Registration {
    let queue =
        |perm| QueueData { perm, read_queue_nums: 4, write_queue_nums: 4, ..QueueData::default() };
    Registration {
        raft_term: Some(term),
        data_version: DataVersion { counter: version, ..DataVersion::default() },
        topics: Some(topics.iter().map(|(t, perm)| ((*t).to_owned(), queue(*perm))).collect()),
        ..registration(address, 0)
    }
}

#[test]
fn the_highest_term_owns_id_zero() {
    play(
        "reg A 0 3 1
         reg B 2 3 2
         reg C 3 3 3
         ids 0=A 2=B 3=C
         reg B 0 4 2 > moved
         ids 0=B 3=C
         reg A 1 4 1
         ids 0=B 1=A 3=C",
    );
}

#[test]
fn a_deposed_or_replayed_leader_never_moves_it_back() {
    play(
        "reg A 0 3 1
         reg B 0 4 2 > moved
         reg A 0 3 1 > stale
         ids 0=B
         reg A 1 4 1
         reg A 0 3 1 > stale
         ids 0=B 1=A
         reg C 0 4 3 > stale
         reg B 0 4 2 > stayed
         old C 0 > stale
         ids 0=B 1=A",
    );
}

#[test]
fn a_late_follower_registration_does_not_unseat_the_leader() {
    play(
        "reg A 0 3 1
         reg B 0 4 2 > moved
         reg B 2 3 2 > stale
         ids 0=B
         reg A 2 3 1 > stayed
         ids 0=B 2=A
         reg C 2 2 3 > stale
         ids 0=B 2=A",
    );
}

#[test]
fn a_leader_that_stepped_down_in_its_own_term_leaves_id_zero_empty() {
    play(
        "reg A 0 3 1
         reg A 1 3 1
         ids 1=A
         reg B 0 2 2 > stale
         reg B 0 4 2 > stayed
         ids 0=B 1=A",
    );
}

#[test]
fn closing_a_connection_removes_only_who_registered_over_it() {
    play(
        "reg A 0 3 1
         reg B 2 3 2
         close 2
         ids 0=A
         reg B 2 3 4
         close 2
         ids 0=A 2=B
         reg A 0 3 7
         close 1
         ids 0=A 2=B
         close 7
         ids 2=B
         close 4
         ids",
    );
}

#[test]
fn the_fence_outlives_the_leaders_connection() {
    play(
        "reg A 0 3 1
         reg B 0 4 2 > moved
         close 2
         ids
         reg A 0 3 1 > stale
         reg B 0 4 5 > stayed
         ids 0=B",
    );
}

#[test]
fn a_wiped_group_may_start_again_when_nobody_confirms_the_old_term() {
    play(
        "reg A 0 30 1
         reg B 2 30 2
         close 1
         close 2
         at 60000
         reg A 0 1 3 > stale
         at 120001
         reg A 0 1 3 > stayed
         ids 0=A",
    );
    play(
        "reg A 0 30 1
         reg B 2 30 2
         close 1
         at 100000
         reg B 2 30 2
         at 130000
         reg C 0 1 3 > stale
         ids 2=B",
    );
}

#[test]
fn silence_expires_and_a_heartbeat_keeps() {
    play(
        "reg A 0 3 1
         at 100000
         reg B 2 3 2
         at 120000
         ids 0=A 2=B
         at 120001
         ids 2=B
         at 220001
         ids",
    );
    let mut table = play("reg A 0 3 1");
    assert!(table.heard(100_000, "b", "A"));
    assert!(!table.heard(100_000, "b", "X"));
    assert_eq!(table.expire(220_000), []);
    let gone = table.expire(220_001);
    assert_eq!((gone.len(), gone[0].broker_id), (1, Some(0)));
    let short = Registration { heartbeat_timeout_ms: Some(10), ..registration("A", 0) };
    table.register(0, short);
    assert_eq!(table.expire(11).len(), 1, "a registration may name its own timeout");
}

#[test]
fn unregistering_removes_the_address_whatever_its_id() {
    play(
        "reg A 0 3 1
         reg B 2 3 2
         unreg X
         unreg A
         ids 2=B
         unreg B
         ids",
    );
}

#[test]
fn a_member_at_another_address_takes_its_id_along() {
    play(
        "reg A 2 3 1
         reg B 2 3 2
         ids 2=B
         reg A 1 3 1
         ids 1=A 2=B",
    );
}

#[test]
fn brokers_without_terms_behave_as_rocketmqs() {
    play(
        "old A 0
         old B 1
         ids 0=A 1=B
         old B 0 > moved
         ids 0=B
         reg C 0 1 3 > moved
         old B 0 > stale
         ids 0=C",
    );
    let mut table = RouteTable::new(120_000);
    let mut newer = registration("A", 0);
    newer.data_version.state_version = 2;
    table.register(0, newer);
    assert_eq!(
        table.register(0, registration("B", 0)),
        Outcome::Stale { known_term: None },
        "the larger state version stays"
    );
}

#[test]
fn only_a_leader_that_holds_changes_queues() {
    let mut table = RouteTable::new(120_000);
    table.register(0, leading("A", 3, 1, &[("T", 6)]));
    let route = table.route("T").unwrap();
    assert_eq!((route.queue_datas[0].perm, route.broker_datas[0].master()), (6, Some("A")));
    let mut follower = leading("B", 3, 9, &[("T", 4), ("U", 6)]);
    follower.broker_id = 2;
    table.register(0, follower);
    assert_eq!(table.route("T").unwrap().queue_datas[0].perm, 6);
    assert!(table.route("U").is_none());
    table.register(0, leading("B", 4, 2, &[("T", 4), ("U", 6)]));
    assert_eq!(table.route("T").unwrap().queue_datas[0].perm, 4);
    table.register(0, leading("A", 3, 3, &[("T", 2), ("V", 6)]));
    assert_eq!(table.route("T").unwrap().queue_datas[0].perm, 4, "a stale one changes nothing");
    assert!(table.route("V").is_none());
    table.assert_invariants();
}

#[test]
fn a_topic_no_longer_listed_stays_unless_told_otherwise() {
    let mut table = RouteTable::new(120_000);
    table.register(0, leading("A", 3, 1, &[("T", 6), ("U", 6)]));
    table.register(0, leading("A", 3, 2, &[("T", 6)]));
    assert!(table.route("U").is_some());
    let mut deleting = leading("A", 3, 3, &[("T", 6)]);
    deleting.delete_missing_topics = true;
    table.register(0, deleting);
    assert!(table.route("U").is_none() && table.route("T").is_some());
}

#[test]
fn a_wiped_permission_stays_until_the_topics_change() {
    let mut table = RouteTable::new(120_000);
    let perm = |table: &RouteTable| table.route("T").unwrap().queue_datas[0].perm;
    table.register(0, leading("A", 3, 1, &[("T", 6), ("U", 7)]));
    assert_eq!(table.wipe_write_permission("b"), 2);
    assert_eq!(table.wipe_write_permission("other"), 0);
    table.register(0, leading("A", 3, 1, &[("T", 6), ("U", 7)]));
    table.register(0, leading("B", 4, 1, &[("T", 6), ("U", 7)]));
    assert_eq!(perm(&table), 4);
    table.register(0, leading("B", 4, 2, &[("T", 6), ("U", 7)]));
    assert_eq!(perm(&table), 6);
    table.wipe_write_permission("b");
    assert_eq!((table.add_write_permission("b"), perm(&table)), (2, 6));
}

#[test]
fn lists_follow_clusters_and_flags() {
    let mut table = RouteTable::new(120_000);
    table.register(0, leading("A", 1, 1, &[("T", 6)]));
    let mut other = leading("X", 1, 1, &[("U", 6)]);
    other.cluster_name = "d".to_owned();
    other.broker_name = "e".to_owned();
    table.register(0, other);
    let names = |list: crate::protocol::route::TopicList| -> Vec<String> {
        list.topic_list.into_iter().collect()
    };
    assert_eq!(names(table.topics()), ["T", "U"]);
    assert_eq!(names(table.topics_of_cluster("d")), ["U"]);
    let system = table.system_topics();
    assert_eq!(system.broker_addr.as_deref(), Some("A"));
    assert_eq!(names(system), ["b", "c", "d", "e"]);
    assert_eq!(table.cluster_info().cluster_addr_table["d"].len(), 1);
    let unit = QueueData { broker_name: "e".to_owned(), topic_sys_flag: 3, ..QueueData::default() };
    let unknown = QueueData { broker_name: "nobody".to_owned(), ..QueueData::default() };
    table.register_topic("V", vec![unit, unknown]);
    assert_eq!(table.route("V").unwrap().queue_datas.len(), 1);
    use super::queries::UnitTopics;
    assert_eq!(names(table.unit_topics(UnitTopics::Unit)), ["V"]);
    assert_eq!(names(table.unit_topics(UnitTopics::UnitSubscribedOnly)), [""; 0]);
    table.delete_topic("V", Some("c"));
    assert!(table.route("V").is_some());
    table.delete_topic("V", Some("d"));
    table.delete_topic("T", None);
    assert_eq!(names(table.topics()), ["U"]);
    table.assert_invariants();
}

#[test]
fn the_last_address_takes_the_queues_along() {
    let mut table = RouteTable::new(120_000);
    table.register(0, leading("A", 1, 1, &[("T", 6)]));
    table.unregister("b", "A");
    assert!(table.route("T").is_none() && table.is_empty());
    table.register(0, leading("A", 1, 1, &[("T", 6)]));
    assert!(table.route("T").is_some(), "an equal version is taken after all was forgotten");
}
