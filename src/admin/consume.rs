//! `consumeMessage`: some messages of a topic or of a queue, without a group that would have consumed them.
//!
//! Invariant: no more messages than were asked for, and no offset is committed.

use serde_json::json;

use super::arguments::{ConsumeMessageArgs, OutputFormat};
use super::charset::Charset;
use super::contents::{line, name_of};
use super::offsets::moment;
use super::{AdminError, message, print};
use crate::client::{Admin, STRETCH_MESSAGES, StretchStatus};
use crate::protocol::queue::MessageQueue;

pub(super) async fn some(admin: &Admin, arguments: &ConsumeMessageArgs) -> Result<(), AdminError> {
    let as_table = arguments.common.output == OutputFormat::Table;
    let charset = Charset::default();
    let mut left = arguments.count;
    let mut shown = Vec::new();
    for queue in queues(admin, arguments).await? {
        let (mut offset, end) = span(admin, &queue, arguments).await?;
        let wanted = usize::try_from(end - offset).unwrap_or(0);
        if as_table && wanted > left {
            println!("The older {left} message of the {} queue will be provided", queue.queue_id);
        }
        // At the queue's end one more is asked for, which says that this is the end.
        let last = if arguments.end.is_none() { end } else { end - 1 };
        while left > 0 && offset <= last {
            let ahead = usize::try_from(end - offset).unwrap_or(0);
            let messages_max = ahead.clamp(1, left.min(STRETCH_MESSAGES));
            let stretch = admin.stretch(&queue, offset, "*", messages_max).await?;
            let (name, status) = (name_of(&queue), stretch.status);
            offset = stretch.next_offset;
            match status {
                StretchStatus::Found => {
                    left = left.saturating_sub(stretch.found.len());
                    if as_table {
                        println!("Consume ok");
                        let line = |stored| line(stored, Some(charset));
                        stretch.found.iter().for_each(|stored| println!("{}", line(stored)));
                    }
                    let json = |stored| message::json(stored, charset);
                    shown.extend(stretch.found.iter().map(json));
                }
                StretchStatus::NoMatchedMsg => {}
                StretchStatus::NoNewMsg | StretchStatus::OffsetIllegal => {
                    if as_table {
                        let status = status.as_str();
                        println!("{name} print msg finished. status={status}, offset={offset}");
                    }
                    break;
                }
            }
        }
    }
    print(&arguments.common.common(), String::new, || json!(shown))
}

async fn queues(
    admin: &Admin,
    arguments: &ConsumeMessageArgs,
) -> Result<Vec<MessageQueue>, AdminError> {
    let mut queues = admin.readable_queues(&arguments.topic).await?;
    if let Some(name) = &arguments.broker_name {
        queues.retain(|queue| queue.broker_name == *name);
    }
    if let Some(queue_id) = arguments.queue_id {
        queues.retain(|queue| queue.queue_id == queue_id);
    }
    if queues.is_empty() {
        let asked = arguments.broker_name.clone().unwrap_or_default();
        return Err(AdminError::NoQueue { topic: arguments.topic.clone(), broker_name: asked });
    }
    Ok(queues)
}

/// From where to where, by time and by offset.
async fn span(
    admin: &Admin,
    queue: &MessageQueue,
    arguments: &ConsumeMessageArgs,
) -> Result<(i64, i64), AdminError> {
    let (mut first, mut end) = admin.offsets_of(queue).await?;
    if let Some(time) = &arguments.begin {
        first = admin.offset_at(queue, moment(time)?).await?;
    }
    if let Some(time) = &arguments.end {
        end = admin.offset_at(queue, moment(time)?).await?;
    }
    Ok((first.max(arguments.offset.unwrap_or(0)), end))
}
