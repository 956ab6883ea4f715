//! `raftmq admin doctor` on real clusters: a healthy one, one with a dead member, one without a
//! majority, one whose members are configured differently and whose disks are too full.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::process::{Command, Output};
use std::time::Duration;

use support::cluster::Cluster;
use support::poll;

const LIMIT: Duration = Duration::from_secs(20);

fn doctor(cluster: &Cluster, more: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftmq"));
    command.args(["admin", "doctor", "-n", &cluster.name_servers()]).args(more);
    let Output { status, stdout, .. } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap())
}

/// Asks until the exit code is this one.
fn comes_to(cluster: &Cluster, code: i32) -> String {
    poll::until(&format!("exit code {code}"), LIMIT, || {
        let (exited, said) = doctor(cluster, &[]);
        (exited == code).then_some(said)
    })
}

/// Above any disk's use, so that only what a test does is found.
const ROOMY: &str = "diskMaxUsedSpaceRatio=93\ndiskSpaceCleanForciblyRatio=94\n\
                     diskSpaceWarningLevelRatio=99\n";

#[test]
fn a_cluster_is_well_then_has_less_in_reserve_then_does_not_work() {
    let mut cluster = Cluster::start_with(ROOMY);
    let said = comes_to(&cluster, 0);
    assert_eq!(said, "1 name servers, 1 groups, 3 of 3 brokers answered, 0 findings\n");

    let (leader, _) = cluster.await_leader(None);
    cluster.kill(leader);
    cluster.await_leader(Some(leader));
    let said = comes_to(&cluster, 1);
    let missing = format!("RaftNode00 n{leader}: does not answer: 2 of 3 members are left");
    assert!(said.contains(&missing), "{said}");
    assert!(said.contains("start it"), "{said}");

    cluster.kill((leader + 1) % 3);
    let said = comes_to(&cluster, 2);
    assert!(said.contains("a majority is missing: sends are refused"), "{said}");
    let (code, json) = doctor(&cluster, &["-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, json["findings"][0]["severity"].as_str()), (2, Some("error")), "{json}");
}

#[test]
fn members_that_are_configured_differently_are_told() {
    let mut cluster = Cluster::start_with(ROOMY);
    let (leader, _) = cluster.await_leader(None);
    let follower = (leader + 1) % 3;
    cluster.kill(follower);
    let file = cluster.directory().join(format!("broker-n{follower}.conf"));
    let mut text = std::fs::read_to_string(&file).unwrap();
    text.push_str("\nfileReservedTime=48\n");
    std::fs::write(&file, text).unwrap();
    cluster.restart(follower);
    let said = comes_to(&cluster, 1);
    assert!(said.contains(&format!("fileReservedTime=48 on n{follower}")), "{said}");
    assert_eq!(said.lines().count(), 3, "nothing else is wrong: {said}");
}
