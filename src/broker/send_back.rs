//! Messages that a consumer could not process and sends back: they wait, and come again.
//!
//! Each attempt waits longer than the one before, unless the consumer names the delay level. After the
//! last attempt, or when the consumer gives up, the message goes to the group's dead letter topic.
//!
//! Invariant: success is answered when the new copy is committed; the copy is one record, so a
//! failover never leaves half of it. A consumer that does not hear the answer sends the message again,
//! and then there are two: it cannot be told from one that failed twice.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use raft_log::Position;
use smallvec::smallvec;

use super::answer::{Failure, Outcome, success};
use super::core::Core;
use super::delayed::{self, Place};
use super::group::{MessagesProposal, NewMessage, Proposal, SendOutcome};
use crate::protocol::code::response;
use crate::protocol::group::SubscriptionGroupConfig;
use crate::protocol::message_id::OffsetMessageId;
use crate::protocol::names;
use crate::protocol::properties::{
    self, DELAY, DLQ_ORIGIN_MESSAGE_ID, DLQ_ORIGIN_TOPIC, ORIGIN_MESSAGE_ID, PROPERTIES_BYTES_MAX,
    REAL_QID, REAL_TOPIC, RETRY_TOPIC,
};
use crate::protocol::record::RecordView;
use crate::protocol::topic::{TopicConfig, permission};
use crate::remoting::RemotingCommand;
use crate::remoting::header::SendBackHeader;

/// Delay level of the first attempt that a message comes again; the next ones have the next levels.
const FIRST_LEVEL: i32 = 3;
/// Queues of a dead letter topic.
const DEAD_LETTER_QUEUES: i32 = 1;
/// Clients of this release and later say themselves how many attempts there are.
const SAYS_ATTEMPTS_FROM_VERSION: i32 = 121;

/// Takes a message back.
pub async fn take(core: &Core, command: &RemotingCommand) -> Outcome {
    let header = SendBackHeader::decode(&command.ext_fields)?;
    let group = core.group_or_create(&header.group).await?;
    if !permission::is_writable(core.live.broker_permission()) {
        let remark = format!("the broker[{}] sending message is forbidden", core.address);
        return Err(Failure::new(response::NO_PERMISSION, remark));
    }
    if core.disk_full.load(Ordering::Acquire) {
        return Err(Failure::unavailable("the broker's disk is full; free space or add brokers"));
    }
    if group.retry_queue_nums <= 0 {
        // The group does not want retries.
        return Ok(success());
    }
    let bytes = u64::try_from(header.offset)
        .ok()
        .and_then(|offset| core.view.message_at(Position(offset)))
        .ok_or_else(|| not_there(header.offset))?;
    let record = RecordView::parse(&bytes).map_err(|_| not_there(header.offset))?;
    if !record.body_is_intact() {
        return Err(not_there(header.offset));
    }
    let origin_topic = record.property(RETRY_TOPIC).unwrap_or(record.topic);
    let named = header.origin_topic.as_deref().filter(|topic| !topic.is_empty());
    if named.is_some_and(|topic| topic != record.topic && topic != origin_topic) {
        // Another message than the one it means.
        return Err(not_there(header.offset));
    }
    let attempts_max = attempts_max(&header, &group, command.version);
    let dead = header.delay_level < 0 || record.reconsume_times >= attempts_max;
    let (topic, queues) = match dead {
        true => (names::dead_letter_topic(&header.group), DEAD_LETTER_QUEUES),
        false => (names::retry_topic(&header.group), group.retry_queue_nums),
    };
    let (destination, mut create_topics) = destination(core, &topic, queues)?;
    let mut message = again(core, &bytes, &record, origin_topic, dead);
    let place = if dead {
        destination
    } else {
        let level = match header.delay_level {
            0 => FIRST_LEVEL.saturating_add(record.reconsume_times),
            named => named,
        };
        delayed::park(core, &destination, level, &mut message, &mut create_topics)
    };
    if message.properties.len() > PROPERTIES_BYTES_MAX {
        let remark = format!("its properties would exceed {PROPERTIES_BYTES_MAX} bytes");
        return Err(Failure::new(response::MESSAGE_ILLEGAL, remark));
    }
    store(core, place, create_topics, message).await?;
    core.view
        .traffic()
        .of_group(&header.group, origin_topic)
        .sent_back
        .count(1, bytes.len() as u64);
    if dead {
        let (group, times) = (&header.group, record.reconsume_times);
        tracing::info!(group, origin_topic, times, "a message went to the dead letter topic");
    }
    Ok(success())
}

fn not_there(offset: i64) -> Failure {
    Failure::new(response::SYSTEM_ERROR, format!("look message by offset failed, {offset}"))
}

fn attempts_max(header: &SendBackHeader, group: &SubscriptionGroupConfig, version: i32) -> i32 {
    let said = header.max_reconsume_times.filter(|_| version >= SAYS_ATTEMPTS_FROM_VERSION);
    said.unwrap_or(group.retry_max_times)
}

/// A queue of a retry or dead letter topic, and the topics to create for it.
fn destination(
    core: &Core,
    topic: &str,
    queues: i32,
) -> Result<(Place, Vec<Arc<TopicConfig>>), Failure> {
    let (name, config, create) = match core.view.topic(topic) {
        Some(known) => (known.name.clone(), known.config.clone(), false),
        None => {
            let config = TopicConfig::new(topic, queues, permission::READ_WRITE);
            (Arc::from(topic), Arc::new(config), true)
        }
    };
    if !permission::is_writable(config.perm) {
        let remark = format!("the topic[{topic}] sending message is forbidden");
        return Err(Failure::new(response::NO_PERMISSION, remark));
    }
    let queue_id = delayed::any_queue(core, queues.min(config.write_queue_nums));
    let create_topics = if create { vec![config] } else { Vec::new() };
    Ok((Place { topic: name, queue_id }, create_topics))
}

/// The message as it comes again, but for its delay. `stored` holds the record.
fn again(
    core: &Core,
    stored: &Bytes,
    record: &RecordView<'_>,
    origin_topic: &str,
    dead: bool,
) -> NewMessage {
    let own_id =
        OffsetMessageId { store_host: record.store_host, offset: record.physical_offset }.text();
    let origin_id = record.property(ORIGIN_MESSAGE_ID).unwrap_or(own_id.as_str());
    let replaced = [
        DELAY,
        REAL_TOPIC,
        REAL_QID,
        RETRY_TOPIC,
        ORIGIN_MESSAGE_ID,
        DLQ_ORIGIN_TOPIC,
        DLQ_ORIGIN_MESSAGE_ID,
    ];
    let mut text = properties::without(record.properties, &replaced);
    properties::append(&mut text, RETRY_TOPIC, origin_topic);
    properties::append(&mut text, ORIGIN_MESSAGE_ID, origin_id);
    if dead {
        properties::append(&mut text, DLQ_ORIGIN_TOPIC, origin_topic);
        properties::append(&mut text, DLQ_ORIGIN_MESSAGE_ID, origin_id);
    }
    NewMessage {
        reconsume_times: record.reconsume_times.saturating_add(1),
        prepared_transaction_offset: 0,
        properties: text.freeze(),
        ..NewMessage::like(record, stored, core.address)
    }
}

async fn store(
    core: &Core,
    place: Place,
    create_topics: Vec<Arc<TopicConfig>>,
    message: NewMessage,
) -> Result<(), Failure> {
    let Place { topic, queue_id } = place;
    let messages = smallvec![message];
    let proposal = |reply| {
        Proposal::Messages(MessagesProposal { topic, create_topics, messages, queue_id, reply })
    };
    match core.ask(proposal, SendOutcome::Refused).await {
        SendOutcome::Stored(_) => Ok(()),
        #[cfg(madsim)]
        SendOutcome::Refused(_)
            if crate::mistake::made(crate::mistake::Mistake::TakesBackUnknown) =>
        {
            Ok(())
        }
        SendOutcome::Refused(refusal) => Err(refusal.into()),
        SendOutcome::TopicNotFound => {
            Err(Failure::unavailable("its topic was just removed; send it back again"))
        }
    }
}
