//! Offsets: what a group has consumed, and where a queue begins and ends.
//!
//! All of these are answered by the leader after it made sure that it still leads, so that no client
//! ever takes a step back because it asked a member that is behind.
//!
//! Invariant: a query never sees less than a commit that was accepted before it; "no offset" is
//! answered only when there certainly is none.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::{Duration, Instant, timeout};

use super::answer::{Failure, Outcome, success};
use super::commits::{CommitReply, OffsetKey};
use super::core::Core;
use super::dispatch::{hand_over, refuse};
use super::fields::{flag, required, value};
use super::forward::{is_forwarded, no_leader};
use super::group::Boundary;
use crate::protocol::code::response;
use crate::remoting::{RemotingCommand, Request};
use crate::replication::machine::Refusal;

/// How often a late commit waits for others of its queue before it is tried from the start.
const LATE_TRIES: usize = 3;

/// How long after a commit that goes back the end of its connection may come.
const ABANDONED_WITHIN: Duration = Duration::from_millis(500);
/// So many commits that go back wait for that at a time.
pub const COMMITS_BACK_MAX: usize = 10_000;

/// Takes a consumer's progress.
pub fn commit(core: &Arc<Core>, request: Request) {
    let began = Instant::now();
    if !core.serving() || is_forwarded(&request.command) {
        return take_late(core, request, began);
    }
    let (key, offset) = match parse_commit(core, &request.command) {
        Ok(commit) => commit,
        Err(failure) => return refuse(request.responder, &failure),
    };
    match newest(core, &key) {
        Some(newest) if offset < newest => commit_back(core, request, (key, offset), newest, began),
        _ => take(core, request, key, offset, began),
    }
}

/// What a group has committed, applied or not.
fn newest(core: &Core, key: &OffsetKey) -> Option<i64> {
    core.commits.newest(key).or_else(|| core.view.offset(&key.group, &key.topic, key.queue_id))
}

/// A commit that takes the group back may be meant: a consumer went back. Or it was on its way for long, on a
/// connection that its client has given up meanwhile, to commit more by way of another member. The end of that
/// connection comes right behind it then.
fn commit_back(
    core: &Arc<Core>,
    request: Request,
    (key, offset): (OffsetKey, i64),
    from: i64,
    began: Instant,
) {
    let Ok(room) = core.commits_back.clone().try_acquire_owned() else {
        let remark = format!("{COMMITS_BACK_MAX} commits that go back wait already, try later");
        return refuse(request.responder, &Failure::new(response::SYSTEM_BUSY, remark));
    };
    let core = core.clone();
    // It must not keep the read buffer while it waits.
    let request = Request { command: request.command.detached(), ..request };
    tokio::spawn(async move {
        let _room = room;
        // Either outcome is looked at below.
        drop(timeout(ABANDONED_WITHIN, request.connection.closing()).await);
        let is_abandoned = request.connection.is_abandoned() && !core.is_stopping();
        let has_advanced = newest(&core, &key).is_some_and(|newest| from < newest);
        match is_abandoned || has_advanced {
            true => request.responder.respond(success()),
            false => take(&core, request, key, offset, began),
        }
    });
}

/// Commits, unless an operator has put the group elsewhere.
fn take(core: &Arc<Core>, request: Request, key: OffsetKey, offset: i64, began: Instant) {
    if reset_stands(core, &key) {
        // As far as this member knows, which may lead no more.
        return take_late(core, request, began);
    }
    if missed_reset(core, &key, request.connection.id(), offset).is_some() {
        let remark = "the group was reset, ask for its offset, or pull, before the next commit";
        return refuse(request.responder, &Failure::new(response::SYSTEM_BUSY, remark));
    }
    if request.command.is_oneway() {
        return core.commits.commit(key, offset, None);
    }
    let reply_core = core.clone();
    let reply: CommitReply = Box::new(move |outcome| match outcome {
        Ok(()) => request.responder.respond(success()),
        Err(Refusal::NotLeader { .. }) => {
            take_late(&reply_core, request, began);
        }
        Err(refusal) => refuse(request.responder, &refusal.into()),
    });
    core.commits.commit(key, offset, Some(reply));
}

/// Takes a commit where the group is led now, as one that may have waited for long.
fn take_late(core: &Arc<Core>, request: Request, began: Instant) {
    hand_over(core, request, began, |core, command, _| async move {
        commit_and_wait(&core, &command).await
    });
}

/// A commit that did not come here straight may have waited, on its way through a member that was paused or
/// cut off, while its client gave it up and committed more elsewhere: it takes no offset back.
async fn commit_and_wait(core: &Core, command: &RemotingCommand) -> Outcome {
    let (key, offset) = parse_commit(core, command)?;
    let (tell, told) = oneshot::channel();
    let mut reply: CommitReply = Box::new(move |outcome| {
        // Nobody waits any more when the request was given up.
        let _ = tell.send(outcome);
    });
    for _ in 0..LATE_TRIES {
        core.commits.settled(Some(&key)).await;
        // What is answered without being proposed must be so wherever the group is now.
        core.read_barrier().await?;
        if reset_stands(core, &key) {
            return Ok(success());
        }
        let known = || core.view.offset(&key.group, &key.topic, key.queue_id);
        match core.commits.commit_late(key.clone(), offset, reply, known) {
            Ok(()) => {
                told.await.unwrap_or(Err(Refusal::Unknown))?;
                return Ok(success());
            }
            Err(back) => reply = back,
        }
    }
    // The outcome of another commit for the queue is not known, as when this member leads no more.
    Err(no_leader())
}

/// Whether an operator has put the group elsewhere and it has not pulled from there yet: no commit counts
/// then, and one that is gathered now must not come into the log after the group did.
fn reset_stands(core: &Core, key: &OffsetKey) -> bool {
    #[cfg(madsim)]
    if crate::mistake::made(crate::mistake::Mistake::CommitsUndoResets) {
        return false;
    }
    core.view.reset(&key.group, &key.topic, key.queue_id).is_some()
}

/// How far a group has come since it was put elsewhere, for one that is at `offset` and may not have heard.
pub fn missed_reset(core: &Core, key: &OffsetKey, connection_id: u64, offset: i64) -> Option<i64> {
    if core.reset_news.is_empty() {
        return None;
    }
    let committed = core.view.offset(&key.group, &key.topic, key.queue_id)?;
    let now = Instant::now();
    core.reset_news.has_missed(key, connection_id, offset, committed, now).then_some(committed)
}

fn parse_commit(core: &Core, command: &RemotingCommand) -> Result<(OffsetKey, i64), Failure> {
    let group = required(command, "consumerGroup")?;
    let topic = required(command, "topic")?;
    let queue_id: i32 = value(command, "queueId")?;
    let offset: i64 = value(command, "commitOffset")?;
    if offset < 0 {
        return Err(Failure::invalid(format!("commitOffset cannot be {offset}")));
    }
    check_commit(core, group, topic, queue_id)?;
    Ok((OffsetKey { group: group.to_owned(), topic: topic.to_owned(), queue_id }, offset))
}

fn check_commit(core: &Core, group: &str, topic: &str, queue_id: i32) -> Result<(), Failure> {
    if core.view.group(group).is_none() {
        return Err(Failure::no_group(group));
    }
    let known = core.view.topic(topic).ok_or_else(|| Failure::no_topic(topic))?;
    check_queue(queue_id, known.config.queue_nums(), topic)
}

/// A queue id that a topic has.
pub fn check_queue(queue_id: i32, queue_nums: i32, topic: &str) -> Result<(), Failure> {
    if (0..queue_nums).contains(&queue_id) {
        return Ok(());
    }
    let remark = format!("queueId {queue_id} is illegal, topic [{topic}] has {queue_nums} queues");
    Err(Failure::invalid(remark))
}

/// What a group has consumed of a queue.
pub async fn query(core: &Core, command: &RemotingCommand, connection_id: u64) -> Outcome {
    let group = required(command, "consumerGroup")?;
    let topic = required(command, "topic")?;
    let queue_id: i32 = value(command, "queueId")?;
    let key = OffsetKey { group: group.to_owned(), topic: topic.to_owned(), queue_id };
    if core.commits.unsettled(&key) {
        core.commits.settled(Some(&key)).await;
    }
    core.read_barrier().await?;
    if let Some(offset) = core.view.offset(group, topic, queue_id) {
        core.reset_news.heard(&key, connection_id);
        return Ok(offset_answer(offset));
    }
    // A group that is new to a young queue starts at its beginning, whatever its policy.
    let zero_allowed = flag(command, "setZeroIfNotFound").unwrap_or(true);
    if zero_allowed && core.view.min_offset(topic, queue_id)? <= 0 && whole_log_in_memory(core) {
        return Ok(offset_answer(0));
    }
    let remark = "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first";
    Err(Failure::new(response::QUERY_NOT_FOUND, remark))
}

fn whole_log_in_memory(core: &Core) -> bool {
    let status = core.status.borrow();
    status.last_position.0.saturating_sub(status.first_position.0) <= core.memory_reach_bytes
}

/// Where the next message will go.
pub async fn max(core: &Core, command: &RemotingCommand) -> Outcome {
    let topic = required(command, "topic")?;
    let queue_id: i32 = value(command, "queueId")?;
    core.read_barrier().await?;
    Ok(offset_answer(core.view.max_offset(topic, queue_id)))
}

/// The first message still there.
pub async fn min(core: &Core, command: &RemotingCommand) -> Outcome {
    let topic = required(command, "topic")?;
    let queue_id: i32 = value(command, "queueId")?;
    core.read_barrier().await?;
    Ok(offset_answer(core.view.min_offset(topic, queue_id)?))
}

/// Which message was stored at a time.
pub async fn search_by_time(core: &Core, command: &RemotingCommand) -> Outcome {
    let topic = required(command, "topic")?;
    let queue_id: i32 = value(command, "queueId")?;
    let timestamp_ms: i64 = value(command, "timestamp")?;
    let upper = command.ext_fields.get("boundaryType");
    let upper = upper.is_some_and(|boundary| boundary.eq_ignore_ascii_case("UPPER"));
    let boundary = if upper { Boundary::Upper } else { Boundary::Lower };
    core.read_barrier().await?;
    Ok(offset_answer(core.view.offset_by_time(topic, queue_id, timestamp_ms, boundary)?))
}

/// When the first message still there was stored; -1 without one.
pub async fn earliest_time(core: &Core, command: &RemotingCommand) -> Outcome {
    let topic = required(command, "topic")?;
    let queue_id: i32 = value(command, "queueId")?;
    core.read_barrier().await?;
    let first = core.view.min_offset(topic, queue_id)?;
    let timestamp_ms = core.store_time_ms(topic, queue_id, first)?.unwrap_or(-1);
    let mut answer = success();
    answer.ext_fields.insert("timestamp", timestamp_ms);
    Ok(answer)
}

fn offset_answer(offset: i64) -> RemotingCommand {
    let mut answer = success();
    answer.ext_fields.insert("offset", offset);
    answer
}
