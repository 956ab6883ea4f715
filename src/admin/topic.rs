//! Commands about topics.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde_json::json;

use super::arguments::{
    DeleteTopicArgs, TopicArgs, TopicListArgs, TopicRouteArgs, TopicStatusArgs,
};
use super::table::{Column, left, render, rows_of};
use super::{AdminError, calendar, print};
use crate::client::{Admin, ClientError};
use crate::progress;
use crate::protocol::body::TopicOffset;
use crate::protocol::code::response;
use crate::protocol::names;
use crate::protocol::queue::MessageQueue;
use crate::protocol::route::{BrokerData, MASTER_ID, TopicRouteData};

const LIST: [Column; 3] =
    [left("#Cluster Name", 20), left("#Topic", 64), left("#Consumer Group", 64)];
const ROUTE: [Column; 6] = [
    left("#ClusterName", 45).then(1),
    left("#BrokerName", 32).then(1),
    left("#BrokerAddrs", 50).then(1),
    left("#ReadQueue", 10).then(1),
    left("#WriteQueue", 11).then(1),
    left("#Perm", 5),
];
const ROUTE_LINE_CHARACTERS: usize = 158;
const STATUS: [Column; 5] = [
    left("#Broker Name", 32),
    left("#QID", 4),
    left("#Min Offset", 20),
    left("#Max Offset", 22),
    left("#Last Updated", 23),
];

pub(super) async fn list(admin: &Admin, arguments: &TopicListArgs) -> Result<(), AdminError> {
    let topics = admin.topics().await?;
    if !arguments.cluster_model {
        let lines = || topics.iter().map(|topic| format!("{topic}\n")).collect();
        return print(&arguments.common, lines, || json!(topics));
    }
    let asked = Cell::new(0);
    let line = || format!("admin: {} of {} topics asked for", asked.get(), topics.len());
    let mut rows = progress::during(rows_with_groups(admin, &topics, &asked), line).await?;
    rows.dedup();
    let json = || {
        let row = |row: &Vec<String>| json!({"cluster": row[0], "topic": row[1], "group": row[2]});
        rows.iter().map(row).collect()
    };
    print(&arguments.common, || render(&LIST, &rows), json)
}

/// Cluster, topic and group of every topic; `asked` counts the topics that are done.
async fn rows_with_groups(
    admin: &Admin,
    topics: &[String],
    asked: &Cell<usize>,
) -> Result<Vec<Vec<String>>, AdminError> {
    let mut rows = Vec::new();
    let internal = |topic: &str| names::is_retry_topic(topic) || names::is_dead_letter_topic(topic);
    for (done, topic) in topics.iter().enumerate() {
        asked.set(done);
        if internal(topic) {
            continue;
        }
        let Some(route) = route_if_any(admin, topic).await? else { continue };
        for broker in &route.broker_datas {
            let groups = match broker.master() {
                Some(address) => admin.groups_of_topic(address, topic).await?,
                None => Vec::new(),
            };
            let row = |group: String| vec![broker.cluster.clone(), topic.clone(), group];
            match groups.is_empty() {
                true => rows.push(row(String::new())),
                false => rows.extend(groups.into_iter().map(row)),
            }
        }
    }
    Ok(rows)
}

/// A topic's route; none when there is none, as when it is deleted after it was listed.
pub(super) async fn route_if_any(
    admin: &Admin,
    topic: &str,
) -> Result<Option<TopicRouteData>, ClientError> {
    match admin.route(topic).await {
        Ok(route) => Ok(Some(route)),
        Err(ClientError::NoRoute(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) async fn route(admin: &Admin, arguments: &TopicRouteArgs) -> Result<(), AdminError> {
    let route = admin.route(&arguments.topic).await?;
    if !arguments.list {
        println!("{}", serde_json::to_string_pretty(&route)?);
        return Ok(());
    }
    let rows = route_rows(&route);
    let json = || serde_json::to_value(&route).unwrap_or_default();
    let table = || {
        let queues = route.queue_datas.iter();
        let (read, write) = queues.fold((0, 0), |(read, write), queue| {
            (read + queue.read_queue_nums, write + queue.write_queue_nums)
        });
        let brokers = rows.len().to_string();
        let total = ["Total:", &brokers, "", &read.to_string(), &write.to_string(), ""];
        let total = rows_of(&ROUTE, &[total.map(str::to_owned).to_vec()]);
        format!("{}{}\n{total}", render(&ROUTE, &rows), "-".repeat(ROUTE_LINE_CHARACTERS))
    };
    print(&arguments.common, table, json)
}

fn route_rows(route: &TopicRouteData) -> Vec<Vec<String>> {
    let mut queues = route.queue_datas.clone();
    queues.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
    let row = |queue: crate::protocol::route::QueueData| {
        let broker = route.broker_datas.iter().find(|b| b.broker_name == queue.broker_name);
        let addresses = |broker: &BrokerData| {
            let each = broker.broker_addrs.iter().map(|(id, address)| format!("{id}={address}"));
            format!("{{{}}}", each.collect::<Vec<_>>().join(", "))
        };
        vec![
            broker.map(|broker| broker.cluster.clone()).unwrap_or_default(),
            queue.broker_name,
            broker.map(addresses).unwrap_or_default(),
            queue.read_queue_nums.to_string(),
            queue.write_queue_nums.to_string(),
            queue.perm.to_string(),
        ]
    };
    queues.into_iter().map(row).collect()
}

pub(super) async fn status(admin: &Admin, arguments: &TopicStatusArgs) -> Result<(), AdminError> {
    let route = admin.route(&arguments.topic).await?;
    let mut offsets: BTreeMap<MessageQueue, TopicOffset> = BTreeMap::new();
    let mut put_tps = 0.0;
    let mut asked = false;
    for address in route.broker_datas.iter().filter_map(BrokerData::master) {
        let stats = admin.topic_stats(address, &arguments.topic).await?;
        offsets.extend(stats.offset_table.0);
        put_tps += stats.topic_put_tps;
        asked = true;
    }
    if !asked {
        return Err(AdminError::NoTopicMaster(arguments.topic.clone()));
    }
    let table = || {
        let row = |(queue, offset): (&MessageQueue, &TopicOffset)| {
            vec![
                queue.broker_name.clone(),
                queue.queue_id.to_string(),
                offset.min_offset.to_string(),
                offset.max_offset.to_string(),
                calendar::with_milliseconds(offset.last_update_timestamp),
            ]
        };
        let rows: Vec<_> = offsets.iter().map(row).collect();
        format!("{}\nTopic Put TPS: {put_tps:?}\n", render(&STATUS, &rows))
    };
    let json = || {
        let queue = |(queue, offset): (&MessageQueue, &TopicOffset)| {
            json!({
                "brokerName": queue.broker_name,
                "queueId": queue.queue_id,
                "minOffset": offset.min_offset,
                "maxOffset": offset.max_offset,
                "lastUpdateTimestamp": offset.last_update_timestamp,
            })
        };
        let queues: serde_json::Value = offsets.iter().map(queue).collect();
        json!({"queues": queues, "topicPutTps": put_tps})
    };
    print(&arguments.common, table, json)
}

pub(super) async fn delete(admin: &Admin, arguments: &DeleteTopicArgs) -> Result<(), AdminError> {
    let (topic, cluster) = (&arguments.topic, &arguments.cluster);
    delete_in_brokers(admin, cluster, topic).await?;
    println!("delete topic [{topic}] from cluster [{cluster}] success.");
    admin.delete_topic_in_name_servers(cluster, topic).await?;
    println!("delete topic [{topic}] from NameServer success.");
    Ok(())
}

pub(super) async fn delete_in_brokers(
    admin: &Admin,
    cluster: &str,
    topic: &str,
) -> Result<(), AdminError> {
    let brokers = admin.brokers(Some(cluster)).await?;
    // Leaders first: a follower that forwards then finds the work done.
    let mut deleted = 0;
    for broker in &brokers {
        match admin.delete_topic_in_broker(&broker.address, topic).await {
            Ok(()) => deleted += 1,
            Err(error) if broker.broker_id == MASTER_ID => return Err(error.into()),
            Err(error) if error.code() == Some(response::TOPIC_NOT_EXIST) => {}
            Err(error) => eprintln!("admin: {}: {error}", broker.address),
        }
    }
    if deleted == 0 {
        return Err(AdminError::NoMaster(cluster.to_owned()));
    }
    Ok(())
}

pub(super) async fn clusters(admin: &Admin, arguments: &TopicArgs) -> Result<(), AdminError> {
    let route = admin.route(&arguments.topic).await?;
    let clusters: std::collections::BTreeSet<&str> =
        route.broker_datas.iter().map(|broker| &*broker.cluster).collect();
    let lines = || clusters.iter().map(|cluster| format!("{cluster}\n")).collect();
    print(&arguments.common, lines, || json!(clusters))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::route::QueueData;

    #[test]
    fn a_route_row_names_every_address() {
        let route = TopicRouteData {
            broker_datas: vec![BrokerData {
                broker_addrs: [(0, "h:1".to_owned()), (2, "h:2".to_owned())].into(),
                broker_name: "b".into(),
                cluster: "c".into(),
                ..BrokerData::default()
            }],
            queue_datas: vec![QueueData {
                broker_name: "b".into(),
                perm: 6,
                read_queue_nums: 8,
                write_queue_nums: 4,
                ..QueueData::default()
            }],
            ..TopicRouteData::default()
        };
        assert_eq!(route_rows(&route), [["c", "b", "{0=h:1, 2=h:2}", "8", "4", "6"]]);
    }
}
