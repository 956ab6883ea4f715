//! Brings delayed messages to their topics when their time has come.
//!
//! The leader looks at the head of each level's queue: store times never go backwards in the log, so
//! when the head is not due, nothing behind it is. What is due becomes one entry with the level's new
//! place in it ([`super::group::DeliveryProposal`]); a level has at most one such entry in flight.
//!
//! Invariant: a message leaves its level once, and never before its store time plus its delay by the
//! leader's clock. What cannot be read or stored now is tried again: nothing is skipped but what
//! retention has deleted and what has no destination any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use raft_log::{Position, Term};
use tokio::time::{Duration, Instant, sleep};

use super::core::Core;
use super::delayed::level_of_queue;
use super::group::{
    Boundary, DeliveryOutcome, DeliveryProposal, DueMessages, FetchLimits, FetchStatus, NewMessage,
    Proposal,
};
use crate::protocol::names::{SCHEDULE_TOPIC, TRANSACTION_HALF_TOPIC};
use crate::protocol::properties::{REAL_QID, REAL_TOPIC, get};
use crate::protocol::record::{RecordView, records};
use crate::replication::machine::Refusal;
use crate::store::StoreError;

/// Messages of one entry at most.
const MESSAGES_MAX: i64 = 4_096;
/// How often levels are looked at when nothing is known to become due earlier; less often than the
/// shortest delay, so that no message is seen only after it was due.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// Before a delivery that was refused is tried again.
const PAUSE_REFUSED: Duration = Duration::from_millis(50);
/// The same when it will take somebody to help: a damaged log, a setting.
const PAUSE_STUCK: Duration = Duration::from_secs(5);

/// One level, as the deliverer knows it.
struct Level {
    queue_id: i32,
    /// The message at its head, and when it is due.
    head: Option<(i64, i64)>,
    /// Not to be looked at before.
    rests_until: Option<Instant>,
}

/// How a look at a level ended.
enum Look {
    /// It may have more that is due.
    Again,
    /// Nothing is due before this time; never, as far as is known.
    Wait(Option<i64>),
    /// Something is in the way.
    Rest(Duration),
}

/// What of a level is due.
struct Batch {
    messages: Vec<DueMessages>,
    until: i64,
    due_ms: i64,
}

/// Delivers as long as this member leads in that term.
pub async fn deliver(core: Arc<Core>, term: Term) {
    let shortest_ms = core.config.message_delay_level.shortest_ms().cast_unsigned();
    let period = LOOK_PERIOD.min(Duration::from_millis(shortest_ms / 2));
    let mut levels: Vec<Level> = Vec::new();
    while leads(&core, term) {
        let queues = core.view.with_state(|state| {
            state.topics().get(SCHEDULE_TOPIC).map_or(0, |topic| topic.queues.as_slice().len())
        });
        for queue_id in levels.len()..queues {
            let queue_id = i32::try_from(queue_id).expect("levels are few");
            levels.push(Level { queue_id, head: None, rests_until: None });
        }
        let mut wait = period;
        for level in &mut levels {
            let now = Instant::now();
            if let Some(until) = level.rests_until.filter(|until| *until > now) {
                wait = wait.min(until - now);
                continue;
            }
            level.rests_until = None;
            match look(&core, level).await {
                Look::Again => wait = Duration::ZERO,
                Look::Wait(None) => {}
                Look::Wait(Some(due_ms)) => {
                    let left_ms = due_ms.saturating_sub(crate::clock::now_ms()).max(0);
                    wait = wait.min(Duration::from_millis(left_ms.cast_unsigned()));
                }
                Look::Rest(pause) => {
                    level.rests_until = Some(Instant::now() + pause);
                    wait = wait.min(pause);
                }
            }
        }
        sleep(wait).await;
    }
}

fn leads(core: &Core, term: Term) -> bool {
    let status = core.status.borrow();
    status.serving && status.term == term && !core.is_stopping()
}

async fn look(core: &Core, level: &mut Level) -> Look {
    let next = core.view.schedule_next(level.queue_id);
    if next >= core.view.max_offset(SCHEDULE_TOPIC, level.queue_id) {
        return Look::Wait(None);
    }
    if let Some((offset, due_ms)) = level.head
        && offset == next
        && due_ms > crate::clock::now_ms()
    {
        return Look::Wait(Some(due_ms));
    }
    if core.disk_full.load(Ordering::Acquire) {
        return Look::Rest(LOOK_PERIOD);
    }
    match due(core, level, next) {
        Ok(Some(batch)) => propose(core, level.queue_id, next, batch).await,
        Ok(None) => Look::Wait(level.head.map(|(_, due_ms)| due_ms)),
        Err(error) => {
            let delay_level = level_of_queue(level.queue_id);
            tracing::warn!(delay_level, offset = next, %error, "delayed messages wait: they cannot be read");
            Look::Rest(PAUSE_STUCK)
        }
    }
}

/// What is due of a level that stands at `next`; notes when its head will be if nothing is.
fn due(core: &Core, level: &mut Level, next: i64) -> Result<Option<Batch>, StoreError> {
    let (view, queue_id) = (&core.view, level.queue_id);
    let delay_ms = core.config.message_delay_level.delay_ms(level_of_queue(queue_id));
    #[cfg(madsim)]
    let delay_ms = match crate::mistake::made(crate::mistake::Mistake::DeliversEarly) {
        true => delay_ms / 2,
        false => delay_ms,
    };
    let Some(stored_ms) = view.store_time(SCHEDULE_TOPIC, queue_id, next)? else {
        let until = view.min_offset(SCHEDULE_TOPIC, queue_id)?;
        if until <= next {
            return Ok(None);
        }
        let delay_level = level_of_queue(queue_id);
        tracing::warn!(
            delay_level,
            from = next,
            until,
            "messages were deleted before their delivery"
        );
        return Ok(Some(Batch { messages: Vec::new(), until, due_ms: 0 }));
    };
    let now_ms = crate::clock::now_ms();
    level.head = Some((next, stored_ms.saturating_add(delay_ms)));
    if stored_ms.saturating_add(delay_ms) > now_ms {
        return Ok(None);
    }
    let not_due = view.offset_by_time(
        SCHEDULE_TOPIC,
        queue_id,
        now_ms.saturating_sub(delay_ms).saturating_add(1),
        Boundary::Lower,
    )?;
    let count = usize::try_from((not_due - next).clamp(1, MESSAGES_MAX)).expect("clamped");
    let limits =
        FetchLimits { messages: count, bytes: core.config.raft_entry_bytes_max, scanned: count };
    let fetched = view.fetch(SCHEDULE_TOPIC, queue_id, next, limits, None)?;
    if fetched.status != FetchStatus::Found {
        // Retention went on meanwhile.
        return Ok(None);
    }
    batch(core, &fetched.records, next, now_ms - delay_ms, delay_ms)
}

/// The messages of a stretch of a level that were stored until `stored_until_ms`, by destination.
fn batch(
    core: &Core,
    stretch: &Bytes,
    next: i64,
    stored_until_ms: i64,
    delay_ms: i64,
) -> Result<Option<Batch>, StoreError> {
    let mut batch = Batch { messages: Vec::new(), until: next, due_ms: 0 };
    let mut places: BTreeMap<(&str, i32), usize> = BTreeMap::new();
    let mut bytes = 0;
    for record in records(stretch) {
        let record = match record {
            Ok(record) if is_intact(&record, batch.until) => record,
            // What lies before it does not wait until it is mended.
            _ if batch.until > next => break,
            Ok(record) => {
                let position = Position(record.physical_offset.cast_unsigned());
                return Err(StoreError::Damaged { position });
            }
            Err(error) => {
                let (position, message) = (core.view.min_position(), error.to_string());
                return Err(StoreError::Record { position, message });
            }
        };
        if record.store_timestamp_ms > stored_until_ms {
            break;
        }
        let destination = destination(&record);
        // A destination's name may be longer than that of the topic it waited in.
        bytes += record.bytes.len() + destination.map_or(0, |(topic, _)| topic.len());
        if batch.until > next && bytes > core.config.raft_entry_bytes_max {
            break;
        }
        batch.until += 1;
        batch.due_ms = record.store_timestamp_ms + delay_ms;
        let Some((topic, queue_id)) = destination else {
            let position = record.physical_offset;
            tracing::error!(position, "a delayed message without destination is discarded");
            continue;
        };
        let at = *places.entry((topic, queue_id)).or_insert_with(|| {
            let topic = match core.view.topic(topic) {
                Some(known) => known.name.clone(),
                None => Arc::from(topic),
            };
            batch.messages.push(DueMessages { topic, queue_id, messages: Default::default() });
            batch.messages.len() - 1
        });
        // As it was sent. Its properties keep what they say about the delay, as in RocketMQ; nothing reads
        // that again.
        batch.messages[at].messages.push(NewMessage::like(&record, stretch, core.address));
    }
    Ok((batch.until > next).then_some(batch))
}

/// Whether a record is the one of its level at that offset, as it was stored as far as its own checksum
/// tells: what is copied now, nobody could tell from the original afterwards.
fn is_intact(record: &RecordView<'_>, offset: i64) -> bool {
    record.topic == SCHEDULE_TOPIC && record.queue_offset == offset && record.body_is_intact()
}

/// Where a message goes that waited.
fn destination<'a>(record: &RecordView<'a>) -> Option<(&'a str, i32)> {
    let topic = get(record.properties, REAL_TOPIC)?;
    let queue_id: i32 = get(record.properties, REAL_QID)?.parse().ok()?;
    let possible = topic != SCHEDULE_TOPIC && topic != TRANSACTION_HALF_TOPIC && queue_id >= 0;
    possible.then_some((topic, queue_id))
}

async fn propose(core: &Core, queue_id: i32, from: i64, batch: Batch) -> Look {
    let Batch { messages, until, due_ms } = batch;
    let delivery = |reply| {
        Proposal::Delivery(DeliveryProposal { queue_id, from, until, due_ms, messages, reply })
    };
    let level = level_of_queue(queue_id);
    match core.ask(delivery, DeliveryOutcome::Refused).await {
        DeliveryOutcome::Delivered { discarded } => {
            if discarded > 0 {
                tracing::warn!(level, discarded, "delayed messages went with their topics");
            }
            tracing::debug!(level, from, until, "delayed messages delivered");
            #[cfg(madsim)]
            if crate::mistake::made(crate::mistake::Mistake::DeliversBeforeAdvance) {
                let advance = crate::state::Command::advance_schedule(queue_id, from, until);
                let _ = core.propose(advance).await;
            }
            Look::Again
        }
        DeliveryOutcome::Void => Look::Rest(PAUSE_REFUSED),
        DeliveryOutcome::Refused(Refusal::TooLarge) => {
            tracing::warn!(
                level,
                offset = from,
                "a delayed message is larger than an entry may be and waits; raise maxMessageSize \
                 to what it was when it was sent"
            );
            Look::Rest(PAUSE_STUCK)
        }
        DeliveryOutcome::Refused(refusal) => {
            tracing::debug!(level, from, until, %refusal, "delivery is tried again");
            Look::Rest(PAUSE_REFUSED)
        }
    }
}
