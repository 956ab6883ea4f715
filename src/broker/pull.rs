//! Pulling: what a consumer gets from a queue, now or when something arrives.
//!
//! Any member serves pulls of what it has committed. What only the leader can judge is not guessed:
//! a topic or group unknown here is asked of the leader, an offset beyond the end is "moved" only
//! after the leader made sure that it still leads, and a member that is behind holds such a pull and
//! then says that nothing is there.
//!
//! Invariant: every answer carries the queue's bounds and a next offset that is safe to commit, never
//! a guess; success never has an empty body.

use std::cell::Cell;
use std::sync::Arc;

use tokio::time::{Duration, Instant, sleep_until};

use super::answer::Failure;
use super::client_manager::SubscriptionLookup;
use super::commits::OffsetKey;
use super::core::{Core, HOLD_MAX};
use super::dispatch::{refuse, respond};
use super::forward::{forward_pull, no_leader};
use super::group::{FetchLimits, FetchResult, FetchStatus};
use super::long_polling::{Parked, Reason, Woken};
use super::offsets::{self, check_queue};
use crate::metrics::traffic::GroupTraffic;
use crate::protocol::code::response;
use crate::protocol::heartbeat::{EXPRESSION_TAG, SUBSCRIBE_ALL, SubscriptionData};
use crate::protocol::topic::permission;
use crate::remoting::header::PullHeader;
use crate::remoting::{Request, Responder};
use crate::state::{Command, CommittedOffset};

const FLAG_COMMIT_OFFSET: i32 = 1;
const FLAG_SUSPEND: i32 = 2;
const FLAG_SUBSCRIPTION: i32 = 4;

/// The remark on a pull that the group's settings forbid, and who forbids: see `forbiddenType`.
const FORBIDDEN_BY_BROKER: i32 = 1;
const FORBIDDEN_BY_GROUP: i32 = 2;
const FORBIDDEN_BY_TOPIC: i32 = 3;
const FORBIDDEN_BROADCAST: i32 = 4;

/// Which messages a pull wants.
#[derive(Debug, Clone)]
pub enum Filter {
    /// All.
    All,
    /// Those whose tag hash the subscription names.
    Tags(Arc<SubscriptionData>),
}

/// A pull that passed all checks, on its way to its answer.
pub struct Pull {
    /// Not the whole request: that would keep the read buffer it came in.
    responder: Responder,
    connection_id: u64,
    topic: String,
    queue_id: i32,
    /// Where to look next: behind what was looked at and not wanted.
    offset: i64,
    /// Where the client wants to begin.
    requested_offset: i64,
    limits: FetchLimits,
    filter: Filter,
    /// How long it may wait in all; none if it may not.
    deadline: Option<Instant>,
    topic_sys_flag: i32,
    group_sys_flag: i32,
    traffic: Arc<GroupTraffic>,
    /// It has waited for its turn to read from files.
    had_turn: bool,
}

/// What to do with a pull after a look at its queue.
enum Verdict {
    Answer(i32, FetchResult),
    /// Nothing there, or nothing wanted up to the end.
    Wait(FetchResult),
    /// The offset is beyond the end.
    Beyond(FetchResult),
    /// What it wants is in files, and others are before it.
    NotBefore(Instant),
    Fail(Failure),
}

/// Takes a pull.
pub fn handle(core: &Arc<Core>, request: Request) {
    match check(core, &request) {
        // Whether the group knows of it is for the leader to note.
        Ok(Checked { reset: Some(_), .. }) if !core.serving() => {
            refused(core, request, no_leader());
        }
        Ok(mut checked) => {
            let connection_id = request.connection.id();
            let reset = checked.reset.take();
            let put = match &reset {
                Some(reset) => {
                    core.reset_news.heard(&OffsetKey::from(reset), connection_id);
                    Some(reset.offset)
                }
                None => missed_reset(core, &checked, connection_id),
            };
            if put.is_some() {
                checked.commit = None;
            }
            let pull = checked.into_pull(core, request);
            match (put, reset) {
                (None, _) => first_look(core, pull),
                (Some(offset), Some(reset)) if offset == pull.requested_offset => {
                    tokio::spawn(take_reset(core.clone(), reset));
                    first_look(core, pull);
                }
                (Some(offset), _) => go_there(core, pull, offset),
            }
        }
        Err(failure) => refused(core, request, failure),
    }
}

/// How far a group has come since it was put elsewhere, for a consumer of it that may not have heard of that.
fn missed_reset(core: &Core, checked: &Checked, connection_id: u64) -> Option<i64> {
    if core.reset_news.is_empty() || !core.serving() {
        return None;
    }
    let GroupTraffic { group, topic, .. } = &*checked.traffic;
    let (group, topic) = (group.to_string(), topic.to_string());
    let key = OffsetKey { group, topic, queue_id: checked.queue_id };
    let committed = offsets::missed_reset(core, &key, connection_id, checked.offset);
    core.reset_news.heard(&key, connection_id);
    committed
}

/// Says that a group pulls from where an operator has put it. Commits that were gathered before go into the
/// log before that, where they do not count.
async fn take_reset(core: Arc<Core>, reset: CommittedOffset) {
    core.commits.settled(Some(&OffsetKey::from(&reset))).await;
    // If that fails, the next pull from there says it again.
    drop(core.propose(Command::reset_taken(reset)));
}

/// Another member may know better, and a group may have to be created first.
fn refused(core: &Arc<Core>, request: Request, failure: Failure) {
    let unknown_here = matches!(
        failure.code,
        response::TOPIC_NOT_EXIST
            | response::SUBSCRIPTION_GROUP_NOT_EXIST
            | response::SUBSCRIPTION_NOT_EXIST
            | response::INVALID_PARAMETER
            | response::SERVICE_NOT_AVAILABLE
    );
    if !core.serving() && unknown_here && !super::forward::is_forwarded(&request.command) {
        let core = core.clone();
        // It may be held for long, so it must not keep the read buffer.
        let request = Request { command: request.command.detached(), ..request };
        tokio::spawn(async move {
            let peer = request.connection.peer_addr();
            match forward_pull(&core, &request.command, peer).await {
                Some(outcome) => respond(request.responder, outcome),
                None => handle(&core, request),
            }
        });
        return;
    }
    let group = request.command.ext_fields.get("consumerGroup").unwrap_or_default();
    let missing = failure.code == response::SUBSCRIPTION_GROUP_NOT_EXIST;
    if missing && core.serving() && core.accepts_group(group) {
        let core = core.clone();
        tokio::spawn(async move {
            let group = request.command.ext_fields.get("consumerGroup").unwrap_or_default();
            match core.group_or_create(group).await {
                Ok(_) => handle(&core, request),
                Err(failure) => refuse(request.responder, &failure),
            }
        });
        return;
    }
    refuse(request.responder, &failure);
}

/// What the checks found out.
struct Checked {
    topic: String,
    queue_id: i32,
    offset: i64,
    limits: FetchLimits,
    filter: Filter,
    hold: Option<Duration>,
    commit: Option<(OffsetKey, i64)>,
    topic_sys_flag: i32,
    group_sys_flag: i32,
    traffic: Arc<GroupTraffic>,
    /// Where an operator has put the group, which does not know of it yet.
    reset: Option<CommittedOffset>,
}

impl Checked {
    fn into_pull(self, core: &Core, request: Request) -> Pull {
        if let Some((key, offset)) = self.commit
            && core.serving()
        {
            let known = |key: &OffsetKey| core.view.offset(&key.group, &key.topic, key.queue_id);
            core.commits.commit_by_pull(key, offset, known);
        }
        Pull {
            responder: request.responder,
            connection_id: request.connection.id(),
            topic: self.topic,
            queue_id: self.queue_id,
            offset: self.offset,
            requested_offset: self.offset,
            limits: self.limits,
            filter: self.filter,
            deadline: self.hold.map(|hold| Instant::now() + hold),
            topic_sys_flag: self.topic_sys_flag,
            group_sys_flag: self.group_sys_flag,
            traffic: self.traffic,
            had_turn: false,
        }
    }
}

fn forbidden(by: i32, remark: String) -> Failure {
    Failure { forbidden_type: Some(by), ..Failure::new(response::NO_PERMISSION, remark) }
}

fn check(core: &Core, request: &Request) -> Result<Checked, Failure> {
    let header = PullHeader::decode(&request.command.ext_fields)?;
    let PullHeader { consumer_group: group, topic, queue_id, sys_flag, .. } = header;
    if !permission::is_readable(core.live.broker_permission()) {
        let remark = format!("the broker[{}] pulling message is forbidden", core.address);
        return Err(forbidden(FORBIDDEN_BY_BROKER, remark));
    }
    let (group_config, reset) =
        core.view.group_in_queue(group, topic, queue_id).ok_or_else(|| Failure::no_group(group))?;
    if !group_config.consume_enable {
        let remark = format!("subscription group no permission, {group}");
        return Err(forbidden(FORBIDDEN_BY_GROUP, remark));
    }
    let topic_ref = core.view.topic(topic).ok_or_else(|| Failure::no_topic(topic))?;
    let topic_config = &topic_ref.config;
    if !permission::is_readable(topic_config.perm) {
        let remark = format!("the topic[{topic}] pulling message is forbidden");
        return Err(forbidden(FORBIDDEN_BY_TOPIC, remark));
    }
    check_queue(queue_id, topic_config.read_queue_nums, topic)?;
    let broadcast_enable = group_config.consume_broadcast_enable;
    let filter = filter(core, &header, broadcast_enable)?;
    let commits = sys_flag & FLAG_COMMIT_OFFSET != 0 && header.commit_offset >= 0;
    let key = || OffsetKey { group: group.to_owned(), topic: topic.to_owned(), queue_id };
    Ok(Checked {
        topic: topic.to_owned(),
        queue_id,
        offset: header.queue_offset,
        limits: limits(core, header.max_msg_nums, header.max_msg_bytes),
        filter,
        hold: hold(core, &header),
        commit: commits.then(|| (key(), header.commit_offset)),
        topic_sys_flag: topic_config.topic_sys_flag,
        group_sys_flag: group_config.group_sys_flag,
        traffic: core.view.traffic().of_group(group, topic),
        reset: reset.map(|offset| CommittedOffset {
            group: group.to_owned(),
            topic: topic.to_owned(),
            queue_id,
            offset,
        }),
    })
}

fn limits(core: &Core, messages: i32, bytes: Option<i32>) -> FetchLimits {
    let messages = usize::try_from(messages).unwrap_or(0).clamp(1, core.config.max_transfer_count);
    let asked = bytes.and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
    let bytes_max = core.config.max_transfer_bytes;
    FetchLimits::of_pull(messages, asked.unwrap_or(bytes_max).min(bytes_max))
}

fn hold(core: &Core, header: &PullHeader<'_>) -> Option<Duration> {
    if header.sys_flag & FLAG_SUSPEND == 0 {
        return None;
    }
    Some(if core.live.long_polling_enable() {
        let asked_ms = u64::try_from(header.suspend_timeout_ms).unwrap_or(0);
        Duration::from_millis(asked_ms).min(HOLD_MAX)
    } else {
        Duration::from_millis(core.config.short_polling_time_ms)
    })
}

fn filter(core: &Core, header: &PullHeader<'_>, broadcast_enable: bool) -> Result<Filter, Failure> {
    let PullHeader { consumer_group: group, topic, .. } = *header;
    if header.sys_flag & FLAG_SUBSCRIPTION != 0 {
        if header.expression_type != EXPRESSION_TAG {
            return Err(not_by_tag(header.expression_type));
        }
        return parse_filter(topic, header.subscription.unwrap_or(SUBSCRIBE_ALL));
    }
    match core.clients.subscription(group, topic) {
        SubscriptionLookup::Found { subscription, broadcasting } => {
            if broadcasting && !broadcast_enable {
                let remark =
                    format!("the consumer group[{group}] can not consume by broadcast way");
                return Err(forbidden(FORBIDDEN_BROADCAST, remark));
            }
            if !subscription.is_tag_expression() {
                return Err(not_by_tag(&subscription.expression_type));
            }
            if subscription.sub_version < header.sub_version {
                return Ok(Filter::All);
            }
            Ok(of_subscription(subscription))
        }
        // A member that just became leader, or just started, may not have heard of the group's
        // clients yet, and any member may not have heard of their newest subscription: RocketMQ
        // refuses that one by SUBSCRIPTION_NOT_LATEST until the next heartbeat, half a minute later.
        // They check tags themselves, so they may get everything meanwhile.
        SubscriptionLookup::UnknownGroup => Ok(Filter::All),
        SubscriptionLookup::NotSubscribed => {
            let remark = format!("the consumer's subscription not exist: {group} to {topic}");
            Err(Failure::new(response::SUBSCRIPTION_NOT_EXIST, remark))
        }
    }
}

fn not_by_tag(expression_type: &str) -> Failure {
    let remark =
        format!("The broker does not support consumer to filter message by {expression_type}");
    Failure::new(response::SYSTEM_ERROR, remark)
}

fn parse_filter(topic: &str, expression: &str) -> Result<Filter, Failure> {
    let expression = expression.trim();
    if expression.is_empty() || expression == SUBSCRIBE_ALL {
        return Ok(Filter::All);
    }
    let subscription = SubscriptionData::from_tags(topic, expression, 0).map_err(|error| {
        let remark = format!("parse the consumer's subscription failed: {error}");
        Failure::new(response::SUBSCRIPTION_PARSE_FAILED, remark)
    })?;
    Ok(Filter::Tags(Arc::new(subscription)))
}

fn of_subscription(subscription: Arc<SubscriptionData>) -> Filter {
    match subscription.sub_string.trim() {
        "" | SUBSCRIBE_ALL => Filter::All,
        _ => Filter::Tags(subscription),
    }
}

fn look(core: &Core, pull: &Pull) -> Verdict {
    let by_tags;
    let accepts: Option<&dyn Fn(i64) -> bool> = match &pull.filter {
        Filter::All => None,
        Filter::Tags(subscription) => {
            by_tags = |code| subscription.matches(code);
            Some(&by_tags)
        }
    };
    let turn = Cell::new(None);
    let may_read = |bytes| {
        if !pull.had_turn {
            let now = Instant::now();
            turn.set(core.catch_up.turn(now, core.view.traffic().put.totals(), bytes));
        }
        turn.get().is_none()
    };
    let Pull { topic, queue_id, offset, limits, .. } = pull;
    let fetched = core.view.fetch_in_turn(topic, *queue_id, *offset, *limits, accepts, &may_read);
    let fetched = match fetched {
        Ok(fetched) => fetched,
        Err(error) => return Verdict::Fail(Failure::from(error)),
    };
    if let Some(turn) = turn.get() {
        return Verdict::NotBefore(turn);
    }
    match fetched.status {
        FetchStatus::Found => Verdict::Answer(response::SUCCESS, fetched),
        FetchStatus::NoMatchedMessage if fetched.next_begin_offset == fetched.max_offset => {
            Verdict::Wait(fetched)
        }
        FetchStatus::NoMatchedMessage | FetchStatus::MessageWasRemoving | FetchStatus::NotYet => {
            Verdict::Answer(response::PULL_RETRY_IMMEDIATELY, fetched)
        }
        FetchStatus::OffsetTooSmall | FetchStatus::OffsetReset => {
            Verdict::Answer(response::PULL_OFFSET_MOVED, fetched)
        }
        FetchStatus::OffsetOverflowOne => Verdict::Wait(fetched),
        FetchStatus::OffsetOverflowBadly => Verdict::Beyond(fetched),
        FetchStatus::NoMatchedLogicQueue | FetchStatus::NoMessageInQueue => match pull.offset {
            0 => Verdict::Wait(fetched),
            offset if offset < 0 => Verdict::Answer(response::PULL_OFFSET_MOVED, fetched),
            _ => Verdict::Beyond(fetched),
        },
    }
}

fn first_look(core: &Arc<Core>, mut pull: Pull) {
    if pull.responder.is_congested() {
        return ask_again(core, pull);
    }
    match look(core, &pull) {
        Verdict::Answer(code, fetched) => answer(core, pull, code, &fetched),
        Verdict::Fail(failure) => fail(pull, &failure),
        Verdict::NotBefore(turn) => look_again(core, pull, turn),
        Verdict::Wait(fetched) => {
            // What was looked at and not wanted need not be looked at again.
            pull.offset = pull.offset.max(fetched.next_begin_offset);
            match pull.deadline {
                Some(deadline) if !core.is_stopping() => park(core, pull, deadline),
                _ => nothing_there(core, pull, fetched),
            }
        }
        Verdict::Beyond(_) if core.serving() => confirm_beyond(core, pull),
        Verdict::Beyond(fetched) => match pull.deadline {
            Some(deadline) if !core.is_stopping() => park(core, pull, deadline),
            _ => nothing_there(core, pull, fetched),
        },
    }
}

/// An answer of a few bytes. A client that parked many pulls and reads no answers gets no more messages
/// queued for it.
fn ask_again(core: &Core, pull: Pull) {
    let later = without_messages(core, &pull, FetchStatus::NoMatchedMessage, pull.offset);
    answer(core, pull, response::PULL_RETRY_IMMEDIATELY, &later);
}

/// What a pull is answered whose queue was not looked into.
fn without_messages(core: &Core, pull: &Pull, status: FetchStatus, next: i64) -> FetchResult {
    FetchResult {
        status,
        records: bytes::Bytes::new(),
        message_count: 0,
        next_begin_offset: next,
        min_offset: core.view.min_offset(&pull.topic, pull.queue_id).unwrap_or(0),
        max_offset: core.view.max_offset(&pull.topic, pull.queue_id),
    }
}

/// Sends a consumer where an operator has put its group.
fn go_there(core: &Core, pull: Pull, offset: i64) {
    let moved = without_messages(core, &pull, FetchStatus::OffsetReset, offset);
    answer(core, pull, response::PULL_OFFSET_MOVED, &moved);
}

/// The leader says that an offset is beyond the end only when it certainly leads.
fn confirm_beyond(core: &Arc<Core>, mut pull: Pull) {
    let core = core.clone();
    tokio::spawn(async move {
        let confirmed = core.read_barrier().await.is_ok();
        match look(&core, &pull) {
            Verdict::Beyond(fetched) if confirmed => {
                answer(&core, pull, response::PULL_OFFSET_MOVED, &fetched);
            }
            Verdict::Beyond(fetched) => nothing_there(&core, pull, fetched),
            Verdict::Wait(fetched) => {
                pull.offset = pull.offset.max(fetched.next_begin_offset);
                nothing_there(&core, pull, fetched);
            }
            Verdict::Answer(code, fetched) => answer(&core, pull, code, &fetched),
            Verdict::Fail(failure) => fail(pull, &failure),
            Verdict::NotBefore(turn) => look_again(&core, pull, turn),
        }
    });
}

/// Looks again when it is the pull's turn. What it wants is being fetched until then, and nothing of it kept.
fn look_again(core: &Arc<Core>, mut pull: Pull, turn: Instant) {
    pull.had_turn = true;
    let core = core.clone();
    tokio::spawn(async move {
        sleep_until(turn).await;
        match was_reset(&core, &pull) {
            // It is told where to with its next pull.
            true => ask_again(&core, pull),
            false => first_look(&core, pull),
        }
    });
}

/// Whether an operator has put the group elsewhere since the pull was taken.
fn was_reset(core: &Core, pull: &Pull) -> bool {
    let GroupTraffic { group, topic, .. } = &*pull.traffic;
    let reset = core.view.reset(group, topic, pull.queue_id);
    reset.is_some_and(|offset| offset != pull.requested_offset)
}

fn park(core: &Arc<Core>, pull: Pull, deadline: Instant) {
    let (topic, queue_id, offset) = (pull.topic.clone(), pull.queue_id, pull.offset);
    let connection_id = pull.connection_id;
    let parked = Parked { topic: topic.clone(), queue_id, offset, deadline, connection_id, pull };
    match core.long_polling.park(parked) {
        // What arrived between the look and the parking has told nobody.
        Ok(()) => {
            let max_offset = core.view.max_offset(&topic, queue_id);
            core.long_polling.arrived(&topic, queue_id, max_offset);
        }
        Err(parked) => last_look(core, parked.pull),
    }
}

/// Answers, or parks again, the pulls that left the table.
pub async fn answer_woken(core: Arc<Core>) {
    loop {
        for Woken { parked, reason } in core.long_polling.woken().await {
            match reason {
                Reason::Arrived => first_look(&core, parked.pull),
                Reason::Deadline | Reason::Released => last_look(&core, parked.pull),
            }
        }
    }
}

/// Answers a pull that may not wait any longer.
pub fn last_look(core: &Arc<Core>, mut pull: Pull) {
    pull.deadline = None;
    if core.view.topic(&pull.topic).is_none() && core.serving() {
        let failure = Failure::no_topic(&pull.topic);
        return fail(pull, &failure);
    }
    first_look(core, pull);
}

fn nothing_there(core: &Core, pull: Pull, mut fetched: FetchResult) {
    // Beyond the end of a member that is behind, the client's own offset is the only one that is
    // no step back. After messages that were not wanted the client goes on behind them.
    fetched.next_begin_offset = pull.offset;
    let code = if pull.offset > pull.requested_offset {
        response::PULL_RETRY_IMMEDIATELY
    } else {
        response::PULL_NOT_FOUND
    };
    answer(core, pull, code, &fetched);
}

fn answer(core: &Core, pull: Pull, code: i32, fetched: &FetchResult) {
    let stats = &core.stats;
    let bodies = if code == response::SUCCESS {
        stats.get_found.add(1);
        let (messages, bytes) = (fetched.message_count, fetched.records.len());
        core.view.traffic().handed_out(&pull.traffic, messages, bytes);
        std::slice::from_ref(&fetched.records)
    } else {
        stats.get_missed.add(1);
        &[]
    };
    pull.responder.respond_parts(code, Some(fetched.status.name()), bodies, |fields| {
        fields.put("suggestWhichBrokerId", 0);
        fields.put("nextBeginOffset", fetched.next_begin_offset);
        fields.put("minOffset", fetched.min_offset);
        fields.put("maxOffset", fetched.max_offset);
        fields.put("topicSysFlag", pull.topic_sys_flag);
        fields.put("groupSysFlag", pull.group_sys_flag);
    });
}

fn fail(pull: Pull, failure: &Failure) {
    refuse(pull.responder, failure);
}
