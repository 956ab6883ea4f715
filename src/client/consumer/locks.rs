//! The locks that brokers grant to a consumer in order: asked for, renewed, given back.
//!
//! Invariant: a lock counts from the moment at which it was asked for, so never longer than the broker
//! thinks; a queue is given back only when its listener's call has ended and its offset is committed;
//! it is not locked again while a request to unlock it may be under way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, sleep};

use super::coordinator::{Pullers, commit_one};
use super::puller::Puller;
use super::{ClientError, Shared};
use crate::client::remote::{Answer, Ask};
use crate::protocol::body::{LockBatchRequest, LockBatchResponse};
use crate::protocol::code::request;
use crate::protocol::fastjson::JsonBody as _;
use crate::protocol::queue::MessageQueue;

/// Between two renewals.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(20);
/// After a renewal that not every broker answered.
const RENEWAL_RETRY: Duration = Duration::from_secs(1);
/// After it, whatever became of a request to unlock, the broker holds no lock of that time any more.
const LEASE: Duration = Duration::from_secs(60);

/// What became of a request for locks.
pub(super) struct Locked {
    /// When it was sent.
    pub asked_at: Instant,
    /// The queues that are locked.
    pub held: BTreeSet<MessageQueue>,
    /// Those that somebody else has. What is in neither set is unknown.
    pub refused: BTreeSet<MessageQueue>,
}

/// Locks queues, or renews their locks.
pub(super) async fn lock(
    shared: &Shared,
    queues: impl IntoIterator<Item = &MessageQueue>,
) -> Locked {
    let asked_at = Instant::now();
    let mut locked = Locked { asked_at, held: BTreeSet::new(), refused: BTreeSet::new() };
    let asked = by_broker(queues).into_iter().map(async |(broker_name, wanted)| {
        let answer = ask(shared, request::LOCK_BATCH_MQ, &broker_name, &wanted).await;
        (wanted, answer)
    });
    for (mut wanted, answer) in join_all(asked).await {
        let answer = answer.map_err(|unheard| unheard.error);
        match answer.and_then(|answer| answer.decode(LockBatchResponse::decode)) {
            Ok(granted) => {
                let held = granted.locked.into_iter().filter(|queue| wanted.remove(queue));
                locked.held.extend(held);
                locked.refused.extend(wanted);
            }
            Err(error) => tracing::debug!(?wanted, %error, "locks not heard of, next time"),
        }
    }
    locked
}

/// Renews the locks of all queues, and drops those that somebody else has. When to do so again, and
/// whether a queue was lost.
pub(super) async fn renew(shared: &Shared, pullers: &mut Pullers) -> (Duration, bool) {
    let locked = lock(shared, pullers.keys()).await;
    for queue in &locked.held {
        let line = pullers.get(queue).and_then(|puller| puller.line.as_ref());
        line.into_iter().for_each(|line| line.renewed(locked.asked_at));
    }
    for queue in &locked.refused {
        if let Some(puller) = pullers.remove(queue) {
            tracing::warn!(?queue, "the queue's lock went to somebody else");
            // Its offset is another's now.
            puller.abandon();
        }
    }
    let complete = pullers.keys().all(|queue| locked.held.contains(queue));
    let again = if complete { RENEWAL_INTERVAL } else { RENEWAL_RETRY };
    (again, !locked.refused.is_empty())
}

/// Gives a queue back: to be called when its puller has been stopped.
pub(super) async fn give_back(shared: Arc<Shared>, queue: MessageQueue, puller: Arc<Puller>) {
    let Some(line) = &puller.line else { return };
    let turn = line.turn().await;
    commit_one(&shared, &queue, &puller).await;
    puller.abandon();
    unlock(&shared, &queue, turn).await;
}

async fn unlock(shared: &Shared, queue: &MessageQueue, turn: OwnedMutexGuard<()>) {
    let queues = BTreeSet::from([queue.clone()]);
    let lease_ended = Instant::now() + LEASE;
    while let Err(unheard) =
        ask(shared, request::UNLOCK_BATCH_MQ, &queue.broker_name, &queues).await
    {
        let Unheard { sent, error } = unheard;
        if sent {
            tracing::debug!(?queue, %error, "not known to be unlocked: not locked again for a while");
            // The request may still arrive, and would take back what was locked meanwhile.
            sleep(LEASE).await;
            break;
        }
        if Instant::now() >= lease_ended {
            break;
        }
        tracing::debug!(?queue, %error, "not unlocked yet");
        sleep(RENEWAL_RETRY).await;
    }
    drop(turn);
}

fn by_broker<'a>(
    queues: impl IntoIterator<Item = &'a MessageQueue>,
) -> BTreeMap<String, BTreeSet<MessageQueue>> {
    let mut by_broker: BTreeMap<String, BTreeSet<MessageQueue>> = BTreeMap::new();
    for queue in queues {
        by_broker.entry(queue.broker_name.clone()).or_default().insert(queue.clone());
    }
    by_broker
}

/// Why nothing was heard of a request.
struct Unheard {
    /// The broker may have acted upon it, or may do so later.
    sent: bool,
    error: ClientError,
}

impl From<ClientError> for Unheard {
    /// For what fails before anything is sent to the broker.
    fn from(error: ClientError) -> Self {
        Unheard { sent: false, error }
    }
}

/// Asks whoever leads the broker name about queues of it.
async fn ask(
    shared: &Shared,
    code: i32,
    broker_name: &str,
    queues: &BTreeSet<MessageQueue>,
) -> Result<Answer, Unheard> {
    let Some(first) = queues.first() else {
        return Err(ClientError::NoLeader(broker_name.to_owned()).into());
    };
    let client = &shared.client.shared;
    let body = LockBatchRequest {
        client_id: client.client_id.clone(),
        consumer_group: shared.options.group.clone(),
        mq_set: queues.clone(),
        only_this_broker: false,
    };
    let route = client.routes.for_reading(&first.topic).await?;
    let asked = async {
        let address = route.leader(broker_name)?;
        let answer = client.remote.ask(address, &Ask::new(code).with_body(body.encode())).await;
        answer
            .and_then(Answer::success)
            .map_err(|error| Unheard { sent: !error.is_unsent(), error })
    };
    let answer = asked.await;
    if answer.is_err() {
        // An error here is reported by whoever needs the route next.
        let _ = client.routes.refresh(&first.topic, route.generation).await;
    }
    answer
}
