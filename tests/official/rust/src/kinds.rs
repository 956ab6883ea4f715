//! The consumers beside the concurrent one: in order, broadcast, pull, lite pull.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rocketmq_client_rust::{
    ConsumeConcurrentlyStatus, ConsumeOrderlyContext, ConsumeOrderlyStatus,
    DefaultLitePullConsumer, MQPushConsumer, PullStatus,
};
use rocketmq_model::common::message::message_ext::MessageExt;
use rocketmq_protocol::protocol::heartbeat::message_model::MessageModel;

use crate::cases::{Cases, Outcome, check, equal, until};
use crate::clients::{Clients, Deliveries, Delivery, Received, message, stored, text};
use crate::messaging::Messaging;

const TOPIC: &str = "OfficialRustKinds";
const MESSAGES: usize = 200;
const QUEUES: usize = 6;
const REFUSED: usize = 3;
const POLL_MS: u64 = 1_000;
const LIMIT: Duration = Duration::from_secs(60);

pub struct Kinds<'a, 'b> {
    clients: &'a Clients,
    messaging: &'a mut Messaging<'b>,
    sent: Vec<String>,
}

impl<'a, 'b> Kinds<'a, 'b> {
    pub async fn new(
        clients: &'a Clients,
        messaging: &'a mut Messaging<'b>,
    ) -> Outcome<Kinds<'a, 'b>> {
        messaging.create_topic(TOPIC).await?;
        let mut kinds = Kinds { clients, messaging, sent: Vec::new() };
        kinds.send(MESSAGES).await?;
        Ok(kinds)
    }

    pub async fn run(mut self, cases: &mut Cases) {
        cases.run("orderly-consumer-keeps-order", self.in_order()).await;
        cases.run("broadcast-reaches-every-consumer", self.broadcast()).await;
        cases.run("pull-consumer-reads-all", self.pull()).await;
        cases.run("lite-pull-assigns-and-seeks", self.lite_pull_assigned()).await;
        cases.run("lite-pull-subscribes-and-resumes", self.lite_pull()).await;
    }

    async fn send(&mut self, count: usize) -> Outcome<Vec<String>> {
        let mut bodies = Vec::new();
        for _ in 0..count {
            let made = message(TOPIC, "T", self.sent.len())?;
            let body = text(made.body_slice());
            stored(self.messaging.producer.send(made).await?)?;
            bodies.push(body.clone());
            self.sent.push(body);
        }
        Ok(bodies)
    }

    async fn in_order(&self) -> Outcome {
        let order = Arc::new(Mutex::new(Order::default()));
        let got = Deliveries::default();
        let (seen, kept) = (Arc::clone(&order), got.clone());
        let listen = move |messages: &[&MessageExt], _: &mut ConsumeOrderlyContext| {
            let mut order = seen.lock().expect("no listener panics");
            if order.refused < REFUSED {
                order.refused += 1;
                return Ok(ConsumeOrderlyStatus::SuspendCurrentQueueAMoment);
            }
            for message in messages {
                let delivery = Delivery::of(message);
                order.note(&delivery);
                kept.add(delivery);
            }
            Ok(ConsumeOrderlyStatus::Success)
        };
        let mut consumer = self.clients.push_consumer("OfficialRustOrdered")?.build();
        consumer.subscribe(TOPIC, "*").await?;
        consumer.register_message_listener_orderly(listen);
        consumer.start().await?;
        until(LIMIT, "all consumed", || got.has(&self.sent)).await?;
        consumer.shutdown().await;
        let order = order.lock().expect("no listener panics");
        equal(&order.mistakes, &Vec::new(), "mistakes")?;
        equal(order.refused, REFUSED, "refused deliveries")
    }

    async fn broadcast(&self) -> Outcome {
        let mut everyone = Vec::new();
        for _ in 0..2 {
            let consumer = self.clients.push_consumer("OfficialRustBroadcast")?;
            let consumer = consumer.message_model(MessageModel::Broadcasting);
            let always = |_: &Delivery| ConsumeConcurrentlyStatus::ConsumeSuccess;
            everyone.push(Received::start(consumer, TOPIC, "*", always).await?);
        }
        for one in everyone {
            until(LIMIT, "all reached", || one.got.has(&self.sent)).await?;
            one.close().await;
        }
        Ok(())
    }

    async fn pull(&self) -> Outcome {
        let consumer = self.clients.pull_consumer("OfficialRustPull")?;
        consumer.start().await?;
        let mut got = HashSet::new();
        for queue in consumer.fetch_subscribe_message_queues(TOPIC).await? {
            let mut offset = consumer.min_offset(&queue).await?;
            let end = consumer.max_offset(&queue).await?;
            while offset < end {
                let result = consumer.pull(&queue, "*", offset, 16).await?;
                equal(result.pull_status(), &PullStatus::Found, "status")?;
                let found = result.msg_found_list().into_iter().flatten();
                got.extend(found.filter_map(|message| message.body().map(text)));
                offset = i64::try_from(result.next_begin_offset())?;
            }
            consumer.update_consume_offset(&queue, offset).await?;
            equal(consumer.fetch_consume_offset(&queue, false).await?, end, "own progress")?;
        }
        consumer.shutdown().await?;
        equal(got, self.sent.iter().cloned().collect(), "bodies")
    }

    async fn lite_pull_assigned(&self) -> Outcome {
        let consumer = self.clients.lite_pull_consumer("OfficialRustAssigned")?;
        consumer.set_auto_commit(false).await;
        consumer.start().await?;
        let queues = consumer.fetch_message_queues(TOPIC).await?;
        equal(queues.len(), QUEUES, "queues")?;
        consumer.assign(queues.clone()).await?;
        for queue in &queues {
            consumer.seek_to_begin(queue).await?;
        }
        poll_until(&consumer, "all polled", |got| got.has(&self.sent)).await?;
        // Polled to the end, so what comes now comes because of the seek.
        consumer.seek(&queues[0], 3).await?;
        let again = poll_until(&consumer, "the queue again", |got| got.count() > 0).await?;
        let first = again.all().iter().map(|one| one.queue_offset).min();
        equal(first, Some(3), "first offset after the seek")?;
        consumer.shutdown().await;
        Ok(())
    }

    async fn lite_pull(&mut self) -> Outcome {
        let consumer = self.clients.lite_pull_consumer("OfficialRustLite")?;
        consumer.subscribe_with_expression(TOPIC, "*").await?;
        consumer.start().await?;
        poll_until(&consumer, "all polled", |got| got.has(&self.sent)).await?;
        consumer.commit_all().await?;
        consumer.shutdown().await;
        let next = self.clients.lite_pull_consumer("OfficialRustLite")?;
        next.subscribe_with_expression(TOPIC, "*").await?;
        next.start().await?;
        let new = self.send(QUEUES).await?;
        let more = poll_until(&next, "what is new polled", |got| got.has(&new)).await?;
        equal(more.count(), new.len(), "messages, only what is new")?;
        next.shutdown().await;
        Ok(())
    }
}

/// What came in order, and what did not.
#[derive(Default)]
struct Order {
    next: HashMap<(String, i32), i64>,
    mistakes: Vec<String>,
    refused: usize,
}

impl Order {
    fn note(&mut self, delivery: &Delivery) {
        let next = self.next.entry(delivery.queue.clone()).or_default();
        if delivery.queue_offset != *next {
            self.mistakes.push(format!("{delivery:?}, not {next}"));
        }
        *next = delivery.queue_offset + 1;
    }
}

async fn poll_until(
    consumer: &DefaultLitePullConsumer,
    what: &str,
    enough: impl Fn(&Deliveries) -> bool,
) -> Outcome<Deliveries> {
    let got = Deliveries::default();
    let end = Instant::now() + LIMIT;
    while !enough(&got) {
        check(Instant::now() < end, || format!("after {LIMIT:?} still not: {what}"))?;
        for message in consumer.poll_with_timeout(POLL_MS).await {
            got.add(Delivery::of(&message));
        }
    }
    Ok(got)
}
