//! Sending: single messages, batches, and retries that clients send themselves.
//!
//! A send is checked on the connection's reader, proposed from there, and answered from where its
//! entry is applied. Bodies stay slices of the frame they came in until the sequencer copies them
//! into the entry.
//!
//! Invariant: success is answered only for messages that are committed and applied; whatever may or
//! may not have been stored is answered with a code on which clients send again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::answer::{Failure, Outcome, success};
use super::core::Core;
use super::delayed::{self, Place};
use super::dispatch::{hand_over, refuse};
use super::forward;
use super::group::{MessagesProposal, NewMessage, Proposal, SendOutcome, SendReply, Stored};
use super::offsets::check_queue;
use crate::protocol::batch;
use crate::protocol::code::response;
use crate::protocol::message_id::OffsetMessageId;
use crate::protocol::names;
use crate::protocol::properties::{self, PROPERTIES_BYTES_MAX};
use crate::protocol::topic::{TopicConfig, permission};
use crate::remoting::header::SendHeader;
use crate::remoting::{ExtFields, ExtValue, ExtWriter, RemotingCommand, Request};
use crate::replication::machine::Refusal;

/// Messages that one batch may hold.
const BATCH_MESSAGES_MAX: usize = 65_536;

/// A send that passed all checks.
struct Checked {
    topic: Arc<str>,
    create_topics: Vec<Arc<TopicConfig>>,
    messages: SmallVec<[NewMessage; 1]>,
    queue_id: i32,
    /// The queue that a delayed message will go to, which its sender is told.
    real_queue_id: Option<i32>,
}

/// What a message asks for beside being stored.
struct Features {
    half: bool,
    timed: bool,
    /// Zero for none.
    delay_level: i32,
}

/// Takes a send.
pub fn handle(core: &Arc<Core>, request: Request) {
    if !core.serving() {
        return hand_over(core, request, Instant::now(), send_and_wait);
    }
    let checked = match check(core, &request.command, request.connection.peer_addr()) {
        Ok(checked) => checked,
        Err(failure) => {
            core.stats.put_failed.add(1);
            return refuse(request.responder, &failure);
        }
    };
    let (reply_core, real_queue_id) = (core.clone(), checked.real_queue_id);
    propose(
        core,
        checked,
        Box::new(move |outcome| match outcome {
            SendOutcome::Stored(mut stored) => {
                stored.queue_id = real_queue_id.unwrap_or(stored.queue_id);
                request.responder.respond_with(response::SUCCESS, |fields| {
                    stored_fields(reply_core.address, &stored, fields);
                });
            }
            SendOutcome::Refused(Refusal::NotLeader { .. }) => {
                // Not since it came: a send that is given up may still be stored.
                hand_over(&reply_core, request, Instant::now(), send_and_wait);
            }
            refused => {
                reply_core.stats.put_failed.add(1);
                refuse(request.responder, &failure_of(refused, &request.command));
            }
        }),
    );
}

/// The same for a request that already has a task of its own.
async fn send_and_wait(core: Arc<Core>, command: RemotingCommand, peer: SocketAddr) -> Outcome {
    let checked = check(&core, &command, peer)?;
    let real_queue_id = checked.real_queue_id;
    let (tell, told) = oneshot::channel();
    propose(
        &core,
        checked,
        Box::new(move |outcome| {
            // Nobody waits any more when the request was given up.
            let _ = tell.send(outcome);
        }),
    );
    match told.await.unwrap_or(SendOutcome::Refused(Refusal::Unknown)) {
        SendOutcome::Stored(mut stored) => {
            stored.queue_id = real_queue_id.unwrap_or(stored.queue_id);
            let mut answer = success();
            stored_fields(core.address, &stored, &mut answer.ext_fields);
            Ok(answer)
        }
        refused => Err(failure_of(refused, &command)),
    }
}

fn propose(core: &Core, checked: Checked, reply: SendReply) {
    let Checked { topic, create_topics, messages, queue_id, .. } = checked;
    let proposal = MessagesProposal { topic, create_topics, messages, queue_id, reply };
    if let Err((Proposal::Messages(proposal), refusal)) =
        core.replica.propose(Proposal::Messages(proposal))
    {
        (proposal.reply)(SendOutcome::Refused(refusal));
    }
}

fn failure_of(outcome: SendOutcome, command: &RemotingCommand) -> Failure {
    let topic_of = |command: &RemotingCommand| {
        let header = SendHeader::decode(command.code, &command.ext_fields);
        header.map(|header| header.topic.to_owned()).unwrap_or_default()
    };
    match outcome {
        SendOutcome::Refused(refusal) => refusal.into(),
        // The topic went away between the check and the log.
        SendOutcome::TopicNotFound | SendOutcome::Stored(_) => {
            Failure::no_topic(&topic_of(command))
        }
    }
}

/// Where the fields of an answer go: straight to the connection, or into a command.
trait Fields {
    fn set(&mut self, key: &str, value: impl ExtValue);
}

impl Fields for ExtWriter<'_> {
    fn set(&mut self, key: &str, value: impl ExtValue) {
        self.put(key, value);
    }
}

impl Fields for ExtFields {
    fn set(&mut self, key: &str, value: impl ExtValue) {
        self.insert(key, value);
    }
}

fn stored_fields(store_host: SocketAddr, stored: &Stored, fields: &mut impl Fields) {
    let id = |position: raft_log::Position| OffsetMessageId {
        store_host,
        offset: position.0.cast_signed(),
    };
    if stored.more_positions.is_empty() {
        fields.set("msgId", id(stored.first_position).text().as_str());
    } else {
        let ids: Vec<String> =
            stored.positions().map(|position| id(position).to_string()).collect();
        fields.set("msgId", ids.join(","));
    }
    fields.set("queueId", stored.queue_id);
    fields.set("queueOffset", stored.first_queue_offset);
    fields.set("MSG_REGION", "DefaultRegion");
    fields.set("TRACE_ON", true);
}

fn check(core: &Core, command: &RemotingCommand, peer: SocketAddr) -> Result<Checked, Failure> {
    let header = SendHeader::decode(command.code, &command.ext_fields)?;
    if !permission::is_writable(core.live.broker_permission()) {
        let remark = format!("the broker[{}] sending message is forbidden", core.address);
        return Err(Failure::new(response::NO_PERMISSION, remark));
    }
    if core.disk_full.load(Ordering::Acquire) {
        return Err(Failure::unavailable("the broker's disk is full; free space or add brokers"));
    }
    names::validate_topic(header.topic).map_err(|error| Failure::invalid(error.to_string()))?;
    if names::is_closed_to_clients(header.topic) {
        let remark = format!("Sending message to topic[{}] is forbidden.", header.topic);
        return Err(Failure::new(response::NO_PERMISSION, remark));
    }
    let exhausted = out_of_retries(core, &header)?;
    let topic = exhausted.as_deref().unwrap_or(header.topic);
    let (topic, config, mut create_topics) = topic_or_template(core, topic, &header)?;
    if !permission::is_writable(config.perm) {
        let remark = format!("the topic[{topic}] sending message is forbidden");
        return Err(Failure::new(response::NO_PERMISSION, remark));
    }
    let queue_id = if exhausted.is_some() { 0 } else { header.queue_id };
    if queue_id >= 0 {
        check_queue(queue_id, config.queue_nums(), &topic)?;
    } else if config.write_queue_nums == 0 {
        return Err(Failure::invalid(format!("the topic[{topic}] has no queue to write to")));
    }
    let born_host = forward::born_host(command, peer);
    if header.batch {
        let messages = batch_messages(core, command, &header, born_host)?;
        return Ok(Checked { topic, create_topics, messages, queue_id, real_queue_id: None });
    }
    let (mut message, delay_level) =
        single_message(core, command, &header, born_host, exhausted.is_some())?;
    if delay_level == 0 {
        let messages = smallvec![message];
        return Ok(Checked { topic, create_topics, messages, queue_id, real_queue_id: None });
    }
    let real_queue_id = match queue_id {
        0.. => queue_id,
        _ => delayed::any_queue(core, config.write_queue_nums),
    };
    let destination = Place { topic, queue_id: real_queue_id };
    let Place { topic, queue_id } =
        delayed::park(core, &destination, delay_level, &mut message, &mut create_topics);
    check_properties(&message.properties)?;
    let real_queue_id = Some(real_queue_id);
    Ok(Checked { topic, create_topics, messages: smallvec![message], queue_id, real_queue_id })
}

/// The topic, its settings, and the topics to create for it.
type Destination = (Arc<str>, Arc<TopicConfig>, Vec<Arc<TopicConfig>>);

fn topic_or_template(
    core: &Core,
    topic: &str,
    header: &SendHeader<'_>,
) -> Result<Destination, Failure> {
    if let Some(known) = core.view.topic(topic) {
        return Ok((known.name.clone(), known.config.clone(), Vec::new()));
    }
    let config = if names::is_retry_topic(topic) || names::is_dead_letter_topic(topic) {
        TopicConfig::new(topic, 1, permission::READ_WRITE)
    } else {
        let template = template(core, header).ok_or_else(|| Failure::no_topic(topic))?;
        let queues = header.default_topic_queue_nums.min(template.write_queue_nums).max(1);
        TopicConfig::new(topic, queues, template.perm & !permission::INHERIT)
    };
    let config = Arc::new(config);
    Ok((Arc::from(topic), config.clone(), vec![config]))
}

/// The settings that a new topic inherits, if it may.
fn template(core: &Core, header: &SendHeader<'_>) -> Option<Arc<TopicConfig>> {
    let automatic = header.default_topic == names::AUTO_CREATE_TOPIC;
    if automatic && !core.live.auto_create_topic_enable() {
        return None;
    }
    match core.view.topic(header.default_topic) {
        Some(known) => Some(known.config.clone()).filter(|c| permission::is_inherited(c.perm)),
        // The first leader of a new group has not stored it yet.
        None if automatic => Some(Arc::new(TopicConfig::new(
            names::AUTO_CREATE_TOPIC,
            core.config.default_topic_queue_nums,
            permission::READ_WRITE | permission::INHERIT,
        ))),
        None => None,
    }
}

/// The dead letter topic, if a message is sent to a retry topic once too often.
fn out_of_retries(core: &Core, header: &SendHeader<'_>) -> Result<Option<String>, Failure> {
    let Some(group) = names::group_of_retry_topic(header.topic) else { return Ok(None) };
    if header.batch {
        let remark = "a batch cannot be sent to a retry topic";
        return Err(Failure::new(response::MESSAGE_ILLEGAL, remark));
    }
    let config = core.view.group(group).ok_or_else(|| Failure::no_group(group))?;
    let retries_max = header.max_reconsume_times.unwrap_or(config.retry_max_times);
    // A group that consumes in order retries at its queue's head, and gives up what it sends back: from
    // the retry topic it would come out of order.
    let exhausted =
        header.reconsume_times > retries_max.max(0) || core.view.consumes_in_order(group);
    Ok(exhausted.then(|| names::dead_letter_topic(group)))
}

/// A message and its delay level, zero for none.
fn single_message(
    core: &Core,
    command: &RemotingCommand,
    header: &SendHeader<'_>,
    born_host: SocketAddr,
    dead_letter: bool,
) -> Result<(NewMessage, i32), Failure> {
    check_body(core, command.body.len())?;
    let properties = Bytes::copy_from_slice(header.properties.as_bytes());
    check_properties(&properties)?;
    let features = features(&properties)?;
    // A transaction's message that comes again is an ordinary one.
    let comes_again = header.reconsume_times > 0 && features.delay_level > 0;
    if features.half && !comes_again {
        return Err(no_transactions());
    }
    if features.timed && features.delay_level == 0 {
        return Err(no_timers());
    }
    let mut properties = with_unique_key(core, properties);
    if dead_letter {
        properties = properties::without(&properties, &[properties::DELAY]).freeze();
    }
    check_properties(&properties)?;
    let content = (header.flag, command.body.clone(), properties);
    let delay_level = if dead_letter { 0 } else { features.delay_level };
    Ok((new_message(core, header, born_host, content), delay_level))
}

/// A message with what it shares with others of its request, and its own flag, body and properties.
fn new_message(
    core: &Core,
    header: &SendHeader<'_>,
    born_host: SocketAddr,
    (flag, body, properties): (i32, Bytes, Bytes),
) -> NewMessage {
    NewMessage {
        flag,
        sys_flag: header.sys_flag,
        born_timestamp_ms: header.born_timestamp_ms,
        born_host,
        store_host: core.address,
        reconsume_times: header.reconsume_times,
        prepared_transaction_offset: 0,
        body,
        properties,
    }
}

fn batch_messages(
    core: &Core,
    command: &RemotingCommand,
    header: &SendHeader<'_>,
    born_host: SocketAddr,
) -> Result<SmallVec<[NewMessage; 1]>, Failure> {
    check_body(core, command.body.len())?;
    let illegal = |remark: String| Failure::new(response::MESSAGE_ILLEGAL, remark);
    let elements = batch::decode(command.body.clone(), BATCH_MESSAGES_MAX)
        .map_err(|error| illegal(error.to_string()))?;
    let message = |element: batch::BatchElement| {
        let features = features(&element.properties)?;
        if features.half {
            return Err(no_transactions());
        }
        if features.delay_level > 0 {
            return Err(illegal("messages of a batch cannot be delayed".to_owned()));
        }
        if features.timed {
            return Err(no_timers());
        }
        let properties = with_unique_key(core, element.properties);
        check_properties(&properties)?;
        let content = (element.flag, element.body, properties);
        Ok(new_message(core, header, born_host, content))
    };
    elements.into_iter().map(message).collect()
}

fn check_body(core: &Core, bytes: usize) -> Result<(), Failure> {
    let bytes_max = core.config.max_message_size;
    if bytes > bytes_max {
        let remark =
            format!("the message body of {bytes} bytes exceeds maxMessageSize {bytes_max}");
        return Err(Failure::new(response::MESSAGE_ILLEGAL, remark));
    }
    Ok(())
}

fn check_properties(properties: &[u8]) -> Result<(), Failure> {
    let bytes = properties.len();
    if bytes > PROPERTIES_BYTES_MAX {
        let remark = format!("the properties of {bytes} bytes exceed {PROPERTIES_BYTES_MAX}");
        return Err(Failure::new(response::MESSAGE_ILLEGAL, remark));
    }
    Ok(())
}

/// What the properties ask for.
fn features(properties: &[u8]) -> Result<Features, Failure> {
    let mut features = Features { half: false, timed: false, delay_level: 0 };
    for (name, value) in properties::iter(properties) {
        match name {
            b"TRAN_MSG" => features.half = value.eq_ignore_ascii_case(b"true"),
            b"DELAY" => features.delay_level = delayed::level(&String::from_utf8_lossy(value))?,
            b"TIMER_DELAY_SEC" | b"TIMER_DELAY_MS" | b"TIMER_DELIVER_MS" => features.timed = true,
            _ => {}
        }
    }
    Ok(features)
}

/// A half message must not reach consumers.
fn no_transactions() -> Failure {
    Failure::new(response::NO_PERMISSION, "this broker does not take transaction messages")
}

/// A timed message must not reach consumers before its time.
fn no_timers() -> Failure {
    let remark = "this broker does not take messages with a delivery time; use a delay level";
    Failure::new(response::MESSAGE_ILLEGAL, remark)
}

/// Messages of clients that give them no unique key get one: tools look for messages by it.
fn with_unique_key(core: &Core, properties: Bytes) -> Bytes {
    let key = properties::UNIQ_KEY.as_bytes();
    if properties::iter(&properties).any(|(name, _)| name == key) {
        return properties;
    }
    let unique_key = core.unique_ids.next(crate::clock::now_ms());
    properties::with(&properties, properties::UNIQ_KEY, &unique_key).freeze()
}
