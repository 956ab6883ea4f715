//! Queue locks for consumers in order: granted, renewed, given back, and freed when their holder is gone.
//!
//! The locks themselves are replicated, see [`crate::state::Locks`]; what is decided here is only when a
//! holder is gone before its lease has run out. That is judged by the leader, from what it sees:
//! - The holder unregistered, or its connection closed and it did not come back within
//!   `queueLockReturnMs`: freed at once, and its group is told, so that it rebalances.
//! - The leader has no connection of it, and it was granted the lock so long ago that the client itself
//!   goes by it no more: freed when another one asks. So a holder that died together with the last
//!   leader is in nobody's way for longer.
//!
//! Invariant: a lock that was renewed since the judgement is not freed, and a queue that is not in an
//! answer is not held by who asked.

use std::sync::Arc;

use tokio::time::{Duration, sleep};

use super::answer::{Failure, Outcome, success, success_with};
use super::client_manager::Departure;
use super::core::Core;
use crate::protocol::body::{LockBatchRequest, LockBatchResponse};
use crate::protocol::fastjson::JsonBody;
use crate::protocol::queue::MessageQueue;
use crate::remoting::RemotingCommand;
use crate::state::{Command, LOCK_BELIEF_MS, QueueLock, QueueName};

/// Queues in one request; clients send those of one broker, ten thousand at most.
const QUEUES_MAX: usize = 1 << 14;
/// What an answer may take on its way, so that a client may go by it longer than by the entry's time.
const ANSWER_ON_ITS_WAY_MS: i64 = 3_000;

/// Locks queues for a client, or renews its locks.
pub async fn lock(core: &Core, command: &RemotingCommand) -> Outcome {
    let request = parse(&command.body)?;
    core.group_or_create(&request.consumer_group).await?;
    let (group, client_id) = (&*request.consumer_group, &*request.client_id);
    let wanted: Vec<&MessageQueue> =
        request.mq_set.iter().filter(|queue| exists(core, queue)).collect();
    let mut free = Vec::new();
    let mut releases = Vec::new();
    for queue in &wanted {
        let name = name(queue);
        match core.view.queue_lock(group, &queue.topic, queue.queue_id) {
            #[cfg(madsim)]
            Some(_) if crate::mistake::made(crate::mistake::Mistake::LocksHeldQueues) => {
                free.push(name);
            }
            Some(lock)
                if *lock.client_id != *client_id && lock.lasts(core.view.lease_time_ms()) =>
            {
                if is_gone(core, group, &lock) {
                    tracing::info!(
                        group, topic = queue.topic, queue = queue.queue_id, from = %lock.client_id,
                        to = client_id, "a queue's lock passes on from a client that is gone"
                    );
                    let until_ms = lock.granted_ms;
                    let named = vec![name.clone()];
                    releases.push(Command::release_locks(group, &lock.client_id, named, until_ms));
                    free.push(name);
                }
            }
            _ => free.push(name),
        }
    }
    if !free.is_empty() {
        // Proposed in this order, they are applied in it; only the last one is waited for.
        let released: Vec<_> = releases.into_iter().map(|command| core.propose(command)).collect();
        let locked = core.propose(Command::lock_queues(group, client_id, free));
        locked.await?;
        drop(released);
    }
    let held = wanted.into_iter().filter(|queue| holds(core, &request, queue)).cloned().collect();
    Ok(success_with(LockBatchResponse { locked: held }.encode()))
}

/// Takes back what a client gives back.
pub async fn unlock(core: &Core, command: &RemotingCommand) -> Outcome {
    let request = parse(&command.body)?;
    let (group, client_id) = (&*request.consumer_group, &*request.client_id);
    let held = request.mq_set.iter().filter(|queue| holds(core, &request, queue));
    let queues: Vec<QueueName> = held.map(name).collect();
    if !queues.is_empty() {
        core.propose(Command::release_locks(group, client_id, queues, i64::MAX)).await?;
    }
    Ok(success())
}

/// Frees the locks of clients that left, in a moment if they may come back.
pub fn left(core: &Arc<Core>, departures: Vec<Departure>, may_return: bool) {
    if !core.serving() {
        return;
    }
    for Departure { group, client_id } in departures {
        let Some(granted_ms) = core.view.last_lock_ms(&group, &client_id) else { continue };
        let core = core.clone();
        tokio::spawn(async move {
            if may_return {
                sleep(Duration::from_millis(core.config.queue_lock_return_ms)).await;
                if core.clients.is_member(&group, &client_id) {
                    return;
                }
            }
            let all = Vec::new();
            let release = Command::release_locks(&group, &client_id, all, granted_ms);
            match core.propose(release).await {
                Ok(()) => {
                    tracing::info!(
                        group,
                        client_id,
                        "the queue locks of a client that left are free"
                    );
                    core.clients.tell_group(&group);
                }
                // Whoever leads now has no connection of it either, and frees them when asked.
                Err(refusal) => tracing::debug!(%refusal, group, client_id, "locks stay for now"),
            }
        });
    }
}

/// Whether a holder that this leader does not see goes by its lock no more.
fn is_gone(core: &Core, group: &str, lock: &QueueLock) -> bool {
    let gone_at_ms = lock.granted_ms + LOCK_BELIEF_MS + ANSWER_ON_ITS_WAY_MS;
    #[cfg(madsim)]
    let gone_at_ms = match crate::mistake::made(crate::mistake::Mistake::FreesUnseenHolders) {
        true => lock.granted_ms,
        false => gone_at_ms,
    };
    core.view.lease_time_ms() >= gone_at_ms && !core.clients.is_member(group, &lock.client_id)
}

/// Whether who asks holds the queue's lock.
fn holds(core: &Core, request: &LockBatchRequest, queue: &MessageQueue) -> bool {
    let lock = core.view.queue_lock(&request.consumer_group, &queue.topic, queue.queue_id);
    lock.is_some_and(|lock| *lock.client_id == *request.client_id)
}

fn name(queue: &MessageQueue) -> QueueName {
    QueueName { topic: queue.topic.clone(), queue_id: queue.queue_id }
}

fn exists(core: &Core, queue: &MessageQueue) -> bool {
    let topic = core.view.topic(&queue.topic);
    topic.is_some_and(|topic| (0..topic.config.queue_nums()).contains(&queue.queue_id))
}

fn parse(body: &[u8]) -> Result<LockBatchRequest, Failure> {
    let request =
        LockBatchRequest::decode(body).map_err(|error| Failure::invalid(error.to_string()))?;
    if request.consumer_group.is_empty() || request.client_id.is_empty() {
        return Err(Failure::invalid("a lock needs a consumerGroup and a clientId"));
    }
    if request.mq_set.len() > QUEUES_MAX {
        let remark = format!(
            "{} queues at once are refused, allowed are {QUEUES_MAX}",
            request.mq_set.len()
        );
        return Err(Failure::invalid(remark));
    }
    Ok(request)
}
