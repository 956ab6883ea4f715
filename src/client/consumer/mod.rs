//! A push consumer: concurrent or in order, one of its group or, broadcast, each by itself; at least
//! once.
//!
//! Three kinds of tasks: the coordinator, which shares the group's queues out and commits offsets;
//! one puller a queue, which keeps a bounded number of messages in flight; and the listener's calls,
//! bounded by a number of permits.
//!
//! A message that the listener wants later is sent back: its broker stores it again, for a while out
//! of sight, in the group's retry topic, to which every consumer of the group subscribes. Until that is
//! done, the queue's committed offset does not pass it; while no broker takes it back, it is offered
//! again by this process, after a pause. In order, nothing is sent back but what is given up: the
//! message holds its queue.
//!
//! Or there is no listener: the application polls, see [`LitePullConsumer`].
//!
//! Broadcast, each member consumes every queue, keeps its offsets in a file of its own, and skips what
//! its listener refuses.

mod allocate;
mod buffer;
mod control;
mod coordinator;
mod deliver;
mod in_order;
mod lite_pull;
mod local_offsets;
mod locks;
mod process_queue;
mod puller;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::clock;
use crate::protocol::heartbeat::{
    ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData,
};
use crate::protocol::names;
use crate::protocol::queue::MessageQueue;

pub use self::lite_pull::{LitePullConsumer, LitePullOptions};
pub(crate) use allocate::averagely as allocate_averagely;

use self::buffer::Buffer;
use self::control::Control;
use self::in_order::Turns;
use self::local_offsets::LocalOffsets;
use self::puller::Puller;
use super::error::ClientError;
use super::instance::Client;
use super::message::ReceivedMessage;

/// What a listener made of its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumeResult {
    /// Done with them.
    Success,
    /// Offer them again later: after a while that grows with each attempt, and for as many attempts as
    /// the group allows.
    Later,
    /// The same, after the delay of this level of the broker's.
    LaterAtLevel(i32),
    /// Put them into the group's dead letter topic.
    GiveUp,
}

impl ConsumeResult {
    /// What a broker is told that takes messages back; none if they are consumed.
    fn delay_level(self) -> Option<i32> {
        match self {
            ConsumeResult::Success => None,
            ConsumeResult::Later => Some(0),
            ConsumeResult::LaterAtLevel(level) => Some(level.max(0)),
            ConsumeResult::GiveUp => Some(-1),
        }
    }
}

/// Where a group begins that has no offset for a queue yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumeFrom {
    /// With what is sent from now on.
    Last,
    /// With the oldest message kept.
    First,
    /// With the first message stored at or after this time, in milliseconds since 1970.
    Timestamp(i64),
}

/// Settings of a push consumer.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// Its group.
    pub group: String,
    /// Topics with their tag expressions: `*`, or `TagA || TagB`.
    pub subscriptions: BTreeMap<String, String>,
    /// Where a new group begins.
    pub consume_from: ConsumeFrom,
    /// Whether a message goes to one member of the group, or to each.
    pub model: MessageModel,
    /// Whether the listener gets a queue's messages one after the other: a message wanted later holds its
    /// queue until it is consumed, or its attempts are used up and it is in the dead letter topic.
    pub in_order: bool,
    /// Below it, broadcast consumers keep their offsets, by instance name and group: each process
    /// needs an instance name that is its own and stays.
    pub offsets_directory: PathBuf,
    /// Listener calls at once.
    pub concurrency: usize,
    /// Messages handed to one listener call, at most.
    pub consume_batch_max: usize,
    /// Messages asked for in one pull.
    pub pull_batch_max: u32,
    /// Messages in flight from one queue before its puller waits.
    pub queue_messages_max: usize,
    /// Their bytes.
    pub queue_bytes_max: usize,
    /// Offsets between the oldest and the newest message in flight of one queue.
    pub queue_span_max: i64,
    /// Whether messages wanted later are sent back. Otherwise this process offers them again, for as
    /// long as it takes.
    pub send_back: bool,
    /// Attempts that a message has after its first one; none lets the group's settings say, and is
    /// without limit in order.
    pub max_reconsume_times: Option<i32>,
    /// Before messages wanted later are offered again by this process.
    pub later_pause: Duration,
    /// Between two commits of offsets.
    pub commit_interval: Duration,
    /// Between two looks at how queues are shared out.
    pub rebalance_interval: Duration,
    /// How long a broker may hold a pull that finds nothing.
    pub suspend: Duration,
    /// How long a shutdown waits for listeners that are still busy.
    pub shutdown_timeout: Duration,
}

impl ConsumerOptions {
    /// Defaults of the official clients for a group.
    pub fn new(group: impl Into<String>) -> ConsumerOptions {
        ConsumerOptions {
            group: group.into(),
            subscriptions: BTreeMap::new(),
            consume_from: ConsumeFrom::Last,
            model: MessageModel::Clustering,
            in_order: false,
            offsets_directory: default_offsets_directory(),
            concurrency: 20,
            consume_batch_max: 1,
            pull_batch_max: 32,
            queue_messages_max: 1000,
            queue_bytes_max: 100 * 1024 * 1024,
            queue_span_max: 2000,
            send_back: true,
            max_reconsume_times: None,
            later_pause: Duration::from_secs(1),
            commit_interval: Duration::from_secs(5),
            rebalance_interval: Duration::from_secs(20),
            suspend: Duration::from_secs(15),
            shutdown_timeout: Duration::from_secs(5),
        }
    }

    /// With one more topic.
    #[must_use]
    pub fn subscribe(mut self, topic: impl Into<String>, expression: &str) -> ConsumerOptions {
        self.subscriptions.insert(topic.into(), expression.to_owned());
        self
    }
}

/// A listener has no questions.
fn nobody_asks() -> mpsc::Receiver<Control> {
    mpsc::channel(1).1
}

fn default_offsets_directory() -> PathBuf {
    let home = std::env::var_os("HOME").unwrap_or_default();
    Path::new(&home).join(".rocketmq_offsets")
}

type Listening = Pin<Box<dyn Future<Output = ConsumeResult> + Send>>;
type Listener = dyn Fn(Arc<[ReceivedMessage]>) -> Listening + Send + Sync;

/// What coordinator and pullers share.
struct Shared {
    client: Client,
    options: ConsumerOptions,
    /// By topic, the retry topic of the group included.
    subscriptions: BTreeMap<String, SubscriptionData>,
    listener: Box<Listener>,
    /// Listener calls that may still begin.
    permits: Arc<Semaphore>,
    /// Who may call the listener in order.
    turns: Turns,
    /// Of a broadcast consumer.
    local_offsets: Option<LocalOffsets>,
    /// Of a consumer that is polled: where its messages wait.
    buffer: Option<Arc<Buffer>>,
    /// Whether offsets are committed without being asked to.
    auto_commit: bool,
    /// The queues to consume, where the application says so.
    assigned: Option<Mutex<BTreeSet<MessageQueue>>>,
}

impl Shared {
    /// Everything a coordinator needs; the group is known to the client from here on.
    fn join<L, F>(
        client: &Client,
        options: ConsumerOptions,
        consume_type: ConsumeType,
        listener: L,
    ) -> Result<Shared, ClientError>
    where
        L: Fn(Arc<[ReceivedMessage]>) -> F + Send + Sync + 'static,
        F: Future<Output = ConsumeResult> + Send + 'static,
    {
        let has_retry_topic =
            options.model == MessageModel::Clustering && consume_type == ConsumeType::Passively;
        let subscriptions = subscriptions(&options, has_retry_topic)?;
        let local_offsets = match options.model {
            MessageModel::Broadcasting => {
                let instance = &client.shared.options.instance_name;
                Some(LocalOffsets::open(&options.offsets_directory, instance, &options.group)?)
            }
            MessageModel::Clustering => None,
        };
        client.add_consumer(ConsumerData {
            consume_from_where: match options.consume_from {
                ConsumeFrom::Last => ConsumeFromWhere::LastOffset,
                ConsumeFrom::First => ConsumeFromWhere::FirstOffset,
                ConsumeFrom::Timestamp(_) => ConsumeFromWhere::Timestamp,
            },
            consume_type,
            group_name: options.group.clone(),
            message_model: options.model,
            subscription_data_set: subscriptions.values().cloned().collect(),
            unit_mode: false,
        })?;
        Ok(Shared {
            client: client.clone(),
            permits: Arc::new(Semaphore::new(options.concurrency.max(1))),
            listener: Box::new(move |messages| Box::pin(listener(messages))),
            subscriptions,
            turns: Turns::default(),
            local_offsets,
            buffer: None,
            auto_commit: true,
            assigned: None,
            options,
        })
    }

    /// The puller's queue is consumed by it no more.
    fn abandon(&self, puller: &Arc<Puller>) {
        puller.abandon();
        self.buffer.iter().for_each(|buffer| buffer.forget(puller));
    }

    fn is_broadcast(&self) -> bool {
        self.options.model == MessageModel::Broadcasting
    }

    /// Whether a queue is consumed only while it is locked.
    fn locks(&self) -> bool {
        self.options.in_order && !self.is_broadcast()
    }
}

/// A push consumer. Stops when dropped; [`PushConsumer::shutdown`] also commits what was consumed.
pub struct PushConsumer {
    stop: Option<oneshot::Sender<()>>,
    coordinator: tokio::task::JoinHandle<()>,
}

impl PushConsumer {
    /// Joins the group and begins to consume.
    ///
    /// # Errors
    /// When a name or an expression is not one, or the client already consumes in this group.
    pub async fn start<L, F>(
        client: &Client,
        options: ConsumerOptions,
        listener: L,
    ) -> Result<PushConsumer, ClientError>
    where
        L: Fn(Arc<[ReceivedMessage]>) -> F + Send + Sync + 'static,
        F: Future<Output = ConsumeResult> + Send + 'static,
    {
        let shared = Shared::join(client, options, ConsumeType::Passively, listener)?;
        let (stop, stopped) = oneshot::channel();
        let coordinator = tokio::spawn(coordinator::run(Arc::new(shared), stopped, nobody_asks()));
        Ok(PushConsumer { stop: Some(stop), coordinator })
    }

    /// Stops pulling, waits for busy listeners, commits the offsets and leaves the group.
    pub async fn shutdown(mut self) {
        if let Some(stop) = self.stop.take() {
            // The coordinator may have ended on its own; then there is nothing to stop.
            let _ = stop.send(());
        }
        if let Err(error) = self.coordinator.await {
            tracing::warn!(%error, "the consumer's coordinator ended abnormally");
        }
    }
}

fn subscriptions(
    options: &ConsumerOptions,
    has_retry_topic: bool,
) -> Result<BTreeMap<String, SubscriptionData>, ClientError> {
    let illegal = |error: String| ClientError::IllegalArgument(error);
    names::validate_group(&options.group).map_err(|error| illegal(error.to_string()))?;
    if options.subscriptions.is_empty() {
        return Err(illegal(format!("group {} subscribes to nothing", options.group)));
    }
    let version = clock::now_ms();
    let mut subscriptions = BTreeMap::new();
    let retry_topic = names::retry_topic(&options.group);
    let given = options.subscriptions.iter().map(|(topic, e)| (topic.clone(), e.as_str()));
    // What is sent back comes to one member, so it is of no use to a broadcast consumer.
    let retried = has_retry_topic.then_some((retry_topic, "*"));
    for (topic, expression) in given.chain(retried) {
        let data = SubscriptionData::from_tags(topic.clone(), expression, version);
        subscriptions.insert(topic, data.map_err(|error| illegal(error.to_string()))?);
    }
    Ok(subscriptions)
}
