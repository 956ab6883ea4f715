//! A consumer that is polled, and tells now and then what it has consumed.
//!
//! Invariant: it is done with a message when a poll has returned it, before anybody is told so.

use std::time::Duration;

use raftmq::client::{Client, ConsumeFrom, LitePullConsumer, LitePullOptions};
use tokio::sync::Notify;

use super::consumer::{Consume, place_of};
use super::{POLLED_GROUP, TOPIC, client_options};
use crate::dice::Dice;

const POLL: Duration = Duration::from_millis(500);

/// Polls until asked to stop, then leaves in good order.
pub async fn poll(with: Consume, stop: &Notify) {
    let name = format!("poller-{}", with.number);
    let Ok(client) = Client::start(client_options(&with.name_server, &name)).await else { return };
    let mut dice = Dice::of(with.parameters.seed, &name);
    let mut options = LitePullOptions::new(POLLED_GROUP).subscribe(TOPIC, "*");
    options.consumer.consume_from = ConsumeFrom::First;
    options.consumer.commit_interval = Duration::from_secs(1);
    options.consumer.rebalance_interval = Duration::from_secs(5);
    options.auto_commit = dice.one_in(2);
    let Ok(consumer) = LitePullConsumer::start(&client, options).await else { return };
    let polling = async {
        loop {
            for message in consumer.poll(POLL).await {
                let Some((queue, _)) = place_of(&with, &message) else { return };
                let given_up = (with.given_up)(queue.group);
                with.no_gap.given(POLLED_GROUP, queue, message.queue_offset, given_up);
                with.no_gap.consumed(POLLED_GROUP, queue, message.queue_offset);
            }
            if dice.one_in(8) {
                // One that has ended has nothing to tell.
                let _ = consumer.commit().await;
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.notified() => {}
        () = polling => return,
    }
    consumer.shutdown().await;
}
