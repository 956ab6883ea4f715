//! The broker itself: settings, figures, its place in the raft group, handing over leadership.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::answer::{Outcome, success, success_with};
use super::core::Core;
use super::delayed::queue_of_level;
use super::fields::optional;
use super::stats::{Mornings, message_rates};
use crate::protocol::body::{KvTable, RaftPeer, RaftStatus};
use crate::protocol::fastjson::JsonBody;
use crate::protocol::names;
use crate::protocol::route::MASTER_ID;
use crate::remoting::RemotingCommand;

/// What the tools show as the broker's version: the RocketMQ release whose protocol it speaks.
const VERSION_DESCRIPTION: &str = "V5_3_3";

/// The settings in force, one per line.
pub fn config(core: &Core) -> Outcome {
    let mut values = core.config.effective();
    for (spec, value) in &mut values {
        if let Some(now) = core.live.value(spec.key) {
            *value = now;
        }
    }
    let mut text = crate::config::effective(&values, false);
    for (key, value) in facts(core) {
        text.push_str(&format!("{key}={value}\n"));
    }
    let version = core.view.topics_version().encode();
    let version_text = String::from_utf8_lossy(&version).into_owned();
    let mut answer = success_with(text);
    answer.ext_fields.insert("version", version_text);
    Ok(answer)
}

/// What nobody configures here, but RocketMQ's tools look for among a broker's settings; `exportConfigs`
/// fails where one is missing.
fn facts(core: &Core) -> [(&'static str, String); 8] {
    let leads = core.serving();
    let traces = core.view.topic(names::TRACE_TOPIC).is_some();
    let broker_id = if leads { MASTER_ID } else { core.config.follower_broker_id() };
    [
        ("brokerId", broker_id.to_string()),
        ("brokerRole", if leads { "SYNC_MASTER" } else { "SLAVE" }.to_owned()),
        ("filterServerNums", "0".to_owned()),
        ("msgTraceTopicName", names::TRACE_TOPIC.to_owned()),
        ("slaveReadEnable", "false".to_owned()),
        ("traceOn", traces.to_string()),
        ("traceTopicEnable", traces.to_string()),
        ("useTLS", "false".to_owned()),
    ]
}

/// This member's view of its group.
pub fn raft_status(core: &Core) -> Outcome {
    let status = core.status.borrow().clone();
    let peers = status.peers.iter().map(|peer| RaftPeer {
        member: peer.id,
        matched: peer.matched.0,
        state: format!("{:?}", peer.state),
        connected: peer.connected,
        client_addr: peer.client_addr.clone(),
    });
    let body = RaftStatus {
        broker_name: core.config.broker_name.clone(),
        member: status.member,
        role: format!("{:?}", status.role),
        term: status.term.0,
        leader: status.leader,
        serving: status.serving,
        commit: status.commit.0,
        applied: status.applied.0,
        first_index: status.first_index.0,
        last_index: status.last_index.0,
        first_position: status.first_position.0,
        last_position: status.last_position.0,
        timestamp_ms: crate::clock::now_ms(),
        peers: peers.collect(),
    };
    Ok(success_with(body.encode()))
}

/// Hands leadership to another member.
pub async fn transfer_leader(core: &Core, command: &RemotingCommand) -> Outcome {
    let target: Option<u64> = optional(command, "target")?;
    core.commits.settled(None).await;
    let leader = core.replica.transfer_leader(target).await?;
    tracing::info!(leader, "leadership handed over on request");
    let mut answer = success();
    answer.ext_fields.insert("target", leader);
    Ok(answer)
}

/// Figures by the names that the tools read. Some of them mean nothing here and are zero, because a
/// missing one breaks the tools.
pub fn runtime_info(core: &Core) -> Outcome {
    let mut table = BTreeMap::new();
    let mut put = |key: &str, value: String| {
        table.insert(key.to_owned(), value);
    };
    identity_figures(core, &mut put);
    traffic_figures(core, &mut put);
    queue_figures(core, &mut put);
    schedule_figures(core, &mut put);
    log_figures(core, &mut put);
    Ok(success_with(KvTable { table }.encode()))
}

type Put<'a> = &'a mut dyn FnMut(&str, String);

fn identity_figures(core: &Core, put: Put<'_>) {
    put("brokerVersionDesc", VERSION_DESCRIPTION.to_owned());
    put("brokerVersion", crate::remoting::command::VERSION.to_string());
    put("bootTimestamp", core.started_at_ms.to_string());
    put("startAcceptSendRequestTimeStamp", "0".to_owned());
    put("brokerActive", (!core.is_stopping()).to_string());
    let up_s = (crate::clock::now_ms() - core.started_at_ms).max(0) / 1000;
    let (days, hours, minutes) = (up_s / 86_400, up_s / 3_600 % 24, up_s / 60 % 60);
    let text = format!("[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]", up_s % 60);
    put("runtime", text);
}

fn traffic_figures(core: &Core, put: Put<'_>) {
    let (stats, traffic) = (&core.stats, core.view.traffic());
    let now_ms = crate::clock::now_ms();
    let (stored, handed_out) = (traffic.put.totals(), traffic.get.totals());
    stats.observe_day(now_ms, (stored.messages, handed_out.messages));
    let Mornings { yesterday, today } = stats.mornings();
    // Figures of past days are not kept across restarts.
    for (name, yesterday, today, now) in [
        ("msgPutTotal", yesterday.0, today.0, stored.messages),
        ("msgGetTotal", yesterday.1, today.1, handed_out.messages),
    ] {
        put(&format!("{name}YesterdayMorning"), yesterday.to_string());
        put(&format!("{name}TodayMorning"), today.to_string());
        put(&format!("{name}TodayNow"), now.to_string());
    }
    put("putTps", message_rates(&traffic.put, now_ms));
    put("getTransferredTps", message_rates(&traffic.get, now_ms));
    put("getFoundTps", stats.get_found.rates());
    put("getMissTps", stats.get_missed.rates());
    put("getTotalTps", stats.get_rates());
    put("putMessageTimesTotal", stored.messages.to_string());
    put("putMessageFailedTimes", stats.put_failed.total().to_string());
    put("putMessageSizeTotal", stored.bytes.to_string());
    let average = stored.bytes.checked_div(stored.messages).unwrap_or(0);
    put("putMessageAverageSize", average.to_string());
    for zero in
        ["putMessageEntireTimeMax", "getMessageEntireTimeMax", "putLatency99", "putLatency999"]
    {
        put(zero, "0".to_owned());
    }
    put("putMessageDistributeTime", "null".to_owned());
    put("forwardedTotal", stats.forwarded.total().to_string());
    put("parkedPulls", core.long_polling.parked().to_string());
}

/// How far each delay level is delivered, and where its queue ends.
fn schedule_figures(core: &Core, put: Put<'_>) {
    for level in 1..=core.config.message_delay_level.max() {
        let queue_id = queue_of_level(level);
        let next = core.view.schedule_next(queue_id);
        let max = core.view.max_offset(names::SCHEDULE_TOPIC, queue_id);
        put(&format!("scheduleMessageOffset_{level}"), format!("{next},{max}"));
    }
}

fn queue_figures(core: &Core, put: Put<'_>) {
    let queues = [
        ("send", core.replica.waiting(), core.config.send_queue_capacity),
        ("pull", 0, core.config.long_polling_requests_max),
        ("query", 0, 0),
        ("litePull", 0, core.config.long_polling_requests_max),
        ("ack", 0, 0),
    ];
    for (name, size, capacity) in queues {
        put(&format!("{name}ThreadPoolQueueSize"), size.to_string());
        put(&format!("{name}ThreadPoolQueueCapacity"), capacity.to_string());
        put(&format!("{name}ThreadPoolQueueHeadWaitTimeMills"), "0".to_owned());
    }
    for zero in [
        "EndTransactionQueueSize",
        "EndTransactionThreadPoolQueueCapacity",
        "pageCacheLockTimeMills",
        "timerReadBehind",
        "timerOffsetBehind",
        "timerCongestNum",
        "timerEnqueueTps",
        "timerDequeueTps",
        "dispatchBehindBytes",
        "dispatchMaxBuffer",
        "remainHowManyDataToCommit",
        "remainHowManyDataToFlush",
        "remainTransientStoreBufferNumbs",
    ] {
        put(zero, "0".to_owned());
    }
}

fn log_figures(core: &Core, put: Put<'_>) {
    let status = core.status.borrow().clone();
    put("commitLogMinOffset", core.view.min_position().to_string());
    put("commitLogMaxOffset", core.view.max_position().to_string());
    let ratio = f64::from(core.disk_used_percent.load(Ordering::Relaxed)) / 100.0;
    put("commitLogDiskRatio", ratio.to_string());
    put("consumeQueueDiskRatio", ratio.to_string());
    put("commitLogDirCapacity", "Total : 0, Free : 0.".to_owned());
    put("earliestMessageTimeStamp", core.earliest_stored_ms.load(Ordering::Relaxed).to_string());
    put("raftRole", format!("{:?}", status.role));
    put("raftTerm", status.term.to_string());
    put("raftServing", status.serving.to_string());
    put("metricsAddress", core.metrics_address.map_or_else(String::new, |at| at.to_string()));
    put("flushDiskType", core.config.flush_disk_type.to_string());
}
