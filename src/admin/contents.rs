//! `printMsg` and `printMsgByQueue`: the messages of a topic, or of one of its queues.
//!
//! Invariant: as a table a queue is printed while it is read, so that its length does not matter.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::arguments::{OutputFormat, PrintMsgArgs, PrintMsgByQueueArgs, ReadArgs};
use super::message;
use super::offsets::moment;
use super::{AdminError, print};
use crate::client::{Admin, StoredMessage, StretchStatus};
use crate::protocol::queue::MessageQueue;

const LINE_CHARACTERS: usize = 56;

pub(super) async fn of_topic(admin: &Admin, arguments: &PrintMsgArgs) -> Result<(), AdminError> {
    let read = &arguments.read;
    let as_table = arguments.common.output == OutputFormat::Table;
    let mut listed = Vec::new();
    for queue in admin.readable_queues(&read.topic).await? {
        let (first, end) = span(admin, &queue, read).await?;
        let name = name_of(&queue);
        if as_table {
            println!("minOffset={first}, maxOffset={end}, {name}");
        }
        let mut messages = Vec::new();
        let mut offset = first;
        while offset < end {
            let stretch = admin.stretch(&queue, offset, &read.tags).await?;
            offset = stretch.next_offset;
            let status = stretch.status;
            match as_table {
                true => {
                    stretch.found.iter().for_each(|one| println!("{}", line(one, arguments.body)))
                }
                false => messages.extend(stretch.found.iter().map(message::json)),
            }
            match status {
                StretchStatus::Found => {}
                StretchStatus::NoMatchedMsg if as_table => {
                    println!("{name} no matched msg. status={}, offset={offset}", status.as_str());
                }
                StretchStatus::NoMatchedMsg => {}
                StretchStatus::NoNewMsg | StretchStatus::OffsetIllegal => {
                    if as_table {
                        println!(
                            "{name} print msg finished. status={}, offset={offset}",
                            status.as_str()
                        );
                    }
                    break;
                }
            }
        }
        if as_table {
            println!("{}", "-".repeat(LINE_CHARACTERS));
        }
        listed.push(json!({"brokerName": queue.broker_name, "queueId": queue.queue_id, "minOffset": first, "maxOffset": end, "messages": messages}));
    }
    print(&arguments.common, String::new, || json!(listed))
}

pub(super) async fn of_queue(
    admin: &Admin,
    arguments: &PrintMsgByQueueArgs,
) -> Result<(), AdminError> {
    let read = &arguments.read;
    let as_table = arguments.common.output == OutputFormat::Table;
    let queue = MessageQueue {
        broker_name: arguments.broker_name.clone(),
        queue_id: arguments.queue_id,
        topic: read.topic.clone(),
    };
    let (mut offset, end) = span(admin, &queue, read).await?;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut messages: Vec<Value> = Vec::new();
    while offset < end {
        let stretch = admin.stretch(&queue, offset, &read.tags).await?;
        offset = stretch.next_offset;
        for stored in &stretch.found {
            if let Some(tag) = stored.message.tag() {
                *counts.entry(tag.to_owned()).or_default() += 1;
            }
            match (arguments.messages, as_table) {
                (true, true) => println!("{}", line(stored, arguments.body)),
                (true, false) => messages.push(message::json(stored)),
                (false, _) => {}
            }
        }
        if matches!(stretch.status, StretchStatus::NoNewMsg | StretchStatus::OffsetIllegal) {
            break;
        }
    }
    let mut by_count: Vec<_> = counts.iter().collect();
    by_count.sort_by_key(|(tag, count)| (std::cmp::Reverse(**count), *tag));
    by_count.retain(|_| arguments.count_tags);
    let line = |(tag, count): &(&String, &u64)| format!("Tag: {tag:<30} Count: {count}\n");
    let table = || by_count.iter().map(line).collect();
    print(&arguments.common, table, || json!({"messages": messages, "tags": counts}))
}

/// Where to begin and where to end.
async fn span(
    admin: &Admin,
    queue: &MessageQueue,
    read: &ReadArgs,
) -> Result<(i64, i64), AdminError> {
    let (mut first, mut end) = admin.offsets_of(queue).await?;
    if let Some(time) = &read.begin {
        first = admin.offset_at(queue, moment(time)?).await?;
    }
    if let Some(time) = &read.end {
        end = admin.offset_at(queue, moment(time)?).await?;
    }
    Ok((first, end))
}

fn name_of(queue: &MessageQueue) -> String {
    let MessageQueue { broker_name, queue_id, topic } = queue;
    format!("MessageQueue [topic={topic}, brokerName={broker_name}, queueId={queue_id}]")
}

/// As Java writes a message.
fn line(stored: &StoredMessage, with_body: bool) -> String {
    let message = &stored.message;
    let pairs = message.properties().map(|(name, value)| format!("{name}={value}"));
    let bytes = message.body.iter().map(|byte| byte.cast_signed().to_string());
    let body = match with_body {
        true => String::from_utf8_lossy(&message.body),
        false => "NOT PRINT BODY".into(),
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
