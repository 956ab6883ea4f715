//! `brokerConsumeStats`: how far every group of one broker is, queue by queue.

use std::time::Duration;

use serde_json::json;

use super::arguments::BrokerConsumeStatsArgs;
use super::table::{Column, left, render};
use super::{AdminError, calendar, print};
use crate::client::Admin;
use crate::protocol::body::OffsetWrapper;
use crate::protocol::queue::MessageQueue;

const QUEUES: [Column; 8] = [
    left("#Topic", 64),
    left("#Group", 64),
    left("#Broker Name", 32),
    left("#QID", 4),
    left("#Broker Offset", 20),
    left("#Consumer Offset", 20),
    left("#Diff", 20),
    left("#LastTime", 0),
];

type Row<'a> = (&'a str, &'a MessageQueue, &'a OffsetWrapper);

pub(super) async fn all(
    admin: &Admin,
    arguments: &BrokerConsumeStatsArgs,
) -> Result<(), AdminError> {
    let limit = Duration::from_millis(arguments.timeout_ms);
    let stats = admin.all_consume_stats(&arguments.broker, arguments.order, limit).await?;
    let of_groups = stats.groups.iter().flat_map(|(group, tables)| {
        let queues = tables.iter().flat_map(|table| table.offset_table.0.iter());
        queues.map(move |(queue, offset)| (group.as_str(), queue, offset))
    });
    // Where nothing was consumed, there is no time to tell.
    let begun = |(_, _, offset): &Row<'_>| offset.last_timestamp > 0;
    let rows: Vec<Row<'_>> =
        of_groups.filter(begun).filter(|row| diff(row.2) >= arguments.level).collect();
    let table = || {
        let rows: Vec<_> = rows.iter().map(cells).collect();
        format!("{}\nDiff Total: {}\n", render(&QUEUES, &rows), stats.total_diff)
    };
    let json = || {
        let queues: serde_json::Value = rows.iter().map(as_json).collect();
        json!({"queues": queues, "diffTotal": stats.total_diff})
    };
    print(&arguments.common.common(), table, json)
}

fn diff(offset: &OffsetWrapper) -> i64 {
    offset.broker_offset - offset.consumer_offset
}

fn cells((group, queue, offset): &Row<'_>) -> Vec<String> {
    vec![
        queue.topic.clone(),
        (*group).to_owned(),
        queue.broker_name.clone(),
        queue.queue_id.to_string(),
        offset.broker_offset.to_string(),
        offset.consumer_offset.to_string(),
        diff(offset).to_string(),
        calendar::to_the_second(offset.last_timestamp),
    ]
}

fn as_json((group, queue, offset): &Row<'_>) -> serde_json::Value {
    json!({
        "topic": queue.topic,
        "group": group,
        "brokerName": queue.broker_name,
        "queueId": queue.queue_id,
        "brokerOffset": offset.broker_offset,
        "consumerOffset": offset.consumer_offset,
        "diff": diff(offset),
        "lastTimestamp": offset.last_timestamp,
    })
}
