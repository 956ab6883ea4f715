//! What operators ask of one client through its broker: the request goes out on the client's own
//! connection, and its answer comes back as it is.
//!
//! Invariant: a client's answer is not read, because some of it is in a dialect of Java's own.

use std::sync::Arc;

use tokio::time::Duration;

use super::answer::{Failure, Outcome};
use super::core::Core;
use super::fields::required;
use super::view;
use crate::protocol::code::{request, response};
use crate::protocol::message_id::OffsetMessageId;
use crate::remoting::{Connection, InvokeError, RemotingCommand};

/// Tools wait fifteen seconds.
const CLIENT_LIMIT: Duration = Duration::from_secs(10);

/// What a consumer is doing (307).
pub async fn running_info(core: &Core, command: &RemotingCommand) -> Outcome {
    let group = required(command, "consumerGroup")?;
    let client_id = required(command, "clientId")?;
    let channel = channel(core, group, Some(client_id))?;
    let mut ask = RemotingCommand::request(request::GET_CONSUMER_RUNNING_INFO);
    ask.ext_fields = command.ext_fields.clone();
    pass_on(&channel, ask, group).await
}

/// Has a consumer consume one message, now (309).
pub async fn consume_directly(core: &Core, command: &RemotingCommand) -> Outcome {
    let group = required(command, "consumerGroup")?;
    let client_id = command.ext_fields.get("clientId").filter(|id| !id.is_empty());
    let channel = channel(core, group, client_id)?;
    let mut ask = RemotingCommand::request(request::CONSUME_MESSAGE_DIRECTLY);
    ask.ext_fields = command.ext_fields.clone();
    ask.ext_fields.insert("brokerName", &core.config.broker_name);
    if let Some(id) = command.ext_fields.get("msgId").filter(|id| !id.is_empty()) {
        let id =
            OffsetMessageId::decode(id).map_err(|error| Failure::invalid(error.to_string()))?;
        ask.body = view::stored_at(core, id.offset)?;
    }
    pass_on(&channel, ask, group).await
}

fn channel(core: &Core, group: &str, client_id: Option<&str>) -> Result<Arc<Connection>, Failure> {
    let members = core.clients.describe_consumers(group).map(|group| group.members);
    let mut members = members.into_iter().flatten();
    let wanted = members.find(|member| client_id.is_none_or(|id| member.client_id == id));
    wanted.map(|member| member.channel).ok_or_else(|| {
        let client_id = client_id.unwrap_or("any client");
        let remark = format!("The Consumer <{group}> <{client_id}> not online");
        Failure::new(response::SYSTEM_ERROR, remark)
    })
}

async fn pass_on(channel: &Connection, ask: RemotingCommand, group: &str) -> Outcome {
    match channel.invoke(ask, CLIENT_LIMIT).await {
        Ok(answer) => {
            let mut passed = RemotingCommand::response(answer.code);
            passed.remark = answer.remark;
            passed.ext_fields = answer.ext_fields;
            passed.body = answer.body;
            Ok(passed)
        }
        Err(error) => {
            let code = match error {
                InvokeError::Timeout => response::CONSUME_MSG_TIMEOUT,
                _ => response::SYSTEM_ERROR,
            };
            let remark = format!("invoke consumer <{group}> at {}: {error}", channel.peer_addr());
            Err(Failure::new(code, remark))
        }
    }
}
