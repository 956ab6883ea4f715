//! `statsAll`: what came in and went out, topic by topic and group by group.

use serde_json::json;

use super::arguments::StatsAllArgs;
use super::table::{Column, left, render, right};
use super::topic::route_if_any;
use super::{AdminError, print};
use crate::client::{Admin, ClientError};
use crate::protocol::body::BrokerStatsData;
use crate::protocol::names;

const STATS: [Column; 7] = [
    left("#Topic", 64),
    left("#Consumer Group", 64).then(1),
    right("#Accumulation", 12).then(1),
    right("#InTPS", 11).then(1),
    right("#OutTPS", 11).then(1),
    right("#InMsg24Hour", 14).then(1),
    right("#OutMsg24Hour", 14),
];
/// In the last column of a topic that no group reads.
const NO_CONSUMER: &str = "NO_CONSUMER";

/// A topic as one group consumes it; without a group, as nobody does.
struct Row {
    topic: String,
    group: Option<String>,
    accumulation: i64,
    in_tps: f64,
    out_tps: f64,
    in_day: i64,
    out_day: i64,
}

pub(super) async fn all(admin: &Admin, arguments: &StatsAllArgs) -> Result<(), AdminError> {
    let mut rows = Vec::new();
    for topic in admin.topics().await? {
        let wanted = arguments.topic.as_ref().is_none_or(|wanted| *wanted == topic);
        let internal = names::is_retry_topic(&topic) || names::is_dead_letter_topic(&topic);
        if wanted && (!internal || arguments.topic.is_some()) {
            rows.extend(of_topic(admin, &topic).await?);
        }
    }
    if arguments.active {
        rows.retain(|row| row.in_day > 0 || row.out_day > 0);
    }
    let table = || {
        let cells = |row: &Row| {
            let (out_tps, out_day) = match row.group {
                Some(_) => (format!("{:.2}", row.out_tps), row.out_day.to_string()),
                None => (String::new(), NO_CONSUMER.to_owned()),
            };
            vec![
                row.topic.clone(),
                row.group.clone().unwrap_or_default(),
                row.accumulation.max(0).to_string(),
                format!("{:.2}", row.in_tps),
                out_tps,
                row.in_day.to_string(),
                out_day,
            ]
        };
        render(&STATS, &rows.iter().map(cells).collect::<Vec<_>>())
    };
    let json = || {
        let row = |row: &Row| {
            json!({
                "topic": row.topic,
                "group": row.group,
                "accumulation": row.accumulation,
                "inTps": row.in_tps,
                "outTps": row.out_tps,
                "inMsg24Hour": row.in_day,
                "outMsg24Hour": row.out_day,
            })
        };
        rows.iter().map(row).collect()
    };
    print(&arguments.common, table, json)
}

async fn of_topic(admin: &Admin, topic: &str) -> Result<Vec<Row>, AdminError> {
    let Some(route) = route_if_any(admin, topic).await? else { return Ok(Vec::new()) };
    let leaders: Vec<&str> = route.masters().collect();
    let put = sum(admin, &leaders, "TOPIC_PUT_NUMS", topic).await?;
    let mut groups = std::collections::BTreeSet::new();
    for leader in &leaders {
        groups.extend(admin.groups_of_topic(leader, topic).await?);
    }
    let row = |group: Option<String>, accumulation, get: BrokerStatsData| Row {
        topic: topic.to_owned(),
        group,
        accumulation,
        in_tps: put.stats_minute.tps,
        out_tps: get.stats_minute.tps,
        in_day: put.stats_day.sum,
        out_day: get.stats_day.sum,
    };
    if groups.is_empty() {
        return Ok(vec![row(None, 0, BrokerStatsData::default())]);
    }
    let mut rows = Vec::new();
    for group in groups {
        let get = sum(admin, &leaders, "GROUP_GET_NUMS", &format!("{topic}@{group}")).await?;
        let mut accumulation = 0;
        for leader in &leaders {
            accumulation += admin.consume_stats(leader, &group, Some(topic)).await?.total_diff();
        }
        rows.push(row(Some(group), accumulation, get));
    }
    Ok(rows)
}

async fn sum(
    admin: &Admin,
    leaders: &[&str],
    name: &str,
    key: &str,
) -> Result<BrokerStatsData, ClientError> {
    let mut total = BrokerStatsData::default();
    for leader in leaders {
        let Some(counted) = admin.broker_stats(leader, name, key).await? else { continue };
        total.stats_minute.tps += counted.stats_minute.tps;
        total.stats_day.sum += counted.stats_day.sum;
    }
    Ok(total)
}
