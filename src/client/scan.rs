//! Reading a queue as operators do: from where to where, stretch by stretch, without a group's offsets.

use super::admin::{Admin, StoredMessage, stored_messages};
use super::error::ClientError;
use super::remote::{Answer, Ask};
use crate::protocol::code::{request, response};
use crate::protocol::names::TOOLS_CONSUMER_GROUP;
use crate::protocol::queue::MessageQueue;
use crate::protocol::sysflag::pull;
use crate::protocol::topic::permission;

/// Messages of one stretch at most: a broker gives no more at once.
pub const STRETCH_MESSAGES: usize = 32;

/// What a stretch of a queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StretchStatus {
    /// Messages.
    Found,
    /// Messages, none of which has one of the tags.
    NoMatchedMsg,
    /// Nothing yet.
    NoNewMsg,
    /// Nothing: the queue begins later or ends before.
    OffsetIllegal,
}

impl StretchStatus {
    /// As RocketMQ calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            StretchStatus::Found => "FOUND",
            StretchStatus::NoMatchedMsg => "NO_MATCHED_MSG",
            StretchStatus::NoNewMsg => "NO_NEW_MSG",
            StretchStatus::OffsetIllegal => "OFFSET_ILLEGAL",
        }
    }
}

/// A stretch of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// What it holds.
    pub status: StretchStatus,
    /// The messages.
    pub found: Vec<StoredMessage>,
    /// Where the next one begins.
    pub next_offset: i64,
}

impl Admin {
    /// The queues of a topic that consumers read.
    ///
    /// # Errors
    /// When it has no route; below also when the queue's group has no leader, or it refuses.
    pub async fn readable_queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        let route = self.route(topic).await?;
        let readable = route.queue_datas.iter().filter(|data| permission::is_readable(data.perm));
        let queues = readable.flat_map(|data| {
            (0..data.read_queue_nums).map(|queue_id| MessageQueue {
                broker_name: data.broker_name.clone(),
                queue_id,
                topic: topic.to_owned(),
            })
        });
        Ok(queues.collect())
    }

    /// Of the oldest message of a queue, and of the one that comes next.
    pub async fn offsets_of(&self, queue: &MessageQueue) -> Result<(i64, i64), ClientError> {
        let ask = |code| of_queue(Ask::new(code), queue);
        let first = self.ask_leader(queue, &ask(request::GET_MIN_OFFSET)).await?;
        let next = self.ask_leader(queue, &ask(request::GET_MAX_OFFSET)).await?;
        Ok((first.success()?.number("offset")?, next.success()?.number("offset")?))
    }

    /// Of the first message of a queue that was stored at or after a time.
    pub async fn offset_at(&self, queue: &MessageQueue, time_ms: i64) -> Result<i64, ClientError> {
        let ask = of_queue(Ask::new(request::SEARCH_OFFSET_BY_TIMESTAMP), queue);
        let answer = self.ask_leader(queue, &ask.with("timestamp", time_ms)).await?;
        answer.success()?.number("offset")
    }

    /// What a queue holds from an offset on, of some tags (`*`, or `A || B`).
    pub async fn stretch(
        &self,
        queue: &MessageQueue,
        from: i64,
        tags: &str,
        messages_max: usize,
    ) -> Result<Stretch, ClientError> {
        self.pull(queue, from, tags, messages_max.min(STRETCH_MESSAGES)).await
    }

    /// The message at an offset of a queue; none when there is none.
    pub async fn message_at(
        &self,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<Option<StoredMessage>, ClientError> {
        let stretch = self.pull(queue, offset, "*", 1).await?;
        Ok(stretch.found.into_iter().find(|stored| stored.message.queue_offset == offset))
    }

    async fn pull(
        &self,
        queue: &MessageQueue,
        offset: i64,
        tags: &str,
        messages_max: usize,
    ) -> Result<Stretch, ClientError> {
        let ask = of_queue(Ask::new(request::PULL_MESSAGE), queue)
            .with("consumerGroup", TOOLS_CONSUMER_GROUP)
            .with("queueOffset", offset)
            .with("maxMsgNums", messages_max)
            .with("sysFlag", pull::SUBSCRIPTION)
            .with("commitOffset", 0)
            .with("suspendTimeoutMillis", 0)
            .with("subscription", tags)
            .with("subVersion", 0)
            .with("expressionType", "TAG");
        let answer = self.ask_leader(queue, &ask).await?;
        let (status, answer) = match answer.code() {
            response::PULL_NOT_FOUND => (StretchStatus::NoNewMsg, answer),
            response::PULL_RETRY_IMMEDIATELY => (StretchStatus::NoMatchedMsg, answer),
            response::PULL_OFFSET_MOVED => (StretchStatus::OffsetIllegal, answer),
            _ => (StretchStatus::Found, answer.success()?),
        };
        let mut found = match status {
            StretchStatus::Found => stored_messages(answer.body(), &queue.broker_name)?,
            _ => Vec::new(),
        };
        // A broker compares hashes of tags.
        found.retain(|stored| has_tag(stored.message.tag(), tags));
        Ok(Stretch { status, found, next_offset: answer.number("nextBeginOffset")? })
    }

    async fn ask_leader(&self, queue: &MessageQueue, ask: &Ask) -> Result<Answer, ClientError> {
        let route = self.route(&queue.topic).await?;
        let of_name = |name: &str| name == queue.broker_name;
        let mut brokers = route.broker_datas.iter().filter(|broker| of_name(&broker.broker_name));
        let address = brokers.find_map(|broker| broker.master());
        let address = address.ok_or_else(|| ClientError::NoLeader(queue.broker_name.clone()))?;
        self.ask(address, ask).await
    }
}

fn of_queue(ask: Ask, queue: &MessageQueue) -> Ask {
    ask.with("topic", &queue.topic).with("queueId", queue.queue_id)
}

fn has_tag(tag: Option<&str>, tags: &str) -> bool {
    tags == "*" || tags.split("||").any(|wanted| Some(wanted.trim()) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_whole() {
        assert!(has_tag(None, "*"));
        assert!(has_tag(Some("b"), "a || b"));
        assert!(!has_tag(Some("a"), "ab||b"));
        assert!(!has_tag(None, "a"));
    }
}
