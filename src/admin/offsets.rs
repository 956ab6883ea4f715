//! `resetOffsetByTime`, `skipAccumulatedMessage` and `cloneGroupOffset`: where a group goes on.
//!
//! Invariant: nothing is moved before the time is understood and every broker group of the topic has a
//! leader, so that a mistake does not move a part.

use std::collections::BTreeMap;

use serde_json::json;

use super::arguments::{CloneOffsetArgs, ResetOffsetArgs, SkipArgs};
use super::table::{Column, left, render};
use super::{AdminError, calendar, print};
use crate::client::{Admin, ResetOffsets};
use crate::clock;
use crate::protocol::queue::MessageQueue;

const OFFSETS: [Column; 3] = [left("#brokerName", 40), left("#queueId", 40), left("#offset", 40)];
/// The end of a queue in place of a time.
const TO_THE_END: i64 = -1;

pub(super) async fn reset(admin: &Admin, arguments: &ResetOffsetArgs) -> Result<(), AdminError> {
    let timestamp_ms = moment(&arguments.timestamp)?;
    let to = ResetOffsets {
        group: &arguments.group,
        topic: &arguments.topic,
        timestamp_ms,
        force: arguments.force,
        queue: arguments.queue.map(|queue| (queue, arguments.offset)),
    };
    let common = arguments.common.common();
    let (group, topic) = (&arguments.group, &arguments.topic);
    let time =
        format!("timestamp(string)[{}], timestamp(long)[{timestamp_ms}]", arguments.timestamp);
    let whose = format!("start reset consumer offset by specified, group[{group}], topic[{topic}]");
    if let (Some(address), Some(queue)) = (&arguments.broker, arguments.queue) {
        let moved = move_to(admin, std::slice::from_ref(address), to).await?;
        let table = || {
            let line = |offset: &i64| format!("reset consumer offset to {offset}\n");
            let lines: String = moved.values().map(line).collect();
            format!("{whose}, queueId[{queue}], broker[{address}], {time}\n{lines}")
        };
        return print(&common, table, || json(&moved));
    }
    let addresses = match &arguments.broker {
        Some(address) => vec![address.clone()],
        None => leaders(admin, topic).await?,
    };
    let moved = move_to(admin, &addresses, to).await?;
    let table = || format!("{whose}, force[{}], {time}\n{}", arguments.force, text(&moved));
    print(&common, table, || json(&moved))
}

pub(super) async fn skip(admin: &Admin, arguments: &SkipArgs) -> Result<(), AdminError> {
    let to = ResetOffsets {
        group: &arguments.group,
        topic: &arguments.topic,
        timestamp_ms: TO_THE_END,
        force: arguments.force,
        queue: None,
    };
    let addresses = leaders(admin, &arguments.topic).await?;
    let moved = move_to(admin, &addresses, to).await?;
    print(&arguments.common, || text(&moved), || json(&moved))
}

type Offsets = BTreeMap<MessageQueue, i64>;

/// Where the group is then.
async fn move_to(
    admin: &Admin,
    addresses: &[String],
    to: ResetOffsets<'_>,
) -> Result<Offsets, AdminError> {
    let mut offsets = Offsets::new();
    for address in addresses {
        offsets.extend(admin.reset_offsets(address, to).await?);
    }
    Ok(offsets)
}

fn text(offsets: &Offsets) -> String {
    let row = |(queue, offset): (&MessageQueue, &i64)| {
        vec![queue.broker_name.clone(), queue.queue_id.to_string(), offset.to_string()]
    };
    render(&OFFSETS, &offsets.iter().map(row).collect::<Vec<_>>())
}

fn json(offsets: &Offsets) -> serde_json::Value {
    let one = |(queue, offset): (&MessageQueue, &i64)| json!({"brokerName": queue.broker_name, "queueId": queue.queue_id, "offset": offset});
    offsets.iter().map(one).collect()
}

pub(super) async fn clone(admin: &Admin, arguments: &CloneOffsetArgs) -> Result<(), AdminError> {
    let (from, to, topic) = (&arguments.from, &arguments.to, &arguments.topic);
    for address in leaders(admin, topic).await? {
        admin.clone_offsets(&address, from, to, Some(topic)).await?;
    }
    let done =
        format!("clone group offset success. srcGroup[{from}], destGroup=[{to}], topic[{topic}]\n");
    print(&arguments.common.common(), || done, || json!({"from": from, "to": to, "topic": topic}))
}

/// Of every broker group that has the topic.
async fn leaders(admin: &Admin, topic: &str) -> Result<Vec<String>, AdminError> {
    let route = admin.route(topic).await?;
    let leader = |broker: &crate::protocol::route::BrokerData| broker.master().map(str::to_owned);
    let leaders: Option<Vec<String>> = route.broker_datas.iter().map(leader).collect();
    leaders
        .filter(|leaders| !leaders.is_empty())
        .ok_or_else(|| AdminError::NoTopicMaster(topic.to_owned()))
}

pub(super) fn moment(text: &str) -> Result<i64, AdminError> {
    let moment = match text {
        "now" => Some(clock::now_ms()),
        _ => text.parse().ok().or_else(|| calendar::parse(text)),
    };
    moment.ok_or_else(|| AdminError::NoMoment(text.to_owned()))
}
