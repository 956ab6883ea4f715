//! Offsets as operators move them: reset, copied from another group, and where a group has any.
//!
//! Invariant: an answer lists the offsets that are in the state. A consumer that is connected hears of
//! a reset with its next pull, which comes at once, because pulls that wait are released.

use tokio::time::Instant;

use super::answer::{Failure, Outcome, success, success_json, success_with};
use super::commits::OffsetKey;
use super::core::Core;
use super::fields::{flag, optional, required, value};
use super::group::Boundary;
use super::offsets::check_queue;
use crate::protocol::body::ResetOffsetBody;
use crate::protocol::code::response;
use crate::protocol::route::TopicList;
use crate::remoting::RemotingCommand;
use crate::state::{Command, CommittedOffset};

/// Asks for the end of a queue instead of a time.
const TO_THE_END: i64 = -1;

/// Puts a group at a time, an offset, or the end, in one queue or in all of a topic.
pub async fn reset(core: &Core, command: &RemotingCommand) -> Outcome {
    let topic = required(command, "topic")?;
    let group = required(command, "group")?;
    let timestamp_ms: i64 = value(command, "timestamp")?;
    let force = flag(command, "isForce").unwrap_or(false);
    let queue: Option<i32> = optional(command, "queueId")?.filter(|queue| *queue >= 0);
    let offset: Option<i64> = optional(command, "offset")?.filter(|offset| *offset >= 0);
    let known = core.view.topic(topic).ok_or_else(|| Failure::no_topic(topic))?;
    core.view.group(group).ok_or_else(|| Failure::no_group(group))?;
    let queues = known.config.queue_nums();
    if let Some(queue) = queue {
        check_queue(queue, queues, topic)?;
    }
    core.commits.settled(None).await;
    core.read_barrier().await?;
    let mut body = ResetOffsetBody::default();
    let mut offsets = Vec::new();
    let mut backwards = Vec::new();
    for queue_id in queue.map_or(0..queues, |queue| queue..queue + 1) {
        let bounds = core.view.bounds(topic, queue_id)?;
        let target = match offset {
            Some(offset) if !(bounds.min..=bounds.max).contains(&offset) => {
                let remark = format!(
                    "offset {offset} is not within {} and {} of queue {queue_id}",
                    bounds.min, bounds.max
                );
                return Err(Failure::new(response::SYSTEM_ERROR, remark));
            }
            Some(offset) => offset,
            None if timestamp_ms == TO_THE_END => bounds.max,
            None => core.view.offset_by_time(topic, queue_id, timestamp_ms, Boundary::Lower)?,
        };
        let current = core.view.offset(group, topic, queue_id);
        let offset = match current {
            Some(current) if current <= target && !force => current,
            _ => {
                let (group, topic) = (group.to_owned(), topic.to_owned());
                let put = CommittedOffset { group, topic, queue_id, offset: target };
                if target < bounds.max {
                    backwards.push((OffsetKey::from(&put), bounds.max));
                }
                offsets.push(put);
                target
            }
        };
        body.offset_table.0.insert(core.queue(topic, queue_id), offset);
    }
    if !offsets.is_empty() {
        let count = offsets.len();
        core.propose(Command::reset_offsets(offsets)).await?;
        core.reset_news.begin(backwards, Instant::now());
        core.long_polling.release_all();
        tracing::info!(group, topic, timestamp_ms, queues = count, "a group's offsets were reset");
    }
    Ok(success_with(body.encode()))
}

/// Gives a group the progress of another one.
pub async fn clone_offsets(core: &Core, command: &RemotingCommand) -> Outcome {
    let from = required(command, "srcGroup")?;
    let to = required(command, "destGroup")?;
    core.view.group(to).ok_or_else(|| Failure::no_group(to))?;
    core.commits.settled(None).await;
    core.read_barrier().await?;
    let topics = match command.ext_fields.get("topic").filter(|topic| !topic.is_empty()) {
        Some(topic) => vec![topic.into()],
        None => core.view.topics_of_group(from),
    };
    let of_topic = |topic: std::sync::Arc<str>| {
        let progress = core.view.progress(from, &topic);
        progress.into_iter().map(move |(queue_id, offset)| CommittedOffset {
            group: to.to_owned(),
            topic: topic.to_string(),
            queue_id,
            offset,
        })
    };
    let offsets: Vec<CommittedOffset> = topics.into_iter().flat_map(of_topic).collect();
    let count = offsets.len();
    core.propose(Command::reset_offsets(offsets)).await?;
    core.long_polling.release_all();
    tracing::info!(from, to, queues = count, "a group's offsets were given to another");
    Ok(success())
}

/// Topics in which a group has offsets.
pub fn topics_of_group(core: &Core, command: &RemotingCommand) -> Outcome {
    let group = required(command, "group")?;
    let topics = core.view.topics_of_group(group);
    let topic_list = topics.iter().map(ToString::to_string).collect();
    success_json(&TopicList { topic_list, ..TopicList::default() })
}
