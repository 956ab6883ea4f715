//! A leader dies by kill -9 while a producer and a consumer are at work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rocketmq_client_rust::DefaultMQProducer;

use crate::cases::{Cases, Outcome, ask, pause, say, until};
use crate::clients::{Clients, message, stored};
use crate::messaging::Messaging;

const TOPIC: &str = "OfficialRustFailedOver";
const MESSAGES_EACH_SIDE: usize = 500;
const LIMIT: Duration = Duration::from_secs(90);
const AFTER_A_FAILURE: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Sending {
    acknowledged: Mutex<Vec<String>>,
    told: Mutex<Told>,
    stopped: AtomicBool,
}

#[derive(Default)]
struct Told {
    failed: usize,
    longest: Duration,
}

pub async fn run(clients: &Clients, messaging: &mut Messaging<'_>, cases: &mut Cases) -> Outcome {
    messaging.create_topic(TOPIC).await?;
    let got = clients.consume_all("OfficialRustFailover", TOPIC, "*").await?;
    let sending = Arc::new(Sending::default());
    let sender = tokio::spawn(Arc::clone(&sending).send(clients.producer().await?));
    cases.run("failover-send-goes-on", goes_on(&sending)).await;
    sending.stopped.store(true, Ordering::Relaxed);
    sender.await??;
    let acknowledged = sending.acknowledged();
    {
        let told = sending.told.lock().expect("no sender panics");
        say(&format!("INFO failover_gap_ms={}", told.longest.as_millis()));
        say(&format!("INFO failover_sends_failed={}", told.failed));
        say(&format!("INFO failover_acknowledged={}", acknowledged.len()));
    }
    let all_came = until(LIMIT, "all acknowledged consumed", || got.got.has(&acknowledged));
    cases.run("failover-consume-goes-on", all_came).await;
    got.close().await;
    // A group of its own reads from the first offset: acknowledged is a subset of stored.
    let all = clients.consume_all("OfficialRustFailoverAll", TOPIC, "*").await?;
    let all_there = until(LIMIT, "all acknowledged read", || all.got.has(&acknowledged));
    cases.run("failover-nothing-acknowledged-lost", all_there).await;
    all.close().await;
    Ok(())
}

async fn goes_on(sending: &Sending) -> Outcome {
    let count = || sending.acknowledged.lock().expect("no sender panics").len();
    until(LIMIT, "sends before the kill", || count() >= MESSAGES_EACH_SIDE).await?;
    ask("KILL-LEADER")?;
    let enough = count() + MESSAGES_EACH_SIDE;
    until(LIMIT, "sends after the kill", || count() >= enough).await
}

impl Sending {
    fn acknowledged(&self) -> Vec<String> {
        self.acknowledged.lock().expect("no sender panics").clone()
    }

    async fn send(self: Arc<Sending>, mut producer: DefaultMQProducer) -> Outcome {
        let mut last = Instant::now();
        let mut number = 0;
        while !self.stopped.load(Ordering::Relaxed) {
            let result = producer.send(message(TOPIC, "T", number)?).await;
            if let Err(problem) = result.map_err(Into::into).and_then(stored) {
                tracing::warn!("send {number}: {problem:?}");
                self.told.lock().expect("no sender panics").failed += 1;
                pause(AFTER_A_FAILURE).await;
            } else {
                self.acknowledged
                    .lock()
                    .expect("no sender panics")
                    .push(format!("T body {number}"));
                let mut told = self.told.lock().expect("no sender panics");
                told.longest = told.longest.max(last.elapsed());
                last = Instant::now();
            }
            number += 1;
        }
        producer.shutdown().await;
        Ok(())
    }
}
