//! What those who watch are told is what happened: figures at the metrics port, in 315 and in
//! `brokerStatus` against what was sent and pulled, and across the leader's death. And the board in
//! conf/ names nothing that is not exported.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use support::cluster::{BROKER_NAME, Cluster};
use support::poll;
use support::ports::HeldPorts;
use support::wire::{SUCCESS, Wire};

const TOPIC: &str = "Watched";
const GROUP: &str = "reader";
const QUEUES: i32 = 2;
const SENDS: usize = 120;
const LIMIT: Duration = Duration::from_secs(60);
const EXPORTED: &str = "metricsExporterType=PROM\n\
                        metricsPromExporterPort=0\n\
                        metricsPromExporterHost=127.0.0.1";
const GET_BROKER_RUNTIME_INFO: i32 = 28;
const UPDATE_CONSUMER_OFFSET: i32 = 15;
const GET_CONSUME_STATS: i32 = 208;
const VIEW_BROKER_STATS_DATA: i32 = 315;

/// Status and body of a GET.
fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: broker\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// The samples of a page: name, labels, value.
struct Samples(Vec<(String, String, f64)>);

impl Samples {
    fn of(address: SocketAddr) -> Samples {
        let (status, body) = get(address, "/metrics");
        assert_eq!(status, "HTTP/1.1 200 OK");
        let lines = body.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap();
            assert!(labels.ends_with('}'), "{line}");
            (name.to_owned(), labels.to_owned(), value.parse().unwrap())
        };
        Samples(lines.map(sample).collect())
    }

    /// The one sample of that name which has all these labels.
    fn one(&self, name: &str, labels: &[&str]) -> f64 {
        let found: Vec<_> = self
            .0
            .iter()
            .filter(|(of, has, _)| of == name && labels.iter().all(|label| has.contains(label)))
            .collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
        found[0].2
    }
}

fn runtime_info(wire: &mut Wire) -> Value {
    let answer = wire.call(GET_BROKER_RUNTIME_INFO, json!({}), b"").unwrap();
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    body["table"].clone()
}

fn exporter(cluster: &Cluster, member: usize) -> SocketAddr {
    let table = runtime_info(&mut cluster.connect(member));
    table["metricsAddress"].as_str().unwrap().parse().unwrap()
}

/// The sums of a minute, an hour and a day.
fn sums(wire: &mut Wire, name: &str, key: &str) -> [i64; 3] {
    let ext = json!({ "statsName": name, "statsKey": key });
    let answer = wire.call(VIEW_BROKER_STATS_DATA, ext, b"").unwrap();
    assert_eq!(answer.code, SUCCESS, "{name} {key}: {}", answer.remark);
    let data: Value = serde_json::from_slice(&answer.body).unwrap();
    ["statsMinute", "statsHour", "statsDay"].map(|span| data[span]["sum"].as_i64().unwrap())
}

fn send_all(wire: &mut Wire) {
    for number in 0..SENDS {
        let body = vec![b'x'; if number % 2 == 0 { 100 } else { 2000 }];
        wire.request_send(TOPIC, number as i32 % QUEUES, &body).unwrap();
    }
    for _ in 0..SENDS {
        assert_eq!(wire.receive().unwrap().code, SUCCESS);
    }
}

#[test]
fn figures_are_those_of_what_was_sent_and_pulled() {
    let mut cluster = Cluster::start_with(EXPORTED);
    let (leader, _) = cluster.await_leader(None);
    let mut wire = cluster.connect(leader);
    wire.create_topic(TOPIC, QUEUES).unwrap();
    send_all(&mut wire);
    let half = wire.pull_all(TOPIC, 0, 0).unwrap().len();
    assert_eq!(half, SENDS / 2);
    let committed = json!({
        "consumerGroup": GROUP, "topic": TOPIC, "queueId": "0", "commitOffset": half.to_string(),
    });
    wire.call(UPDATE_CONSUMER_OFFSET, committed, b"").unwrap();
    // It answers when the offset is in the state.
    let behind = wire.call(GET_CONSUME_STATS, json!({ "consumerGroup": GROUP }), b"").unwrap();
    assert_eq!(behind.code, SUCCESS, "{}", behind.remark);

    let address = exporter(&cluster, leader);
    let samples = Samples::of(address);
    let topic = [r#"topic="Watched""#, r#"message_type="normal""#, r#"cluster="RaftCluster""#];
    let group = [r#"topic="Watched""#, r#"consumer_group="reader""#, r#"is_retry="false""#];
    let (sent, taken) = (SENDS as f64, half as f64);
    assert_eq!(samples.one("rocketmq_messages_in_total", &topic), sent);
    assert_eq!(samples.one("rocketmq_message_size_count", &topic), sent);
    assert_eq!(
        samples.one("rocketmq_message_size_bucket", &[topic[0], r#"le="1024""#]),
        sent / 2.0
    );
    assert_eq!(samples.one("rocketmq_messages_out_total", &group), taken);
    assert_eq!(samples.one("rocketmq_consumer_lag_messages", &group), sent - taken);
    assert!(samples.one("rocketmq_consumer_lag_latency", &group) >= 0.0);
    let bytes = samples.one("rocketmq_throughput_in_total", &topic);
    assert!(bytes > samples.one("rocketmq_throughput_out_total", &group) && bytes > sent * 1050.0);
    assert_eq!(samples.one("raftmq_raft_role", &[r#"role="leader""#]), 1.0);
    assert_eq!(samples.one("raftmq_raft_role", &[r#"role="follower""#]), 0.0);
    assert_eq!(samples.one("raftmq_raft_leaderships_total", &[]), 1.0);
    assert!(samples.one("raftmq_log_sync_seconds_count", &[]) > 0.0);
    assert!(samples.one("raftmq_raft_entry_proposals_sum", &[]) >= sent);

    assert_eq!(sums(&mut wire, "TOPIC_PUT_NUMS", TOPIC), [SENDS as i64; 3]);
    assert_eq!(sums(&mut wire, "TOPIC_PUT_SIZE", TOPIC), [bytes as i64; 3]);
    assert_eq!(sums(&mut wire, "GROUP_GET_NUMS", &format!("{TOPIC}@{GROUP}")), [half as i64; 3]);
    let unknown = json!({ "statsName": "TOPIC_PUT_NUMS", "statsKey": "Nothing" });
    let answer = wire.call(VIEW_BROKER_STATS_DATA, unknown, b"").unwrap();
    assert!(answer.code == 1 && answer.remark.contains("not exist"), "{}", answer.remark);
    let table = runtime_info(&mut wire);
    let stored: usize = table["msgPutTotalTodayNow"].as_str().unwrap().parse().unwrap();
    assert!(stored >= SENDS, "{table}");
    assert_eq!(table["msgGetTotalTodayNow"], half.to_string());

    the_board_names_what_is_exported(&get(address, "/metrics").1);
    for path in ["/live", "/ready"] {
        assert_eq!(get(address, path).0, "HTTP/1.1 200 OK", "{path}");
    }
    let follower = Samples::of(exporter(&cluster, (leader + 1) % 3));
    assert_eq!(follower.one("raftmq_raft_role", &[r#"role="follower""#]), 1.0);
    assert!(!follower.0.iter().any(|(name, ..)| name == "rocketmq_consumer_lag_messages"));

    the_next_leader_tells_of_itself(&mut cluster, leader, samples.one("raftmq_raft_term", &[]));
}

/// The metrics that a text names.
fn metrics_in(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("rocketmq_") || word.starts_with("raftmq_"))
}

/// Every expression of a board, wherever it stands.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if ["expr", "query"].contains(&name.as_str()) => {
                        found.push(text.clone());
                    }
                    other => expressions(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

fn the_board_names_what_is_exported(page: &str) {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let exported: BTreeSet<String> = types
        .flat_map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            let suffixes: &[&str] =
                if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
        })
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/grafana.json");
    let board: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut found = Vec::new();
    expressions(&board, &mut found);
    let mut named = BTreeSet::new();
    for expression in &found {
        for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
            let count = |sought| expression.chars().filter(|c| *c == sought).count();
            assert_eq!(count(open), count(close), "{expression}");
        }
        named.extend(metrics_in(expression));
    }
    assert!(named.len() > 20, "the board names only {named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !exported.contains(**name)).collect();
    assert!(missing.is_empty(), "on the board and not exported: {missing:?}");
}

fn the_next_leader_tells_of_itself(cluster: &mut Cluster, deposed: usize, term: f64) {
    cluster.kill(deposed);
    let (leader, _) = cluster.await_leader(Some(deposed));
    let address = exporter(cluster, leader);
    let peer = format!(r#"peer="n{deposed}""#);
    let samples = poll::until("the dead member is not connected", LIMIT, || {
        let samples = Samples::of(address);
        (samples.one("raftmq_raft_peer_connected", &[&peer]) == 0.0).then_some(samples)
    });
    assert_eq!(samples.one("raftmq_raft_role", &[r#"role="leader""#]), 1.0);
    assert!(samples.one("raftmq_raft_term", &[]) > term);
    assert_eq!(samples.one("raftmq_raft_serving", &[]), 1.0);
    assert!(samples.one("raftmq_raft_leader_changes_total", &[]) >= 2.0);
    // The replicated offsets say the same as before.
    let lag = samples.one("rocketmq_consumer_lag_messages", &[r#"consumer_group="reader""#]);
    assert_eq!(lag, (SENDS / 2) as f64);

    // Without a majority nobody leads, and says so.
    cluster.kill(leader);
    let alone = (0..3).find(|member| ![deposed, leader].contains(member)).unwrap();
    let address = exporter(cluster, alone);
    poll::until("the last member is not ready, and says why", LIMIT, || {
        let (status, body) = get(address, "/ready");
        (status.contains("503") && body == "no leader is known\n").then_some(())
    });
    assert_eq!(get(address, "/live").0, "HTTP/1.1 200 OK");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("broker.conf");
    let held_ports = HeldPorts::new(2);
    let ports = held_ports.numbers();
    let text = format!(
        "dLegerGroup={BROKER_NAME}\nbrokerName={BROKER_NAME}\ndLegerPeers=n0-127.0.0.1:{}\n\
         dLegerSelfId=n0\nbrokerIP1=127.0.0.1\nlistenPort={}\nstorePathRootDir={}\n\
         metricsExporterType=PROM\nmetricsPromExporterHost=127.0.0.1\n\
         metricsPromExporterPort={port}\n",
        ports[0],
        ports[1],
        directory.path().join("store").display()
    );
    std::fs::write(&file, text).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_raftmq"));
    let output = command.args(["broker", "-c"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
    assert!(said.contains("metricsPromExporterPort"), "{said}");
}
