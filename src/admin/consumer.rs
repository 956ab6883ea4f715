//! `consumerProgress`: how far groups are behind.

use std::cell::Cell;

use serde_json::json;

use super::arguments::ConsumerProgressArgs;
use super::running::Readers;
use super::table::{Column, left, render};
use super::{AdminError, calendar, print};
use crate::client::{Admin, ClientError};
use crate::progress;
use crate::protocol::body::{ConsumeStats, ConsumerConnection, OffsetWrapper};
use crate::protocol::queue::MessageQueue;
use crate::protocol::route::BrokerData;
use crate::protocol::{names, version};

const QUEUES: [Column; 8] = [
    left("#Topic", 64),
    left("#Broker Name", 32),
    left("#QID", 4),
    left("#Broker Offset", 20),
    left("#Consumer Offset", 20),
    left("#Diff", 20).then(1),
    // What follows is one to the right of its title, as in mqadmin.
    left("#Inflight", 20).then(0),
    left("#LastTime", 0),
];
/// Of who reads the queue, where that was asked for.
const CLIENT_IP: Column = left("#Client IP", 20).then(1);
const CLIENT_IP_AT: usize = 5;
const GROUPS: [Column; 7] = [
    left("#Group", 64),
    left("#Count", 6),
    left("#Version", 24).then(1),
    left("#Type", 5),
    left("#Model", 14),
    left("#TPS", 7),
    left("#Diff Total", 12),
];

pub(super) async fn progress(
    admin: &Admin,
    arguments: &ConsumerProgressArgs,
) -> Result<(), AdminError> {
    match &arguments.group {
        Some(group) => group_progress(admin, arguments, group).await,
        None => all_groups(admin, arguments).await,
    }
}

/// What every broker of the group says, in one table.
async fn stats(
    admin: &Admin,
    group: &str,
    topic: Option<&str>,
) -> Result<(ConsumeStats, Option<ConsumerConnection>), AdminError> {
    let route = match admin.route(&names::retry_topic(group)).await {
        Err(ClientError::NoRoute(_)) => return Err(AdminError::NoGroup(group.to_owned())),
        route => route?,
    };
    let mut total = ConsumeStats::default();
    let mut connection = None;
    for address in route.broker_datas.iter().filter_map(BrokerData::master) {
        let stats = admin.consume_stats(address, group, topic).await?;
        total.consume_tps += stats.consume_tps;
        total.offset_table.0.extend(stats.offset_table.0);
        if connection.is_none() {
            connection = admin.consumer_connection(address, group).await?;
        }
    }
    Ok((total, connection))
}

/// How far a group is in its queues.
struct Progress<'g> {
    group: &'g str,
    stats: ConsumeStats,
    /// Who reads them, where that was asked for.
    readers: Option<Readers>,
}

async fn group_progress(
    admin: &Admin,
    arguments: &ConsumerProgressArgs,
    group: &str,
) -> Result<(), AdminError> {
    let (stats, _) = stats(admin, group, arguments.topic.as_deref()).await?;
    let readers = match arguments.client_ips {
        true => Some(Readers::of_group(admin, group).await?),
        false => None,
    };
    let progress = Progress { group, stats, readers };
    print(&arguments.common, || progress.text(), || progress.json())?;
    progress.readers.map_or(Ok(()), |readers| readers.complete())
}

impl Progress<'_> {
    fn queues(&self) -> impl Iterator<Item = (&MessageQueue, &OffsetWrapper)> {
        let mut queues: Vec<_> = self.stats.offset_table.0.iter().collect();
        queues.sort_by_key(|(queue, _)| (&queue.topic, &queue.broker_name, queue.queue_id));
        queues.into_iter()
    }

    fn text(&self) -> String {
        let mut columns = QUEUES.to_vec();
        let mut rows: Vec<_> = self.queues().map(row).collect();
        if let Some(readers) = &self.readers {
            columns.insert(CLIENT_IP_AT, CLIENT_IP);
            for ((queue, _), row) in self.queues().zip(&mut rows) {
                let ip = readers.ips.get(queue).map_or("N/A", String::as_str);
                row.insert(CLIENT_IP_AT, ip.to_owned());
            }
        }
        format!(
            "{}\nConsume TPS: {:.2}\nConsume Diff Total: {}\nConsume Inflight Total: {}\n",
            render(&columns, &rows),
            self.stats.consume_tps,
            self.stats.total_diff(),
            self.inflight(),
        )
    }

    fn json(&self) -> serde_json::Value {
        let queue = |(queue, offset): (&MessageQueue, &OffsetWrapper)| {
            let mut shown = json!({
                "topic": queue.topic,
                "brokerName": queue.broker_name,
                "queueId": queue.queue_id,
                "brokerOffset": offset.broker_offset,
                "consumerOffset": offset.consumer_offset,
                "diff": offset.broker_offset - offset.consumer_offset,
                "lastTimestamp": offset.last_timestamp,
            });
            if let Some(readers) = &self.readers {
                shown["clientIp"] = json!(readers.ips.get(queue));
            }
            shown
        };
        let queues: serde_json::Value = self.queues().map(queue).collect();
        json!({
            "group": self.group,
            "queues": queues,
            "consumeTps": self.stats.consume_tps,
            "diffTotal": self.stats.total_diff(),
            "inflightTotal": self.inflight(),
        })
    }

    fn inflight(&self) -> i64 {
        self.stats.offset_table.0.values().map(inflight_of).sum()
    }
}

fn row((queue, offset): (&MessageQueue, &OffsetWrapper)) -> Vec<String> {
    vec![
        queue.topic.clone(),
        queue.broker_name.clone(),
        queue.queue_id.to_string(),
        offset.broker_offset.to_string(),
        offset.consumer_offset.to_string(),
        (offset.broker_offset - offset.consumer_offset).to_string(),
        inflight_of(offset).to_string(),
        match offset.last_timestamp {
            ..=0 => " N/A".to_owned(),
            time => format!(" {}", calendar::to_the_second(time)),
        },
    ]
}

fn inflight_of(offset: &OffsetWrapper) -> i64 {
    (offset.pull_offset - offset.consumer_offset).max(0)
}

async fn all_groups(admin: &Admin, arguments: &ConsumerProgressArgs) -> Result<(), AdminError> {
    let topics = admin.topics().await?;
    let groups: Vec<&str> =
        topics.iter().filter_map(|topic| names::group_of_retry_topic(topic)).collect();
    let asked = Cell::new(0);
    let ask_all = async {
        let mut listed = Vec::new();
        for group in &groups {
            match stats(admin, group, arguments.topic.as_deref()).await {
                Ok((stats, connection)) => listed.push((*group, stats, connection)),
                Err(error) => eprintln!("admin: group {group}: {error}"),
            }
            asked.set(asked.get() + 1);
        }
        listed
    };
    let line = || format!("admin: {} of {} groups asked for", asked.get(), groups.len());
    let listed = progress::during(ask_all, line).await;
    let table = || {
        let row = |(group, stats, connection): &(&str, ConsumeStats, Option<_>)| {
            let (count, version, consume_type, model) = describe(connection.as_ref());
            vec![
                (*group).to_owned(),
                count,
                version,
                consume_type,
                model,
                format!("{:.0}", stats.consume_tps.trunc()),
                stats.total_diff().to_string(),
            ]
        };
        render(&GROUPS, &listed.iter().map(row).collect::<Vec<_>>())
    };
    let json = || {
        let group = |(group, stats, connection): &(&str, ConsumeStats, Option<_>)| {
            let (count, _, consume_type, model) = describe(connection.as_ref());
            json!({
                "group": group,
                "count": count.parse::<u64>().unwrap_or(0),
                "type": consume_type,
                "model": model,
                "consumeTps": stats.consume_tps,
                "diffTotal": stats.total_diff(),
            })
        };
        listed.iter().map(group).collect()
    };
    print(&arguments.common, table, json)
}

/// Count, version, type and model of a group.
fn describe(connection: Option<&ConsumerConnection>) -> (String, String, String, String) {
    use crate::protocol::heartbeat::ConsumeType;
    let Some(connection) = connection else {
        return ("0".into(), "OFFLINE".into(), String::new(), String::new());
    };
    let version = connection.connection_set.iter().map(|client| client.version).min();
    let (consume_type, model) = match connection.consume_type {
        ConsumeType::Actively => ("PULL", ""),
        ConsumeType::Passively => ("PUSH", connection.message_model.as_str()),
        ConsumeType::Pop => ("POP", ""),
    };
    (
        connection.connection_set.len().to_string(),
        version.map(version::description).unwrap_or_default(),
        consume_type.to_owned(),
        model.to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_without_members_is_offline() {
        assert_eq!(describe(None).1, "OFFLINE");
        let online = ConsumerConnection {
            connection_set: vec![Default::default(), Default::default()],
            ..ConsumerConnection::default()
        };
        let (count, _, consume_type, model) = describe(Some(&online));
        assert_eq!(
            (count.as_str(), consume_type.as_str(), model.as_str()),
            ("2", "PUSH", "CLUSTERING")
        );
    }

    #[test]
    fn inflight_is_never_negative() {
        let offset = OffsetWrapper { pull_offset: 3, consumer_offset: 5, ..Default::default() };
        assert_eq!(inflight_of(&offset), 0);
        let offset = OffsetWrapper { pull_offset: 9, consumer_offset: 5, ..Default::default() };
        assert_eq!(inflight_of(&offset), 4);
    }
}
