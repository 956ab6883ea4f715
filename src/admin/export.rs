//! `exportMetadata` and `exportConfigs`: what a cluster has, in a file.
//!
//! Invariant: the files have the names and the keys of mqadmin's, so that what reads those reads these.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::arguments::{ExportConfigsArgs, ExportMetadataArgs};
use super::settings::brokers;
use super::{AdminError, print};
use crate::client::Admin;
use crate::clock;
use crate::protocol::body::{SubscriptionGroupWrapper, TopicConfigSerializeWrapper};
use crate::protocol::group::SubscriptionGroupConfig;
use crate::protocol::names;
use crate::protocol::route::MASTER_ID;
use crate::protocol::topic::TopicConfig;

/// Settings of brokers that are exported.
const CONFIG_KEYS: [&str; 16] = [
    "brokerClusterName",
    "brokerId",
    "brokerName",
    "brokerRole",
    "fileReservedTime",
    "filterServerNums",
    "flushDiskType",
    "maxMessageSize",
    "messageDelayLevel",
    "msgTraceTopicName",
    "slaveReadEnable",
    "traceOn",
    "traceTopicEnable",
    "useTLS",
    "autoCreateTopicEnable",
    "autoCreateSubscriptionGroup",
];

pub(super) async fn metadata(
    admin: &Admin,
    arguments: &ExportMetadataArgs,
) -> Result<(), AdminError> {
    let (name, exported) = match &arguments.place.broker {
        Some(address) => of_broker(admin, address, arguments).await?,
        None => of_cluster(admin, arguments).await?,
    };
    let file = arguments.directory.join(name);
    write(&file, &exported)?;
    let file = file.display().to_string();
    print(&arguments.common, || format!("export {file} success\n"), || json!({"file": file}))
}

/// One broker's tables as they are.
async fn of_broker(
    admin: &Admin,
    address: &str,
    arguments: &ExportMetadataArgs,
) -> Result<(&'static str, Value), AdminError> {
    if arguments.topics {
        let topics = user_topics(admin, address, arguments.special).await?;
        let (version, table) = (topics.data_version, topics.topic_config_table);
        return Ok(("topic.json", json!({"dataVersion": version, "topicConfigTable": table})));
    }
    if arguments.groups {
        let groups = user_groups(admin, address).await?;
        let (version, table) = (groups.data_version, groups.subscription_group_table);
        let exported = json!({"dataVersion": version, "subscriptionGroupTable": table});
        return Ok(("subscriptionGroup.json", exported));
    }
    // mqadmin writes nothing then.
    let both = json!({
        "topicConfigTable": user_topics(admin, address, arguments.special).await?.topic_config_table,
        "subscriptionGroupTable": user_groups(admin, address).await?.subscription_group_table,
        "exportTime": clock::now_ms(),
    });
    Ok(("metadata.json", both))
}

/// Each topic with its queues on all leaders together, and each group likewise.
async fn of_cluster(
    admin: &Admin,
    arguments: &ExportMetadataArgs,
) -> Result<(&'static str, Value), AdminError> {
    let mut topics: BTreeMap<String, TopicConfig> = BTreeMap::new();
    let mut groups: BTreeMap<String, SubscriptionGroupConfig> = BTreeMap::new();
    for broker in brokers(admin, &arguments.place, false).await? {
        let found = user_topics(admin, &broker.address, arguments.special).await?;
        for (name, mut topic) in found.topic_config_table {
            if let Some(known) = topics.get(&name) {
                topic.read_queue_nums += known.read_queue_nums;
                topic.write_queue_nums += known.write_queue_nums;
            }
            topics.insert(name, topic);
        }
        let found = user_groups(admin, &broker.address).await?;
        for (name, mut group) in found.subscription_group_table {
            if let Some(known) = groups.get(&name) {
                group.retry_queue_nums += known.retry_queue_nums;
            }
            groups.insert(name, group);
        }
    }
    let mut exported = json!({"exportTime": clock::now_ms()});
    if !arguments.groups {
        exported["topicConfigTable"] = json!(topics);
    }
    if !arguments.topics {
        exported["subscriptionGroupTable"] = json!(groups);
    }
    let name = match (arguments.topics, arguments.groups) {
        (true, _) => "topic.json",
        (_, true) => "subscriptionGroup.json",
        _ => "metadata.json",
    };
    Ok((name, exported))
}

/// Without what belongs to the machinery and, unless `special`, to groups.
async fn user_topics(
    admin: &Admin,
    address: &str,
    special: bool,
) -> Result<TopicConfigSerializeWrapper, AdminError> {
    let mut topics = admin.all_topic_configs(address).await?;
    let system = admin.system_topics(address).await?.topic_list;
    topics.topic_config_table.retain(|name, _| {
        let of_group = names::is_retry_topic(name) || names::is_dead_letter_topic(name);
        !system.contains(name) && !names::is_system_topic(name) && (special || !of_group)
    });
    Ok(topics)
}

async fn user_groups(admin: &Admin, address: &str) -> Result<SubscriptionGroupWrapper, AdminError> {
    let mut groups = admin.all_group_configs(address).await?;
    groups.subscription_group_table.retain(|name, _| !names::is_system_group(name));
    Ok(groups)
}

pub(super) async fn configs(
    admin: &Admin,
    arguments: &ExportConfigsArgs,
) -> Result<(), AdminError> {
    let members = admin.brokers(Some(&arguments.cluster)).await?;
    let leaders = members.iter().filter(|broker| broker.broker_id == MASTER_ID);
    let mut broker_configs: BTreeMap<String, BTreeMap<&str, String>> = BTreeMap::new();
    for leader in leaders {
        let mut config = admin.broker_config(&leader.address).await?;
        let known = CONFIG_KEYS.into_iter().filter_map(|key| Some((key, config.remove(key)?)));
        broker_configs.insert(leader.broker_name.clone(), known.collect());
    }
    let exported = json!({
        "brokerConfigs": broker_configs,
        "clusterScale": {
            "namesrvSize": admin.name_servers().len(),
            "masterBrokerSize": broker_configs.len(),
            "slaveBrokerSize": members.len() - broker_configs.len(),
        },
    });
    let file = arguments.directory.join("configs.json");
    write(&file, &exported)?;
    let file = file.display().to_string();
    print(&arguments.common, || format!("export {file} success\n"), || json!({"file": file}))
}

fn write(file: &Path, exported: &Value) -> Result<(), AdminError> {
    let text = serde_json::to_string_pretty(exported)?;
    let failed = |source| AdminError::File { file: file.display().to_string(), source };
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    // A tool's output, not a broker's state: nothing to be durable, nothing to simulate.
    #[allow(clippy::disallowed_methods)]
    let written = std::fs::write(file, text);
    written.map_err(failed)
}
