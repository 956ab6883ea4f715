//! `checkMsgSendRT`, `clusterRT` and `sendMsgStatus`: how long sends take.
//!
//! Invariant: rows are printed as they are measured; the first send, which also connects, is not in the
//! average.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::arguments::{CheckMsgSendRtArgs, ClusterRtArgs, OutputFormat, SendMsgStatusArgs};
use super::table::{Column, left, render, rows_of};
use super::{AdminError, calendar, print, resend, send};
use crate::client::{Admin, Message, Producer, ProducerOptions};
use crate::clock;

const SENDS: [Column; 4] =
    [left("#Broker Name", 32), left("#QID", 4), left("#Send Result", 20).then(4), left("#RT", 0)];
/// The head of `clusterRT` is narrower than its rows.
const CLUSTERS_HEAD: [Column; 5] = [
    left("#Cluster Name", 24),
    left("#Broker Name", 24),
    left("#RT", 4),
    left("#successCount", 8),
    left("#failCount", 8),
];
const CLUSTERS: [Column; 5] = [
    left("#Cluster Name", 24),
    left("#Broker Name", 24),
    left("#RT", 8),
    left("#successCount", 16),
    left("#failCount", 16),
];
/// As which it is sent.
const GROUP: &str = "SendRtProbe";
/// What `sendMsgStatus` fills messages with.
const FILLING: &str = "hello jodie";

/// The sends of one round.
#[derive(Debug, Default)]
struct Taken {
    succeeded: u64,
    failed: u64,
    /// All but the first.
    later: Vec<Duration>,
}

impl Taken {
    fn add(&mut self, succeeded: bool, took: Duration) {
        if self.succeeded + self.failed > 0 {
            self.later.push(took);
        }
        match succeeded {
            true => self.succeeded += 1,
            false => self.failed += 1,
        }
    }

    fn average_ms(&self) -> f64 {
        let total: Duration = self.later.iter().sum();
        #[allow(clippy::cast_precision_loss)]
        let count = self.later.len().max(1) as f64;
        total.as_secs_f64() * 1_000.0 / count
    }
}

fn producer(admin: &Admin) -> Result<Producer, AdminError> {
    Ok(Producer::start(admin.client(), ProducerOptions::new(GROUP))?)
}

pub(super) async fn of_topic(
    admin: &Admin,
    arguments: &CheckMsgSendRtArgs,
) -> Result<(), AdminError> {
    let message = Message::new(&*arguments.topic, "a".repeat(arguments.size));
    let producer = producer(admin)?;
    let queues = producer.queues(&arguments.topic).await?;
    let as_table = arguments.common.output == OutputFormat::Table;
    if as_table {
        print!("{}", render(&SENDS, &[]));
    }
    let mut taken = Taken::default();
    let mut sends = Vec::new();
    for queue in queues.iter().cycle().take(arguments.amount) {
        let began = Instant::now();
        let sent = producer.send_to(&message, queue).await;
        let took = began.elapsed();
        taken.add(sent.is_ok(), took);
        if as_table {
            let row = vec![
                queue.broker_name.clone(),
                queue.queue_id.to_string(),
                sent.is_ok().to_string(),
                took.as_millis().to_string(),
            ];
            print!("{}", rows_of(&SENDS, &[row]));
        } else {
            sends.push(json!({
                "brokerName": queue.broker_name,
                "queueId": queue.queue_id,
                "success": sent.is_ok(),
                "rtMs": took.as_secs_f64() * 1_000.0,
            }));
        }
        if let Err(error) = sent {
            eprintln!("admin: {error}");
        }
    }
    producer.shutdown().await;
    let average_ms = taken.average_ms();
    let json = || json!({"sends": sends, "averageRtMs": average_ms});
    print(&arguments.common, || format!("Avg RT: {average_ms:.2}\n"), json)
}

pub(super) async fn of_clusters(
    admin: &Admin,
    arguments: &ClusterRtArgs,
) -> Result<(), AdminError> {
    let producer = producer(admin)?;
    let as_table = arguments.common.output == OutputFormat::Table;
    if as_table && !arguments.as_log {
        print!("{}", render(&CLUSTERS_HEAD, &[]));
    }
    loop {
        admin.renew_patience();
        let rounds = clusters_once(admin, &producer, arguments).await?;
        if !as_table {
            print(&arguments.common, String::new, || json!(rounds))?;
        }
        match arguments.interval_seconds {
            Some(seconds) => sleep(Duration::from_secs(seconds)).await,
            None => break,
        }
    }
    producer.shutdown().await;
    Ok(())
}

/// To the topic that each group has by its own name.
async fn clusters_once(
    admin: &Admin,
    producer: &Producer,
    arguments: &ClusterRtArgs,
) -> Result<Vec<Value>, AdminError> {
    let mut brokers = admin.brokers(arguments.cluster.as_deref()).await?;
    brokers.dedup_by(|a, b| a.cluster == b.cluster && a.broker_name == b.broker_name);
    let mut rounds = Vec::new();
    for broker in brokers {
        let message = Message::new(&*broker.broker_name, "a".repeat(arguments.size));
        let mut taken = Taken::default();
        for _ in 0..arguments.amount {
            let began = Instant::now();
            let sent = producer.send(&message).await;
            taken.add(sent.is_ok(), began.elapsed());
            if let Err(error) = sent {
                eprintln!("admin: {error}");
            }
        }
        let (cluster, name, average_ms) = (broker.cluster, broker.broker_name, taken.average_ms());
        match arguments.common.output {
            OutputFormat::Table if arguments.as_log => {
                let (now, room) =
                    (calendar::to_the_second(clock::now_ms()), &arguments.machine_room);
                println!("{now}|{room}|{cluster}|{name}|{average_ms:.0}");
            }
            OutputFormat::Table => {
                let (succeeded, failed) = (taken.succeeded.to_string(), taken.failed.to_string());
                let row = vec![cluster, name, format!("{average_ms:.2}"), succeeded, failed];
                print!("{}", rows_of(&CLUSTERS, &[row]));
            }
            OutputFormat::Json => rounds.push(json!({
                "clusterName": cluster,
                "brokerName": name,
                "averageRtMs": average_ms,
                "successCount": taken.succeeded,
                "failCount": taken.failed,
            })),
        }
    }
    Ok(rounds)
}

pub(super) async fn of_group(
    admin: &Admin,
    arguments: &SendMsgStatusArgs,
) -> Result<(), AdminError> {
    let body = FILLING.repeat(arguments.size.div_ceil(FILLING.len()));
    let message = Message::new(&*arguments.broker_name, body);
    let producer = producer(admin)?;
    // It connects, and is not shown.
    producer.send(&Message::new(&*arguments.broker_name, FILLING.repeat(2))).await?;
    let mut shown = Vec::new();
    for _ in 0..arguments.count {
        let began = Instant::now();
        let sent = producer.send(&message).await?;
        let took = began.elapsed();
        if arguments.common.output == OutputFormat::Table {
            println!("rt={}ms, SendResult={}", took.as_millis(), resend::as_java(&sent));
        } else {
            let mut one = send::json(&sent);
            one["rtMs"] = (took.as_secs_f64() * 1_000.0).into();
            shown.push(one);
        }
    }
    producer.shutdown().await;
    print(&arguments.common, String::new, || json!(shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_send_is_not_in_the_average() {
        let mut taken = Taken::default();
        for (succeeded, ms) in [(true, 1_000), (false, 10), (true, 20)] {
            taken.add(succeeded, Duration::from_millis(ms));
        }
        assert_eq!((taken.succeeded, taken.failed), (2, 1));
        assert!((taken.average_ms() - 15.0).abs() < 1e-9);
        let mut one = Taken::default();
        one.add(true, Duration::from_secs(1));
        assert!(one.average_ms().abs() < 1e-9);
    }
}
