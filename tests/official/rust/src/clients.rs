//! Producers and consumers of this client, each under a name of its own: clients of one name share
//! connections and their fate.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use rocketmq_client_rust::{
    ClientConfig, ClientOptions, ClientRuntime, ConsumeConcurrentlyContext,
    ConsumeConcurrentlyStatus, DefaultLitePullConsumer, DefaultMQProducer, DefaultMQPullConsumer,
    DefaultMQPushConsumer, DefaultMQPushConsumerBuilder, MQPushConsumer,
};
use rocketmq_model::common::consumer::consume_from_where::ConsumeFromWhere;
use rocketmq_model::common::message::message_ext::MessageExt;
use rocketmq_model::common::message::message_single::Message;
use rocketmq_model::result::{SendResult, SendStatus};

use crate::cases::{Outcome, check, equal};

/// The broker's limit is what is tested, not the client's own of 4 MiB.
const MESSAGE_BYTES_MAX: u32 = 16 << 20;
/// The least that this client takes; its own is 30 s.
const ROUTE_MS: u32 = 10_000;

pub struct Clients {
    runtime: Arc<ClientRuntime>,
    name_servers: String,
    started: AtomicUsize,
}

impl Clients {
    pub fn new(runtime: Arc<ClientRuntime>, name_servers: String) -> Clients {
        Clients { runtime, name_servers, started: AtomicUsize::new(0) }
    }

    fn config(&self) -> ClientConfig {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let config = ClientConfig::builder()
            .namesrv_addr(self.name_servers.as_str())
            .instance_name(format!("suite-{}-{number}", std::process::id()))
            .poll_name_server_interval(ROUTE_MS);
        config.build_unvalidated()
    }

    pub async fn producer(&self) -> Outcome<DefaultMQProducer> {
        let mut producer = DefaultMQProducer::builder(Arc::clone(&self.runtime))
            .client_config(self.config())
            .producer_group("OfficialRustProducer")
            .max_message_size(MESSAGE_BYTES_MAX)
            .build();
        producer.start().await?;
        Ok(producer)
    }

    /// A push consumer from the beginning of each queue, not subscribed yet.
    pub fn push_consumer(&self, group: &str) -> Outcome<DefaultMQPushConsumerBuilder> {
        Ok(DefaultMQPushConsumer::builder(Arc::clone(&self.runtime))
            .client_config(self.config())
            .consumer_group(group)
            .consume_from_where(ConsumeFromWhere::ConsumeFromFirstOffset))
    }

    pub async fn consume_all(&self, group: &str, topic: &str, tags: &str) -> Outcome<Received> {
        let always = |_: &Delivery| ConsumeConcurrentlyStatus::ConsumeSuccess;
        Received::start(self.push_consumer(group)?, topic, tags, always).await
    }

    pub fn pull_consumer(&self, group: &str) -> Outcome<DefaultMQPullConsumer> {
        let consumer = DefaultMQPullConsumer::builder(Arc::clone(&self.runtime))
            .client_options(ClientOptions::legacy(self.config()))
            .consumer_group(group);
        Ok(consumer.build()?)
    }

    pub fn lite_pull_consumer(&self, group: &str) -> Outcome<DefaultLitePullConsumer> {
        let consumer = DefaultLitePullConsumer::builder(Arc::clone(&self.runtime))
            .client_options(ClientOptions::legacy(self.config()))
            .consume_from_where(ConsumeFromWhere::ConsumeFromFirstOffset)
            .consumer_group(group);
        Ok(consumer.build()?)
    }
}

pub fn message(topic: &str, tag: &str, number: usize) -> Outcome<Message> {
    let message = Message::builder()
        .topic(topic)
        .tags(tag)
        .key(format!("key{number}"))
        .raw_property("number", number.to_string())?
        .body_slice(format!("{tag} body {number}").as_bytes());
    Ok(message.build()?)
}

/// What a send was answered with, if that is good.
pub fn stored(result: Option<SendResult>) -> Outcome<SendResult> {
    let result = result.ok_or("a send without a result")?;
    equal(result.send_status, SendStatus::SendOk, "status")?;
    check(result.msg_id.as_ref().is_some_and(|id| !id.is_empty()), || "no id".to_owned())?;
    Ok(result)
}

/// One delivery of a message to a listener.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub topic: String,
    pub tags: String,
    pub keys: String,
    pub body: String,
    pub number: String,
    pub reconsume_times: i32,
    pub dead_letter_of: Option<String>,
    /// Of several groups' queues with one number.
    pub queue: (String, i32),
    pub queue_offset: i64,
    pub at: Instant,
}

impl Delivery {
    pub fn of(message: &MessageExt) -> Delivery {
        let inner = message.message_inner();
        let property = |name| inner.property(name).map(str::to_owned);
        Delivery {
            topic: message.topic().to_string(),
            tags: property("TAGS").unwrap_or_default(),
            keys: property("KEYS").unwrap_or_default(),
            body: message.body().map(text).unwrap_or_default(),
            number: property("number").unwrap_or_default(),
            reconsume_times: message.reconsume_times(),
            dead_letter_of: property("DLQ_ORIGIN_TOPIC"),
            queue: (message.broker_name().to_owned(), message.queue_id()),
            queue_offset: message.queue_offset(),
            at: Instant::now(),
        }
    }
}

pub fn text(bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(bytes.as_ref()).into_owned()
}

/// Every delivery of a body.
#[derive(Clone, Default)]
pub struct Deliveries(Arc<Mutex<HashMap<String, Vec<Delivery>>>>);

impl Deliveries {
    fn locked(&self) -> MutexGuard<'_, HashMap<String, Vec<Delivery>>> {
        self.0.lock().expect("no listener panics")
    }

    pub fn add(&self, delivery: Delivery) {
        self.locked().entry(delivery.body.clone()).or_default().push(delivery);
    }

    /// How many different bodies came.
    pub fn count(&self) -> usize {
        self.locked().len()
    }

    pub fn of(&self, body: &str) -> Vec<Delivery> {
        self.locked().get(body).cloned().unwrap_or_default()
    }

    pub fn has(&self, bodies: &[String]) -> bool {
        let found = self.locked();
        bodies.iter().all(|body| found.contains_key(body))
    }

    pub fn all(&self) -> Vec<Delivery> {
        self.locked().values().flatten().cloned().collect()
    }
}

/// A push consumer at work, and what it got.
pub struct Received {
    pub got: Deliveries,
    consumer: DefaultMQPushConsumer,
}

impl Received {
    pub async fn start(
        builder: DefaultMQPushConsumerBuilder,
        topic: &str,
        tags: &str,
        rule: impl Fn(&Delivery) -> ConsumeConcurrentlyStatus + Send + Sync + 'static,
    ) -> Outcome<Received> {
        let mut consumer = builder.build();
        let got = Deliveries::default();
        let kept = got.clone();
        consumer.subscribe(topic, tags).await?;
        consumer.register_message_listener_concurrently(
            move |messages: &[&MessageExt], _: &ConsumeConcurrentlyContext| {
                let mut status = ConsumeConcurrentlyStatus::ConsumeSuccess;
                for message in messages {
                    let delivery = Delivery::of(message);
                    status = rule(&delivery);
                    kept.add(delivery);
                }
                Ok(status)
            },
        );
        consumer.start().await?;
        Ok(Received { got, consumer })
    }

    pub async fn close(mut self) {
        self.consumer.shutdown().await;
    }
}
