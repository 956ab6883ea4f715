//! `raftmq bench` against a real cluster: what it prints, what it says meanwhile, and its report.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::cluster::Cluster;

/// A command that takes longer says so.
const QUICK: Duration = Duration::from_secs(5);

fn bench(cluster: &Cluster, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftmq"));
    command.arg("bench").args(arguments).args(["-n", &cluster.name_servers()]);
    command.env("RUST_LOG", "warn").output().unwrap()
}

/// Standard output holds one JSON document and nothing else.
fn json(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_failover_is_measured_and_shown_in_a_page() {
    let cluster = Cluster::start();
    let (leader, _) = cluster.await_leader(None);
    let file = cluster.directory().join("report.html");
    let kill = format!("kill -9 {}", cluster.process(leader).id());
    let load = ["-r", "300", "-s", "100", "-d", "6", "--kill-after", "2", "-k", &kill, "--json"];
    let report = ["--report", file.to_str().unwrap()];
    let output = bench(&cluster, &[&["failover"][..], &load, &report].concat());
    let measured = json(&output);
    assert_eq!(
        (&measured["acknowledged"], &measured["lost"]),
        (&Value::from(1800), &Value::from(0))
    );

    let page = std::fs::read_to_string(&file).unwrap();
    let (before, after) = (cluster.address(leader), "led instead of ");
    assert!(page.contains(&format!("{after}{before}")), "the failover is not in {page}");
    assert!(page.contains("kill command, for RaftNode00&#39;s leader"), "{page}");
    let answered: u64 = intervals(&page).iter().map(|row| row[2].parse::<u64>().unwrap()).sum();
    assert_eq!(answered, 1800);

    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(" s of 6 s, "), "no progress in {said:?}");
}

#[test]
fn a_load_is_drawn_alone_and_a_report_that_cannot_be_is_told_before_it() {
    let cluster = Cluster::start();
    let file = cluster.directory().join("report.svg");
    let load = ["produce", "-w", "7", "-c", "3", "-d", "1", "--warmup", "0.2", "--json"];
    let began = Instant::now();
    let output = bench(&cluster, &[&load[..], &["--report", file.to_str().unwrap()]].concat());
    assert!(json(&output)["sent"].as_u64().unwrap() > 0);
    assert!(output.stderr.is_empty() || began.elapsed() > QUICK, "a quick command says nothing");
    let drawing = std::fs::read_to_string(&file).unwrap();
    assert!(drawing.starts_with("<svg") && drawing.contains("7 sends of 1,024 B in flight"));

    let output = bench(&cluster, &["produce", "--report", "report.pdf"]);
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("ends with .html"));
    assert!(!Path::new("report.pdf").exists());
}

#[test]
fn what_is_sent_is_pushed_to_a_listener_while_many_are_connected() {
    let cluster = Cluster::start();
    let load = ["-r", "500", "-d", "2", "--warmup", "0.5", "--json"];
    let measured = json(&bench(&cluster, &[&["push"][..], &load].concat()));
    assert_eq!(measured["missing"], 0, "{measured}");
    let (received, push) = (&measured["received"], &measured["push"]);
    // All that were due; the last of them are not sent any more where the machine was busy then.
    assert!((1..=1001).contains(&received.as_u64().unwrap()), "{measured}");
    let ms = |latency: &Value, name: &str| latency[name].as_f64().unwrap();
    let send = &measured["send"]["latency"];
    // A message is stored before it is acknowledged and before it is pushed.
    assert!(ms(push, "p50_ms") > 0.05, "{measured}");
    assert!(ms(send, "p50_ms") > 0.05, "{measured}");

    let load = ["produce", "--clients", "60", "-d", "0.5", "--warmup", "0", "--json"];
    let measured = json(&bench(&cluster, &load));
    assert_eq!(measured["clients"], 60);
    assert!(measured["sent"].as_u64().unwrap() > 0 && measured["connections_lost"] == 0);
}

/// The rows of the page's table of intervals.
fn intervals(page: &str) -> Vec<Vec<&str>> {
    fn cells(row: &str) -> Vec<&str> {
        let cells = row.split("</td>").filter_map(|part| part.rsplit_once("<td"));
        cells.map(|(_, cell)| cell.split_once('>').unwrap().1).collect()
    }
    let table = page.split("<h2>Every interval</h2>").nth(1).unwrap();
    table.split("<tr>").filter(|row| row.contains("<td")).map(cells).collect()
}
