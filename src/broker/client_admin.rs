//! Heartbeats, goodbyes, and who is connected.
//!
//! Each member keeps its own table of clients: consumers send heartbeats to every member, so a new
//! leader knows them already.

use std::sync::Arc;

use super::answer::{Failure, Outcome, success, success_json, success_with};
use super::client_manager::Member;
use super::core::Core;
use super::dispatch::refuse;
use super::fields::required;
use super::queue_locks;
use crate::protocol::body::{
    ClientConnection, ConsumerConnection, ProducerConnection, ProducerInfo, ProducerTable,
};
use crate::protocol::code::response;
use crate::protocol::fastjson::JsonBody;
use crate::protocol::group::SubscriptionGroupConfig;
use crate::protocol::heartbeat::HeartbeatData;
use crate::protocol::names;
use crate::protocol::topic::{TopicConfig, permission};
use crate::remoting::{Connection, RemotingCommand, Request};
use crate::state::Command;

/// Thousands of subscriptions fit. What is read from a body takes many times its size.
const HEARTBEAT_BYTES_MAX: usize = 1 << 20;

/// Takes in who a client is and what it consumes.
pub fn heartbeat(core: &Arc<Core>, request: Request) {
    let command = &request.command;
    let bytes = command.body.len();
    if bytes > HEARTBEAT_BYTES_MAX {
        let remark = format!(
            "a heartbeat of {bytes} bytes is refused, allowed are {HEARTBEAT_BYTES_MAX} bytes"
        );
        return refuse(request.responder, &Failure::invalid(remark));
    }
    let data = match HeartbeatData::decode(&command.body) {
        Ok(data) if !data.client_id.is_empty() => data,
        Ok(_) => {
            let failure = Failure::invalid("a heartbeat needs a clientID");
            return refuse(request.responder, &failure);
        }
        Err(error) => {
            return refuse(request.responder, &Failure::invalid(error.to_string()));
        }
    };
    let wants_full = core.clients.heartbeat(
        &request.connection,
        command.language,
        command.version,
        &data,
        |group| core.accepts_group(group),
    );
    let mut answer = success();
    answer.ext_fields.insert("IS_SUPPORT_HEART_BEAT_V2", true);
    answer.ext_fields.insert("IS_SUB_CHANGE", wants_full);
    let missing = missing_groups(core, &data);
    if missing.is_empty() || !core.serving() {
        return request.responder.respond(answer);
    }
    let core = core.clone();
    tokio::spawn(async move {
        for command in missing {
            if let Err(refusal) = core.propose(command).await {
                tracing::debug!(%refusal, "groups of a heartbeat wait for the next one");
                break;
            }
        }
        request.responder.respond(answer);
    });
}

/// What has to be created for the groups of a heartbeat: the group, and the topic of its retries.
fn missing_groups(core: &Core, data: &HeartbeatData) -> Vec<Command> {
    let mut missing = Vec::new();
    for consumer in &data.consumer_data_set {
        let group = consumer.group_name.as_str();
        if !core.accepts_group(group) {
            continue;
        }
        let config = core.view.group(group);
        if config.is_none() {
            let config = SubscriptionGroupConfig::new(group);
            missing.push(Command::create_group_if_absent(&config));
        }
        let retry_topic = names::retry_topic(group);
        let retry_queue_nums = config.map_or(1, |config| config.retry_queue_nums);
        if retry_queue_nums > 0 && core.view.topic(&retry_topic).is_none() {
            let config = TopicConfig::new(retry_topic, retry_queue_nums, permission::READ_WRITE);
            missing.push(Command::create_topic_if_absent(&config));
        }
    }
    missing
}

/// A client leaves its groups.
pub fn unregister(core: &Arc<Core>, command: &RemotingCommand, connection: &Connection) -> Outcome {
    required(command, "clientID")?;
    connection.take_leave();
    let group = |name| command.ext_fields.get(name).filter(|group| !group.is_empty());
    let departure =
        core.clients.unregister(connection.id(), group("producerGroup"), group("consumerGroup"));
    queue_locks::left(core, departure.into_iter().collect(), false);
    Ok(success())
}

/// The connections and subscriptions of a consumer group.
pub fn consumers(core: &Core, command: &RemotingCommand) -> Outcome {
    let group = required(command, "consumerGroup")?;
    let Some(description) = core.clients.describe_consumers(group) else {
        let remark = format!("the consumer group[{group}] not online");
        return Err(Failure::new(response::CONSUMER_NOT_ONLINE, remark));
    };
    let subscriptions = description.subscriptions.iter();
    let body = ConsumerConnection {
        connection_set: description.members.iter().map(client_connection).collect(),
        consume_from_where: description.consume_from_where,
        consume_type: description.consume_type,
        message_model: description.message_model,
        subscription_table: subscriptions
            .map(|(topic, subscription)| (topic.clone(), (**subscription).clone()))
            .collect(),
    };
    Ok(success_with(body.encode()))
}

/// The connections of a producer group.
pub fn producers(core: &Core, command: &RemotingCommand) -> Outcome {
    let group = required(command, "producerGroup")?;
    let members = core.clients.producers(group);
    if members.is_empty() {
        let remark = format!("the producer group[{group}] not exist");
        return Err(Failure::new(response::SYSTEM_ERROR, remark));
    }
    let connection_set = members.iter().map(client_connection).collect();
    Ok(success_with(ProducerConnection { connection_set }.encode()))
}

/// Every producer that is connected here, by its group (328).
pub fn all_producers(core: &Core) -> Outcome {
    let now_ms = crate::clock::now_ms();
    let info = |member: &Member<Connection>| ProducerInfo {
        client_id: member.client_id.clone(),
        remote_ip: member.channel.peer_addr().to_string(),
        language: member.language.name().to_owned(),
        version: member.version,
        last_update_timestamp: now_ms - i64::try_from(member.silence().as_millis()).unwrap_or(0),
    };
    let table = core.clients.all_producers();
    let data =
        table.iter().map(|(group, members)| (group.clone(), members.iter().map(info).collect()));
    success_json(&ProducerTable { data: data.collect() })
}

fn client_connection(member: &Member<Connection>) -> ClientConnection {
    ClientConnection {
        client_addr: member.channel.peer_addr().to_string(),
        client_id: member.client_id.clone(),
        language: member.language.name().to_owned(),
        version: member.version,
    }
}
