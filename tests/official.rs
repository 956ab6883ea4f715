//! Unmodified official clients against three nodes with three groups, real processes.
//!
//! Each suite is a program of its own (`tests/official/`) that prints a line a case; here its
//! cluster is started, a topic created for a client that cannot, the node that leads the first
//! group killed when the suite asks, and the number of cases that passed is compared with what it
//! must be. A case for which a client lacks the feature is named and not counted. Without the
//! runtime of a suite (JDK and Maven, Python, Go, Node) the test says so and passes, except under
//! `CI=true`, where that is a failure.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use support::nodes::{GROUPS, Nodes};
use support::process::Process;

const JAVA_CASES: usize = 43;
const PYTHON_CASES: usize = 20;
const GO_CASES: usize = 21;
const NODE_CASES: usize = 15;
/// Short enough to wait for; retries begin at the third.
const DELAY_LEVELS: &str = "messageDelayLevel=1s 3s 1s 1s 1s\n";
/// Most of it is spent waiting for the clients' own timers, so suites may run side by side.
const SUITE_LIMIT: Duration = Duration::from_secs(300);

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
    let mut command = Command::new(home.join("venv/bin/python"));
    command.arg(suites().join("python/suite.py"));
    run_suite("C++ client through PyPI rocketmq 0.4.4", command, PYTHON_CASES);
}

#[test]
fn go_client_2_1_2_sends_consumes_and_survives_a_failover() {
    let Some(home) = prepared("go", &["go"]) else { return };
    run_suite("Go client 2.1.2", Command::new(home.join("suite")), GO_CASES);
}

#[test]
fn node_client_3_12_0_sends_consumes_and_survives_a_failover() {
    let Some(home) = prepared("node", &["node", "npm"]) else { return };
    let mut command = Command::new("node");
    command.arg(suites().join("node/suite.js")).env("NODE_PATH", home.join("node_modules"));
    run_suite("Node client 3.12.0", command, NODE_CASES);
}

fn java_client(version: &str) {
    let Some(home) = prepared(&format!("java-{version}"), &["java", "mvn"]) else { return };
    let mut command = Command::new("java");
    let class_path = format!("{0}/official.jar:{0}/lib/*", home.display());
    command.args(["-Xmx256m", "-cp", &class_path, "org.raftmq.official.Main"]);
    run_suite(&format!("Java client {version}"), command, JAVA_CASES);
}

fn suites() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official")
}

/// Builds a suite if that was not done before; `None` where a program it needs is absent.
fn prepared(suite: &str, programs: &[&str]) -> Option<PathBuf> {
    for program in programs {
        // Whatever it makes of the option: a program that is there starts.
        if Command::new(program).arg("--version").output().is_err() {
            say(&format!("NOT RUN: official client suite {suite}: no {program} on this machine"));
            let in_gate = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!in_gate, "the gate must run the official client suite {suite}");
            return None;
        }
    }
    let output = Command::new(suites().join("prepare")).arg(suite).output().unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "preparing suite {suite}: {problem}");
    Some(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()))
}

fn run_suite(name: &str, mut command: Command, cases: usize) {
    let mut nodes = Nodes::start_with(DELAY_LEVELS);
    let home = nodes.directory().join("client");
    std::fs::create_dir(&home).unwrap();
    // Where the clients put their logs and offset files.
    command.env("HOME", &home).current_dir(&home);
    if command.get_program() == "java" {
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let mut with_home = Command::new("java");
        with_home.arg(format!("-Duser.home={}", home.display())).args(arguments);
        with_home.current_dir(&home);
        command = with_home;
    }
    command.arg(nodes.name_servers());
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

/// Past the test harness, which keeps what passing tests print to itself.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
