//! Messages looked up: by offset id or unique id, by key, by their place in a queue.

use serde_json::{Value, json};

use super::arguments::{
    CommonArgs, OutputFormat, QueryMsgByIdArgs, QueryMsgByKeyArgs, QueryMsgByOffsetArgs,
    QueryMsgByUniqueKeyArgs,
};
use super::charset::Charset;
use super::resend::{self, SentAgain};
use super::table::{Column, left, render, right};
use super::track::{self, Track};
use super::{AdminError, calendar, direct, print};
use crate::client::{Admin, Producer, ReceivedMessage, StoredMessage};
use crate::protocol::message_id::OffsetMessageId;
use crate::protocol::properties;
use crate::protocol::queue::MessageQueue;

/// Longest body printed whole, in bytes.
const BODY_BYTES_SHOWN: usize = 4096;
const BY_KEY: [Column; 3] =
    [left("#Message ID", 50).then(1), right("#QID", 4).then(1), right("#Offset", 40)];

/// A message, what became of it, and how its body is shown.
struct Looked {
    stored: StoredMessage,
    tracks: Vec<Track>,
    charset: Charset,
}

impl Looked {
    async fn up(
        admin: &Admin,
        stored: StoredMessage,
        charset: Charset,
    ) -> Result<Looked, AdminError> {
        let tracks = track::of_message(admin, &stored.message).await?;
        Ok(Looked { stored, tracks, charset })
    }
}

/// What was done about a message, in both formats.
struct Told {
    text: String,
    json: Value,
}

/// Each id by itself: one that is not found does not keep the others from being told.
pub(super) async fn query_by_id(
    admin: &Admin,
    arguments: &QueryMsgByIdArgs,
) -> Result<(), AdminError> {
    let producer = arguments.resend.then(|| resend::producer(admin)).transpose()?;
    let mut told = Vec::new();
    let mut failed = Ok(());
    for id in &arguments.ids {
        match tell(admin, arguments, producer.as_ref(), id.trim()).await {
            Ok(one) => {
                if arguments.common.output == OutputFormat::Table {
                    print!("{}", one.text);
                }
                told.push(one.json);
            }
            Err(error) => {
                if let Err(earlier) = std::mem::replace(&mut failed, Err(error)) {
                    eprintln!("admin: {earlier}");
                }
            }
        }
    }
    if let Some(producer) = producer {
        producer.shutdown().await;
    }
    if arguments.common.output == OutputFormat::Json && !told.is_empty() {
        let asked_for_one = arguments.ids.len() == 1;
        let json = if asked_for_one { told.remove(0) } else { Value::Array(told) };
        print(&arguments.common, String::new, || json)?;
    }
    failed
}

/// Has a member consume it, sends it again, or looks it up: what was asked for, in this order.
async fn tell(
    admin: &Admin,
    arguments: &QueryMsgByIdArgs,
    producer: Option<&Producer>,
    id: &str,
) -> Result<Told, AdminError> {
    let stored = find(admin, arguments, id).await?;
    if let Some(member) = arguments.member.named() {
        let consumed = direct::consume(admin, &stored.message, member).await?;
        return Ok(Told { text: format!("{consumed}\n"), json: json!(consumed) });
    }
    if let Some(producer) = producer {
        let sent = SentAgain::by(producer, id, &stored).await?;
        return Ok(Told { text: sent.line(), json: sent.json() });
    }
    let looked = Looked::up(admin, stored, arguments.body.charset).await?;
    Ok(Told { text: with_offset_id(&looked), json: with_tracks(&looked) })
}

pub(super) async fn query_by_unique_key(
    admin: &Admin,
    arguments: &QueryMsgByUniqueKeyArgs,
) -> Result<(), AdminError> {
    let (id, topic) = (&arguments.id, &arguments.topic);
    let cluster = arguments.looked_in.cluster.as_deref();
    let mut found = admin.query_by_unique_id(topic, cluster, id).await?;
    if found.is_empty() {
        let why = format!("no broker of topic {topic} has it");
        return Err(AdminError::NoMessage { id: id.clone(), why });
    }
    found.sort_by_key(|stored| stored.message.store_timestamp_ms);
    if let Some(member) = arguments.member.named() {
        let consumed = direct::consume(admin, &found[0].message, member).await?;
        return print(&arguments.common, || format!("{consumed}\n"), || json!(consumed));
    }
    if !arguments.all {
        found.truncate(1);
    }
    let mut looked = Vec::new();
    for stored in found {
        looked.push(Looked::up(admin, stored, Charset::default()).await?);
    }
    let table = || looked.iter().map(text).collect::<Vec<_>>().join("\n");
    print(&arguments.common, table, || looked.iter().map(with_tracks).collect())
}

pub(super) async fn query_by_offset(
    admin: &Admin,
    arguments: &QueryMsgByOffsetArgs,
) -> Result<(), AdminError> {
    let queue = MessageQueue {
        broker_name: arguments.broker_name.clone(),
        queue_id: arguments.queue_id,
        topic: arguments.topic.clone(),
    };
    let stored = admin.message_at(&queue, arguments.offset).await?.ok_or_else(|| {
        let why = format!("queue {} of {} has none there", queue.queue_id, queue.broker_name);
        AdminError::NoMessage { id: format!("at offset {}", arguments.offset), why }
    })?;
    let looked = Looked::up(admin, stored, arguments.body.charset).await?;
    let common: CommonArgs = arguments.common.common();
    print(&common, || with_offset_id(&looked), || with_tracks(&looked))
}

pub(super) async fn query_by_key(
    admin: &Admin,
    arguments: &QueryMsgByKeyArgs,
) -> Result<(), AdminError> {
    let span_ms = (arguments.begin_ms, arguments.end_ms);
    let (topic, key) = (&arguments.topic, &arguments.key);
    let cluster = arguments.looked_in.cluster.as_deref();
    let found = admin.query_by_key(topic, cluster, key, arguments.messages_max, span_ms).await?;
    let table = || {
        let row = |stored: &StoredMessage| {
            let message = &stored.message;
            vec![
                message.message_id(),
                message.queue_id.to_string(),
                message.queue_offset.to_string(),
            ]
        };
        render(&BY_KEY, &found.iter().map(row).collect::<Vec<_>>())
    };
    let json = || found.iter().map(|stored| json(stored, Charset::default())).collect();
    print(&arguments.common, table, json)
}

/// The lines of commands that know the message by its place.
fn with_offset_id(looked: &Looked) -> String {
    let id = looked.stored.message.offset_message_id();
    format!("{:<20} {id}\n{}", "OffsetID:", text(looked))
}

fn text(looked: &Looked) -> String {
    let mut text = String::new();
    for (label, value) in lines(&looked.stored, looked.charset) {
        text.push_str(format!("{label:<20} {value}").trim_end());
        text.push('\n');
    }
    text.push_str("\n\n");
    match looked.tracks.is_empty() {
        true => text.push_str("WARN: No Consumer\n"),
        false => text.extend(looked.tracks.iter().map(Track::line)),
    }
    text
}

fn with_tracks(looked: &Looked) -> Value {
    let mut message = json(&looked.stored, looked.charset);
    message["tracks"] = looked.tracks.iter().map(Track::json).collect();
    message
}

pub(super) fn json(stored: &StoredMessage, charset: Charset) -> Value {
    let message = &stored.message;
    let properties: std::collections::BTreeMap<_, _> = message.properties().collect();
    json!({
        "msgId": message.message_id(),
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
        "body": charset.text(&message.body),
    })
}

/// A 32-digit id may be either kind: the broker it would name as an offset id is asked first.
async fn find(
    admin: &Admin,
    arguments: &QueryMsgByIdArgs,
    id: &str,
) -> Result<StoredMessage, AdminError> {
    let no_message = |why: String| AdminError::NoMessage { id: id.to_owned(), why };
    let mut why = "it is not an offset id, and for a unique id -t must name the topic".to_owned();
    let offset_id = OffsetMessageId::decode(id).ok().filter(|id| id.store_host.port() != 0);
    // With a topic the id is most likely a unique one, whose digits name no real address.
    if let Some(topic) = &arguments.topic {
        let cluster = arguments.looked_in.cluster.as_deref();
        let found = admin.query_by_unique_id(topic, cluster, id).await?;
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

fn lines(stored: &StoredMessage, charset: Charset) -> Vec<(&'static str, String)> {
    let message: &ReceivedMessage = &stored.message;
    let shown = &message.body[..message.body.len().min(BODY_BYTES_SHOWN)];
    let properties: Vec<String> =
        message.properties().map(|(name, value)| format!("{name}={value}")).collect();
    vec![
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
        ("Properties:", format!("{{{}}}", properties.join(", "))),
        ("Message Body:", charset.text(shown).into_owned()),
    ]
}
