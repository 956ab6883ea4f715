//! Topics: create, change, remove, list, and how full their queues are.
//!
//! Invariant: a change is answered after it is applied and, as far as they answer within a moment,
//! known to the name servers: whoever created a topic can use it.

use std::collections::BTreeMap;

use super::answer::{Failure, Outcome, success, success_json, success_with};
use super::core::Core;
use super::fields::{flag, optional, required, value};
use crate::protocol::body::{TopicConfigSerializeWrapper, TopicOffset, TopicStatsTable};
use crate::protocol::fastjson::JsonBody;
use crate::protocol::names;
use crate::protocol::queue::MessageQueue;
use crate::protocol::route::TopicList;
use crate::protocol::topic::{TopicConfig, TopicFilterType, permission};
use crate::remoting::RemotingCommand;
use crate::state::Command;

/// Queues that a topic may have; each costs memory on every member.
pub const QUEUES_MAX: i32 = 65_536;
const PERMISSION_MAX: i32 =
    permission::PRIORITY | permission::READ | permission::WRITE | permission::INHERIT;

/// Creates a topic or changes its settings.
pub async fn update(core: &Core, command: &RemotingCommand) -> Outcome {
    let config = parse(core, command)?;
    core.propose(Command::upsert_topic(&config)).await?;
    tracing::info!(
        topic = config.topic_name,
        perm = config.perm,
        read_queues = config.read_queue_nums,
        write_queues = config.write_queue_nums,
        "topic settings stored"
    );
    core.registrar.register_now().await;
    Ok(success())
}

fn parse(core: &Core, command: &RemotingCommand) -> Result<TopicConfig, Failure> {
    let topic = required(command, "topic")?;
    refuse_system_topic(topic)?;
    let read_queue_nums: i32 = value(command, "readQueueNums")?;
    let write_queue_nums: i32 = value(command, "writeQueueNums")?;
    for (name, queue_nums) in
        [("readQueueNums", read_queue_nums), ("writeQueueNums", write_queue_nums)]
    {
        if !(0..=QUEUES_MAX).contains(&queue_nums) {
            let remark = format!("{name} cannot be {queue_nums}, it goes from 0 to {QUEUES_MAX}");
            return Err(Failure::invalid(remark));
        }
    }
    if read_queue_nums.max(write_queue_nums) == 0 {
        return Err(Failure::invalid("a topic needs at least one queue"));
    }
    let perm: i32 = value(command, "perm")?;
    if !(0..=PERMISSION_MAX).contains(&perm) {
        return Err(Failure::invalid(format!("perm cannot be {perm}")));
    }
    let filter_type = command.ext_fields.get("topicFilterType");
    let known = core.view.topic(topic);
    let attributes = known.map(|known| known.config.attributes.clone()).unwrap_or_default();
    let changes = command.ext_fields.get("attributes").unwrap_or_default();
    Ok(TopicConfig {
        attributes: change_attributes(attributes, changes)?,
        order: flag(command, "order").unwrap_or(false),
        perm,
        read_queue_nums,
        write_queue_nums,
        topic_filter_type: filter_type.and_then(TopicFilterType::from_name).unwrap_or_default(),
        topic_name: topic.to_owned(),
        topic_sys_flag: optional(command, "topicSysFlag")?.unwrap_or(0),
    })
}

/// Applies `+key=value,-key` to a topic's attributes.
fn change_attributes(
    mut attributes: BTreeMap<String, String>,
    changes: &str,
) -> Result<BTreeMap<String, String>, Failure> {
    for change in changes.split(',').map(str::trim).filter(|change| !change.is_empty()) {
        let added = change.strip_prefix('+').and_then(|rest| rest.split_once('='));
        match (added, change.strip_prefix('-')) {
            (Some((key, value)), _) if !key.is_empty() => {
                attributes.insert(key.to_owned(), value.to_owned());
            }
            (None, Some(key)) if !key.is_empty() => {
                attributes.remove(key);
            }
            _ => {
                let remark = format!("attribute change {change:?} is neither +key=value nor -key");
                return Err(Failure::invalid(remark));
            }
        }
    }
    Ok(attributes)
}

fn refuse_system_topic(topic: &str) -> Result<(), Failure> {
    names::validate_topic(topic).map_err(|error| Failure::invalid(error.to_string()))?;
    if names::is_system_topic(topic) {
        let remark = format!("the topic[{topic}] is conflict with system topic.");
        return Err(Failure::invalid(remark));
    }
    Ok(())
}

/// Removes a topic with its messages and the offsets consumed.
pub async fn delete(core: &Core, command: &RemotingCommand) -> Outcome {
    let topic = required(command, "topic")?;
    refuse_system_topic(topic)?;
    core.propose(Command::delete_topic(topic)).await?;
    tracing::info!(topic, "topic removed");
    core.registrar.register_now().await;
    Ok(success())
}

/// Where the queues of a topic begin and end.
pub async fn stats(core: &Core, command: &RemotingCommand) -> Outcome {
    let topic = required(command, "topic")?;
    core.read_barrier().await?;
    let known = core.view.topic(topic).ok_or_else(|| Failure::no_topic(topic))?;
    let mut table =
        TopicStatsTable { topic_put_tps: core.put_tps(topic), ..TopicStatsTable::default() };
    for queue_id in 0..known.config.queue_nums() {
        let bounds = core.view.bounds(topic, queue_id)?;
        let last_stored_ms = core.store_time_ms(topic, queue_id, bounds.max - 1)?;
        let offset = TopicOffset {
            last_update_timestamp: last_stored_ms.unwrap_or(0),
            max_offset: bounds.max,
            min_offset: bounds.min,
        };
        table.offset_table.0.insert(core.queue(topic, queue_id), offset);
    }
    Ok(success_with(table.encode()))
}

/// All topics' settings.
pub fn all(core: &Core) -> Outcome {
    let wrapper = core.topic_table();
    let mut answer = success_with(wrapper.encode());
    answer.ext_fields.insert("totalTopicNum", wrapper.topic_config_table.len());
    Ok(answer)
}

/// One topic's settings.
pub fn one(core: &Core, command: &RemotingCommand) -> Outcome {
    let topic = required(command, "topic")?;
    let known = core.view.topic(topic).ok_or_else(|| Failure::no_topic(topic))?;
    Ok(success_with(known.config.encode()))
}

/// The topics that belong to the machinery.
pub fn system_topics(core: &Core) -> Outcome {
    let table = core.topic_table().topic_config_table;
    let own = [&core.config.broker_cluster_name, &core.config.broker_name];
    let system = |topic: &String| names::is_system_topic(topic) || own.contains(&topic);
    let topic_list = table.into_keys().filter(system).collect();
    success_json(&TopicList { topic_list, ..TopicList::default() })
}

impl Core {
    /// The name of a queue of this group.
    pub fn queue(&self, topic: &str, queue_id: i32) -> MessageQueue {
        let broker_name = self.config.broker_name.clone();
        MessageQueue { broker_name, queue_id, topic: topic.to_owned() }
    }

    /// All topics with the version of their table.
    pub fn topic_table(&self) -> TopicConfigSerializeWrapper {
        let (topics, version) = self.view.topics();
        let named =
            topics.into_iter().map(|topic| (topic.name.to_string(), (*topic.config).clone()));
        TopicConfigSerializeWrapper {
            data_version: version,
            topic_config_table: named.collect(),
            ..TopicConfigSerializeWrapper::default()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn attributes_are_added_and_removed() {
        let attributes = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let changed = change_attributes(attributes, "+b=2, -a,+c=x=y").unwrap();
        assert_eq!(
            changed.into_iter().collect::<Vec<_>>(),
            [("b".to_owned(), "2".to_owned()), ("c".to_owned(), "x=y".to_owned())]
        );
        for bad in ["b=2", "+b", "-", "+=2"] {
            assert!(change_attributes(BTreeMap::new(), bad).is_err(), "{bad}");
        }
    }
}
