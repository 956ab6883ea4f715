//! What Prometheus is told: RocketMQ's names and labels for what RocketMQ has, `raftmq_` for our own.
//!
//! Invariant: every figure is a counter or is looked up when it is asked for, never kept up to date on
//! the way of a message; what a group is behind is told by the leader alone, so that adding up over
//! members does not count it three times.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use super::client_manager::Member;
use super::core::Core;
use crate::metrics::text::Kind::{Counter, Gauge, Histogram};
use crate::metrics::text::{Labels, Page};
use crate::metrics::traffic::{GroupTraffic, TopicTraffic};
use crate::protocol::heartbeat::ConsumeType;
use crate::protocol::{names, version};
use crate::remoting::Connection;
use crate::replication::{ReplicaStatus, Role};

const PROTOCOL: (&str, &str) = ("protocol_type", "remoting");
const MICROSECONDS_PER_SECOND: f64 = 1e6;

/// All metrics of a broker as they are now.
pub fn page(core: &Core) -> String {
    let config = &core.config;
    let mut page = Page::new(&[
        ("cluster", &config.broker_cluster_name),
        ("node_type", "broker"),
        ("node_id", &config.broker_name),
    ]);
    stored(core, &mut page);
    handed_out(core, &mut page);
    connections(core, &mut page);
    lag(core, &mut page);
    broker(core, &mut page);
    storage(core, &mut page);
    let own = [("member", config.dleger_self_id.as_str())];
    requests(core, &own, &mut page);
    raft(core, &own, &mut page);
    peers(core, &own, &mut page);
    work(core, &own, &mut page);
    page.finish()
}

fn flag(yes: bool) -> &'static str {
    if yes { "true" } else { "false" }
}

/// What the topic says of its messages; those that wait for their time are in a topic of their own.
fn message_type(core: &Core, topic: &str) -> String {
    if topic == names::SCHEDULE_TOPIC {
        return "delay".to_owned();
    }
    let known = core.view.topic(topic);
    let named = known.and_then(|known| known.config.attributes.get("message.type").cloned());
    named.map_or_else(|| "normal".to_owned(), |name| name.to_ascii_lowercase())
}

fn stored(core: &Core, page: &mut Page) {
    let all = core.view.traffic().topics();
    let (dead, rest): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|topic| names::is_dead_letter_topic(&topic.topic));
    // Messages that come again were counted when they came first.
    let first = rest.into_iter().filter(|topic| !names::is_retry_topic(&topic.topic));
    let topics: Vec<_> = first.map(|topic| (message_type(core, &topic.topic), topic)).collect();
    let each = |page: &mut Page, name, help, figure: fn(&TopicTraffic) -> u64| {
        let mut family = page.family(name, Counter, help, &[]);
        for (message_type, traffic) in &topics {
            let topic: &str = &traffic.topic;
            let is_system = flag(names::is_system_topic(topic));
            let labels =
                [("topic", topic), ("message_type", message_type), ("is_system", is_system)];
            family.sample(&labels, figure(traffic));
        }
    };
    each(page, "rocketmq_messages_in_total", "Messages stored, by the leader.", |topic| {
        topic.put.totals().messages
    });
    each(page, "rocketmq_throughput_in_total", "Their bytes, as stored.", |topic| {
        topic.put.totals().bytes
    });
    let mut family =
        page.family("rocketmq_message_size", Histogram, "Their sizes in bytes, as stored.", &[]);
    for (message_type, traffic) in &topics {
        let labels = [("topic", &*traffic.topic), ("message_type", message_type)];
        family.histogram(&labels, &traffic.sizes(), 1.0);
    }
    let help = "Messages that went to a dead letter topic.";
    let mut family = page.family("rocketmq_send_to_dlq_messages_total", Counter, help, &[]);
    for traffic in &dead {
        let group = traffic.topic.strip_prefix(&*names::dead_letter_topic("")).unwrap_or_default();
        let labels = [("consumer_group", group), ("topic", &*traffic.topic)];
        family.sample(&labels, traffic.put.totals().messages);
    }
}

/// Labels of a group in a topic.
fn group_labels<'a>(group: &'a str, topic: &'a str) -> [(&'static str, &'a str); 4] {
    let is_system = names::is_system_topic(topic) || names::is_system_group(group);
    [
        ("consumer_group", group),
        ("topic", topic),
        ("is_retry", flag(names::is_retry_topic(topic))),
        ("is_system", flag(is_system)),
    ]
}

fn handed_out(core: &Core, page: &mut Page) {
    let groups = core.view.traffic().groups();
    let mut each = |name, help, figure: fn(&GroupTraffic) -> u64| {
        let mut family = page.family(name, Counter, help, &[]);
        for group in &groups {
            family.sample(&group_labels(&group.group, &group.topic), figure(group));
        }
    };
    each("rocketmq_messages_out_total", "Messages handed to consumers.", |group| {
        group.get.totals().messages
    });
    each("rocketmq_throughput_out_total", "Their bytes, as stored.", |group| {
        group.get.totals().bytes
    });
    each("raftmq_messages_sent_back_total", "Messages taken back to come again.", |group| {
        group.sent_back.totals().messages
    });
}

fn consume_mode(consume_type: ConsumeType) -> &'static str {
    match consume_type {
        ConsumeType::Actively => "pull",
        ConsumeType::Passively => "push",
        ConsumeType::Pop => "pop",
    }
}

/// How many connections there are of each language and version.
fn count<'a>(
    members: impl Iterator<Item = &'a Member<Connection>>,
) -> BTreeMap<(String, String), usize> {
    let mut seen = BTreeSet::new();
    let mut counts = BTreeMap::new();
    for member in members {
        if seen.insert(member.channel.id()) {
            let language = member.language.name().to_ascii_lowercase();
            *counts
                .entry((language, version::description(member.version).to_lowercase()))
                .or_default() += 1;
        }
    }
    counts
}

fn connections(core: &Core, page: &mut Page) {
    let producers = core.clients.all_producers();
    let help = "Connections of producers, by who they are.";
    let mut family = page.family("rocketmq_producer_connections", Gauge, help, &[]);
    for ((language, version), connections) in count(producers.values().flatten()) {
        let labels = [("language", language.as_str()), ("version", &version), PROTOCOL];
        family.sample(&labels, connections);
    }
    let help = "Connections of consumers, by group and who they are.";
    let mut family = page.family("rocketmq_consumer_connections", Gauge, help, &[]);
    for group in core.clients.consumer_groups() {
        let Some(description) = core.clients.describe_consumers(&group) else { continue };
        for ((language, version), connections) in count(description.members.iter()) {
            let labels = [
                ("consumer_group", group.as_str()),
                ("language", &language),
                ("version", &version),
                ("consume_mode", consume_mode(description.consume_type)),
                PROTOCOL,
                ("is_system", flag(names::is_system_group(&group))),
            ];
            family.sample(&labels, connections);
        }
    }
}

/// How far a group is behind in a topic.
struct Lag {
    group: std::sync::Arc<str>,
    topic: std::sync::Arc<str>,
    messages: i64,
    /// The oldest message that it did not consume was stored so long ago.
    latency_ms: i64,
}

fn lag(core: &Core, page: &mut Page) {
    let lags = if core.serving() { lags(core) } else { Vec::new() };
    let help = "Messages that a group did not consume yet; told by the leader.";
    let mut family = page.family("rocketmq_consumer_lag_messages", Gauge, help, &[]);
    for lag in &lags {
        family.sample(&group_labels(&lag.group, &lag.topic), lag.messages);
    }
    let help = "Milliseconds since the oldest of them was stored; told by the leader.";
    let mut family = page.family("rocketmq_consumer_lag_latency", Gauge, help, &[]);
    for lag in &lags {
        family.sample(&group_labels(&lag.group, &lag.topic), lag.latency_ms);
    }
}

fn lags(core: &Core) -> Vec<Lag> {
    let now_ms = crate::clock::now_ms();
    let mut lags = Vec::new();
    for (group, topic, progress) in core.view.offsets().0 {
        let Some(known) = core.view.topic(&topic) else { continue };
        let (mut messages, mut oldest_ms) = (0, now_ms);
        for queue_id in 0..known.config.read_queue_nums {
            // As consumerProgress has it: what was never committed is not consumed.
            let consumed = progress.get(&queue_id).copied().unwrap_or(0).max(0);
            let behind = core.view.max_offset(&topic, queue_id) - consumed;
            if behind <= 0 {
                continue;
            }
            messages += behind;
            if let Ok(Some(stored_ms)) = core.view.store_time(&topic, queue_id, consumed) {
                oldest_ms = oldest_ms.min(stored_ms);
            }
        }
        lags.push(Lag { group, topic, messages, latency_ms: now_ms - oldest_ms });
    }
    lags
}

fn broker(core: &Core, page: &mut Page) {
    let mut gauge = |name, help, labels: Labels<'_>, value: i64| {
        page.family(name, Gauge, help, &[]).sample(labels, value);
    };
    let waiting = i64::try_from(core.replica.waiting()).unwrap_or(i64::MAX);
    let help = "Requests that wait: sends that are in no log entry yet.";
    gauge("rocketmq_processor_watermark", help, &[("processor", "send")], waiting);
    let help = "What the broker allows: 2 write, 4 read, 6 both.";
    gauge("rocketmq_broker_permission", help, &[], core.live.broker_permission().into());
    let (topics, groups) = core
        .view
        .with_state(|state| (state.topics().iter().count(), state.groups().iter().count()));
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    gauge("rocketmq_topic_number", "Topics.", &[], number(topics));
    gauge("rocketmq_consumer_group_number", "Consumer groups.", &[], number(groups));
}

fn storage(core: &Core, page: &mut Page) {
    let (first, last, applied) = {
        let status = core.status.borrow();
        (status.first_position.0, status.last_position.0, core.view.max_position().0)
    };
    let labels = [("storage_type", "local"), ("storage_medium", "disk")];
    let help = "Bytes from the log's beginning to its end.";
    page.family("rocketmq_storage_size", Gauge, help, &[]).sample(&labels, last - first.min(last));
    let help = "Bytes of the log that are not applied yet.";
    page.family("rocketmq_storage_dispatch_behind_bytes", Gauge, help, &[])
        .sample(&labels, last.saturating_sub(applied));
    let help = "Milliseconds since the oldest kept message was stored.";
    let mut family = page.family("rocketmq_storage_message_reserve_time", Gauge, help, &[]);
    let oldest_ms = core.earliest_stored_ms.load(Ordering::Relaxed);
    if oldest_ms > 0 {
        family.sample(&labels, (crate::clock::now_ms() - oldest_ms).max(0));
    }
    let help = "Used space of the disk in percent.";
    let used = core.disk_used_percent.load(Ordering::Relaxed);
    page.family("raftmq_disk_used_percent", Gauge, help, &[]).sample(&[], used);
}

fn requests(core: &Core, own: Labels<'_>, page: &mut Page) {
    let stats = &core.stats;
    let help = "Sends that were refused.";
    let refused = stats.put_failed.total();
    page.family("raftmq_sends_refused_total", Counter, help, own).sample(&[], refused);
    page.family("raftmq_pulls_total", Counter, "Pulls answered, by what they found.", own)
        .sample(&[("found", "true")], stats.get_found.total())
        .sample(&[("found", "false")], stats.get_missed.total());
    let help = "Pulls that wait for messages.";
    page.family("raftmq_pulls_parked", Gauge, help, own).sample(&[], core.long_polling.parked());
    let help = "Requests handed to the leader.";
    let forwarded = stats.forwarded.total();
    page.family("raftmq_requests_forwarded_total", Counter, help, own).sample(&[], forwarded);
}

fn raft(core: &Core, own: Labels<'_>, page: &mut Page) {
    let status: ReplicaStatus = core.status.borrow().clone();
    let mut family = page.family("raftmq_raft_role", Gauge, "1 for the member's role.", own);
    for (name, role) in [
        ("leader", Role::Leader),
        ("follower", Role::Follower),
        ("candidate", Role::Candidate),
        ("recovering", Role::Recovering),
    ] {
        family.sample(&[("role", name)], u8::from(status.role == role));
    }
    let mut gauge = |name, help, value: u64| {
        page.family(name, Gauge, help, own).sample(&[], value);
    };
    gauge("raftmq_raft_term", "The member's term.", status.term.0);
    let help = "Whether it leads and has applied its term's first entry.";
    gauge("raftmq_raft_serving", help, status.serving.into());
    let help = "Raft id of the leader it knows of, 0 for none.";
    gauge("raftmq_raft_leader", help, status.leader.unwrap_or(0));
    let applied = core.view.applied().0;
    gauge("raftmq_raft_last_index", "Index of the log's last entry.", status.last_index.0);
    gauge("raftmq_raft_commit_index", "Index known to be committed.", status.commit.0);
    gauge("raftmq_raft_applied_index", "Index applied.", applied);
    let help = "Entries in the log that are not committed, as far as it knows.";
    let lag = status.last_index.0.saturating_sub(status.commit.0);
    gauge("raftmq_raft_commit_lag_entries", help, lag);
    let help = "Entries committed that are not applied.";
    gauge("raftmq_raft_apply_lag_entries", help, status.commit.0.saturating_sub(applied));
    let figures = core.replica.figures();
    let mut counter = |name, help, value: u64| {
        page.family(name, Counter, help, own).sample(&[], value);
    };
    let help = "Terms in which the member stood for election.";
    counter("raftmq_raft_elections_total", help, figures.elections());
    counter("raftmq_raft_leaderships_total", "Terms in which it led.", figures.leaderships());
    let help = "How often the leader it knows of was another one.";
    counter("raftmq_raft_leader_changes_total", help, figures.leader_changes());
}

fn peers(core: &Core, own: Labels<'_>, page: &mut Page) {
    let status = core.status.borrow().clone();
    let name = |id: u64| {
        let known = core.config.dleger_peers.iter().find(|peer| peer.raft_id() == id);
        known.map_or_else(String::new, |peer| peer.name.clone())
    };
    let help = "Entries that another member does not have, as far as the leader knows.";
    let mut family = page.family("raftmq_raft_peer_lag_entries", Gauge, help, own);
    for peer in status.peers.iter().filter(|_| status.role == Role::Leader) {
        let lag = status.last_index.0.saturating_sub(peer.matched.0);
        family.sample(&[("peer", &name(peer.id))], lag);
    }
    let help = "Whether there is a connection to another member.";
    let mut family = page.family("raftmq_raft_peer_connected", Gauge, help, own);
    for peer in &status.peers {
        family.sample(&[("peer", &name(peer.id))], u8::from(peer.connected));
    }
}

fn work(core: &Core, own: Labels<'_>, page: &mut Page) {
    let figures = core.replica.figures();
    let help = "How long a sync of the log to disk took.";
    page.family("raftmq_log_sync_seconds", Histogram, help, own).histogram(
        &[],
        &figures.sync_us.snapshot(),
        MICROSECONDS_PER_SECOND,
    );
    let help = "From an entry's proposal to its commit, while the member leads.";
    page.family("raftmq_raft_commit_seconds", Histogram, help, own).histogram(
        &[],
        &figures.commit_us.snapshot(),
        MICROSECONDS_PER_SECOND,
    );
    let help = "Sends and commands that became one entry.";
    page.family("raftmq_raft_entry_proposals", Histogram, help, own).histogram(
        &[],
        &figures.entry_proposals.snapshot(),
        1.0,
    );
    let help = "Bytes of an entry that the member proposed.";
    page.family("raftmq_raft_entry_bytes", Histogram, help, own).histogram(
        &[],
        &figures.entry_bytes.snapshot(),
        1.0,
    );
}
