//! `raftmq admin doctor` on real clusters: a healthy one, one with a dead member, one without a
//! majority, one whose members are configured differently and whose disks are too full.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::time::Duration;

use support::cluster::Cluster;
use support::poll;

const LIMIT: Duration = Duration::from_secs(60);

fn doctor(cluster: &Cluster, more: &[&str]) -> (i32, String) {
    let answer = cluster.ask_admin(&[&["doctor"], more].concat());
    (answer.code, answer.printed)
}

/// Asks until the exit code is this one and this is said: while members still find each other, it is
/// something else that is wrong.
fn comes_to(cluster: &Cluster, code: i32, is_said: impl Fn(&str) -> bool) -> String {
    let mut last = String::new();
    let found = poll::until_or_none(LIMIT, || {
        let (exited, said) = doctor(cluster, &[]);
        last = format!("exit code {exited}: {said}");
        (exited == code && is_said(&said)).then_some(said)
    });
    found.unwrap_or_else(|| panic!("it does not come to exit code {code}, but to {last}"))
}

/// Above any disk's use, so that only what a test does is found.
const ROOMY: &str = "diskMaxUsedSpaceRatio=93\ndiskSpaceCleanForciblyRatio=94\n\
                     diskSpaceWarningLevelRatio=99\n";

#[test]
fn a_cluster_is_well_then_has_less_in_reserve_then_does_not_work() {
    let mut cluster = Cluster::start_with(ROOMY);
    let said = comes_to(&cluster, 0, |_| true);
    assert_eq!(said, "1 name servers, 1 groups, 3 of 3 brokers answered, 0 findings\n");

    let (leader, _) = cluster.await_leader(None);
    cluster.kill(leader);
    cluster.await_leader(Some(leader));
    let missing = format!("RaftNode00 n{leader}: does not answer: 2 of 3 members are left");
    let said = comes_to(&cluster, 1, |said| said.contains(&missing));
    assert!(said.contains("start it"), "{said}");

    cluster.kill((leader + 1) % 3);
    comes_to(&cluster, 2, |said| said.contains("a majority is missing: sends are refused"));
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
    let told = format!("fileReservedTime=48 on n{follower}");
    // And nothing else is wrong: one finding, and the sum.
    comes_to(&cluster, 1, |said| said.contains(&told) && said.lines().count() == 3);
}
