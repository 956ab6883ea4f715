//! `sendMessage`: one message, to see whether it gets through.

use serde_json::json;
use tokio::time::Instant;

use super::arguments::SendMessageArgs;
use super::table::{Column, left, render};
use super::{AdminError, print, trace};
use crate::client::{Admin, Message, Producer, ProducerOptions, SendResult};
use crate::clock;

const SENT: [Column; 4] = [
    left("#Broker Name", 32),
    left("#QID", 4),
    left("#Send Result", 20).then(4),
    left("#MsgId", 0),
];
/// As which it is sent.
const GROUP: &str = "CLIENT_INNER_PRODUCER";

pub(super) async fn send(admin: &Admin, arguments: &SendMessageArgs) -> Result<(), AdminError> {
    let mut message = Message::new(&*arguments.topic, arguments.body.clone().into_bytes());
    if let Some(tag) = &arguments.tag {
        message = message.with_tag(tag);
    }
    if let Some(keys) = &arguments.keys {
        message = message.with_key(keys);
    }
    let producer = Producer::start(admin.client(), ProducerOptions::new(GROUP))?;
    let (began_ms, began) = (clock::now_ms(), Instant::now());
    let sent = match &arguments.broker_name {
        None => producer.send(&message).await,
        Some(name) => {
            let queues = producer.queues(&arguments.topic).await?;
            let wanted = queues.into_iter().find(|queue| {
                queue.broker_name == *name
                    && arguments.queue_id.is_none_or(|wanted| wanted == queue.queue_id)
            });
            let queue = wanted.ok_or_else(|| AdminError::NoBrokerName(name.clone()))?;
            producer.send_to(&message, &queue).await
        }
    };
    let sent = sent?;
    let took = (began_ms, began.elapsed());
    let traced = match arguments.trace {
        true => trace::publish(&producer, GROUP, &message, &sent, took).await,
        false => Ok(()),
    };
    producer.shutdown().await;
    let row = vec![
        sent.queue.broker_name.clone(),
        sent.queue.queue_id.to_string(),
        sent.status.as_str().to_owned(),
        sent.message_id.clone(),
    ];
    print(&arguments.common, || render(&SENT, &[row]), || json(&sent))?;
    Ok(traced?)
}

pub(super) fn json(sent: &SendResult) -> serde_json::Value {
    json!({
        "brokerName": sent.queue.broker_name,
        "queueId": sent.queue.queue_id,
        "queueOffset": sent.queue_offset,
        "sendStatus": sent.status.as_str(),
        "msgId": sent.message_id,
        "offsetMsgId": sent.offset_message_id,
    })
}
