//! `updateTopicPerm`: whether a topic is read and written.
//!
//! Invariant: nothing else of the topic's settings changes.

use serde_json::json;

use super::arguments::TopicPermissionArgs;
use super::settings::brokers;
use super::topic_settings::one_line;
use super::{AdminError, print};
use crate::client::Admin;
use crate::protocol::topic::TopicConfig;

/// A broker's topic as it was and as it is.
struct Change {
    address: String,
    before: i32,
    topic: TopicConfig,
}

pub(super) async fn update(
    admin: &Admin,
    arguments: &TopicPermissionArgs,
) -> Result<(), AdminError> {
    let mut changes = Vec::new();
    for broker in brokers(admin, &arguments.place, false).await? {
        let mut topic = admin.topic_config(&broker.address, &arguments.topic).await?;
        let before = std::mem::replace(&mut topic.perm, arguments.permission);
        admin.update_topic(&broker.address, &topic, None).await?;
        changes.push(Change { address: broker.address, before, topic });
    }
    let one = arguments.place.broker.is_some();
    let table = || changes.iter().map(|change| text(change, one)).collect();
    let json = || {
        let one = |change: &Change| json!({"address": change.address, "from": change.before, "to": change.topic.perm});
        changes.iter().map(one).collect()
    };
    print(&arguments.common, table, json)
}

/// mqadmin shows the settings of a broker that was named.
fn text(change: &Change, one: bool) -> String {
    let Change { address, before, topic } = change;
    if one && *before == topic.perm {
        return "new perm equals to the old one!\n".to_owned();
    }
    let line = format!("update topic perm from {before} to {} in {address} success.\n", topic.perm);
    if one { format!("{line}{}.\n", one_line(topic)) } else { line }
}
