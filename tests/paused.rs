//! The leader stops for a while, as a process does whose machine is suspended: another leads, and
//! the old one, which at first does not know, acknowledges nothing of its own any more. With a watchdog
//! it is killed.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use support::cluster::Cluster;
use support::load::{Acknowledged, Load};
use support::poll;
use support::process::signal;
use support::wire::{SUCCESS, Wire};

const TOPIC: &str = "Paused";
const QUEUES: i32 = 4;
const LATE_SENDS: usize = 100;
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_leader_that_was_paused_acknowledges_nothing_of_its_own_and_follows() {
    // The smallest budget must do: queues that are full refuse, and clients try again.
    let mut cluster = Cluster::start_with("memoryBudgetBytes=33554432");
    let (old, _) = cluster.await_leader(None);
    cluster.connect(old).create_topic(TOPIC, QUEUES).unwrap();
    let mut all = Acknowledged::default();
    let load = Load::start(cluster.address(old), TOPIC, QUEUES, 0);
    poll::until("sends acknowledged", LIMIT, || (load.acknowledged() >= 1_000).then_some(()));
    let mut late = cluster.connect(old);
    late.max_offset(TOPIC, 0).unwrap();
    let old_term = cluster.term_of(old);

    cluster.process_mut(old).pause();
    // They lie in its socket: the first thing that it reads when it goes on, still leader.
    let waiting = send_late(&mut late);
    let (new, _) = cluster.await_leader(Some(old));
    let other = Load::start(cluster.address(new), TOPIC, QUEUES, 1);
    poll::until("sends acknowledged", LIMIT, || (other.acknowledged() >= 2_000).then_some(()));
    cluster.process_mut(old).resume();

    // What it says was stored must be there: by the new leader, which it may have forwarded to.
    receive_late(&mut late, waiting, &mut all);
    load.finish(&mut all);
    other.finish(&mut all);
    let logs = cluster.await_equal_logs(LIMIT);
    assert_eq!(cluster.leader(), Some(new), "the one that was paused does not take over");
    for log in &logs {
        let leads = log["member"].as_u64() == Some(new as u64 + 1);
        assert_eq!(log["role"], if leads { "Leader" } else { "Follower" }, "{log}");
        assert!(log["term"].as_u64() > Some(old_term), "{log}");
    }
    for member in [new, old] {
        all.assert_stored(&mut cluster.connect(member), TOPIC, QUEUES);
    }
}

#[test]
fn a_leader_that_stands_still_is_killed_by_its_watchdog() {
    let mut cluster = Cluster::start_with("watchdogTimeoutMs=1000");
    let (leader, _) = cluster.await_leader(None);
    let other = (leader + 1) % 3;
    let mut wire = cluster.connect(leader);
    wire.create_topic(TOPIC, QUEUES).unwrap();

    // One that is lost has a successor.
    let process = cluster.process_mut(leader).id();
    let first = await_watchdog(process, None);
    signal("KILL", first);
    let second = await_watchdog(process, Some(first));

    cluster.process_mut(leader).send_pause();
    let status = cluster.process_mut(leader).wait();
    assert_eq!(status.signal(), Some(9), "{status}");
    await_end(second);
    // Its connections ended with it.
    assert!(wire.max_offset(TOPIC, 0).is_err());
    cluster.await_leader(Some(leader));
    cluster.restart(leader);
    cluster.await_equal_logs(LIMIT);

    // One that is told to stop takes it along, although it is told as well.
    let process = cluster.process_mut(other).id();
    let watchdog = await_watchdog(process, None);
    signal("TERM", watchdog);
    assert_eq!(await_watchdog(process, None), watchdog);
    cluster.process_mut(other).terminate();
    assert!(cluster.process_mut(other).wait().success());
    await_end(watchdog);
}

/// The process that watches over another one, not this one.
fn await_watchdog(process: u32, not: Option<u32>) -> u32 {
    poll::until("there is a watchdog", LIMIT, || {
        let tasks = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
        let children = tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
        let children: Vec<u32> = children
            .flat_map(|line| {
                line.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<_>>()
            })
            .collect();
        children.into_iter().find(|child| Some(*child) != not)
    })
}

fn await_end(process: u32) {
    poll::until("it has ended", LIMIT, || {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
        // Nobody may have asked how it ended.
        stat.map_or(true, |stat| stat.contains(") Z ")).then_some(())
    });
}

/// Bodies by the opaque that their answers will carry.
fn send_late(wire: &mut Wire) -> BTreeMap<i32, Vec<u8>> {
    let send = |number: usize| {
        let body = format!("late-{number}").into_bytes();
        let queue = i32::try_from(number).unwrap() % QUEUES;
        (wire.request_send(TOPIC, queue, &body).unwrap(), body)
    };
    (0..LATE_SENDS).map(send).collect()
}

/// Every one is answered, whatever the answer is.
fn receive_late(wire: &mut Wire, mut waiting: BTreeMap<i32, Vec<u8>>, all: &mut Acknowledged) {
    while !waiting.is_empty() {
        let answer = wire.receive().unwrap();
        let body = waiting.remove(&answer.opaque).expect("an answer to what was asked");
        if answer.code == SUCCESS {
            all.add(answer.number("queueId") as i32, answer.number("queueOffset"), body);
        }
    }
}
