//! Consumer groups: create, change, remove, list, and how far they are.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;

use super::answer::{Failure, Outcome, success, success_json, success_with};
use super::attributes;
use super::core::Core;
use super::fields::{flag, required};
use super::topic_admin::LIST_MAX;
use crate::protocol::body::{
    ConsumeStats, ConsumeStatsList, GroupConfigList, GroupList, OffsetWrapper,
    SubscriptionGroupWrapper,
};
use crate::protocol::fastjson::JsonBody;
use crate::protocol::group::SubscriptionGroupConfig;
use crate::protocol::names;
use crate::remoting::RemotingCommand;
use crate::state::Command;

/// Creates a group or changes its settings.
pub async fn update(core: &Core, command: &RemotingCommand) -> Outcome {
    let config = SubscriptionGroupConfig::decode(&command.body)
        .map_err(|error| Failure::invalid(error.to_string()))?;
    store(core, &checked(core, config)?).await?;
    Ok(success())
}

/// Creates groups or changes their settings. If one of them cannot be, none is; who loses the leadership
/// meanwhile may have stored some, and storing them again does no harm.
pub async fn update_all(core: &Core, command: &RemotingCommand) -> Outcome {
    let list = GroupConfigList::decode(&command.body)
        .map_err(|error| Failure::invalid(error.to_string()))?;
    let count = list.group_config_list.len();
    if count > LIST_MAX {
        let remark = format!("{count} groups are too many at once, {LIST_MAX} are not");
        return Err(Failure::invalid(remark));
    }
    let configs = list.group_config_list.into_iter().map(|config| checked(core, config));
    let configs: Vec<_> = configs.collect::<Result<_, Failure>>()?;
    try_join_all(configs.iter().map(|config| store(core, config))).await?;
    Ok(success())
}

/// What is to be stored. Everything replaces what is known; only attributes come as changes.
fn checked(
    core: &Core,
    mut config: SubscriptionGroupConfig,
) -> Result<SubscriptionGroupConfig, Failure> {
    names::validate_group(&config.group_name)
        .map_err(|error| Failure::invalid(error.to_string()))?;
    let known = core.view.group(&config.group_name);
    let attributes = known.map(|known| known.attributes.clone()).unwrap_or_default();
    config.attributes = attributes::changed_by_pairs(attributes, &config.attributes)?;
    Ok(config)
}

async fn store(core: &Core, config: &SubscriptionGroupConfig) -> Result<(), Failure> {
    core.propose(Command::upsert_group(config)).await?;
    tracing::info!(group = config.group_name, "group settings stored");
    Ok(())
}

/// Removes a group, with its offsets if asked.
pub async fn delete(core: &Core, command: &RemotingCommand) -> Outcome {
    let group = required(command, "groupName")?;
    let clean_offset = flag(command, "cleanOffset").unwrap_or(false);
    core.propose(Command::delete_group(group, clean_offset)).await?;
    tracing::info!(group, clean_offset, "group removed");
    Ok(success())
}

/// All groups' settings.
pub fn all(core: &Core) -> Outcome {
    let (groups, data_version) = core.view.groups();
    let named = groups.into_iter().map(|(name, config)| (name.to_string(), (*config).clone()));
    let wrapper = SubscriptionGroupWrapper {
        data_version,
        subscription_group_table: named.collect(),
        ..SubscriptionGroupWrapper::default()
    };
    let mut answer = success_with(wrapper.encode());
    answer.ext_fields.insert("totalGroupNum", wrapper.subscription_group_table.len());
    Ok(answer)
}

/// One group's settings.
pub fn one(core: &Core, command: &RemotingCommand) -> Outcome {
    let group = required(command, "group")?;
    let config = core.view.group(group).ok_or_else(|| Failure::no_group(group))?;
    Ok(success_with(config.encode()))
}

/// Groups that consumed of a topic or subscribe to it.
pub fn groups_of_topic(core: &Core, command: &RemotingCommand) -> Outcome {
    let topic = required(command, "topic")?;
    let mut group_list: BTreeSet<String> = core.clients.groups_of_topic(topic);
    group_list.extend(core.view.groups_of_topic(topic).iter().map(ToString::to_string));
    success_json(&GroupList { group_list })
}

/// How far a group is in each queue of its topics.
pub async fn consume_stats(core: &Core, command: &RemotingCommand) -> Outcome {
    let group = required(command, "consumerGroup")?;
    core.commits.settled(None).await;
    core.read_barrier().await?;
    let mut topics: BTreeSet<String> = BTreeSet::new();
    for name in ["topic", "topicList"] {
        let listed = command.ext_fields.get(name).unwrap_or_default();
        topics.extend(listed.split(';').filter(|topic| !topic.is_empty()).map(str::to_owned));
    }
    if topics.is_empty() {
        topics.extend(core.view.topics_of_group(group).iter().map(ToString::to_string));
        let retry_topic = names::retry_topic(group);
        if core.view.topic(&retry_topic).is_some() {
            topics.insert(retry_topic);
        }
    }
    let stats = stats_of(core, group, topics.iter().map(String::as_str))?;
    if topics.is_empty() && core.view.group(group).is_none() {
        return Err(Failure::no_group(group));
    }
    Ok(success_with(stats.encode()))
}

/// How far every group is in its topics, those with an order alone if so asked.
pub async fn all_consume_stats(core: &Core, command: &RemotingCommand) -> Outcome {
    let in_order = flag(command, "isOrder").unwrap_or(false);
    core.commits.settled(None).await;
    core.read_barrier().await?;
    let mut body = ConsumeStatsList { broker_addr: core.address.to_string(), ..Default::default() };
    let (groups, _) = core.view.groups();
    for (group, _) in groups {
        let mut of_group = Vec::new();
        for topic in core.view.topics_of_group(&group) {
            let Some(known) = core.view.topic(&topic) else { continue };
            if in_order && !known.config.order {
                continue;
            }
            let stats = stats_of(core, &group, [&*topic].into_iter())?;
            body.total_diff += stats.total_diff();
            of_group.push(stats);
        }
        if !of_group.is_empty() {
            body.groups.insert(group.to_string(), of_group);
        }
    }
    Ok(success_with(body.encode()))
}

fn stats_of<'a>(
    core: &Core,
    group: &str,
    topics: impl Iterator<Item = &'a str>,
) -> Result<ConsumeStats, Failure> {
    let mut stats = ConsumeStats::default();
    for topic in topics {
        let Some(known) = core.view.topic(topic) else { continue };
        stats.consume_tps += core.get_tps(group, topic);
        for queue_id in 0..known.config.read_queue_nums {
            let consumer_offset = core.view.offset(group, topic, queue_id).unwrap_or(0).max(0);
            let last_timestamp = match consumer_offset {
                0 => 0,
                offset => core.store_time_ms(topic, queue_id, offset - 1)?.unwrap_or(0),
            };
            let wrapper = OffsetWrapper {
                broker_offset: core.view.max_offset(topic, queue_id),
                consumer_offset,
                last_timestamp,
                pull_offset: consumer_offset,
            };
            stats.offset_table.0.insert(core.queue(topic, queue_id), wrapper);
        }
    }
    Ok(stats)
}
