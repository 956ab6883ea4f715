//! Topics: create, change, remove, list, and how full their queues are.
//!
//! Invariant: a change is answered after it is applied and, as far as they answer within a moment,
//! known to the name servers: whoever created a topic can use it.

use futures_util::future::try_join_all;

use super::answer::{Failure, Outcome, success, success_json, success_with};
use super::attributes::{self, Attributes};
use super::core::Core;
use super::fields::{flag, optional, required, value};
use crate::protocol::body::{
    TopicConfigList, TopicConfigSerializeWrapper, TopicOffset, TopicStatsTable,
};
use crate::protocol::fastjson::JsonBody;
use crate::protocol::names;
use crate::protocol::queue::MessageQueue;
use crate::protocol::route::TopicList;
use crate::protocol::topic::{TopicConfig, TopicFilterType, permission};
use crate::remoting::RemotingCommand;
use crate::state::Command;

/// Queues that a topic may have; each costs memory on every member.
pub const QUEUES_MAX: i32 = 65_536;
/// Topics, or groups, that one request stores.
pub const LIST_MAX: usize = 10_000;
const PERMISSION_MAX: i32 =
    permission::PRIORITY | permission::READ | permission::WRITE | permission::INHERIT;

/// Creates a topic or changes its settings.
pub async fn update(core: &Core, command: &RemotingCommand) -> Outcome {
    let config = parse(core, command)?;
    store(core, &config).await?;
    core.registrar.register_now().await;
    Ok(success())
}

/// Creates topics or changes their settings. If one of them cannot be, none is; who loses the leadership
/// meanwhile may have stored some, and storing them again does no harm.
pub async fn update_all(core: &Core, command: &RemotingCommand) -> Outcome {
    let list = TopicConfigList::decode(&command.body)
        .map_err(|error| Failure::invalid(error.to_string()))?;
    let count = list.topic_config_list.len();
    if count > LIST_MAX {
        let remark = format!("{count} topics are too many at once, {LIST_MAX} are not");
        return Err(Failure::invalid(remark));
    }
    let mut configs = Vec::with_capacity(count);
    for mut config in list.topic_config_list {
        let changes = std::mem::take(&mut config.attributes);
        config.attributes =
            attributes::changed_by_pairs(known_attributes(core, &config.topic_name), &changes)?;
        check(&config)?;
        configs.push(config);
    }
    try_join_all(configs.iter().map(|config| store(core, config))).await?;
    core.registrar.register_now().await;
    Ok(success())
}

async fn store(core: &Core, config: &TopicConfig) -> Result<(), Failure> {
    core.propose(Command::upsert_topic(config)).await?;
    tracing::info!(
        topic = config.topic_name,
        perm = config.perm,
        read_queues = config.read_queue_nums,
        write_queues = config.write_queue_nums,
        "topic settings stored"
    );
    Ok(())
}

fn parse(core: &Core, command: &RemotingCommand) -> Result<TopicConfig, Failure> {
    let topic = required(command, "topic")?;
    let filter_type = command.ext_fields.get("topicFilterType");
    let changes = command.ext_fields.get("attributes").unwrap_or_default();
    let config = TopicConfig {
        attributes: attributes::changed_by_text(known_attributes(core, topic), changes)?,
        order: flag(command, "order").unwrap_or(false),
        perm: value(command, "perm")?,
        read_queue_nums: value(command, "readQueueNums")?,
        write_queue_nums: value(command, "writeQueueNums")?,
        topic_filter_type: filter_type.and_then(TopicFilterType::from_name).unwrap_or_default(),
        topic_name: topic.to_owned(),
        topic_sys_flag: optional(command, "topicSysFlag")?.unwrap_or(0),
    };
    check(&config)?;
    Ok(config)
}

fn known_attributes(core: &Core, topic: &str) -> Attributes {
    core.view.topic(topic).map(|known| known.config.attributes.clone()).unwrap_or_default()
}

/// Whether a topic can be so.
fn check(config: &TopicConfig) -> Result<(), Failure> {
    refuse_system_topic(&config.topic_name)?;
    let (read_queue_nums, write_queue_nums) = (config.read_queue_nums, config.write_queue_nums);
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
    let perm = config.perm;
    if !(0..=PERMISSION_MAX).contains(&perm) {
        return Err(Failure::invalid(format!("perm cannot be {perm}")));
    }
    Ok(())
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
