//! `printMsg` and `printMsgByQueue`: the messages of a topic, or of one of its queues.
//!
//! Invariant: as a table a queue is printed while it is read, so that its length does not matter.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::arguments::{OutputFormat, PrintMsgArgs, PrintMsgByQueueArgs, ReadArgs};
use super::charset::Charset;
use super::message;
use super::offsets::moment;
use super::{AdminError, print};
use crate::client::{Admin, STRETCH_MESSAGES, StoredMessage, Stretch, StretchStatus};
use crate::protocol::queue::MessageQueue;

const LINE_CHARACTERS: usize = 56;

pub(super) async fn of_topic(admin: &Admin, arguments: &PrintMsgArgs) -> Result<(), AdminError> {
    let read = &arguments.read;
    let as_table = arguments.common.output == OutputFormat::Table;
    let mut listed = Vec::new();
    for queue in admin.readable_queues(&read.topic).await? {
        let mut span = Span::of(admin, &queue, read).await?;
        let (first, end, name) = (span.offset, span.end, name_of(&queue));
        let charset = read.charset;
        let mut shown =
            Shown { as_table, with_body: arguments.body, charset, messages: Vec::new() };
        if as_table {
            println!("minOffset={first}, maxOffset={end}, {name}");
        }
        while let Some(stretch) = span.next().await? {
            shown.add(&stretch.found);
            if as_table {
                print!("{}", status_line(&name, &stretch));
            }
        }
        if as_table {
            println!("{}", "-".repeat(LINE_CHARACTERS));
        }
        listed.push(json!({
            "brokerName": queue.broker_name,
            "queueId": queue.queue_id,
            "minOffset": first,
            "maxOffset": end,
            "messages": shown.messages,
        }));
    }
    print(&arguments.common, String::new, || json!(listed))
}

/// Says where it ended, unless there may be more of the same.
fn status_line(name: &str, stretch: &Stretch) -> String {
    let what = match stretch.status {
        StretchStatus::Found => return String::new(),
        StretchStatus::NoMatchedMsg => "no matched msg",
        StretchStatus::NoNewMsg | StretchStatus::OffsetIllegal => "print msg finished",
    };
    let (status, offset) = (stretch.status.as_str(), stretch.next_offset);
    format!("{name} {what}. status={status}, offset={offset}\n")
}

pub(super) async fn of_queue(
    admin: &Admin,
    arguments: &PrintMsgByQueueArgs,
) -> Result<(), AdminError> {
    let read = &arguments.read;
    let queue = MessageQueue {
        broker_name: arguments.broker_name.clone(),
        queue_id: arguments.queue_id,
        topic: read.topic.clone(),
    };
    let mut span = Span::of(admin, &queue, read).await?;
    let as_table = arguments.common.output == OutputFormat::Table;
    let charset = read.charset;
    let mut shown = Shown { as_table, with_body: arguments.body, charset, messages: Vec::new() };
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    while let Some(stretch) = span.next().await? {
        for tag in stretch.found.iter().filter_map(|stored| stored.message.tag()) {
            *counts.entry(tag.to_owned()).or_default() += 1;
        }
        if arguments.messages {
            shown.add(&stretch.found);
        }
    }
    let mut by_count: Vec<_> = counts.iter().collect();
    by_count.sort_by_key(|(tag, count)| (std::cmp::Reverse(**count), *tag));
    by_count.retain(|_| arguments.count_tags);
    let line = |(tag, count): &(&String, &u64)| format!("Tag: {tag:<30} Count: {count}\n");
    let table = || by_count.iter().map(line).collect();
    print(&arguments.common, table, || json!({"messages": shown.messages, "tags": counts}))
}

/// What is still to be read of a queue.
struct Span<'r> {
    admin: &'r Admin,
    queue: &'r MessageQueue,
    tags: &'r str,
    offset: i64,
    end: i64,
}

impl Span<'_> {
    async fn of<'r>(
        admin: &'r Admin,
        queue: &'r MessageQueue,
        read: &'r ReadArgs,
    ) -> Result<Span<'r>, AdminError> {
        let (mut offset, mut end) = admin.offsets_of(queue).await?;
        if let Some(time) = &read.begin {
            offset = admin.offset_at(queue, moment(time)?).await?;
        }
        if let Some(time) = &read.end {
            end = admin.offset_at(queue, moment(time)?).await?;
        }
        Ok(Span { admin, queue, tags: &read.tags, offset, end })
    }

    /// As much as its broker gives at once; none behind the end.
    async fn next(&mut self) -> Result<Option<Stretch>, AdminError> {
        if self.offset >= self.end {
            return Ok(None);
        }
        let stretch =
            self.admin.stretch(self.queue, self.offset, self.tags, STRETCH_MESSAGES).await?;
        self.offset = match stretch.status {
            StretchStatus::Found | StretchStatus::NoMatchedMsg => stretch.next_offset,
            StretchStatus::NoNewMsg | StretchStatus::OffsetIllegal => self.end,
        };
        Ok(Some(stretch))
    }
}

/// Messages on their way to whoever asked: printed at once as a table, kept for one JSON document.
struct Shown {
    as_table: bool,
    with_body: bool,
    charset: Charset,
    messages: Vec<Value>,
}

impl Shown {
    fn add(&mut self, found: &[StoredMessage]) {
        let Shown { with_body, charset, .. } = *self;
        if self.as_table {
            let charset = with_body.then_some(charset);
            found.iter().for_each(|stored| println!("{}", line(stored, charset)));
        } else {
            let json = |stored| message::json(stored, charset);
            self.messages.extend(found.iter().map(json));
        }
    }
}

pub(super) fn name_of(queue: &MessageQueue) -> String {
    let MessageQueue { broker_name, queue_id, topic } = queue;
    format!("MessageQueue [topic={topic}, brokerName={broker_name}, queueId={queue_id}]")
}

/// As Java writes a message; its body in this charset, if at all.
pub(super) fn line(stored: &StoredMessage, body: Option<Charset>) -> String {
    let message = &stored.message;
    let pairs = message.properties().map(|(name, value)| format!("{name}={value}"));
    let bytes = message.body.iter().map(|byte| byte.cast_signed().to_string());
    let body = match body {
        Some(charset) => charset.text(&message.body),
        None => "NOT PRINT BODY".into(),
    };
    format!(
        "MSGID: {} MessageExt [brokerName={}, queueId={}, storeSize={}, queueOffset={}, sysFlag={}, \
         bornTimestamp={}, bornHost=/{}, storeTimestamp={}, storeHost=/{}, msgId={}, \
         commitLogOffset={}, bodyCRC={}, reconsumeTimes={}, preparedTransactionOffset={}, \
         toString()=Message{{topic='{}', flag={}, properties={{{}}}, body=[{}], \
         transactionId='null'}}] BODY: {body}",
        message.message_id(),
        message.broker_name,
        message.queue_id,
        stored.record_bytes,
        message.queue_offset,
        message.sys_flag,
        message.born_timestamp_ms,
        message.born_host,
        message.store_timestamp_ms,
        message.store_host,
        message.offset_message_id(),
        message.physical_offset,
        stored.body_crc,
        message.reconsume_times,
        stored.prepared_transaction_offset,
        message.topic,
        message.flag,
        pairs.collect::<Vec<_>>().join(", "),
        bytes.collect::<Vec<_>>().join(", "),
    )
}
