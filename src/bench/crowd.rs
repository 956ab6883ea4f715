//! Clients that are connected and send heartbeats and nothing else, as most of a real cluster's do at
//! any one time.
//!
//! Invariant: once [`connect`] returns, every one of them has been heard by every broker; a measurement
//! with a crowd never begins without it.

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::BenchError;
use super::directory::Broker;
use super::pipe::{Pipe, PipeError};
use crate::protocol::code::request;

/// Between two heartbeats, as official clients send them.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Connected at a time: a listening socket takes in only so many at once.
const AT_ONCE: usize = 50;

/// They leave when it is dropped.
pub(super) struct Crowd(Vec<JoinHandle<()>>);

impl Drop for Crowd {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Connects `count` clients to every broker.
pub(super) async fn connect(
    brokers: &[Broker],
    count: usize,
    run: u64,
) -> Result<Crowd, BenchError> {
    let mut crowd = Crowd(Vec::with_capacity(count));
    let numbers: Vec<usize> = (0..count).collect();
    for numbers in numbers.chunks(AT_ONCE) {
        let clients = numbers.iter().map(|number| Member::connect(brokers, *number, run));
        let clients = try_join_all(clients).await?;
        crowd.0.extend(clients.into_iter().map(|client| tokio::spawn(client.stay())));
    }
    Ok(crowd)
}

struct Member {
    pipes: Vec<Pipe>,
    heartbeat: String,
}

impl Member {
    async fn connect(brokers: &[Broker], number: usize, run: u64) -> Result<Member, PipeError> {
        let heartbeat = format!(
            concat!(
                r#"{{"clientID":"bench@{:x}-{}","consumerDataSet":[],"#,
                r#""producerDataSet":[{{"groupName":"BENCH_CROWD"}}]}}"#
            ),
            run, number
        );
        let mut pipes = Vec::with_capacity(brokers.len());
        for broker in brokers {
            pipes.push(Pipe::connect(&broker.address).await?);
        }
        let mut client = Member { pipes, heartbeat };
        client.beat().await?;
        Ok(client)
    }

    async fn beat(&mut self) -> Result<(), PipeError> {
        for pipe in &mut self.pipes {
            pipe.call_ok(request::HEART_BEAT, "", self.heartbeat.as_bytes()).await?;
        }
        Ok(())
    }

    /// Until a broker closes the connection: a crowd measures steady clusters.
    async fn stay(mut self) {
        loop {
            let next = Instant::now() + HEARTBEAT;
            for pipe in &mut self.pipes {
                let left = next.saturating_duration_since(Instant::now());
                // Nothing is expected; what a broker says on its own is read and let go.
                let listening = async {
                    loop {
                        pipe.turn(false).await?;
                        while pipe.next_answer()?.is_some() {}
                    }
                };
                let heard: Result<Result<(), PipeError>, _> = timeout(left, listening).await;
                if heard.is_ok() {
                    return tracing::warn!("a client of the crowd was disconnected");
                }
            }
            if let Err(error) = self.beat().await {
                return tracing::warn!(%error, "a client of the crowd was not heard");
            }
        }
    }
}
