//! `updateTopic`: creates a topic, or replaces its settings.
//!
//! Invariant: an ordered topic is announced to the name servers only after its brokers have it.

use serde_json::json;

use super::arguments::{OutputFormat, UpdateTopicArgs};
use super::{AdminError, print};
use crate::client::{Admin, BrokerAddress};
use crate::namesrv::ORDER_TOPIC_CONFIG;
use crate::protocol::route::MASTER_ID;
use crate::protocol::topic::{TopicConfig, unit};

pub(super) async fn update(admin: &Admin, arguments: &UpdateTopicArgs) -> Result<(), AdminError> {
    let topic = wanted(arguments);
    let as_table = arguments.common.output == OutputFormat::Table;
    let mut lines = Vec::new();
    let mut tell = |line: String| match as_table {
        true => println!("{line}"),
        false => lines.push(line),
    };
    let created = |address: &str| format!("create topic to {address} success.");
    let change = arguments.attributes_text();
    if let Some(address) = &arguments.broker {
        admin.update_topic(address, &topic, change.as_deref()).await?;
        if topic.order {
            let queues = queues_of_broker(admin, address, &topic).await?;
            tell(format!("set broker orderConf. isOrder=true, orderConf=[{queues}]"));
        }
        tell(created(address));
    }
    if let Some(cluster) = &arguments.cluster {
        let leaders = leaders(admin.brokers(Some(cluster)).await?, cluster)?;
        for leader in &leaders {
            admin.update_topic(&leader.address, &topic, change.as_deref()).await?;
            tell(created(&leader.address));
        }
        if topic.order {
            let queues = queues_of_cluster(admin, &leaders, &topic).await?;
            tell(format!("set cluster orderConf. isOrder=true, orderConf=[{queues}]"));
        }
    }
    let json = || json!({"done": lines, "topicConfig": topic});
    print(&arguments.common.common(), || format!("{}\n", one_line(&topic)), json)
}

/// Its attributes are the changes of them, as mqadmin shows it.
fn wanted(arguments: &UpdateTopicArgs) -> TopicConfig {
    let of_unit = if arguments.unit { unit::UNIT } else { 0 };
    let subscribed = if arguments.unit_subscribed { unit::UNIT_SUBSCRIBED } else { 0 };
    TopicConfig {
        topic_name: arguments.topic.clone(),
        read_queue_nums: arguments.read_queues,
        write_queue_nums: arguments.write_queues,
        perm: arguments.permission,
        order: arguments.order,
        topic_sys_flag: of_unit | subscribed,
        attributes: arguments.attributes.clone().unwrap_or_default(),
        ..TopicConfig::default()
    }
}

/// Replaces what the name servers keep of an ordered topic, which is this from now on.
async fn queues_of_cluster(
    admin: &Admin,
    leaders: &[BrokerAddress],
    topic: &TopicConfig,
) -> Result<String, AdminError> {
    let of_group =
        |leader: &BrokerAddress| format!("{}:{}", leader.broker_name, topic.write_queue_nums);
    let queues = leaders.iter().map(of_group).collect::<Vec<_>>().join(";");
    admin.put_kv(ORDER_TOPIC_CONFIG, &topic.topic_name, &queues).await?;
    Ok(queues)
}

/// Adds one group to what the name servers keep of an ordered topic; only what was added is returned.
async fn queues_of_broker(
    admin: &Admin,
    address: &str,
    topic: &TopicConfig,
) -> Result<String, AdminError> {
    let mut brokers = admin.brokers(None).await?.into_iter();
    let group = brokers.find(|broker| broker.address == address);
    let group = group.ok_or_else(|| AdminError::NoBrokerName(address.to_owned()))?.broker_name;
    let queues = format!("{group}:{}", topic.write_queue_nums);
    let kept = admin.get_kv(ORDER_TOPIC_CONFIG, &topic.topic_name).await?.unwrap_or_default();
    let all = with_group(&kept, &group, &queues);
    admin.put_kv(ORDER_TOPIC_CONFIG, &topic.topic_name, &all).await?;
    Ok(queues)
}

/// The other groups stay as they are.
fn with_group(kept: &str, group: &str, queues: &str) -> String {
    let name = |entry: &str| entry.split(':').next().unwrap_or_default().to_owned();
    let others = kept.split(';').filter(|entry| !entry.is_empty() && name(entry) != group);
    others.chain([queues]).collect::<Vec<_>>().join(";")
}

fn leaders(brokers: Vec<BrokerAddress>, cluster: &str) -> Result<Vec<BrokerAddress>, AdminError> {
    let leaders: Vec<_> =
        brokers.into_iter().filter(|broker| broker.broker_id == MASTER_ID).collect();
    if leaders.is_empty() {
        return Err(AdminError::NoMaster(cluster.to_owned()));
    }
    Ok(leaders)
}

pub(super) fn one_line(topic: &TopicConfig) -> String {
    let permission = |bit: i32, letter: char| if topic.perm & bit != 0 { letter } else { '-' };
    let (read, write) = (permission(4, 'R'), permission(2, 'W'));
    let attributes = topic.attributes.iter().map(|(key, value)| format!("{key}={value}"));
    format!(
        "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={read}{write}-, \
         topicFilterType={}, topicSysFlag={}, order={}, attributes={{{}}}]",
        topic.topic_name,
        topic.read_queue_nums,
        topic.write_queue_nums,
        topic.topic_filter_type.as_str(),
        topic.topic_sys_flag,
        topic.order,
        attributes.collect::<Vec<_>>().join(", "),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_without_leaders_is_an_error() {
        let follower = BrokerAddress {
            cluster: "c".into(),
            broker_name: "b".into(),
            broker_id: 1,
            address: "h:1".into(),
        };
        assert!(matches!(leaders(vec![follower.clone()], "c"), Err(AdminError::NoMaster(_))));
        let leader = BrokerAddress { broker_id: 0, address: "h:0".into(), ..follower.clone() };
        assert_eq!(leaders(vec![follower, leader.clone()], "c").unwrap(), [leader]);
    }

    #[test]
    fn one_group_of_an_ordered_topic_is_replaced() {
        assert_eq!(with_group("", "b", "b:2"), "b:2");
        assert_eq!(with_group("a:8;b:4;bb:1", "b", "b:2"), "a:8;bb:1;b:2");
    }
}
