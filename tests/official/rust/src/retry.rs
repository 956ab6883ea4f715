//! Delay levels, retries and dead letters.

use std::time::{Duration, Instant};

use rocketmq_client_rust::ConsumeConcurrentlyStatus;

use crate::cases::{Cases, Outcome, check, equal, say, until};
use crate::clients::{Clients, Delivery, Received, message, stored};
use crate::messaging::Messaging;

const TOPIC: &str = "OfficialRustRetried";
const GROUP: &str = "OfficialRustRetry";
/// The cluster's levels are `1s 3s 1s 1s 1s`.
const DELAY_LEVEL: i32 = 2;
const DELAY: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(90);
/// How often each body is to come.
const COMES: [(&str, usize); 3] =
    [("Delayed body 1", 1), ("FailsOnce body 1", 2), ("FailsAlways body 1", 3)];

pub struct Retry<'a> {
    clients: &'a Clients,
    received: Received,
    sent_at: Instant,
}

impl Retry<'_> {
    /// Early, so that the client's timers run while other cases do.
    pub async fn start<'a>(
        clients: &'a Clients,
        messaging: &mut Messaging<'_>,
    ) -> Outcome<Retry<'a>> {
        messaging.create_topic(TOPIC).await?;
        let consumer = clients.push_consumer(GROUP)?.max_reconsume_times(2);
        let received = Received::start(consumer, TOPIC, "*", rule).await?;
        let sent_at = Instant::now();
        for tag in ["Delayed", "FailsOnce", "FailsAlways"] {
            let mut made = message(TOPIC, tag, 1)?;
            if tag == "Delayed" {
                made.set_delay_time_level(DELAY_LEVEL);
            }
            stored(messaging.producer.send(made).await?)?;
        }
        Ok(Retry { clients, received, sent_at })
    }

    pub async fn run(self, cases: &mut Cases) {
        cases.run("delayed-message-comes-in-time", self.in_time()).await;
        cases.run("a-failed-message-comes-again", self.comes_again()).await;
        cases.run("the-last-failure-ends-in-the-dead-letter-topic", self.dies()).await;
        cases.run("nothing-came-once-too-often", self.no_more()).await;
        self.received.close().await;
    }

    async fn comes(&self, body: &str, times: usize) -> Outcome<Vec<Delivery>> {
        let got = &self.received.got;
        until(LIMIT, body, || got.of(body).len() >= times).await?;
        Ok(got.of(body))
    }

    async fn in_time(&self) -> Outcome {
        let first = &self.comes("Delayed body 1", 1).await?[0];
        let waited = first.at - self.sent_at;
        say(&format!("INFO delayed_ms={}", waited.as_millis()));
        check(waited >= DELAY, || format!("early, after {waited:?}"))?;
        equal(first.topic.as_str(), TOPIC, "topic")
    }

    async fn comes_again(&self) -> Outcome {
        let again = &self.comes("FailsOnce body 1", 2).await?[1];
        equal(again.reconsume_times, 1, "attempts before")?;
        equal(again.topic.as_str(), TOPIC, "topic")
    }

    async fn dies(&self) -> Outcome {
        self.comes("FailsAlways body 1", 3).await?;
        let reader = format!("{GROUP}Dead");
        let dead = self.clients.consume_all(&reader, &format!("%DLQ%{GROUP}"), "*").await?;
        let body = "FailsAlways body 1".to_owned();
        until(LIMIT, "the dead letter", || dead.got.has(std::slice::from_ref(&body))).await?;
        let letter = &dead.got.of(&body)[0];
        equal(letter.reconsume_times, 3, "attempts")?;
        equal(letter.dead_letter_of.as_deref(), Some(TOPIC), "topic it came from")?;
        dead.close().await;
        Ok(())
    }

    async fn no_more(&self) -> Outcome {
        for (body, times) in COMES {
            equal(self.received.got.of(body).len(), times, body)?;
        }
        Ok(())
    }
}

fn rule(delivery: &Delivery) -> ConsumeConcurrentlyStatus {
    match delivery.tags.as_str() {
        "FailsAlways" => ConsumeConcurrentlyStatus::ReconsumeLater,
        "FailsOnce" if delivery.reconsume_times == 0 => ConsumeConcurrentlyStatus::ReconsumeLater,
        _ => ConsumeConcurrentlyStatus::ConsumeSuccess,
    }
}
