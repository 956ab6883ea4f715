//! The README's first command: a group of processes, its leader killed, every message counted. No
//! process of it is left behind.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use support::poll;
use support::ports::HeldPorts;
use support::process::Process;

const LIMIT: Duration = Duration::from_secs(60);

/// From the base port to the others of a quickstart.
const STEPS: [u16; 6] = [1, 2, 3, 11, 12, 13];

fn demo(directory: &Path, base_port: u16) -> Output {
    Command::new(env!("CARGO_BIN_EXE_raftmq"))
        .args(["quickstart", "--demo", "--messages", "4000"])
        .args(["--base-port", &base_port.to_string(), "--dir"])
        .arg(directory)
        .output()
        .unwrap()
}

fn value(table: &str, name: &str) -> u64 {
    let line = table.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in {table}"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_demo_loses_nothing_and_can_be_run_again() {
    let directory = tempfile::tempdir().unwrap();
    let ports = HeldPorts::with_steps(&STEPS);
    let base = ports.numbers()[0];
    for _ in 0..2 {
        let output = demo(directory.path(), base);
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{table}{problem}");
        assert!(problem.contains("kill -9 of the leader"), "nobody was killed: {problem}");
        assert_eq!(value(&table, "sent"), 4000, "{table}");
        assert_eq!(value(&table, "acknowledged"), 4000, "{table}{problem}");
        assert_eq!(value(&table, "lost"), 0, "{table}{problem}");
        // Its processes are gone with it: the NameServer's port is free again.
        TcpListener::bind((Ipv4Addr::LOCALHOST, base)).unwrap();
    }
}

#[test]
fn a_taken_port_is_named_with_the_way_out() {
    let ports = HeldPorts::with_steps(&STEPS);
    let port = ports.numbers()[0];
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let output = demo(directory.path(), port);
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(problem.contains(&format!("port {port} is in use")), "{problem}");
    assert!(problem.contains("--base-port"), "{problem}");
}

#[test]
fn a_quickstart_that_is_killed_leaves_no_process_behind() {
    let directory = tempfile::tempdir().unwrap();
    let ports = HeldPorts::with_steps(&STEPS);
    let base = ports.numbers()[0].to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftmq"));
    command.args(["quickstart", "--base-port", &base, "--dir"]).arg(directory.path());
    let mut parent = Process::spawn("quickstart", command, &directory.path().join("parent.log"));
    parent.await_line("Stop with Ctrl-C", LIMIT);
    let answers = |port: &u16| TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let serving: Vec<u16> = ports.numbers().into_iter().filter(answers).collect();
    assert_eq!(serving.len(), 7, "a NameServer, and two ports for each broker");
    parent.kill();
    poll::until("no port answers", LIMIT, || (!serving.iter().any(answers)).then_some(()));
    for member in 0..3 {
        let log = std::fs::read_to_string(directory.path().join(format!("broker-n{member}.log")));
        let log = log.unwrap();
        assert!(log.contains("is gone: stopping"), "not an orderly stop: {log}");
    }
}
