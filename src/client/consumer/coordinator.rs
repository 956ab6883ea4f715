//! Shares the group's queues out and commits offsets.
//!
//! Invariant: one puller a queue; a queue that goes to another member has its offset committed
//! before its puller is forgotten, and nothing of it is committed afterwards. In order, a queue has a
//! puller only while it is locked, and is unlocked only behind the last call of its listener.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::protocol::body::ConsumerIdList;
use crate::protocol::code::request;
use crate::protocol::fastjson::JsonBody as _;
use crate::protocol::names;
use crate::protocol::queue::MessageQueue;

use super::allocate::averagely;
use super::control::{self, Control};
use super::in_order::Line;
use super::locks;
use super::puller::Puller;
use super::{ClientError, Shared};
use crate::client::remote::Ask;

/// After a round that could not be settled.
const ROUND_RETRY: Duration = Duration::from_secs(1);

/// Runs until told to stop, or until the consumer is dropped.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut stop: oneshot::Receiver<()>,
    mut controls: mpsc::Receiver<Control>,
) {
    let mut notices = shared.client.rebalance_notices();
    let mut routes = shared.client.shared.routes.changes();
    let mut pullers = BTreeMap::new();
    let mut next_round = Instant::now();
    let mut next_commit = next_round + shared.options.commit_interval;
    let mut next_renewal = next_round;
    for topic in shared.subscriptions.keys() {
        // The rounds below look again; what matters is that the heartbeat knows whom to tell.
        let _ = shared.client.shared.routes.for_reading(topic).await;
    }
    shared.client.heartbeat().await;
    let orderly = loop {
        tokio::select! {
            biased;
            stopped = &mut stop => break stopped.is_ok(),
            Some(control) = controls.recv() => {
                if let Some(done) = control::obey(&shared, &mut pullers, control).await {
                    let settled = rebalance(&shared, &mut pullers).await;
                    next_round = Instant::now() + round_pause(&shared, settled);
                    let _ = done.send(());
                }
            }
            Ok(()) = notices.changed() => next_round = Instant::now(),
            Ok(()) = routes.changed() => next_round = Instant::now(),
            () = sleep_until(next_commit) => {
                if shared.auto_commit {
                    commit(&shared, &pullers).await;
                }
                next_commit = Instant::now() + shared.options.commit_interval;
            }
            () = sleep_until(next_renewal), if shared.locks() => {
                let (wait, lost) = locks::renew(&shared, &mut pullers).await;
                next_renewal = Instant::now() + wait;
                if lost {
                    next_round = Instant::now();
                }
            }
            () = sleep_until(next_round) => {
                let settled = rebalance(&shared, &mut pullers).await;
                next_round = Instant::now() + round_pause(&shared, settled);
            }
        }
    };
    let pulling: Vec<Arc<Puller>> = pullers.values().cloned().collect();
    pulling.iter().for_each(|puller| puller.stop_pulling());
    // Whoever has the queue next begins behind the last call, even when this consumer was dropped.
    if shared.buffer.is_none() && (orderly || shared.locks()) {
        let all_idle = async {
            for puller in &pulling {
                puller.idle().await;
            }
        };
        if timeout(shared.options.shutdown_timeout, all_idle).await.is_err() {
            tracing::warn!(group = shared.options.group, "listeners still busy at shutdown");
        }
    }
    if orderly && shared.auto_commit {
        commit(&shared, &pullers).await;
        if shared.locks() {
            let given_back = std::mem::take(&mut pullers)
                .into_iter()
                .map(|(queue, puller)| locks::give_back(shared.clone(), queue, puller));
            // A listener that is still busy keeps its lock: it ends with the lease.
            let _ = timeout(shared.options.shutdown_timeout, join_all(given_back)).await;
        }
    }
    pulling.iter().for_each(|puller| puller.abandon());
    shared.client.remove_consumer(&shared.options.group);
    shared.client.unregister(None, Some(&shared.options.group)).await;
}

fn round_pause(shared: &Shared, settled: bool) -> Duration {
    if settled { shared.options.rebalance_interval } else { ROUND_RETRY }
}

pub(super) type Pullers = BTreeMap<MessageQueue, Arc<Puller>>;

/// One round over every topic. `false` if it should be repeated soon.
async fn rebalance(shared: &Arc<Shared>, pullers: &mut Pullers) -> bool {
    let mut settled = true;
    for topic in shared.subscriptions.keys() {
        match rebalance_topic(shared, topic, pullers).await {
            Ok(complete) => settled &= complete,
            // It comes into being with the group's first heartbeat, and then has to be heard of.
            Err(ClientError::NoRoute(_)) if names::is_retry_topic(topic) => {
                settled &= !shared.options.send_back;
            }
            Err(error) => {
                tracing::debug!(topic, %error, "queues not shared out in this round");
                settled = false;
            }
        }
    }
    settled
}

async fn rebalance_topic(
    shared: &Arc<Shared>,
    topic: &str,
    pullers: &mut Pullers,
) -> Result<bool, ClientError> {
    let client = &shared.client;
    let route = client.shared.routes.for_reading(topic).await?;
    let mine = if let Some(assigned) = &shared.assigned {
        assigned.lock().iter().filter(|queue| queue.topic == topic).cloned().collect()
    } else if shared.is_broadcast() {
        route.subscribe.clone()
    } else {
        let members = members(shared, topic).await?;
        if !members.iter().any(|member| member == client.client_id()) {
            // Whoever answered has not heard of us: our queues stay ours until it has.
            client.heartbeat().await;
            return Ok(false);
        }
        averagely(&route.subscribe, &members, client.client_id())
    };
    let lost: Vec<MessageQueue> = pullers
        .iter()
        .filter(|(queue, puller)| {
            queue.topic == topic && (!mine.contains(queue) || puller.is_stopped())
        })
        .map(|(queue, _)| queue.clone())
        .collect();
    for queue in lost {
        let Some(puller) = pullers.remove(&queue) else { continue };
        puller.stop_pulling();
        tracing::debug!(?queue, "queue given up");
        if shared.locks() {
            tokio::spawn(locks::give_back(shared.clone(), queue, puller));
            continue;
        }
        if shared.auto_commit {
            commit_one(shared, &queue, &puller).await;
        }
        shared.abandon(&puller);
    }
    let new = mine.into_iter().filter(|queue| !pullers.contains_key(queue)).collect();
    take(shared, new, pullers).await
}

/// Begins to consume queues. `false` if one of them cannot be had yet.
async fn take(
    shared: &Arc<Shared>,
    queues: Vec<MessageQueue>,
    pullers: &mut Pullers,
) -> Result<bool, ClientError> {
    let locked = match shared.locks() && !queues.is_empty() {
        // A queue whose last listener call is not over is not asked for.
        true => {
            let free = queues.iter().filter(|queue| shared.turns.free(queue).is_some());
            Some(locks::lock(shared, free).await)
        }
        false => None,
    };
    let mut complete = true;
    for queue in queues {
        let locked_at = match &locked {
            Some(locked) if !locked.held.contains(&queue) => {
                complete = false;
                continue;
            }
            locked => locked.as_ref().map(|locked| locked.asked_at),
        };
        let turn = if shared.options.in_order { shared.turns.free(&queue) } else { None };
        if shared.options.in_order && turn.is_none() {
            complete = false;
            continue;
        }
        let line = turn.map(|turn| Line::new(turn, locked_at));
        match Puller::start(shared, &queue, line).await {
            Ok(puller) => {
                tracing::debug!(?queue, "queue taken");
                pullers.insert(queue, puller);
            }
            Err(error) => {
                tracing::debug!(?queue, %error, "no offset to start from yet");
                complete = false;
            }
        }
    }
    Ok(complete)
}

/// The group's members, from the first broker of the route that answers.
async fn members(shared: &Shared, topic: &str) -> Result<Vec<String>, ClientError> {
    let ask =
        Ask::new(request::GET_CONSUMER_LIST_BY_GROUP).with("consumerGroup", &shared.options.group);
    let client = &shared.client.shared;
    let route = client.routes.for_reading(topic).await?;
    let mut last = ClientError::NoLeader(topic.to_owned());
    for address in route.any_addresses() {
        match client.remote.ask(address, &ask).await.and_then(|answer| answer.success()) {
            Ok(answer) => return Ok(answer.decode(ConsumerIdList::decode)?.consumer_id_list),
            Err(error) => last = error,
        }
    }
    // The addresses may be those of yesterday's members.
    client.routes.refresh(topic, route.generation).await?;
    Err(last)
}

pub(super) async fn commit(shared: &Shared, pullers: &Pullers) {
    for (queue, puller) in pullers {
        commit_one(shared, queue, puller).await;
    }
    if let Some(local) = &shared.local_offsets {
        local.store();
    }
}

pub(super) async fn commit_one(shared: &Shared, queue: &MessageQueue, puller: &Puller) {
    let Some(offset) = puller.to_commit() else { return };
    if let Some(local) = &shared.local_offsets {
        local.set(queue, offset);
        puller.committed(offset);
        return;
    }
    let client = &shared.client.shared;
    let ask = Ask::new(request::UPDATE_CONSUMER_OFFSET)
        .with("consumerGroup", &shared.options.group)
        .with("topic", &queue.topic)
        .with("queueId", queue.queue_id)
        .with("commitOffset", offset)
        .with("bname", &queue.broker_name);
    let committed = async {
        let route = client.routes.for_reading(&queue.topic).await?;
        let address = route.leader(&queue.broker_name)?;
        client.remote.ask(address, &ask).await?.success()
    };
    match committed.await {
        Ok(_) => puller.committed(offset),
        Err(error) => {
            tracing::debug!(?queue, offset, %error, "offset not committed, next time");
            if let Some(route) = client.routes.cached(&queue.topic) {
                // An error here is reported by whoever needs the route next.
                let _ = client.routes.refresh(&queue.topic, route.generation).await;
            }
        }
    }
}
