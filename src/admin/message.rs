//! `queryMsgById`: a message by its offset id or its unique id.

use serde_json::json;

use super::arguments::QueryMsgByIdArgs;
use super::{AdminError, calendar, print};
use crate::client::{Admin, ReceivedMessage, StoredMessage};
use crate::protocol::message_id::OffsetMessageId;
use crate::protocol::properties;

/// Longest body printed whole, in bytes.
const BODY_BYTES_SHOWN: usize = 4096;

pub(super) async fn query_by_id(
    admin: &Admin,
    arguments: &QueryMsgByIdArgs,
) -> Result<(), AdminError> {
    let stored = find(admin, arguments).await?;
    let table = || {
        let mut text = String::new();
        for (label, value) in lines(&stored) {
            text.push_str(format!("{label:<20} {value}").trim_end());
            text.push('\n');
        }
        text
    };
    let json = || {
        let message = &stored.message;
        let properties: std::collections::BTreeMap<_, _> = message.properties().collect();
        json!({
            "offsetMsgId": message.offset_message_id(),
            "topic": message.topic,
            "queueId": message.queue_id,
            "queueOffset": message.queue_offset,
            "commitLogOffset": message.physical_offset,
            "reconsumeTimes": message.reconsume_times,
            "bornTimestamp": message.born_timestamp_ms,
            "storeTimestamp": message.store_timestamp_ms,
            "bornHost": message.born_host.to_string(),
            "storeHost": message.store_host.to_string(),
            "sysFlag": message.sys_flag,
            "storeSize": stored.record_bytes,
            "properties": properties,
            "body": String::from_utf8_lossy(&message.body),
        })
    };
    print(&arguments.common, table, json)
}

/// A 32-digit id may be either kind: the broker it would name as an offset id is asked first.
async fn find(admin: &Admin, arguments: &QueryMsgByIdArgs) -> Result<StoredMessage, AdminError> {
    let id = &arguments.id;
    let no_message = |why: String| AdminError::NoMessage { id: id.clone(), why };
    let mut why = "it is not an offset id, and for a unique id -t must name the topic".to_owned();
    let offset_id = OffsetMessageId::decode(id).ok().filter(|id| id.store_host.port() != 0);
    // With a topic the id is most likely a unique one, whose digits name no real address.
    if let Some(topic) = &arguments.topic {
        let found = admin.query_by_unique_id(topic, id).await?;
        if let Some(stored) = found.into_iter().next() {
            return Ok(stored);
        }
        why = format!("no broker of topic {topic} has it");
    }
    if let Some(offset_id) = offset_id {
        match admin.view_message(&offset_id).await {
            Ok(stored) => return Ok(stored),
            Err(error) => why = format!("{why}; as an offset id: {error}"),
        }
    }
    Err(no_message(why))
}

fn lines(stored: &StoredMessage) -> Vec<(&'static str, String)> {
    let message: &ReceivedMessage = &stored.message;
    let shown = &message.body[..message.body.len().min(BODY_BYTES_SHOWN)];
    let own = [properties::TAGS, properties::KEYS];
    let others: Vec<String> = message
        .properties()
        .filter(|(name, _)| !own.contains(name))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    vec![
        ("OffsetID:", message.offset_message_id()),
        ("Topic:", message.topic.clone()),
        ("Tags:", format!("[{}]", message.tag().unwrap_or("null"))),
        ("Keys:", format!("[{}]", message.property(properties::KEYS).unwrap_or("null"))),
        ("Queue ID:", message.queue_id.to_string()),
        ("Queue Offset:", message.queue_offset.to_string()),
        ("CommitLog Offset:", message.physical_offset.to_string()),
        ("Reconsume Times:", message.reconsume_times.to_string()),
        ("Born Timestamp:", calendar::with_milliseconds(message.born_timestamp_ms)),
        ("Store Timestamp:", calendar::with_milliseconds(message.store_timestamp_ms)),
        ("Born Host:", message.born_host.to_string()),
        ("Store Host:", message.store_host.to_string()),
        ("System Flag:", message.sys_flag.to_string()),
        ("Properties:", format!("{{{}}}", others.join(", "))),
        ("Message Body:", String::from_utf8_lossy(shown).into_owned()),
    ]
}
