//! A message that is to wait: put into the queue of its level, with its destination in its properties.
//!
//! Invariant: what waits carries all that its delivery needs; [`super::schedule`] looks at nothing
//! else, so the member that delivers need not be the one that took the message.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::answer::Failure;
use super::core::Core;
use super::group::NewMessage;
use crate::protocol::code::response;
use crate::protocol::names;
use crate::protocol::properties::{
    self, DELAY, REAL_QID, REAL_TOPIC, TIMER_DELAY_MS, TIMER_DELAY_SEC, TIMER_DELIVER_MS,
};
use crate::protocol::topic::TopicConfig;
use crate::state::schedule_topic;

/// A message's destination, or where it waits for it.
pub struct Place {
    /// Topic.
    pub topic: Arc<str>,
    /// Queue.
    pub queue_id: i32,
}

/// The queue of a delay level in the schedule topic.
pub fn queue_of_level(level: i32) -> i32 {
    level - 1
}

/// The level whose messages wait in a queue of the schedule topic.
pub fn level_of_queue(queue_id: i32) -> i32 {
    queue_id + 1
}

/// Lets a message wait that is to go to `destination`, as long as its level says; where it waits.
/// Levels beyond the highest count as the highest. A level wins over the properties of timed messages.
/// Adds the topic of those that wait to `create_topics` when nobody created it yet.
pub fn park(
    core: &Core,
    destination: &Place,
    level: i32,
    message: &mut NewMessage,
    create_topics: &mut Vec<Arc<TopicConfig>>,
) -> Place {
    let topic = match core.view.topic(names::SCHEDULE_TOPIC) {
        Some(known) => known.name.clone(),
        None => {
            // The first leader of a new group has not stored it yet.
            create_topics.push(Arc::new(schedule_topic()));
            Arc::from(names::SCHEDULE_TOPIC)
        }
    };
    let level = level.min(core.config.message_delay_level.max());
    let replaced = [DELAY, REAL_TOPIC, REAL_QID, TIMER_DELAY_SEC, TIMER_DELAY_MS, TIMER_DELIVER_MS];
    let mut properties = properties::without(&message.properties, &replaced);
    properties::append(&mut properties, DELAY, &level.to_string());
    properties::append(&mut properties, REAL_TOPIC, &destination.topic);
    properties::append(&mut properties, REAL_QID, &destination.queue_id.to_string());
    message.properties = properties.freeze();
    Place { topic, queue_id: queue_of_level(level) }
}

/// A queue of so many, another one each time.
pub fn any_queue(core: &Core, queues: i32) -> i32 {
    let turn = core.queue_turn.fetch_add(1, Ordering::Relaxed);
    (turn % queues.max(1).cast_unsigned()).cast_signed()
}

/// The delay level that properties ask for, zero for none.
///
/// # Errors
/// When it is no number.
pub fn level(text: &str) -> Result<i32, Failure> {
    let level = text.parse::<i32>().map_err(|_| {
        let remark = format!("the property DELAY is a delay level, a whole number, not {text:?}");
        Failure::new(response::MESSAGE_ILLEGAL, remark)
    })?;
    Ok(level.max(0))
}
