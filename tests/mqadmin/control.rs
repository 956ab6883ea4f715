//! What RocketMQ's operators ask of a controller, asked of a name server.

use crate::CLUSTER;
use crate::masks::{exact, sorted};
use crate::support::cluster::BROKER_NAME;
use crate::tools::Tools;

pub fn compare(tools: &mut Tools) {
    let address = tools.cluster.name_servers();
    let controller = ["-a", &*address];
    tools.same(&[&["getControllerMetaData"], &controller[..]].concat(), exact);
    tools.same(&[&["getControllerConfig"], &controller[..]].concat(), sorted);
    let change = ["updateControllerConfig", "-k", "orderMessageEnable", "-v", "true"];
    tools.same(&[&change[..], &controller].concat(), exact);
    let sync_state = [&["getSyncStateSet"], &controller[..]].concat();
    for group in [["-c", CLUSTER], ["-b", BROKER_NAME]] {
        let shown = tools.same(&[&sync_state[..], &group].concat(), exact);
        let in_sync = shown.iter().filter(|line| line.starts_with("InSyncReplica:"));
        assert_eq!(in_sync.count(), 3, "{shown:?}");
    }
    tools.both_refuse(&[&sync_state[..], &["-b", "NoSuchGroup"]].concat());
    for group in [["-c", CLUSTER], ["-b", BROKER_NAME]] {
        let terms = tools.same(&[&["getBrokerEpoch"], &group[..]].concat(), without_ends);
        assert!(terms.iter().any(|line| line.starts_with("#Epoch: ")), "{terms:?}");
    }
    elections(tools, &controller);
}

/// Each tool moves the leadership from one member to another.
fn elections(tools: &mut Tools, controller: &[&str]) {
    let leader = tools.cluster.leader().unwrap();
    let number = |member: usize| (member + 1).to_string();
    let (from, to) = (number((leader + 1) % 3), number((leader + 2) % 3));
    let group = ["-bn", BROKER_NAME, "-c", CLUSTER];
    let elect = |member| [&["electMaster"], controller, &group, &["-b", member]].concat();
    let elected = tools.same_after(&elect(&from), &elect(&to), without_terms);
    assert!(elected.iter().any(|line| line.starts_with("#BrokerMasterAddr\t")), "{elected:?}");
    assert_eq!(elected.iter().filter(|line| line.starts_with("\t#Broker\t")).count(), 3);
    // It leads already; there is no such member; there is no such group.
    tools.both_refuse(&elect(&to));
    tools.both_refuse(&elect("9"));
    let unknown = ["electMaster", "-bn", "NoSuchGroup", "-c", CLUSTER, "-b", "1"];
    tools.both_refuse(&[&unknown[..], controller].concat());
}

/// The log goes on while the tools run.
fn without_ends(lines: Vec<String>) -> Vec<String> {
    sorted(lines.iter().map(|line| line.split(", endOffset").next().unwrap().to_owned()).collect())
}

/// Each election has a term of its own.
fn without_terms(lines: Vec<String>) -> Vec<String> {
    let term = |line: &String| match line.split_once("Epoch\t") {
        Some((name, _)) => format!("{name}Epoch"),
        None => line.clone(),
    };
    lines.iter().map(term).collect()
}
