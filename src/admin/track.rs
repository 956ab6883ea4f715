//! What became of a message: of each group that reads its topic, whether it is past it.
//!
//! Invariant: a group that cannot be asked is listed with the reason, never left out.

use serde_json::json;

use super::connection::of_group;
use super::topic::route_if_any;
use crate::client::{Admin, ClientError, ReceivedMessage};
use crate::protocol::body::ConsumerConnection;
use crate::protocol::code::response;
use crate::protocol::heartbeat::{ConsumeType, MessageModel};
use crate::protocol::queue::MessageQueue;
use crate::protocol::route::{BrokerData, TopicRouteData};

/// A group and a message.
pub(super) struct Track {
    group: String,
    state: &'static str,
    /// Why it is not known.
    problem: Option<String>,
}

impl Track {
    /// As mqadmin prints it.
    pub(super) fn line(&self) -> String {
        let problem = self.problem.as_deref().unwrap_or("null");
        format!(
            "MessageTrack [consumerGroup={}, trackType={}, exceptionDesc={problem}]\n",
            self.group, self.state
        )
    }

    pub(super) fn json(&self) -> serde_json::Value {
        json!({"consumerGroup": self.group, "trackType": self.state, "exceptionDesc": self.problem})
    }
}

/// By group.
pub(super) async fn of_message(
    admin: &Admin,
    message: &ReceivedMessage,
) -> Result<Vec<Track>, ClientError> {
    let Some(route) = route_if_any(admin, &message.topic).await? else { return Ok(Vec::new()) };
    let mut groups = std::collections::BTreeSet::new();
    for leader in route.masters() {
        groups.extend(admin.groups_of_topic(leader, &message.topic).await?);
    }
    let mut tracks = Vec::new();
    for group in groups {
        let (state, problem) = match state(admin, &route, message, &group).await {
            Ok(Some(state)) => (state, None),
            Ok(None) => ("NOT_ONLINE", Some(not_online(&group))),
            Err(error) => ("UNKNOWN", Some(error.to_string())),
        };
        tracks.push(Track { group, state, problem });
    }
    Ok(tracks)
}

fn not_online(group: &str) -> String {
    let code = response::CONSUMER_NOT_ONLINE;
    format!("CODE:{code} DESC:the consumer group[{group}] not online")
}

/// None where nobody of the group is connected.
async fn state(
    admin: &Admin,
    route: &TopicRouteData,
    message: &ReceivedMessage,
    group: &str,
) -> Result<Option<&'static str>, ClientError> {
    let Some(members) = of_group(admin, group, None).await? else { return Ok(None) };
    if members.consume_type == ConsumeType::Actively {
        return Ok(Some("PULL"));
    }
    if members.message_model == MessageModel::Broadcasting {
        return Ok(Some("CONSUME_BROADCASTING"));
    }
    let Some(broker) = stored_at(route, message) else { return Ok(Some("UNKNOWN")) };
    let Some(leader) = broker.master() else {
        return Err(ClientError::NoLeader(broker.broker_name.clone()));
    };
    let stats = admin.consume_stats(leader, group, Some(&message.topic)).await?;
    let queue = MessageQueue {
        broker_name: broker.broker_name.clone(),
        queue_id: message.queue_id,
        topic: message.topic.clone(),
    };
    let offset = stats.offset_table.0.get(&queue).map(|offset| offset.consumer_offset);
    let past = offset.is_some_and(|offset| offset > message.queue_offset);
    Ok(Some(match (past, wanted(&members, message)) {
        (false, _) => "NOT_CONSUME_YET",
        (true, true) => "CONSUMED",
        (true, false) => "CONSUMED_BUT_FILTERED",
    }))
}

/// A message that was looked up by its position has no broker's name, only an address.
pub(super) fn stored_at<'r>(
    route: &'r TopicRouteData,
    message: &ReceivedMessage,
) -> Option<&'r BrokerData> {
    let address = message.store_host.to_string();
    route.broker_datas.iter().find(|broker| match message.broker_name.as_str() {
        "" => broker.broker_addrs.values().any(|known| *known == address),
        name => broker.broker_name == name,
    })
}

/// Whether the group subscribes to the message's tag.
fn wanted(members: &ConsumerConnection, message: &ReceivedMessage) -> bool {
    members.subscription_table.get(&message.topic).is_none_or(|subscription| {
        let tags = &subscription.tags_set;
        tags.is_empty() || tags.iter().any(|tag| tag == "*" || Some(tag.as_str()) == message.tag())
    })
}
