//! What operators ask of a broker for its own good: cleaning up (306, 316, 329), how a group gets its
//! messages (401), and a queue's units (321).
//!
//! Invariant: success is answered for what is done or is always so here; everything else is refused
//! with what to do instead.

use super::answer::{Failure, Outcome, success, success_with};
use super::client_manager::SubscriptionLookup;
use super::core::Core;
use super::fields::{optional, required, value};
use super::offsets::check_queue;
use crate::protocol::body::{ConsumeQueueData, MessageRequestModeBody, QueryConsumeQueueBody};
use crate::protocol::code::response;
use crate::protocol::fastjson::JsonBody;
use crate::remoting::RemotingCommand;

/// Units that one answer holds at most.
const UNITS_MAX: i64 = 10_000;
/// Units listed when nobody says how many.
const UNITS: i64 = 10;

/// Index files go with their stretch of the log, so none is ever expired.
pub fn clean_expired_queues() -> Outcome {
    Ok(success())
}

/// A topic's queues go with the topic, so none is ever unused.
pub fn clean_unused_topics() -> Outcome {
    Ok(success())
}

/// Gives up expired messages now, whatever the hour.
pub fn delete_expired(core: &Core) -> Outcome {
    core.retention_asked.notify_one();
    tracing::info!("an operator asks for expired messages to be given up now");
    Ok(success())
}

/// How the clients of a group get their messages: they pull, and there is nothing else.
pub fn request_mode(command: &RemotingCommand) -> Outcome {
    let body = MessageRequestModeBody::decode(&command.body)
        .map_err(|error| Failure::invalid(error.to_string()))?;
    match body.mode.as_str() {
        "PULL" => Ok(success()),
        "POP" => {
            let remark = "this broker does not have POP; its groups consume with PULL";
            Err(Failure::new(response::REQUEST_CODE_NOT_SUPPORTED, remark))
        }
        other => Err(Failure::invalid(format!("the mode cannot be {other:?}, it is PULL"))),
    }
}

/// Units of a queue from an index on.
pub fn queue_units(core: &Core, command: &RemotingCommand) -> Outcome {
    let topic = required(command, "topic")?;
    let queue_id: i32 = value(command, "queueId")?;
    let from: i64 = value(command, "index")?;
    let count = optional(command, "count")?.filter(|count| *count > 0).unwrap_or(UNITS);
    let known = core.view.topic(topic).ok_or_else(|| Failure::no_topic(topic))?;
    check_queue(queue_id, known.config.queue_nums(), topic)?;
    let group = command.ext_fields.get("consumerGroup").filter(|group| !group.is_empty());
    let subscription = match group.map(|group| core.clients.subscription(group, topic)) {
        Some(SubscriptionLookup::Found { subscription, .. }) => Some(subscription),
        _ => None,
    };
    let (bounds, units) = core.view.units(topic, queue_id, from, count.min(UNITS_MAX))?;
    let queue_data = units.into_iter().map(|unit| {
        let tags_code = i64::from(unit.tag_hash);
        ConsumeQueueData {
            eval: subscription.as_ref().is_none_or(|subscription| subscription.matches(tags_code)),
            physic_offset: unit.position.0.cast_signed(),
            physic_size: i32::try_from(unit.size).unwrap_or(i32::MAX),
            tags_code,
        }
    });
    let filter_data = group.map(|group| match &subscription {
        Some(subscription) => format!("{} to {}", group, subscription.sub_string),
        None => format!("no member of {group} that subscribes to {topic} is connected here"),
    });
    let body = QueryConsumeQueueBody {
        filter_data,
        max_queue_index: bounds.max,
        min_queue_index: bounds.min,
        queue_data: queue_data.collect(),
    };
    Ok(success_with(body.encode()))
}
