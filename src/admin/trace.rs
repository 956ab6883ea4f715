//! Traces of messages: what producers and consumers wrote down about each in the trace topic.
//!
//! Invariant: a record that is not understood is left out alone; the others of its message are shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::arguments::QueryMsgTraceByIdArgs;
use super::table::{Column, left, render};
use super::{AdminError, calendar, print};
use crate::client::{
    Admin, ClientError, Message, Producer, ReceivedMessage, SendResult, SendStatus,
};
use crate::protocol::message_id::OffsetMessageId;
use crate::protocol::names::TRACE_TOPIC;
use crate::protocol::properties;

const RECORD_END: char = '\u{2}';
const FIELD_END: char = '\u{1}';
/// What Java writes for a text that is not there.
const ABSENT: &str = "null";
/// Our brokers' only one.
const REGION: &str = "DefaultRegion";
/// As Java numbers the kinds of messages.
const NORMAL_MESSAGE: &str = "0";

const PUBLISHED: [Column; 6] = columns("#ProducerGroup", "#SendTime");
const CONSUMED: [Column; 6] = columns("#ConsumerGroup", "#ConsumerTime");

const fn columns(group: &'static str, time: &'static str) -> [Column; 6] {
    [
        left("#Type", 10).then(1),
        left(group, 20).then(1),
        left("#ClientHost", 20).then(1),
        left(time, 20).then(1),
        left("#CostTimes", 10).then(1),
        left("#Status", 10),
    ]
}

/// Writes down that a message was sent.
pub(super) async fn publish(
    producer: &Producer,
    group: &str,
    message: &Message,
    sent: &SendResult,
    (began_ms, took): (i64, Duration),
) -> Result<(), ClientError> {
    let keys = message.property(properties::KEYS);
    let store_host = OffsetMessageId::decode(&sent.offset_message_id).map(|id| id.store_host);
    let fields = [
        "Pub".to_owned(),
        began_ms.to_string(),
        REGION.to_owned(),
        group.to_owned(),
        message.topic.clone(),
        sent.message_id.clone(),
        message.property(properties::TAGS).unwrap_or(ABSENT).to_owned(),
        keys.unwrap_or(ABSENT).to_owned(),
        store_host.map_or_else(|_| ABSENT.to_owned(), |host| host.to_string()),
        message.body.len().to_string(),
        took.as_millis().to_string(),
        NORMAL_MESSAGE.to_owned(),
        sent.offset_message_id.clone(),
        (sent.status == SendStatus::SendOk).to_string(),
    ];
    let record = fields.join(&FIELD_END.to_string()) + &RECORD_END.to_string();
    let keys = [Some(sent.message_id.as_str()), keys].into_iter().flatten().collect::<Vec<_>>();
    producer.send(&Message::new(TRACE_TOPIC, record).with_key(&keys.join(" "))).await?;
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Published,
    Consumed,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Published => "Pub",
            Kind::Consumed => "Sub",
        }
    }
}

/// What one client wrote down about one message.
#[derive(Debug, PartialEq, Eq)]
struct Trace {
    kind: Kind,
    message_id: String,
    group: String,
    time_ms: i64,
    cost_ms: i64,
    success: bool,
}

impl Trace {
    /// None of what is no end of a message's sending or consuming.
    fn decode(record: &str) -> Option<Trace> {
        let fields: Vec<&str> = record.split(FIELD_END).collect();
        let number = |index: usize| fields.get(index)?.parse::<i64>().ok();
        let text = |index: usize| fields.get(index).map(|field| (*field).to_owned());
        let is_true = |index: usize| fields.get(index).map(|field| *field == "true");
        match fields[0] {
            "Pub" => Some(Trace {
                kind: Kind::Published,
                message_id: text(5)?,
                group: text(3)?,
                time_ms: number(1)?,
                cost_ms: number(10)?,
                // Older clients do not tell the message's place.
                success: is_true(if fields.len() == 13 { 12 } else { 13 })?,
            }),
            "SubAfter" => Some(Trace {
                kind: Kind::Consumed,
                message_id: text(2)?,
                // Older clients do not tell when, nor who.
                group: text(8).unwrap_or_else(|| ABSENT.to_owned()),
                time_ms: number(7).unwrap_or(0),
                cost_ms: number(3)?,
                success: is_true(4)?,
            }),
            _ => None,
        }
    }

    fn row(&self, client: &ReceivedMessage) -> Vec<String> {
        vec![
            self.kind.as_str().to_owned(),
            self.group.clone(),
            client.born_host.ip().to_string(),
            calendar::to_the_second(self.time_ms),
            format!("{}ms", self.cost_ms),
            self.status().to_owned(),
        ]
    }

    fn status(&self) -> &'static str {
        if self.success { "success" } else { "failed" }
    }

    fn json(&self, client: &ReceivedMessage) -> serde_json::Value {
        json!({
            "type": self.kind.as_str(),
            "group": self.group,
            "clientHost": client.born_host.ip().to_string(),
            "timestamp": self.time_ms,
            "costTime": self.cost_ms,
            "status": self.status(),
        })
    }
}

fn traces_of(id: &str, body: &[u8]) -> Vec<Trace> {
    let text = String::from_utf8_lossy(body);
    let traces = text.split(RECORD_END).filter_map(Trace::decode);
    traces.filter(|trace| trace.message_id == id).collect()
}

pub(super) async fn query(
    admin: &Admin,
    arguments: &QueryMsgTraceByIdArgs,
) -> Result<(), AdminError> {
    let (id, topic) = (&arguments.id, &arguments.trace_topic);
    let span_ms = (arguments.begin_ms, arguments.end_ms);
    let found = admin.query_by_key(topic, None, id, arguments.messages_max, span_ms).await?;
    let mut traces = Vec::new();
    for stored in &found {
        let of_one = traces_of(id, &stored.message.body);
        traces.extend(of_one.into_iter().map(|trace| (trace, &stored.message)));
    }
    if traces.is_empty() {
        let why = format!("topic {topic} has no trace of it");
        return Err(AdminError::NoMessage { id: id.clone(), why });
    }
    let json = || traces.iter().map(|(trace, client)| trace.json(client)).collect();
    print(&arguments.common, || table(&traces), json)
}

/// A table for each time it was sent, and one for each group that consumed it.
fn table(traces: &[(Trace, &ReceivedMessage)]) -> String {
    let mut text = String::new();
    let mut consumed: BTreeMap<&str, Vec<Vec<String>>> = BTreeMap::new();
    for (trace, client) in traces {
        match trace.kind {
            Kind::Published => {
                let _ = writeln!(text, "{}", render(&PUBLISHED, &[trace.row(client)]));
            }
            Kind::Consumed => consumed.entry(&trace.group).or_default().push(trace.row(client)),
        }
    }
    for rows in consumed.values() {
        let _ = writeln!(text, "{}", render(&CONSUMED, rows));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &str) -> String {
        fields.replace(' ', &FIELD_END.to_string()) + &RECORD_END.to_string()
    }

    #[test]
    fn records_of_old_and_new_clients_are_read() {
        let body = [
            record("Pub 1000 r P T id tag key h:1 5 7 0 offset true"),
            record("Pub 1000 r P T id tag key h:1 5 7 0 false h:2"),
            record("Pub 1000 r P T id tag key h:1 5 7 0 true"),
            record("Pub 1000 r P T other tag key h:1 5 7 0 offset true"),
            record("SubBefore 1 r G q id 0 key"),
            record("SubAfter q id 9 false key 1 2000 G"),
            record("SubAfter q id 9 true key 1"),
            record("Pub soon r P T id"),
        ];
        let traces = traces_of("id", body.concat().as_bytes());
        let seen: Vec<_> = traces
            .iter()
            .map(|trace| (trace.kind, &*trace.group, trace.time_ms, trace.cost_ms, trace.success))
            .collect();
        let published = |success| (Kind::Published, "P", 1000, 7, success);
        let consumed = |group, time_ms, success| (Kind::Consumed, group, time_ms, 9, success);
        let expected = [
            published(true),
            published(false),
            published(true),
            consumed("G", 2000, false),
            consumed(ABSENT, 0, true),
        ];
        assert_eq!(seen, expected);
    }
}
