//! `doctor`: looks a whole cluster over, and says what is wrong with it and what to do.
//!
//! Invariant: everything that can be asked is asked before anything is judged, so one broker that does
//! not answer hides nothing. The exit code is 0 when all is well, 1 when something should be mended
//! while the cluster works, 2 when something does not work.

mod examine;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use super::arguments::DoctorArgs;
use super::{AdminError, print};
use crate::client::Admin;
use crate::protocol::body::RaftStatus;
use crate::{clock, progress};
use examine::{Finding, Severity, examine};

/// What was found out.
#[derive(Debug, Default)]
struct Facts {
    /// Each name server, and why it did not answer.
    name_servers: Vec<(String, Option<String>)>,
    /// By address.
    brokers: BTreeMap<String, Broker>,
}

/// One broker, or what others say of one.
#[derive(Debug)]
struct Broker {
    /// Its group.
    group: String,
    /// What it said, or why it said nothing.
    said: Result<Said, String>,
}

/// What a broker says of itself.
#[derive(Debug, Default, Clone)]
struct Said {
    status: RaftStatus,
    runtime: BTreeMap<String, String>,
    config: BTreeMap<String, String>,
    /// How far its clock is ahead of this machine's, and how exactly that is known.
    clock_ahead_ms: i64,
    clock_error_ms: i64,
}

pub(super) async fn run(admin: &Admin, arguments: &DoctorArgs) -> Result<(), AdminError> {
    // Whoever does not answer is waited for.
    let line = || "admin: asking name servers and brokers".to_owned();
    let facts = progress::during(gather(admin), line).await;
    let findings = examine(&facts);
    let count = |wanted| findings.iter().filter(|finding| finding.severity == wanted).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let json = || {
        let finding = |finding: &Finding| {
            json!({
                "severity": finding.severity.name(),
                "where": finding.place,
                "what": finding.what,
                "todo": finding.advice,
            })
        };
        json!({
            "brokers": facts.brokers.len(),
            "findings": findings.iter().map(finding).collect::<Vec<_>>(),
        })
    };
    print(&arguments.common, || report(&facts, &findings), json)?;
    match errors + warnings {
        0 => Ok(()),
        _ => Err(AdminError::Unwell { errors, warnings }),
    }
}

fn report(facts: &Facts, findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { severity, place, what, advice } in findings {
        text.push_str(&format!("{:<8}{place}: {what}\n        {advice}\n", severity.name()));
    }
    let groups: BTreeSet<_> = facts.brokers.values().map(|broker| &broker.group).collect();
    let answered = facts.brokers.values().filter(|broker| broker.said.is_ok()).count();
    text.push_str(&format!(
        "{} name servers, {} groups, {answered} of {} brokers answered, {} findings\n",
        facts.name_servers.len(),
        groups.len(),
        facts.brokers.len(),
        findings.len(),
    ));
    text
}

/// Asks name servers and brokers, and the brokers of whom only their peers speak.
async fn gather(admin: &Admin) -> Facts {
    let asked = admin
        .name_servers()
        .iter()
        .map(|address| async move { (address.clone(), admin.brokers_known_to(address).await) });
    let mut facts = Facts::default();
    let mut todo = BTreeMap::new();
    for (address, answer) in join_all(asked).await {
        let problem = answer.as_ref().err().map(ToString::to_string);
        for broker in answer.into_iter().flatten() {
            todo.insert(broker.address, broker.broker_name);
        }
        facts.name_servers.push((address, problem));
    }
    while !todo.is_empty() {
        let asked = std::mem::take(&mut todo).into_iter().map(|(address, group)| async move {
            let said = ask(admin, &address).await;
            (address, Broker { group, said })
        });
        for (address, broker) in join_all(asked).await {
            facts.brokers.insert(address, broker);
        }
        for said in facts.brokers.values().filter_map(|broker| broker.said.as_ref().ok()) {
            for address in said.status.peers.iter().filter_map(|peer| peer.client_addr.as_ref()) {
                if !facts.brokers.contains_key(address) {
                    todo.insert(address.clone(), said.status.broker_name.clone());
                }
            }
        }
    }
    facts
}

async fn ask(admin: &Admin, address: &str) -> Result<Said, String> {
    let problem = |error: crate::client::ClientError| error.to_string();
    let (asked_at, asked_at_ms) = (Instant::now(), clock::now_ms());
    let status = admin.raft_status(address).await.map_err(problem)?;
    let round_trip_ms = i64::try_from(asked_at.elapsed().as_millis()).unwrap_or(i64::MAX);
    let runtime = admin.runtime_info(address).await.map_err(problem)?;
    let config = admin.broker_config(address).await.map_err(problem)?;
    let clock_ahead_ms = match status.timestamp_ms {
        0 => 0,
        said_ms => said_ms - (asked_at_ms + round_trip_ms / 2),
    };
    Ok(Said { status, runtime, config, clock_ahead_ms, clock_error_ms: round_trip_ms / 2 + 1 })
}
