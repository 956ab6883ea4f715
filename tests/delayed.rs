//! Delayed messages while their leader dies and comes back: each reaches its topic once, and none
//! before its time.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use support::cluster::Cluster;
use support::poll;
use support::wire::{Record, SUCCESS, Wire};

const TOPIC: &str = "Delayed";
const QUEUES: i32 = 2;
const LEVELS: [i64; 3] = [1_000, 2_000, 3_000];
const SEND_MESSAGE_V2: i32 = 310;
const ROUNDS: usize = 3;
const SENDS_EACH: usize = 300;
const LIMIT: Duration = Duration::from_secs(60);

/// Sends messages of all levels in turn, their level in their bodies; those that were acknowledged.
fn send(wire: &mut Wire, round: usize) -> Vec<String> {
    let bodies: Vec<String> =
        (0..SENDS_EACH).map(|n| format!("{}-{round}-{n}", n % LEVELS.len() + 1)).collect();
    let mut opaques = Vec::new();
    for (n, body) in bodies.iter().enumerate() {
        let properties = format!("UNIQ_KEY\u{1}{body}\u{2}DELAY\u{1}{}\u{2}", n % LEVELS.len() + 1);
        let ext = json!({
            "a": "load", "b": TOPIC, "c": "TBW102", "d": "4", "e": (n as i32 % QUEUES).to_string(),
            "f": "0", "g": "1700000000000", "h": "0", "i": properties, "j": "0", "k": "false",
        });
        opaques.push(wire.request(SEND_MESSAGE_V2, ext, body.as_bytes()).unwrap());
    }
    for _ in &bodies {
        let answer = wire.receive().unwrap();
        assert!(opaques.contains(&answer.opaque));
        assert_eq!(answer.code, SUCCESS, "{}", answer.remark);
    }
    bodies
}

/// Everything that reached the topic.
fn delivered(cluster: &Cluster, member: usize) -> Vec<Record> {
    let mut wire = cluster.connect(member);
    (0..QUEUES).flat_map(|queue| wire.pull_all(TOPIC, queue, 0).unwrap()).collect()
}

/// When each message began to wait, by its body.
fn waiting_since(wire: &mut Wire) -> BTreeMap<String, i64> {
    let levels = 0..LEVELS.len() as i32;
    let waited = levels.flat_map(|queue| wire.pull_all("SCHEDULE_TOPIC_XXXX", queue, 0).unwrap());
    waited.map(|record| (body_of(&record), record.store_timestamp_ms)).collect()
}

fn body_of(record: &Record) -> String {
    String::from_utf8(record.body.clone()).unwrap()
}

#[test]
fn delayed_messages_come_once_and_not_early_though_their_leaders_die() {
    let mut cluster = Cluster::start_with("messageDelayLevel=1s 2s 3s");
    let (mut leader, _) = cluster.await_leader(None);
    cluster.connect(leader).create_topic(TOPIC, QUEUES).unwrap();
    let mut sent = BTreeSet::new();
    for round in 0..ROUNDS {
        let already = delivered(&cluster, leader).len();
        sent.extend(send(&mut cluster.connect(leader), round));
        // Some of this round have come, and most still wait.
        poll::until("the first are delivered", LIMIT, || {
            (delivered(&cluster, leader).len() > already).then_some(())
        });
        cluster.kill(leader);
        let (next, _) = cluster.await_leader(Some(leader));
        cluster.restart(leader);
        leader = next;
    }
    let all = poll::until("all are delivered", LIMIT, || {
        let all = delivered(&cluster, leader);
        (all.len() >= sent.len()).then_some(all)
    });
    cluster.await_equal_logs(LIMIT);
    assert_eq!(delivered(&cluster, leader).len(), all.len(), "nothing comes behind them");
    let bodies: BTreeSet<String> = all.iter().map(body_of).collect();
    assert_eq!((all.len(), bodies), (sent.len(), sent), "each once");
    let waiting_since = waiting_since(&mut cluster.connect(leader));
    for record in &all {
        let level: usize = body_of(record).split('-').next().unwrap().parse().unwrap();
        let waited_ms = record.store_timestamp_ms - waiting_since[&body_of(record)];
        let delay_ms = LEVELS[level - 1];
        assert!(waited_ms >= delay_ms, "{} after {waited_ms} ms", body_of(record));
    }
}
