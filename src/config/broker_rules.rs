//! Rules between the broker's keys: defaults that follow from other keys, and contradictions.
//!
//! Invariant: a configuration that passes has an own peer, distinct members, a segment that holds
//! the largest message, and a heartbeat well inside the election timeout.

use std::collections::BTreeMap;

use super::budget::{OTHERS_PERCENT_MIN, WAITING_PERCENT};
use super::setting::{MetricsExporterType, Setting};
use super::{BrokerConfig, Environment, Finding, Problem, Properties};

/// Room in a segment beside the largest body: properties, topic, entry headers and commands.
const ENTRY_OVERHEAD_BYTES: u64 = 48 * 1024;

/// Usual deletion, forced deletion, refusal of sends: the order in which they must begin.
const DISK_RATIO_KEYS: [&str; 3] =
    ["diskMaxUsedSpaceRatio", "diskSpaceCleanForciblyRatio", "diskSpaceWarningLevelRatio"];
/// Between forced deletion and refusal when only the former is written: it must be able to help
/// first. The largest forced ratio and this stay within the range of the refusal's.
const REFUSAL_MARGIN_PERCENT: u8 = 4;

/// A shorter silence may be that of a process that only waits for its turn.
const WATCHDOG_TIMEOUT_MS_MIN: u64 = 100;
const HOUR_MS: i64 = 3_600_000;

fn given(properties: &Properties, key: &str) -> bool {
    properties.get(key).is_some_and(|value| !value.is_empty())
}

/// Fills in what follows from other keys or from the machine.
pub fn complete(config: &mut BrokerConfig, properties: &Properties, environment: &Environment) {
    let given = |key: &str| given(properties, key);
    if !given("brokerName") {
        config.broker_name = match config.dleger_group.as_str() {
            "" => environment.host_name.clone(),
            group => group.to_owned(),
        };
    }
    if !given("brokerIP1") {
        config.broker_ip1 = environment.ip.clone();
    }
    if !given("namesrvAddr")
        && let Ok(addresses) = Vec::<String>::parse(&environment.namesrv_addr)
    {
        config.namesrv_addr = addresses;
    }
    if !given("storePathRootDir") {
        config.store_path_root_dir = environment.home.join("store");
    }
    if !given("storePathDLedgerCommitLog") {
        let directory = format!("dledger-{}", config.dleger_self_id);
        config.store_path_dledger_commit_log = config.store_path_root_dir.join(directory);
    }
    let segment_bytes = config.mapped_file_size_commit_log;
    if !given("raftEntryBytesMax") {
        let quarter = usize::try_from(segment_bytes / 4).unwrap_or(usize::MAX);
        config.raft_entry_bytes_max = config.raft_entry_bytes_max.min(quarter);
    }
    if !given("maxMessageSize") {
        let room = segment_bytes.saturating_sub(ENTRY_OVERHEAD_BYTES);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        config.max_message_size = config.max_message_size.min(room);
    }
    if !given("memoryBudgetBytes") {
        let largest_parts = config.largest_entry_bytes() * (100 / WAITING_PERCENT);
        let waiting = if given("sendQueueBytesMax") {
            config.send_queue_bytes_max
        } else {
            config.max_message_size
        };
        let least = waiting.div_ceil(100 - OTHERS_PERCENT_MIN) * 100;
        config.memory_budget_bytes = config.memory_budget_bytes.max(largest_parts).max(least);
    }
    if !given("sendQueueBytesMax") {
        let share = config.memory_budget_bytes / 100 * WAITING_PERCENT;
        config.send_queue_bytes_max = share.max(config.max_message_size);
    }
    if !given("extentBytes") {
        let pieces = segment_bytes.div_ceil(config.extent_bytes).max(1);
        let divides = |pieces: &u64| segment_bytes.is_multiple_of(*pieces);
        let pieces = (pieces..=pieces * 16).find(divides).unwrap_or(1);
        config.extent_bytes = segment_bytes / pieces;
    }
    complete_disk_ratios(config, given);
}

/// Moves the ratios that nobody wrote as far as the written ones demand, up before down. Refusal
/// of sends keeps a margin above a deletion that was moved up to it.
fn complete_disk_ratios(config: &mut BrokerConfig, given: impl Fn(&str) -> bool) {
    let [used_given, forced_given, warning_given] = DISK_RATIO_KEYS.map(given);
    let used = &mut config.disk_max_used_space_ratio;
    let forced = &mut config.disk_space_clean_forcibly_ratio;
    let warning = &mut config.disk_space_warning_level_ratio;
    if used_given && !forced_given {
        *forced = (*forced).max(*used);
    }
    if (used_given || forced_given) && !warning_given && *forced >= *warning {
        *warning = *forced + REFUSAL_MARGIN_PERCENT;
    }
    if !forced_given {
        *forced = (*forced).min(*warning);
    }
    if !used_given {
        *used = (*used).min(*forced);
    }
}

/// Checks what must hold between keys.
pub fn check(
    config: &BrokerConfig,
    properties: &Properties,
    findings: &mut Vec<Finding>,
) -> Result<(), Problem> {
    check_mode(config, properties)?;
    check_members(config)?;
    check_sizes(config)?;
    check_budget(config)?;
    check_times(config, properties)?;
    let delay_hours = config.message_delay_level.longest_ms() / HOUR_MS;
    if given(properties, "messageDelayLevel")
        && u64::try_from(delay_hours).is_ok_and(|hours| hours >= config.file_reserved_time_hours)
    {
        let reserved_hours = config.file_reserved_time_hours;
        findings.push(Finding::DelayOutlivesMessage { delay_hours, reserved_hours });
    }
    let exporter = config.metrics_exporter_type;
    if matches!(exporter, MetricsExporterType::OtlpGrpc | MetricsExporterType::Log) {
        findings.push(Finding::NotExported { exporter: exporter.render() });
    }
    if config.broker_name != config.dleger_group {
        findings.push(Finding::NamesDiffer {
            broker_name: config.broker_name.clone(),
            group: config.dleger_group.clone(),
        });
    }
    Ok(())
}

fn contradiction(key: &'static str, value: impl ToString, reason: &str, fix: &str) -> Problem {
    Problem::Contradiction {
        key,
        value: value.to_string(),
        reason: reason.to_owned(),
        fix: fix.to_owned(),
    }
}

fn check_mode(config: &BrokerConfig, properties: &Properties) -> Result<(), Problem> {
    if !config.enable_dleger_commit_log {
        return Err(contradiction(
            "enableDLegerCommitLog",
            false,
            "every broker group is a Raft group here",
            "set it to true, with dLegerGroup, dLegerPeers and dLegerSelfId",
        ));
    }
    // Ignoring these would open to everybody what the file's author believes to be closed.
    for key in ["aclEnable", "authenticationEnabled", "authorizationEnabled"] {
        if properties.get(key).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(contradiction(
                key,
                true,
                "this broker does not check who may do what",
                "remove the key and restrict access to the port instead",
            ));
        }
    }
    let on = properties.get("enableControllerMode");
    if on.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(contradiction(
            "enableControllerMode",
            true,
            "the group elects its leader itself",
            "remove the key and the controller's address",
        ));
    }
    Ok(())
}

fn check_members(config: &BrokerConfig) -> Result<(), Problem> {
    let missing = |key, fix: &str| Problem::Missing { key, fix: fix.to_owned() };
    if config.dleger_group.is_empty() {
        return Err(missing(
            "dLegerGroup",
            "name the Raft group, the same in the files of all its members: \
             dLegerGroup=RaftNode00",
        ));
    }
    if config.dleger_peers.is_empty() {
        return Err(missing(
            "dLegerPeers",
            "list all members with their Raft ports: \
             dLegerPeers=n0-127.0.0.1:40911;n1-127.0.0.1:40912;n2-127.0.0.1:40913",
        ));
    }
    if config.dleger_self_id.is_empty() {
        return Err(missing("dLegerSelfId", "say which of dLegerPeers this is: dLegerSelfId=n0"));
    }
    let names = [
        ("brokerClusterName", &config.broker_cluster_name),
        ("brokerName", &config.broker_name),
        ("dLegerGroup", &config.dleger_group),
    ];
    for (key, name) in names {
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(Problem::Value {
                key: key.to_owned(),
                value: name.clone(),
                expected: "a name without white space".to_owned(),
            });
        }
    }
    let peers = config.dleger_peers.render();
    let mut numbers = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    for peer in &config.dleger_peers {
        if let Some(other) = numbers.insert(peer.number, &peer.name) {
            let reason = format!("the members {other} and {} have the same number", peer.name);
            return Err(contradiction(
                "dLegerPeers",
                &peers,
                &reason,
                "give each a number of its own",
            ));
        }
        if let Some(other) = addresses.insert(peer.address(), &peer.name) {
            let reason = format!(
                "the members {other} and {} have the address {}",
                peer.name,
                peer.address()
            );
            return Err(contradiction(
                "dLegerPeers",
                &peers,
                &reason,
                "give each a host and port of its own",
            ));
        }
    }
    let known = |name: &String| config.dleger_peers.iter().any(|peer| &peer.name == name);
    if !known(&config.dleger_self_id) {
        return Err(contradiction(
            "dLegerSelfId",
            &config.dleger_self_id,
            &format!("it is not a member in dLegerPeers={peers}"),
            "set it to one of the members, or add this member to dLegerPeers in every file",
        ));
    }
    if let Some(stranger) = config.preferred_leader_id.0.iter().find(|name| !known(name)) {
        return Err(contradiction(
            "preferredLeaderId",
            stranger,
            &format!("it is not a member in dLegerPeers={peers}"),
            "name members of the group",
        ));
    }
    let exporter_port = config.metrics_prom_exporter_port;
    if config.metrics_exporter_type == MetricsExporterType::Prom
        && exporter_port != 0
        && [config.own_peer().port, config.listen_port].contains(&exporter_port)
    {
        return Err(contradiction(
            "metricsPromExporterPort",
            exporter_port,
            "it is also listenPort, or this member's port in dLegerPeers",
            "give metrics a port of their own",
        ));
    }
    if config.own_peer().port == config.listen_port {
        return Err(contradiction(
            "listenPort",
            config.listen_port,
            "it is also this member's port in dLegerPeers",
            "use one port for clients and another for the Raft transport",
        ));
    }
    Ok(())
}

fn check_sizes(config: &BrokerConfig) -> Result<(), Problem> {
    let segment_bytes = config.mapped_file_size_commit_log;
    if !segment_bytes.is_multiple_of(4096) {
        return Err(contradiction(
            "mappedFileSizeCommitLog",
            segment_bytes,
            "a segment is a whole number of 4096-byte pages",
            "round it to a multiple of 4096",
        ));
    }
    let largest = config.max_message_size as u64 + ENTRY_OVERHEAD_BYTES;
    if segment_bytes < largest {
        return Err(contradiction(
            "mappedFileSizeCommitLog",
            segment_bytes,
            &format!("a message of maxMessageSize={} does not fit", config.max_message_size),
            &format!("make it {largest} at least, or lower maxMessageSize"),
        ));
    }
    if config.raft_entry_bytes_max as u64 > segment_bytes / 2 {
        return Err(contradiction(
            "raftEntryBytesMax",
            config.raft_entry_bytes_max,
            &format!("it is more than half of mappedFileSizeCommitLog={segment_bytes}"),
            "lower it, or remove the key",
        ));
    }
    if !segment_bytes.is_multiple_of(config.extent_bytes) {
        return Err(contradiction(
            "extentBytes",
            config.extent_bytes,
            &format!("mappedFileSizeCommitLog={segment_bytes} is not a multiple of it"),
            "choose one that divides the segment size, or remove the key",
        ));
    }
    if config.max_message_size > config.send_queue_bytes_max {
        return Err(contradiction(
            "sendQueueBytesMax",
            config.send_queue_bytes_max,
            &format!("a message of maxMessageSize={} would never fit", config.max_message_size),
            "raise it, or lower maxMessageSize",
        ));
    }
    Ok(())
}

fn check_budget(config: &BrokerConfig) -> Result<(), Problem> {
    let budget = config.memory_budget_bytes;
    if config.send_queue_bytes_max > budget / 100 * (100 - OTHERS_PERCENT_MIN) {
        return Err(contradiction(
            "sendQueueBytesMax",
            config.send_queue_bytes_max,
            &format!("it leaves too little of memoryBudgetBytes={budget} to the other queues"),
            "lower it to half of the budget or less, or raise memoryBudgetBytes",
        ));
    }
    let shares = config.memory_shares();
    let (least, largest) =
        (shares.uncommitted_bytes.min(shares.waiting_bytes), config.largest_entry_bytes());
    if least < largest {
        return Err(contradiction(
            "memoryBudgetBytes",
            budget,
            &format!("a part of {least} bytes does not hold an entry of {largest} bytes"),
            "raise it, or lower maxMessageSize, raftEntryBytesMax or sendQueueBytesMax",
        ));
    }
    Ok(())
}

fn check_times(config: &BrokerConfig, properties: &Properties) -> Result<(), Problem> {
    if config.raft_heartbeat_interval_ms * 3 > config.raft_election_timeout_ms {
        return Err(contradiction(
            "raftHeartbeatIntervalMs",
            config.raft_heartbeat_interval_ms,
            &format!(
                "three of them do not fit into raftElectionTimeoutMs={}",
                config.raft_election_timeout_ms
            ),
            "lower it, or raise raftElectionTimeoutMs",
        ));
    }
    if (1..WATCHDOG_TIMEOUT_MS_MIN).contains(&config.watchdog_timeout_ms) {
        return Err(contradiction(
            "watchdogTimeoutMs",
            config.watchdog_timeout_ms,
            "a process that only waits for its turn would be killed",
            "at least 100, or 0 for no watchdog",
        ));
    }
    check_disk_ratios(config, properties)
}

fn check_disk_ratios(config: &BrokerConfig, properties: &Properties) -> Result<(), Problem> {
    let ratios = [
        config.disk_max_used_space_ratio,
        config.disk_space_clean_forcibly_ratio,
        config.disk_space_warning_level_ratio,
    ];
    // What was not written follows the rest, so only written ones can contradict each other.
    let written = DISK_RATIO_KEYS.into_iter().zip(ratios);
    let written = written.filter(|(key, _)| given(properties, key));
    let mut below: Option<(&str, u8)> = None;
    for (key, ratio) in written {
        if let Some((lower_key, lower)) = below.filter(|(_, lower)| ratio < *lower) {
            return Err(contradiction(
                key,
                ratio,
                &format!("it is below {lower_key}={lower}"),
                "the ratios must rise: usual deletion, forced deletion, refusal of sends",
            ));
        }
        below = Some((key, ratio));
    }
    Ok(())
}
