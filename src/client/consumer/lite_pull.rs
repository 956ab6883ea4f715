//! A consumer that the application polls: its queues are shared out in its group, or named by the
//! application.
//!
//! Invariant: what a poll returned is committed only after the next poll began, or when the application
//! says so.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::buffer::Buffer;
use super::control::Control;
use super::{ClientError, ConsumeResult, ConsumerOptions, Shared, coordinator, puller};
use crate::client::instance::Client;
use crate::client::message::ReceivedMessage;
use crate::protocol::heartbeat::ConsumeType;
use crate::protocol::queue::MessageQueue;

/// Requests of the application that wait for the coordinator.
const CONTROLS_MAX: usize = 16;

/// Settings of a consumer that is polled.
#[derive(Debug, Clone)]
pub struct LitePullOptions {
    /// Group, subscriptions and limits. What concerns listeners is not used.
    pub consumer: ConsumerOptions,
    /// Messages that one poll returns, at most.
    pub poll_messages_max: usize,
    /// Whether offsets are committed as the application goes on polling; otherwise only by
    /// [`LitePullConsumer::commit`].
    pub auto_commit: bool,
}

impl LitePullOptions {
    /// Defaults of the official clients for a group.
    pub fn new(group: impl Into<String>) -> LitePullOptions {
        let mut consumer = ConsumerOptions::new(group);
        consumer.pull_batch_max = 10;
        consumer.suspend = Duration::from_secs(20);
        consumer.send_back = false;
        LitePullOptions { consumer, poll_messages_max: 10, auto_commit: true }
    }

    /// With one more topic.
    #[must_use]
    pub fn subscribe(mut self, topic: impl Into<String>, expression: &str) -> LitePullOptions {
        self.consumer = self.consumer.subscribe(topic, expression);
        self
    }
}

/// A consumer that is polled. Stops when dropped; [`LitePullConsumer::shutdown`] also commits.
pub struct LitePullConsumer {
    shared: Arc<Shared>,
    buffer: Arc<Buffer>,
    control: mpsc::Sender<Control>,
    stop: Option<oneshot::Sender<()>>,
    coordinator: tokio::task::JoinHandle<()>,
    options: LitePullOptions,
}

impl LitePullConsumer {
    /// Joins the group, whose members share the queues of the topics subscribed to.
    ///
    /// # Errors
    /// When a name or an expression is not one, or the client already consumes in this group.
    pub async fn start(
        client: &Client,
        options: LitePullOptions,
    ) -> Result<LitePullConsumer, ClientError> {
        LitePullConsumer::begin(client, options, None)
    }

    /// Consumes these queues, whatever other members of the group do. Expressions for their topics are
    /// taken from the subscriptions; a topic without one is read as a whole.
    ///
    /// # Errors
    /// As [`LitePullConsumer::start`].
    pub async fn start_assigned(
        client: &Client,
        mut options: LitePullOptions,
        queues: BTreeSet<MessageQueue>,
    ) -> Result<LitePullConsumer, ClientError> {
        for queue in &queues {
            let topics = &mut options.consumer.subscriptions;
            topics.entry(queue.topic.clone()).or_insert_with(|| "*".to_owned());
        }
        LitePullConsumer::begin(client, options, Some(queues))
    }

    fn begin(
        client: &Client,
        options: LitePullOptions,
        assigned: Option<BTreeSet<MessageQueue>>,
    ) -> Result<LitePullConsumer, ClientError> {
        let mut consumer = options.consumer.clone();
        // It has no retry topic: nothing is ever sent back.
        (consumer.in_order, consumer.send_back) = (false, false);
        let buffer = Arc::new(Buffer::default());
        let nobody = |_| std::future::ready(ConsumeResult::Later);
        let mut shared = Shared::join(client, consumer, ConsumeType::Actively, nobody)?;
        shared.buffer = Some(buffer.clone());
        shared.auto_commit = options.auto_commit;
        shared.assigned = assigned.map(parking_lot::Mutex::new);
        let shared = Arc::new(shared);
        let (control, controls) = mpsc::channel(CONTROLS_MAX);
        let (stop, stopped) = oneshot::channel();
        let coordinator = tokio::spawn(coordinator::run(shared.clone(), stopped, controls));
        Ok(LitePullConsumer { shared, buffer, control, stop: Some(stop), coordinator, options })
    }

    /// The next messages, of one queue and in its order; none when the time is over. What the last poll
    /// returned counts as consumed.
    pub async fn poll(&self, limit: Duration) -> Vec<ReceivedMessage> {
        self.buffer.consumed();
        let taken = timeout(limit, self.buffer.take(self.options.poll_messages_max)).await;
        taken.unwrap_or_default()
    }

    /// Tells the brokers that everything polled until now is consumed. An offset that a broker did not
    /// take is offered to it again later.
    ///
    /// # Errors
    /// When the consumer has ended.
    pub async fn commit(&self) -> Result<(), ClientError> {
        self.buffer.consumed();
        self.ask(Control::Commit).await
    }

    /// Goes on at an offset of a queue that is assigned.
    ///
    /// # Errors
    /// When it is not assigned, or has no such offset.
    pub async fn seek(&self, queue: &MessageQueue, offset: i64) -> Result<(), ClientError> {
        let (first, end) = (self.first_offset(queue).await?, self.end_offset(queue).await?);
        if !(first..=end).contains(&offset) {
            let what = format!("offset {offset} of {queue:?} is not within {first} and {end}");
            return Err(ClientError::IllegalArgument(what));
        }
        self.ask(|done| Control::Seek(queue.clone(), offset, done)).await?
    }

    /// Pulls nothing more of these queues until they are resumed; what was pulled before is still
    /// polled, and is consumed. Queues that are not assigned are left out, and one that goes to another
    /// member and comes back is not paused any more.
    ///
    /// # Errors
    /// When the consumer has ended.
    pub async fn pause(&self, queues: BTreeSet<MessageQueue>) -> Result<(), ClientError> {
        self.ask(|done| Control::Pause(queues, true, done)).await
    }

    /// Pulls these queues again, from where they were or were put since.
    ///
    /// # Errors
    /// When the consumer has ended.
    pub async fn resume(&self, queues: BTreeSet<MessageQueue>) -> Result<(), ClientError> {
        self.ask(|done| Control::Pause(queues, false, done)).await
    }

    /// The queues that are consumed now.
    ///
    /// # Errors
    /// When the consumer has ended.
    pub async fn assignment(&self) -> Result<BTreeSet<MessageQueue>, ClientError> {
        self.ask(Control::Assignment).await
    }

    /// Consumes these queues instead.
    ///
    /// # Errors
    /// When its queues are shared out in its group, or one is of a topic that it did not begin with.
    pub async fn assign(&self, queues: BTreeSet<MessageQueue>) -> Result<(), ClientError> {
        let illegal = |what: String| Err(ClientError::IllegalArgument(what));
        let Some(assigned) = &self.shared.assigned else {
            return illegal("this consumer's queues are shared out in its group".to_owned());
        };
        let known = |queue: &&MessageQueue| self.shared.subscriptions.contains_key(&queue.topic);
        if let Some(queue) = queues.iter().find(|queue| !known(queue)) {
            return illegal(format!("this consumer did not begin with topic {}", queue.topic));
        }
        *assigned.lock() = queues;
        self.ask(Control::Reassigned).await
    }

    /// Every queue of a topic.
    ///
    /// # Errors
    /// When it has no route.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        Ok(self.shared.client.shared.routes.for_reading(topic).await?.subscribe.clone())
    }

    /// The offset of a queue's oldest message.
    ///
    /// # Errors
    /// When its broker does not say.
    pub async fn first_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        puller::min_offset(&self.shared, queue).await
    }

    /// The offset of the next message that a queue gets.
    ///
    /// # Errors
    /// When its broker does not say.
    pub async fn end_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        puller::max_offset(&self.shared, queue).await
    }

    /// The offset of a queue's first message at or after a time in milliseconds since 1970.
    ///
    /// # Errors
    /// When its broker does not say.
    pub async fn offset_at(&self, queue: &MessageQueue, time_ms: i64) -> Result<i64, ClientError> {
        puller::offset_at(&self.shared, queue, time_ms).await
    }

    /// What the group has committed for a queue.
    ///
    /// # Errors
    /// When its broker does not say.
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<i64>, ClientError> {
        puller::stored_offset(&self.shared, queue).await
    }

    /// Leaves the group; what was polled counts as consumed and, unless the application does that
    /// itself, is committed.
    pub async fn shutdown(mut self) {
        self.buffer.consumed();
        if let Some(stop) = self.stop.take() {
            // The coordinator may have ended on its own; then there is nothing to stop.
            let _ = stop.send(());
        }
        if let Err(error) = self.coordinator.await {
            tracing::warn!(%error, "the consumer's coordinator ended abnormally");
        }
    }

    async fn ask<T>(
        &self,
        control: impl FnOnce(oneshot::Sender<T>) -> Control,
    ) -> Result<T, ClientError> {
        let ended = || ClientError::IllegalArgument("this consumer has ended".to_owned());
        let (done, answer) = oneshot::channel();
        self.control.send(control(done)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }
}
