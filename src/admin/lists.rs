//! `updateTopicList` and `updateSubGroupList`: topics and groups that a file lists, such as what another
//! cluster exported.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::arguments::ListFileArgs;
use super::settings::brokers;
use super::{AdminError, print};
use crate::client::Admin;
use crate::protocol::body::{GroupConfigList, TopicConfigList};
use crate::protocol::group::SubscriptionGroupConfig;
use crate::protocol::topic::TopicConfig;

pub(super) async fn topics(admin: &Admin, arguments: &ListFileArgs) -> Result<(), AdminError> {
    let mut topic_config_list: Vec<TopicConfig> = read(&arguments.file, "topicConfigTable")?;
    topic_config_list.iter_mut().for_each(|topic| as_changes(&mut topic.attributes));
    let list = TopicConfigList { topic_config_list };
    let mut stored = Vec::new();
    for broker in brokers(admin, &arguments.place, false).await? {
        admin.update_topics(&broker.address, &list).await?;
        stored.push(broker.address);
    }
    say(arguments, "topic", &stored)
}

pub(super) async fn groups(admin: &Admin, arguments: &ListFileArgs) -> Result<(), AdminError> {
    let mut group_config_list: Vec<SubscriptionGroupConfig> =
        read(&arguments.file, "subscriptionGroupTable")?;
    group_config_list.iter_mut().for_each(|group| as_changes(&mut group.attributes));
    let list = GroupConfigList { group_config_list };
    let mut stored = Vec::new();
    for broker in brokers(admin, &arguments.place, false).await? {
        admin.update_groups(&broker.address, &list).await?;
        stored.push(broker.address);
    }
    // mqadmin calls a group by two names.
    let what = if arguments.place.broker.is_some() { "group" } else { "subscription group" };
    say(arguments, what, &stored)
}

fn say(arguments: &ListFileArgs, what: &str, stored: &[String]) -> Result<(), AdminError> {
    let line = |address: &String| {
        format!(
            "submit batch of {what} config to {address} success, please check the result later.\n"
        )
    };
    print(&arguments.common, || stored.iter().map(line).collect(), || json!({"brokers": stored}))
}

/// A list, or what `exportMetadata` writes: an object with a table of the same.
fn read<T: DeserializeOwned>(file: &Path, table: &str) -> Result<Vec<T>, AdminError> {
    let name = || file.display().to_string();
    let text = std::fs::read(file).map_err(|source| AdminError::File { file: name(), source })?;
    let list = || {
        let mut read: Value = serde_json::from_slice(&text)?;
        if let Some(Value::Object(exported)) = read.get_mut(table).map(Value::take) {
            read = exported.into_iter().map(|(_, config)| config).collect();
        }
        serde_json::from_value(read)
    };
    list().map_err(|source| AdminError::List { file: name(), source })
}

/// Brokers take changes, `+key` with a value; what was exported has the keys alone.
fn as_changes(attributes: &mut BTreeMap<String, String>) {
    let change = |(key, value): (String, String)| {
        let key = if key.starts_with(['+', '-']) { key } else { format!("+{key}") };
        (key, value)
    };
    *attributes = std::mem::take(attributes).into_iter().map(change).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_become_changes() {
        let pairs = [("message.type", "FIFO"), ("+a", "b"), ("-c", "")];
        let mut attributes: BTreeMap<String, String> =
            pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        as_changes(&mut attributes);
        let keys: Vec<&str> = attributes.keys().map(String::as_str).collect();
        assert_eq!(keys, ["+a", "+message.type", "-c"]);
    }
}
