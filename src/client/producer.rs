//! Sends messages, and keeps trying within a budget.
//!
//! A connection error or an answer that says "not the leader" has the route looked up at once, again
//! and again with short pauses, until a leader shows up: an election is waited for, not reported.
//!
//! Invariant: an attempt whose outcome is unknown is repeated with the same unique id, so a consumer
//! can recognise the second copy if both were stored.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::clock;
use crate::protocol::code::{request, response};
use crate::protocol::names::AUTO_CREATE_TOPIC;
use crate::protocol::queue::MessageQueue;
use crate::protocol::{batch, names, properties};

use super::admin::StoredMessage;
use super::error::ClientError;
use super::instance::Client;
use super::message::{Message, SendResult, SendStatus};
use super::remote::{Answer, Ask};
use super::selector::RoundRobin;

const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Settings of a producer.
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// Its group.
    pub group: String,
    /// For one send with everything it takes. Longer than the official clients' 3 s, so that an
    /// election fits in.
    pub send_timeout: Duration,
    /// For one attempt of it.
    pub attempt_timeout: Duration,
    /// Attempts after the first, when a broker refuses for a reason other than not leading.
    pub retries: u32,
    /// Longest body accepted, in bytes.
    pub body_bytes_max: usize,
    /// Asynchronous sends in flight at once.
    pub async_in_flight_max: usize,
}

impl ProducerOptions {
    /// Defaults for a group.
    pub fn new(group: impl Into<String>) -> ProducerOptions {
        ProducerOptions {
            group: group.into(),
            send_timeout: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(3),
            retries: 2,
            body_bytes_max: 4 * 1024 * 1024,
            async_in_flight_max: 4096,
        }
    }
}

/// Sends messages. Cheap to clone.
#[derive(Clone)]
pub struct Producer {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    options: ProducerOptions,
    selector: RoundRobin,
    async_permits: Arc<Semaphore>,
}

/// What is sent: one message, or several as a batch.
struct Payload<'a> {
    topic: &'a str,
    properties: String,
    flag: i32,
    sys_flag: i32,
    body: Bytes,
    is_batch: bool,
    unique_id: String,
}

/// What the last attempt used. All sends that failed by one route share the look-up of the next:
/// thousands may be in flight when a leader dies.
#[derive(Default)]
struct Tried {
    generation: u64,
    broker_name: Option<String>,
}

/// What to do about a failed attempt.
enum Next {
    /// Look the route up and go on until the budget ends.
    AwaitLeader,
    /// Go on, a few times.
    Retry,
    /// Tell the caller.
    GiveUp,
}

impl Producer {
    /// Starts a producer on a client.
    ///
    /// # Errors
    /// When the group's name is not one.
    pub fn start(client: &Client, options: ProducerOptions) -> Result<Producer, ClientError> {
        names::validate_group(&options.group)
            .map_err(|error| ClientError::IllegalArgument(error.to_string()))?;
        client.add_producer(&options.group);
        let async_permits = Arc::new(Semaphore::new(options.async_in_flight_max.max(1)));
        let (client, selector) = (client.clone(), RoundRobin::default());
        Ok(Producer { inner: Arc::new(Inner { client, options, selector, async_permits }) })
    }

    /// Sends a message to the next queue in turn.
    ///
    /// # Errors
    /// When no broker acknowledged it within the budget. It may still have been stored.
    pub async fn send(&self, message: &Message) -> Result<SendResult, ClientError> {
        let payload = self.inner.payload(message)?;
        self.inner.send(&payload, None).await
    }

    /// Sends a stored message again, to the topic it is stored in: with the properties it has, among them
    /// the unique id by which consumers recognise it.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub async fn send_again(&self, stored: &StoredMessage) -> Result<SendResult, ClientError> {
        let payload = self.inner.stored_payload(stored)?;
        self.inner.send(&payload, None).await
    }

    /// Sends a message to one queue and no other.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub async fn send_to(
        &self,
        message: &Message,
        queue: &MessageQueue,
    ) -> Result<SendResult, ClientError> {
        let payload = self.inner.payload(message)?;
        self.inner.send(&payload, Some(queue.clone())).await
    }

    /// Sends a message to the queue that `select` picks by index, such as by a hash of its key.
    ///
    /// # Errors
    /// As [`Producer::send`], and when the index is out of range.
    pub async fn send_selected(
        &self,
        message: &Message,
        select: impl FnOnce(&[MessageQueue]) -> usize,
    ) -> Result<SendResult, ClientError> {
        let queues = self.queues(&message.topic).await?;
        let queue = queues.get(select(&queues)).ok_or_else(|| {
            ClientError::IllegalArgument("the selector's index is out of range".to_owned())
        })?;
        self.send_to(message, queue).await
    }

    /// Sends several messages of one topic as one request: all are stored in one queue, in order.
    ///
    /// # Errors
    /// As [`Producer::send`]; the batch is acknowledged as a whole.
    pub async fn send_batch(&self, messages: &[Message]) -> Result<SendResult, ClientError> {
        let payload = self.inner.batch_payload(messages)?;
        self.inner.send(&payload, None).await
    }

    /// Sends in the background and calls back with the outcome. Waits while too many are in flight.
    pub async fn send_async(
        &self,
        message: Message,
        callback: impl FnOnce(Result<SendResult, ClientError>) + Send + 'static,
    ) {
        let permits = self.inner.async_permits.clone();
        let permit = permits.acquire_owned().await.expect("the semaphore is never closed");
        let producer = self.clone();
        tokio::spawn(async move {
            callback(producer.send(&message).await);
            drop(permit);
        });
    }

    /// Sends without asking for an acknowledgement: once, to whoever leads as far as is known.
    ///
    /// # Errors
    /// When there is no route. Whether the request arrives is never known.
    pub async fn send_oneway(&self, message: &Message) -> Result<(), ClientError> {
        let payload = self.inner.payload(message)?;
        let shared = &self.inner.client.shared;
        let route = shared.routes.for_sending(&message.topic).await?;
        let queue = self.inner.selector.next(&route.publish, None);
        let queue = queue.ok_or_else(|| ClientError::NoRoute(message.topic.clone()))?;
        let address = route.leader(&queue.broker_name)?;
        shared.remote.tell(address, &self.inner.ask(&payload, queue));
        Ok(())
    }

    /// The queues of a topic, in the order that a selector sees them.
    ///
    /// # Errors
    /// When the topic has no route.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        Ok(self.inner.client.shared.routes.for_sending(topic).await?.publish.clone())
    }

    /// Leaves the group.
    pub async fn shutdown(&self) {
        let group = self.inner.options.group.as_str();
        self.inner.client.remove_producer(group);
        self.inner.client.unregister(Some(group), None).await;
    }
}

impl Inner {
    fn payload<'a>(&self, message: &'a Message) -> Result<Payload<'a>, ClientError> {
        let unique_id = self.client.unique_id();
        self.check_body(message.body.len())?;
        Ok(Payload {
            topic: &message.topic,
            properties: message.encode_properties(&unique_id)?,
            flag: message.flag,
            sys_flag: 0,
            body: message.body.clone(),
            is_batch: false,
            unique_id,
        })
    }

    fn stored_payload<'a>(&self, stored: &'a StoredMessage) -> Result<Payload<'a>, ClientError> {
        let message = &stored.message;
        self.check_body(message.body.len())?;
        let known = message.property(properties::UNIQ_KEY).map(str::to_owned);
        let unique_id = known.unwrap_or_else(|| self.client.unique_id());
        let mut again = Message::new(&*stored.topic, message.body.clone());
        for (name, value) in message.properties() {
            again = again.with_property(name, value);
        }
        Ok(Payload {
            topic: &stored.topic,
            properties: again.encode_properties(&unique_id)?,
            flag: message.flag,
            sys_flag: message.compression(),
            body: message.body.clone(),
            is_batch: false,
            unique_id,
        })
    }

    fn batch_payload<'a>(&self, messages: &'a [Message]) -> Result<Payload<'a>, ClientError> {
        let illegal = |what: &str| ClientError::IllegalMessage(what.to_owned());
        let first = messages.first().ok_or_else(|| illegal("a batch without messages"))?;
        if messages.iter().any(|message| message.topic != first.topic) {
            return Err(illegal("a batch with more than one topic"));
        }
        if messages.iter().any(|message| message.property(properties::DELAY).is_some()) {
            return Err(illegal("a batch with a delayed message"));
        }
        let mut body = BytesMut::new();
        let mut unique_ids = Vec::with_capacity(messages.len());
        for message in messages {
            let unique_id = self.client.unique_id();
            let properties = message.encode_properties(&unique_id)?;
            batch::encode(message.flag, &message.body, properties.as_bytes(), &mut body);
            unique_ids.push(unique_id);
        }
        self.check_body(body.len())?;
        Ok(Payload {
            topic: &first.topic,
            // No unique id for the whole: Apache's broker would append it to every message's own.
            properties: format!("{}\u{1}true\u{2}", properties::WAIT),
            flag: 0,
            sys_flag: 0,
            body: body.freeze(),
            is_batch: true,
            unique_id: unique_ids.join(","),
        })
    }

    fn check_body(&self, body_bytes: usize) -> Result<(), ClientError> {
        let max = self.options.body_bytes_max;
        if body_bytes <= max {
            return Ok(());
        }
        Err(ClientError::IllegalMessage(format!("a body of {body_bytes} bytes exceeds {max}")))
    }

    async fn send(
        &self,
        payload: &Payload<'_>,
        fixed: Option<MessageQueue>,
    ) -> Result<SendResult, ClientError> {
        let started = Instant::now();
        let deadline = started + self.options.send_timeout;
        let (mut attempts, mut refusals, mut pause) = (0u32, 0u32, PAUSE_MIN);
        let mut tried = Tried::default();
        loop {
            attempts += 1;
            let error = match self.attempt(payload, fixed.as_ref(), &mut tried, deadline).await {
                Ok(result) => return Ok(SendResult { attempts, ..result }),
                Err(error) => error,
            };
            let next = classify(&error);
            refusals += u32::from(matches!(next, Next::Retry));
            if matches!(next, Next::GiveUp) || refusals > self.options.retries {
                return Err(error);
            }
            tracing::debug!(topic = payload.topic, %error, attempts, "send attempt failed");
            if Instant::now() + pause >= deadline {
                let waited = self.options.send_timeout;
                return Err(ClientError::Budget { waited, attempts, last: Box::new(error) });
            }
            let routes = &self.client.shared.routes;
            if attempts > 1 {
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            // No NameServer answering is no reason to stop: the old route may be right again.
            if let Err(error) = routes.refresh(payload.topic, tried.generation).await {
                tracing::debug!(topic = payload.topic, %error, "route not refreshed");
                sleep(pause).await;
            }
        }
    }

    /// One attempt; notes in `tried` by which route and at which broker.
    async fn attempt(
        &self,
        payload: &Payload<'_>,
        fixed: Option<&MessageQueue>,
        tried: &mut Tried,
        deadline: Instant,
    ) -> Result<SendResult, ClientError> {
        let shared = &self.client.shared;
        let route = shared.routes.for_sending(payload.topic).await?;
        tried.generation = route.generation;
        let avoid = tried.broker_name.as_deref();
        let queue = fixed.or_else(|| self.selector.next(&route.publish, avoid));
        let queue = queue.ok_or_else(|| ClientError::NoRoute(payload.topic.to_owned()))?;
        tried.broker_name = Some(queue.broker_name.clone());
        let address = route.leader(&queue.broker_name)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = left.min(self.options.attempt_timeout);
        let answer = shared.remote.ask_within(address, &self.ask(payload, queue), timeout).await?;
        read_result(&answer, payload, queue)
    }

    fn ask(&self, payload: &Payload<'_>, queue: &MessageQueue) -> Ask {
        let code = match payload.is_batch {
            true => request::SEND_BATCH_MESSAGE,
            false => request::SEND_MESSAGE_V2,
        };
        Ask::new(code)
            .with("a", &self.options.group)
            .with("b", payload.topic)
            .with("c", AUTO_CREATE_TOPIC)
            .with("d", 4)
            .with("e", queue.queue_id)
            .with("f", payload.sys_flag)
            .with("g", clock::now_ms())
            .with("h", payload.flag)
            .with("i", &payload.properties)
            .with("j", 0)
            .with("k", false)
            .with("m", payload.is_batch)
            .with("n", &queue.broker_name)
            .with_body(payload.body.clone())
    }
}

fn read_result(
    answer: &Answer,
    payload: &Payload<'_>,
    queue: &MessageQueue,
) -> Result<SendResult, ClientError> {
    let status = match answer.code() {
        response::SUCCESS => SendStatus::SendOk,
        response::FLUSH_DISK_TIMEOUT => SendStatus::FlushDiskTimeout,
        response::FLUSH_SLAVE_TIMEOUT => SendStatus::FlushSlaveTimeout,
        response::SLAVE_NOT_AVAILABLE => SendStatus::SlaveNotAvailable,
        _ => return Err(answer.refusal()),
    };
    let queue_id = i32::try_from(answer.number("queueId")?).unwrap_or(queue.queue_id);
    Ok(SendResult {
        status,
        message_id: payload.unique_id.clone(),
        offset_message_id: answer.text("msgId").unwrap_or_default().to_owned(),
        queue: MessageQueue { queue_id, ..queue.clone() },
        queue_offset: answer.number("queueOffset")?,
        attempts: 1,
    })
}

fn classify(error: &ClientError) -> Next {
    match error {
        ClientError::Unreachable { .. }
        | ClientError::Transport { .. }
        | ClientError::NoLeader(_)
        | ClientError::NotReady(_) => Next::AwaitLeader,
        ClientError::Refused { code, .. } => match *code {
            response::SERVICE_NOT_AVAILABLE
            | response::NOT_LEADER_FOR_QUEUE
            | response::SYSTEM_BUSY
            | response::FLOW_CONTROL
            | response::GO_AWAY => Next::AwaitLeader,
            response::SYSTEM_ERROR
            | response::NO_PERMISSION
            | response::TOPIC_NOT_EXIST
            | response::NO_BUYER_ID
            | response::NOT_IN_CURRENT_UNIT => Next::Retry,
            _ => Next::GiveUp,
        },
        ClientError::NoRoute(_) => Next::Retry,
        _ => Next::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_election_is_waited_for_and_an_illegal_message_is_not() {
        let refused = |code| ClientError::Refused { address: "a".into(), code, remark: "".into() };
        let transport = ClientError::Transport { address: "a".into(), reason: "reset".into() };
        assert!(matches!(classify(&transport), Next::AwaitLeader));
        assert!(matches!(classify(&refused(14)), Next::AwaitLeader));
        assert!(matches!(classify(&ClientError::NoLeader("b".into())), Next::AwaitLeader));
        assert!(matches!(classify(&refused(1)), Next::Retry));
        assert!(matches!(classify(&refused(13)), Next::GiveUp));
        assert!(matches!(classify(&ClientError::IllegalMessage("x".into())), Next::GiveUp));
    }
}
