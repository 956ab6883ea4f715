//! Every way to send, and push consumers that get it all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rocketmq_client_rust::{ClientError, DefaultMQProducer};
use rocketmq_model::common::message::message_queue::MessageQueue;
use rocketmq_model::common::message::message_single::Message;
use rocketmq_model::result::SendResult;

use crate::cases::{Cases, Outcome, check, equal, until};
use crate::clients::{Clients, message, stored, text};

const TOPIC: &str = "OfficialRust";
/// Whose route names the brokers that can create topics.
const DEFAULT_TOPIC: &str = "TBW102";
const QUEUES_EACH: i32 = 2;
const GROUPS: usize = 3;
const QUEUES: usize = QUEUES_EACH as usize * GROUPS;
const ASYNC_SENDS: usize = 100;
const BATCH: usize = 32;
const OVER_LIMIT_BYTES: usize = 5 << 20;
const MESSAGE_ILLEGAL: i32 = 13;
const LIMIT: Duration = Duration::from_secs(60);

pub struct Messaging<'a> {
    clients: &'a Clients,
    pub producer: DefaultMQProducer,
    /// Bodies of all that was acknowledged, and of one-way sends.
    sent: Vec<String>,
}

impl Messaging<'_> {
    pub async fn new(clients: &Clients) -> Outcome<Messaging<'_>> {
        Ok(Messaging { clients, producer: clients.producer().await?, sent: Vec::new() })
    }

    pub async fn run(&mut self, cases: &mut Cases) {
        cases.run("create-topic", self.create_topic(TOPIC)).await;
        cases.run("send-sync", self.send_sync()).await;
        cases.run("send-async", self.send_async()).await;
        cases.run("send-oneway", self.send_oneway()).await;
        cases.run("send-batch", self.send_batch()).await;
        cases.run("send-to-selected-queue", self.send_selected()).await;
        cases.run("send-compressed", self.send_compressed()).await;
        cases.run("send-over-limit-is-refused", self.send_over_limit()).await;
        cases.run("view-message-by-offset-id", self.view_message()).await;
        cases.run("push-consume-all", self.consume_all()).await;
        cases.run("push-consume-by-tag", self.consume_by_tag()).await;
        cases.run("consumer-resumes-at-its-offset", self.consumer_resumes()).await;
    }

    pub async fn create_topic(&mut self, topic: &str) -> Outcome {
        let nothing_more = HashMap::new();
        self.producer.create_topic(DEFAULT_TOPIC, topic, QUEUES_EACH, nothing_more).await?;
        let end = std::time::Instant::now() + LIMIT;
        while self.queues(topic).await.len() != QUEUES {
            let late = std::time::Instant::now() > end;
            check(!late, || format!("{topic} is not routed"))?;
            crate::cases::pause(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// None while the topic is not routed.
    pub async fn queues(&mut self, topic: &str) -> Vec<MessageQueue> {
        self.producer.fetch_publish_message_queues(topic).await.unwrap_or_default()
    }

    async fn send(&mut self, made: Message) -> Outcome<SendResult> {
        let body = text(made.body_slice());
        let result = stored(self.producer.send(made).await?)?;
        self.sent.push(body);
        Ok(result)
    }

    async fn send_sync(&mut self) -> Outcome {
        for number in 0..40 {
            let tag = if number % 2 == 0 { "TagA" } else { "TagB" };
            self.send(message(TOPIC, tag, number)?).await?;
        }
        Ok(())
    }

    async fn send_async(&mut self) -> Outcome {
        let answers: Arc<Mutex<Vec<Result<String, String>>>> = Arc::default();
        for number in 0..ASYNC_SENDS {
            let made = message(TOPIC, "TagC", number)?;
            let body = text(made.body_slice());
            let answers = Arc::clone(&answers);
            let callback = move |result: Option<&SendResult>, problem: Option<&ClientError>| {
                let answer = match stored(result.cloned()) {
                    Ok(_) => Ok(body.clone()),
                    Err(_) => Err(format!("{body}: {result:?} {problem:?}")),
                };
                answers.lock().expect("no callback panics").push(answer);
            };
            self.producer.send_with_callback(made, callback).await?;
        }
        let answered = || answers.lock().expect("no callback panics").len();
        until(LIMIT, "every callback called", || answered() == ASYNC_SENDS).await?;
        for answer in answers.lock().expect("no callback panics").drain(..) {
            self.sent.push(answer?);
        }
        Ok(())
    }

    async fn send_oneway(&mut self) -> Outcome {
        for number in 0..50 {
            let made = message(TOPIC, "TagD", number)?;
            self.sent.push(text(made.body_slice()));
            self.producer.send_oneway(made).await?;
        }
        Ok(())
    }

    async fn send_batch(&mut self) -> Outcome {
        let mut batch = Vec::new();
        for number in 0..BATCH {
            batch.push(message(TOPIC, "TagE", number)?);
        }
        let bodies: Vec<String> = batch.iter().map(|made| text(made.body_slice())).collect();
        let result = stored(Some(self.producer.send_batch(batch).await?))?;
        let ids = result.offset_msg_id.unwrap_or_default();
        equal(ids.split(',').count(), BATCH, "offset ids answered")?;
        self.sent.extend(bodies);
        Ok(())
    }

    async fn send_selected(&mut self) -> Outcome {
        let queue = self.queues(TOPIC).await.get(3).cloned().ok_or("no fourth queue")?;
        let mut previous = None;
        for number in 0..20 {
            let made = message(TOPIC, "TagF", number)?;
            let body = text(made.body_slice());
            let select = |queues: &[MessageQueue], _: &Message, wanted: &MessageQueue| {
                queues.iter().find(|one| *one == wanted).cloned()
            };
            let answer = self.producer.send_with_selector(made, select, queue.clone()).await?;
            let result = stored(answer)?;
            equal(result.message_queue.as_ref(), Some(&queue), "queue")?;
            check(Some(result.queue_offset) > previous, || "offsets do not grow".to_owned())?;
            previous = Some(result.queue_offset);
            self.sent.push(body);
        }
        Ok(())
    }

    /// Bodies of more than 4 KiB leave this client compressed.
    async fn send_compressed(&mut self) -> Outcome {
        let mut made = message(TOPIC, "TagG", 0)?;
        made.set_body(Some("raft ".repeat(20_000).into()));
        self.send(made).await?;
        Ok(())
    }

    async fn send_over_limit(&mut self) -> Outcome {
        let mut made = message(TOPIC, "TagH", 0)?;
        made.set_body(Some(noise(OVER_LIMIT_BYTES).into()));
        match self.producer.send(made).await {
            Ok(result) => Err(format!("not refused: {result:?}").into()),
            Err(problem) => {
                let code = problem.broker_response_code();
                check(code == Some(MESSAGE_ILLEGAL), || format!("refused with {problem:?}"))
            }
        }
    }

    async fn view_message(&mut self) -> Outcome {
        let result = self.send(message(TOPIC, "TagI", 0)?).await?;
        let id = result.offset_msg_id.ok_or("no offset id")?;
        let found = self.producer.view_message(TOPIC, &id).await?;
        equal(found.body().map(text), Some("TagI body 0".to_owned()), "body")
    }

    async fn consume_all(&mut self) -> Outcome {
        let all = self.clients.consume_all("OfficialRustAll", TOPIC, "*").await?;
        until(LIMIT, "all consumed", || all.got.has(&self.sent)).await?;
        equal(all.got.count(), self.sent.len(), "messages")?;
        for one in all.got.all() {
            equal(&one.keys, &format!("key{}", one.number), "keys")?;
            let expected = format!("{} body {}", one.tags, one.number);
            check(one.tags == "TagG" || one.body == expected, || format!("{one:?}"))?;
        }
        all.close().await;
        Ok(())
    }

    async fn consume_by_tag(&mut self) -> Outcome {
        // Without blanks: see what this client lacks.
        let tagged = self.clients.consume_all("OfficialRustTags", TOPIC, "TagA||TagF").await?;
        until(LIMIT, "20 of TagA and 20 of TagF", || tagged.got.count() >= 40).await?;
        // What is sent now is delivered after everything before it in its queue.
        self.send(message(TOPIC, "TagA", 100)?).await?;
        let marker = ["TagA body 100".to_owned()];
        until(LIMIT, "the marker", || tagged.got.has(&marker)).await?;
        equal(tagged.got.count(), 41, "messages")?;
        tagged.close().await;
        Ok(())
    }

    async fn consumer_resumes(&mut self) -> Outcome {
        let all = self.clients.consume_all("OfficialRustAll", TOPIC, "*").await?;
        self.send(message(TOPIC, "TagJ", 0)?).await?;
        let new = ["TagA body 100".to_owned(), "TagJ body 0".to_owned()];
        until(LIMIT, "what is new", || all.got.has(&new)).await?;
        equal(all.got.count(), 2, "messages, of which 2 are new")?;
        all.close().await;
        Ok(())
    }
}

/// Bytes that no compression makes fewer (xorshift).
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut made = Vec::with_capacity(bytes);
    while made.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        made.extend_from_slice(&state.to_le_bytes());
    }
    made
}
