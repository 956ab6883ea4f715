//! What stock Java clients notice when one of three nodes with three groups is killed, stands still and
//! has a watchdog, or is stopped in good order: `tests/official/failover-table N` strikes N times each and prints the
//! table, the gate strikes once each. Whatever the figures: nothing acknowledged is lost, and a
//! message is stored twice only if its producer did not hear what became of its first attempt.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use support::nodes::Nodes;
use support::official;
use support::process::Process;

/// From the fault to the end of a round: longer than every timeout of a producer.
const ROUND: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(300);
const FAULTS: [&str; 3] = ["kill -9", "SIGSTOP", "SIGTERM"];
const SIDES: [&str; 2] = ["default", "tuned"];
/// What a send's attempts may take together by default: if nobody led for so long, on a machine that
/// does much else, sends may fail.
const SEND_MS: u64 = 3_000;
/// Far above what is measured on an idle machine: a gate's machine is not.
const GAP_MS_MAX: u64 = 20_000;

/// The clients remember every message to the end.
const HEAP_MIB: usize = 256;
const HEAP_MIB_A_TIME: usize = 32;

type Figures = BTreeMap<String, u64>;

#[test]
fn producers_and_consumers_hardly_notice_that_a_node_dies() {
    let Some(home) = official::prepared_java() else { return };
    let times = std::env::var("RAFTMQ_FAILOVERS").map_or(1, |times| times.parse().unwrap());
    let mut nodes = Nodes::start_with("watchdogTimeoutMs=500\n");
    for side in SIDES {
        nodes.create_topic(&format!("FailoverTable-{side}"), "2");
    }
    let directory = nodes.directory().join("client");
    std::fs::create_dir(&directory).unwrap();
    let heap_mib = HEAP_MIB + times * HEAP_MIB_A_TIME;
    let name_servers = nodes.name_servers();
    let command =
        official::java_within(heap_mib, &home, "FailoverTable", &directory, &name_servers);
    let mut clients = Process::spawn("Java client", command, &directory.join("table.log"));
    clients.await_line("READY", ANSWER_LIMIT);

    let mut rounds: BTreeMap<(&str, String), Vec<Figures>> = BTreeMap::new();
    for round in 0..times * FAULTS.len() {
        let fault = FAULTS[round % FAULTS.len()];
        for (side, figures) in strike(&mut nodes, &mut clients, fault, round / FAULTS.len() % 3) {
            rounds.entry((fault, side)).or_default().push(figures);
        }
    }
    let ends = ask(&mut clients, "end", "END");
    print(&rounds, &ends);
    for (side, end) in &ends {
        assert_eq!(end["lost"], 0, "{side}: acknowledged and lost\n{}", clients.tail());
        assert_eq!(end["unexplained"], 0, "{side}: stored twice without a cause");
    }
    for ((fault, side), rounds) in &rounds {
        let failed = rounds.iter().filter(|round| round["gap_ms"] < SEND_MS);
        let failed: u64 = failed.map(|round| round["failed"]).sum();
        assert_eq!(failed, 0, "{fault}, {side}\n{}", clients.tail());
        let longest = sorted(rounds, "gap_ms").pop();
        assert!(longest < Some(GAP_MS_MAX), "{fault}, {side}: no send for {longest:?} ms");
    }
}

/// One fault, what the clients saw of it, and everything as it was before.
fn strike(
    nodes: &mut Nodes,
    clients: &mut Process,
    fault: &str,
    node: usize,
) -> Vec<(String, Figures)> {
    clients.say("mark");
    clients.await_line("MARKED", ANSWER_LIMIT);
    let end = Instant::now() + ROUND;
    match fault {
        "kill -9" => nodes.process_mut(node).kill(),
        "SIGSTOP" => nodes.process_mut(node).send_pause(),
        _ => nodes.process_mut(node).terminate(),
    }
    nodes.await_deposed(node);
    support::poll::until_or_none(ROUND, || (Instant::now() >= end).then_some(()));
    let figures = ask(clients, "report", "ROUND");
    // One that stands still is killed by its watchdog.
    nodes.process_mut(node).wait();
    nodes.restart(node);
    nodes.await_spread();
    figures
}

/// The lines that answer a command, by side.
fn ask(clients: &mut Process, command: &str, kind: &str) -> Vec<(String, Figures)> {
    clients.say(command);
    let deadline = Instant::now() + ANSWER_LIMIT;
    let mut answers = Vec::new();
    while let Some(line) = clients.next_line(deadline) {
        if line == "DONE" {
            break;
        }
        let Some(fields) = line.strip_prefix(kind) else { continue };
        let mut side = String::new();
        let mut figures = Figures::new();
        for (name, value) in fields.split_whitespace().filter_map(|field| field.split_once('=')) {
            match value.parse() {
                Ok(number) => drop(figures.insert(name.to_owned(), number)),
                Err(_) => value.clone_into(&mut side),
            }
        }
        answers.push((side, figures));
    }
    assert_eq!(answers.len(), SIDES.len(), "answers to {command}\n{}", clients.tail());
    answers
}

fn sorted(rounds: &[Figures], name: &str) -> Vec<u64> {
    let mut values: Vec<u64> = rounds.iter().map(|round| round[name]).collect();
    values.sort_unstable();
    values
}

fn sum(rounds: &[Figures], name: &str) -> u64 {
    rounds.iter().map(|round| round[name]).sum()
}

fn print(rounds: &BTreeMap<(&str, String), Vec<Figures>>, ends: &[(String, Figures)]) {
    let say = official::say;
    say(
        "| fault | settings | times | failed sends | longest gap of a producer, p50 / max | consumers go on, p50 / max | messages later than 2 s |",
    );
    say("|---|---|---|---|---|---|---|");
    for ((fault, side), rounds) in rounds {
        let spread = |name: &str| {
            let values = sorted(rounds, name);
            format!("{} / {} ms", values[(values.len() - 1) / 2], values[values.len() - 1])
        };
        let (times, failed, late) = (rounds.len(), sum(rounds, "failed"), sum(rounds, "late"));
        let (gap, go_on) = (spread("gap_ms"), spread("go_on_ms"));
        say(&format!("| {fault} | {side} | {times} | {failed} | {gap} | {go_on} | {late} |"));
    }
    for (side, end) in ends {
        say(&format!("{side}: {end:?}"));
    }
}
