//! Unmodified official clients against three nodes with three groups, real processes.
//!
//! Each suite is a program of its own (`tests/official/`) that prints a line a case; here its
//! cluster is started, a topic created for a client that cannot, the node that leads the first
//! group killed when the suite asks, and the number of cases that passed is compared with what it
//! must be. A case for which a client lacks the feature is named and not counted. Without the
//! runtime of a suite (JDK and Maven, Python, Go, Node, Cargo) the test says so and passes, except
//! under `CI=true`, where that is a failure.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::nodes::{GROUPS, Nodes};
use support::official::{java, prepared, say, suites};
use support::process::Process;

const JAVA_CASES: usize = 43;
const PYTHON_CASES: usize = 20;
const GO_CASES: usize = 21;
const NODE_CASES: usize = 15;
const RUST_CASES: usize = 24;
/// The Rust client can be told this in no other way; its own is 20 s.
const RUST_REBALANCE: (&str, &str) = ("rocketmq.client.rebalance.waitInterval", "2000");
/// Short enough to wait for; retries begin at the third.
const DELAY_LEVELS: &str = "messageDelayLevel=1s 3s 1s 1s 1s\n";
/// Most of it is spent waiting for the clients' own timers, so suites may run side by side.
const SUITE_LIMIT: Duration = Duration::from_secs(900);

#[test]
fn java_client_4_9_8_sends_consumes_and_survives_a_failover() {
    java_client("4.9.8");
}

#[test]
fn java_client_5_3_3_sends_consumes_and_survives_a_failover() {
    java_client("5.3.3");
}

#[test]
fn cpp_client_through_python_sends_consumes_and_survives_a_failover() {
    let Some(home) = prepared("python", &["python3"]) else { return };
    let program = home.join("venv/bin/python");
    run_suite("C++ client through PyPI rocketmq 0.4.4", PYTHON_CASES, |_, name_servers| {
        let mut command = Command::new(program);
        command.arg(suites().join("python/suite.py")).arg(name_servers);
        command
    });
}

#[test]
fn go_client_2_1_2_sends_consumes_and_survives_a_failover() {
    let Some(home) = prepared("go", &["go"]) else { return };
    run_suite("Go client 2.1.2", GO_CASES, |_, name_servers| {
        let mut command = Command::new(home.join("suite"));
        command.arg(name_servers);
        command
    });
}

#[test]
fn node_client_3_12_0_sends_consumes_and_survives_a_failover() {
    let Some(home) = prepared("node", &["node", "npm"]) else { return };
    run_suite("Node client 3.12.0", NODE_CASES, |_, name_servers| {
        let mut command = Command::new("node");
        command.arg(suites().join("node/suite.js")).arg(name_servers);
        command.env("NODE_PATH", home.join("node_modules"));
        command
    });
}

#[test]
fn rust_client_1_0_0_sends_consumes_and_survives_a_failover() {
    let Some(home) = prepared("rust", &["cargo"]) else { return };
    run_suite("Rust client 1.0.0", RUST_CASES, |_, name_servers| {
        let mut command = Command::new(home.join("debug/suite"));
        command.arg(name_servers).env(RUST_REBALANCE.0, RUST_REBALANCE.1);
        command
    });
}

fn java_client(version: &str) {
    let Some(home) = prepared(&format!("java-{version}"), &["java", "mvn"]) else { return };
    run_suite(&format!("Java client {version}"), JAVA_CASES, |directory, name_servers| {
        java(&home, "Main", directory, name_servers)
    });
}

/// `program` gets the folder for what its client leaves behind, and the NameServers' addresses.
fn run_suite(name: &str, cases: usize, program: impl FnOnce(&Path, &str) -> Command) {
    let mut nodes = Nodes::start_with(DELAY_LEVELS);
    let home = nodes.directory().join("client");
    std::fs::create_dir(&home).unwrap();
    let mut command = program(&home, &nodes.name_servers());
    command.env("HOME", &home).current_dir(&home);
    let mut suite = Process::spawn(name, command, &home.join("suite.log"));
    let deadline = Instant::now() + SUITE_LIMIT;
    let mut passed = Vec::new();
    let mut failed = Vec::new();
    while let Some(line) = suite.next_line(deadline) {
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("PASS", case) => passed.push(case.to_owned()),
            ("FAIL", _) => failed.push(line),
            ("INFO", figure) => say(&format!("{name}: {figure}")),
            ("LACKS", case) => say(&format!("{name}: NOT IN THIS CLIENT: {case}")),
            ("CREATE-TOPIC", topic_and_queues) => {
                let (topic, queues) = topic_and_queues.split_once(' ').unwrap();
                nodes.create_topic(topic, queues);
                suite.say("created");
            }
            ("LEADERS", _) => suite.say(&nodes.leader_addresses().join(" ")),
            ("KILL-LEADER", _) => {
                let leader = nodes.leader(GROUPS[0]).expect("the first group has a leader");
                nodes.process_mut(leader).kill();
                suite.say("killed");
            }
            // What a client says of itself is in its log.
            _ => {}
        }
    }
    let status = suite.wait();
    say(&format!("{name}: {} of {cases} cases passed", passed.len()));
    assert!(failed.is_empty(), "{name}: {failed:#?}\n{}", suite.tail());
    assert_eq!(passed.len(), cases, "{name} ended with {status}: {passed:?}\n{}", suite.tail());
}
