//! `consumerStatus`: what the members of a group are doing, as they tell it themselves.
//!
//! Invariant: a member that does not answer is named on standard error, and the command fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::json;

use super::arguments::ConsumerStatusArgs;
use super::connection::{brokers_of_group, known_to};
use super::table::{Column, left, render, right};
use super::{AdminError, calendar, print};
use crate::client::{Admin, ClientError};
use crate::clock;
use crate::protocol::body::{
    ConsumeStatus, ConsumerConnection, ConsumerRunningInfo, ProcessQueueInfo,
};
use crate::protocol::queue::MessageQueue;
use crate::protocol::version;

const MEMBERS: [Column; 3] =
    [left("#Index", 10).then(1), left("#ClientId", 40).then(1), left("#Version", 20)];
const OFFSETS: [Column; 4] =
    [left("#Topic", 64), left("#Broker Name", 32), left("#QID", 4), left("#Consumer Offset", 20)];
const HELD: [Column; 4] =
    [left("#Topic", 64), left("#Broker Name", 32), left("#QID", 4), left("#ProcessQueueInfo", 20)];
const POPPED: [Column; 4] =
    [left("#Topic", 32), left("#Broker Name", 32), left("#QID", 4), left("#ProcessQueueInfo", 20)];
const RATES: [Column; 7] = [
    left("#Topic", 64),
    right("#Pull RT", 14).then(1),
    right("#Pull TPS", 14).then(1),
    right("#Consume RT", 14).then(1),
    right("#ConsumeOK TPS", 14).then(1),
    right("#ConsumeFailed TPS", 18).then(1),
    right("#ConsumeFailedMsgsInHour", 25),
];
/// Younger members may not have heard of a change yet.
const SETTLED_MS: i64 = 120_000;
/// With messages in hand and nothing consumed for so long, a member hangs.
const BLOCKED_MS: i64 = 60_000;

pub(super) async fn status(
    admin: &Admin,
    arguments: &ConsumerStatusArgs,
) -> Result<(), AdminError> {
    let group = &arguments.group;
    let brokers = brokers_of_group(admin, group, arguments.broker.as_deref()).await?;
    let members = known_to(admin, &brokers, group).await?;
    let members = members.ok_or_else(|| AdminError::NoMembers(group.clone()))?;
    if let Some(client_id) = &arguments.client_id {
        let info = ask(admin, &brokers, group, client_id, arguments.jstack).await?;
        return print(&arguments.common, || details(&info), || as_json(&info));
    }
    let told = ask_all(admin, &brokers, group, &members, arguments.jstack).await;
    let json = || {
        let one = |(id, (_, info)): (&String, &Told)| (id.clone(), as_json(info));
        told.infos.iter().map(one).collect()
    };
    print(&arguments.common, || overview(&told.infos), json)?;
    told.complete()
}

/// A member's version, and what it says.
type Told = (i32, ConsumerRunningInfo);

/// What the members of a group say, by their ids.
struct Answers {
    infos: BTreeMap<String, Told>,
    silent: usize,
}

impl Answers {
    fn complete(&self) -> Result<(), AdminError> {
        if self.silent > 0 { Err(AdminError::SilentMembers(self.silent)) } else { Ok(()) }
    }
}

async fn ask_all(
    admin: &Admin,
    brokers: &[String],
    group: &str,
    members: &ConsumerConnection,
    jstack: bool,
) -> Answers {
    let mut answers = Answers { infos: BTreeMap::new(), silent: 0 };
    for member in &members.connection_set {
        match ask(admin, brokers, group, &member.client_id, jstack).await {
            Ok(info) => {
                answers.infos.insert(member.client_id.clone(), (member.version, info));
            }
            Err(error) => {
                eprintln!("admin: {}: {error}", member.client_id);
                answers.silent += 1;
            }
        }
    }
    answers
}

/// Where the members of a group are, by the queues that they read.
pub(super) struct Readers {
    pub(super) ips: BTreeMap<MessageQueue, String>,
    answers: Answers,
}

impl Readers {
    pub(super) async fn of_group(admin: &Admin, group: &str) -> Result<Readers, AdminError> {
        let brokers = brokers_of_group(admin, group, None).await?;
        let members = known_to(admin, &brokers, group).await?.unwrap_or_default();
        let answers = ask_all(admin, &brokers, group, &members, false).await;
        let mut ips = BTreeMap::new();
        for (client_id, (_, info)) in &answers.infos {
            let ip = client_id.split('@').next().unwrap_or_default();
            ips.extend(info.mq_table.0.keys().map(|queue| (queue.clone(), ip.to_owned())));
        }
        Ok(Readers { ips, answers })
    }

    /// # Errors
    /// When a member did not answer, and its queues look as if nobody read them.
    pub(super) fn complete(&self) -> Result<(), AdminError> {
        self.answers.complete()
    }
}

/// A member is connected to some brokers of its group.
pub(super) async fn ask(
    admin: &Admin,
    brokers: &[String],
    group: &str,
    client_id: &str,
    jstack: bool,
) -> Result<ConsumerRunningInfo, ClientError> {
    let mut problem = ClientError::NoLeader(group.to_owned());
    for broker in brokers {
        match admin.running_info(broker, group, client_id, jstack).await {
            Ok(info) => return Ok(info),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

fn overview(infos: &BTreeMap<String, Told>) -> String {
    let rows: Vec<Vec<String>> = infos
        .iter()
        .enumerate()
        .map(|(index, (id, (number, _)))| {
            vec![(index + 1).to_string(), id.clone(), version::description(*number)]
        })
        .collect();
    let mut text = render(&MEMBERS, &rows);
    if infos.is_empty() {
        return text;
    }
    if !same_subscription(infos.values().map(|(_, info)| info)) {
        text.push_str("\n\nWARN: Different subscription in the same group of consumer!!!\n");
        return text;
    }
    text.push_str("\n\nSame subscription in the same group of consumer\n\nRebalance OK\n");
    text.extend(infos.iter().map(|(id, (_, info))| problems(id, info)));
    text
}

pub(super) fn is_push(info: &ConsumerRunningInfo) -> bool {
    info.property("PROP_CONSUME_TYPE") == "CONSUME_PASSIVELY"
}

fn same_subscription<'i>(mut infos: impl Iterator<Item = &'i ConsumerRunningInfo>) -> bool {
    let Some(first) = infos.next() else { return true };
    let started_ms = first.property("PROP_CONSUMER_START_TIMESTAMP").parse().unwrap_or(0);
    if !is_push(first) || clock::now_ms() - started_ms <= SETTLED_MS {
        return true;
    }
    let reads = |info: &ConsumerRunningInfo| {
        let set = info.subscription_set.iter();
        set.map(|one| (one.topic.clone(), one.sub_string.clone()))
            .collect::<std::collections::BTreeSet<_>>()
    };
    infos.all(|info| reads(info) == reads(first))
}

/// Queues that a push consumer does not get on with.
fn problems(client_id: &str, info: &ConsumerRunningInfo) -> String {
    let in_order = info.property("PROP_CONSUMEORDERLY") == "true";
    let now_ms = clock::now_ms();
    let mut text = String::new();
    for (queue, held) in queues(info).into_iter().filter(|_| is_push(info)) {
        let MessageQueue { broker_name, queue_id, topic } = queue;
        let whose = format!(
            "{client_id} MessageQueue [topic={topic}, brokerName={broker_name}, queueId={queue_id}]"
        );
        let waiting_ms = now_ms - held.last_consume_timestamp;
        if in_order && !held.locked {
            let waiting_ms = now_ms - held.last_lock_timestamp;
            let _ = writeln!(text, "{whose} can't lock for a while, {waiting_ms}ms");
        } else if in_order && held.droped && held.try_unlock_times > 0 {
            let times = held.try_unlock_times;
            let _ = writeln!(text, "{whose} unlock {times} times, still failed");
        } else if !in_order && waiting_ms > BLOCKED_MS && held.cached_msg_count > 0 {
            let what = "can't consume for a while, maybe blocked";
            let _ = writeln!(text, "{whose} {what}, {waiting_ms}ms");
        }
    }
    text
}

/// By topic first.
fn queues(info: &ConsumerRunningInfo) -> Vec<(&MessageQueue, &ProcessQueueInfo)> {
    let mut queues: Vec<_> = info.mq_table.0.iter().collect();
    queues.sort_by_key(|(queue, _)| (&queue.topic, &queue.broker_name, queue.queue_id));
    queues
}

fn details(info: &ConsumerRunningInfo) -> String {
    let mut text = "#Consumer Properties#\n".to_owned();
    for name in info.properties.keys() {
        let _ = writeln!(text, "{name:<40}: {}", info.property(name));
    }
    text.push_str("\n\n#Consumer Subscription#\n");
    for (index, one) in info.subscription_set.iter().enumerate() {
        let _ = writeln!(
            text,
            "{:03} Topic: {:<40} ClassFilter: {:<8} SubExpression: {}",
            index + 1,
            one.topic,
            one.class_filter_mode,
            one.sub_string
        );
    }
    let row = |last: fn(&ProcessQueueInfo) -> String| {
        move |(queue, held): (&MessageQueue, &ProcessQueueInfo)| {
            let place =
                [queue.topic.clone(), queue.broker_name.clone(), queue.queue_id.to_string()];
            place.into_iter().chain([last(held)]).collect::<Vec<_>>()
        }
    };
    let table = |columns: &[Column], last: fn(&ProcessQueueInfo) -> String| {
        render(columns, &queues(info).into_iter().map(row(last)).collect::<Vec<_>>())
    };
    let offsets = table(&OFFSETS, |held| held.commit_offset.to_string());
    let held = table(&HELD, process_queue);
    let rates: Vec<_> = info.status_table.iter().map(rates).collect();
    let _ = write!(
        text,
        "\n\n#Consumer Offset#\n{offsets}\n\n#Consumer MQ Detail#\n{held}\n\n#Consumer Pop Detail#\n{}\
         \n\n#Consumer RT&TPS#\n{}\n\n#User Consume Info#\n",
        render(&POPPED, &[]),
        render(&RATES, &rates)
    );
    for (name, value) in &info.user_consumer_info {
        let _ = writeln!(text, "{name:<40}: {value}");
    }
    if let Some(jstack) = &info.jstack {
        let _ = writeln!(text, "\n\n#Consumer jstack#\n{jstack}");
    }
    text
}

fn rates((topic, status): (&String, &ConsumeStatus)) -> Vec<String> {
    let figures = [
        status.pull_rt,
        status.pull_tps,
        status.consume_rt,
        status.consume_ok_tps,
        status.consume_failed_tps,
    ];
    let figures = figures.map(|figure| format!("{figure:.2}"));
    let failed = status.consume_failed_messages.to_string();
    [topic.clone()].into_iter().chain(figures).chain([failed]).collect()
}

/// As Java writes it.
fn process_queue(held: &ProcessQueueInfo) -> String {
    format!(
        "ProcessQueueInfo [commitOffset={}, cachedMsgMinOffset={}, cachedMsgMaxOffset={}, \
         cachedMsgCount={}, cachedMsgSizeInMiB={}, transactionMsgMinOffset={}, \
         transactionMsgMaxOffset={}, transactionMsgCount={}, locked={}, tryUnlockTimes={}, \
         lastLockTimestamp={}, droped={}, lastPullTimestamp={}, lastConsumeTimestamp={}]",
        held.commit_offset,
        held.cached_msg_min_offset,
        held.cached_msg_max_offset,
        held.cached_msg_count,
        held.cached_msg_mib,
        held.transaction_msg_min_offset,
        held.transaction_msg_max_offset,
        held.transaction_msg_count,
        held.locked,
        held.try_unlock_times,
        calendar::with_milliseconds(held.last_lock_timestamp),
        held.droped,
        calendar::with_milliseconds(held.last_pull_timestamp),
        calendar::with_milliseconds(held.last_consume_timestamp),
    )
}

fn as_json(info: &ConsumerRunningInfo) -> serde_json::Value {
    let queue = |(queue, held): (&MessageQueue, &ProcessQueueInfo)| json!({"topic": queue.topic, "brokerName": queue.broker_name, "queueId": queue.queue_id, "processQueueInfo": held});
    let queues: serde_json::Value = queues(info).into_iter().map(queue).collect();
    json!({
        "properties": info.properties,
        "subscriptionSet": info.subscription_set,
        "queues": queues,
        "statusTable": info.status_table,
        "userConsumerInfo": info.user_consumer_info,
        "jstack": info.jstack,
    })
}
