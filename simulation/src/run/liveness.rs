//! What a cluster in which nothing goes wrong any more must come to, and how soon.
//!
//! Bounds are a small multiple of what configuration promises, plus what the simulated network needs
//! after a cut: it tries a stuck message again after up to ten seconds.
//!
//! Invariant: a bound that passes is a finding that says what was still missing.

use std::collections::BTreeSet;
use std::time::Duration;

use madsim::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

use raftmq::broker::group::GroupView;
use raftmq::protocol::names::{SCHEDULE_TOPIC, retry_topic};

use super::World;
use crate::cluster::{self, Live, Member, Running};
use crate::history::{Outcome, Queue, Send};
use crate::parameters::Parameters;
use crate::workload::{CONSUMER_GROUP, IN_ORDER_GROUP, POLLED_GROUP, TOPIC, make_topic};

const LEADER: &str = "a majority elects a leader";
const ACKNOWLEDGES: &str = "a leader acknowledges sends";
const DRAINS: &str = "consumers are given everything";
const COMES: &str = "what is delayed comes when it is due";
const CONVERGES: &str = "members converge";
pub(super) const LOOK: Duration = Duration::from_millis(20);
/// The simulated network's longest pause before it tries again.
const NETWORK_RETRY: Duration = Duration::from_secs(10);
/// Longer than a member takes to publish its numbers.
const STATUS_DELAY: Duration = Duration::from_millis(100);
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(15);
const DRAIN_LIMIT: Duration = Duration::from_secs(60);
const CONVERGE_LIMIT: Duration = Duration::from_secs(30);
const CATCH_UP_LIMIT: Duration = Duration::from_secs(300);

/// How long a recovered cluster took for each step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Took {
    /// Until there was a leader, once a majority was well again.
    pub leader: Duration,
    /// From then until a send was acknowledged.
    pub acknowledgement: Duration,
    /// Until all members held the same, once everything was delivered.
    pub convergence: Duration,
}

/// Waits until a condition holds and says how long that took; reports what is missing when it does not
/// in time.
async fn within(
    world: &World,
    limit: Duration,
    invariant: &'static str,
    missing: impl Fn() -> Option<String>,
) -> Option<Duration> {
    let began = Instant::now();
    loop {
        let Some(what) = missing() else { return Some(began.elapsed()) };
        if began.elapsed() >= limit {
            world.findings.report(invariant, format!("not within {limit:?}: {what}"));
            return None;
        }
        if !world.findings.is_empty() {
            return None;
        }
        sleep(LOOK).await;
    }
}

/// With several groups the messages' topic is made in each of them before clients come.
pub(super) async fn first_topic(world: &World) {
    let parameters = &world.parameters;
    if parameters.groups == 1 {
        return;
    }
    let operator = Handle::current().get_node(world.cluster.operator).expect("it was made");
    for group in 0..parameters.groups {
        let made = operator.spawn(make_topic(group, parameters.members, parameters.queues));
        if timeout(ACKNOWLEDGE_LIMIT, made).await.is_err() {
            let what = format!("the topic is not made: {}", describe(world));
            return world.findings.report(ACKNOWLEDGES, what);
        }
    }
    // The name server is told a moment later.
    sleep(STATUS_DELAY).await;
}

/// A new cluster begins to work.
pub(super) async fn first_acknowledgement(world: &World) {
    // What is missing is reported.
    let _ = acknowledges(world, &vec![0; world.parameters.groups]).await;
}

/// In each group a majority elects a leader, which acknowledges sends.
pub(super) async fn recovers(world: &World, took: &mut Took) -> Option<()> {
    let elections = Duration::from_millis(world.parameters.election_timeout_ms * 10);
    let limit = NETWORK_RETRY + elections;
    let groups = 0..world.parameters.groups;
    let elected = within(world, limit, LEADER, || {
        let all = groups.clone().all(|group| world.cluster.leader(group).is_some());
        (!all).then(|| describe(world))
    });
    took.leader = elected.await?;
    world.trace.tell(format_args!("there is a leader"));
    let before: Vec<u64> =
        groups.clone().map(|group| world.history.acknowledged_by(group)).collect();
    took.acknowledgement = acknowledges(world, &before).await?;
    Some(())
}

/// Every group acknowledges more than before.
async fn acknowledges(world: &World, before: &[u64]) -> Option<Duration> {
    let acknowledged = within(world, ACKNOWLEDGE_LIMIT, ACKNOWLEDGES, || {
        let more = |(group, before): (usize, &u64)| world.history.acknowledged_by(group) > *before;
        let all = before.iter().enumerate().all(more);
        (!all).then(|| describe(world))
    });
    let waited = acknowledged.await?;
    world.trace.tell(format_args!("sends are acknowledged"));
    Some(waited)
}

/// Consumers get all that was acknowledged, and members come to rest at one index.
pub(super) async fn settles(world: &World, took: &mut Took) -> Option<()> {
    drains(world, DRAINS, false).await?;
    let Parameters { delayed_one_in, attempts_max, .. } = *world.parameters;
    // Everything else must come whatever clocks say, and does so where nothing is delayed.
    if delayed_one_in > 0 || attempts_max.is_some() {
        agree_on_time(world);
    }
    drains(world, COMES, true).await?;
    comes_to_an_end(world).await?;
    world.trace.tell(format_args!("everything acknowledged was delivered"));
    // No more offsets are committed when consumers are gone.
    world.consumers.end();
    Handle::current().kill(world.cluster.operator);
    converges_all(world, took).await
}

/// Members come to rest at one index.
pub(super) async fn converges_all(world: &World, took: &mut Took) -> Option<()> {
    // A status tells its numbers a tick late.
    sleep(STATUS_DELAY).await;
    took.convergence = converges(world).await?;
    world.trace.tell(format_args!("all members hold the same"));
    Some(())
}

/// The limit counts from when a member last gained something: how long one takes that begins with
/// nothing follows from the log's length and the size of appends.
async fn converges(world: &World) -> Option<Duration> {
    let began = Instant::now();
    let (mut held, mut gained_at) = (0, began);
    loop {
        if (0..world.parameters.groups).all(|group| rests_at_one_index(world, group)) {
            return Some(began.elapsed());
        }
        let holds = held_in_all(world);
        if holds > held {
            (held, gained_at) = (holds, Instant::now());
        }
        if gained_at.elapsed() >= CONVERGE_LIMIT || began.elapsed() >= CATCH_UP_LIMIT {
            let what = format!("not within {:?}: {}", began.elapsed(), describe(world));
            world.findings.report(CONVERGES, what);
        }
        if !world.findings.is_empty() {
            return None;
        }
        sleep(LOOK).await;
    }
}

/// Entries stored and applied, over all members and groups.
fn held_in_all(world: &World) -> u64 {
    let members = world.cluster.members.iter();
    let statuses = members.flat_map(|member| {
        (0..world.parameters.groups).filter_map(move |group| member.status(group))
    });
    statuses.map(|status| status.last_index.0 + status.applied.0).sum()
}

async fn drains(world: &World, invariant: &'static str, with_delayed: bool) -> Option<Duration> {
    let drained = within(world, DRAIN_LIMIT, invariant, || {
        let missing = undelivered(world, with_delayed);
        (missing > 0).then(|| format!("{missing} messages are missing; {}", describe(world)))
    });
    drained.await
}

/// Copies of which no producer knows come as well, and consumers are done with all that they have.
async fn comes_to_an_end(world: &World) -> Option<Duration> {
    let came = within(world, DRAIN_LIMIT, COMES, || {
        let rests = (0..world.parameters.groups).map(|group| rest_of(world, group));
        let rests: Vec<String> = rests.flatten().collect();
        (!rests.is_empty()).then(|| format!("{}; {}", rests.join(", "), describe(world)))
    });
    came.await
}

/// What is still to come in a group, as its leader has it.
fn rest_of(world: &World, group: usize) -> Option<String> {
    let leader = world.cluster.leader(group).map(|number| &world.cluster.members[number]);
    let Some(Live { view, .. }) = leader.and_then(|leader| leader.live(group)) else {
        return Some("nobody leads".to_owned());
    };
    let levels = i32::try_from(world.parameters.delay_levels_s.len()).expect("levels are few");
    let waits = |queue: &i32| view.schedule_next(*queue) < view.max_offset(SCHEDULE_TOPIC, *queue);
    if let Some(queue) = (0..levels).find(waits) {
        return Some(format!("some wait in level {}", queue + 1));
    }
    if let Some(rest) = rest_without_gap(world, group, &view) {
        return Some(rest);
    }
    // Where nothing is sent back it is enough that all was delivered.
    world.parameters.attempts_max?;
    for topic in [TOPIC, &retry_topic(CONSUMER_GROUP)] {
        let queues = view.topic(topic).map_or(0, |topic| topic.config.read_queue_nums);
        for queue in 0..queues {
            let reached = view.offset(CONSUMER_GROUP, topic, queue).unwrap_or(0);
            let end = view.max_offset(topic, queue);
            if reached < end {
                return Some(format!("{topic} {queue} is consumed up to {reached} of {end}"));
            }
        }
    }
    None
}

/// What is still to come for those that consume without a gap.
fn rest_without_gap(world: &World, group: usize, view: &GroupView) -> Option<String> {
    let Parameters { in_order, polled, queues, .. } = *world.parameters;
    let consuming = [(IN_ORDER_GROUP, in_order), (POLLED_GROUP, polled)];
    for (name, _) in consuming.into_iter().filter(|(_, consumers)| *consumers > 0) {
        for id in 0..queues {
            let queue = Queue { group, id };
            let (next, end) = (world.no_gap.next(name, queue), view.max_offset(TOPIC, id));
            let begin = view.min_offset(TOPIC, id).unwrap_or(0);
            if next.max(begin) < end {
                return Some(format!("{name} has come to {next} of {end} in {queue}"));
            }
            let awaited = world.no_gap.awaited(name, queue);
            if let Some(at) = awaited.filter(|at| (begin..end).contains(at)) {
                return Some(format!(
                    "{name} was set back to {at} in {queue}, and is not given it"
                ));
            }
        }
    }
    None
}

/// All clocks are set to the same time, which no store timestamp is ahead of: what is delayed is due
/// when its delay has passed by what a leader's clock once said, and without this that may be days.
fn agree_on_time(world: &World) {
    let members = world.cluster.members.iter();
    let lives = members.flat_map(|member| {
        (0..world.parameters.groups).filter_map(move |group| member.live(group))
    });
    let stamps = lives.map(|live| live.view.with_state(|state| state.last_store_timestamp_ms()));
    let ahead_ms = stamps.max().unwrap_or(0).saturating_sub(raftmq::clock::now_ms()).max(0);
    world.trace.tell(format_args!("all clocks agree, {ahead_ms} ms ahead"));
    for member in &world.cluster.members {
        raftmq::clock::set_offset_ms(member.node, ahead_ms);
    }
}

fn rests_at_one_index(world: &World, group: usize) -> bool {
    let members = world.cluster.members.iter();
    let rests: BTreeSet<Option<(u64, u64, u64)>> = members
        .map(|member| {
            let status = member.status(group)?;
            Some((status.last_index.0, status.commit.0, status.applied.0))
        })
        .collect();
    let at_rest = |rest: &Option<(u64, u64, u64)>| {
        rest.is_some_and(|(last, commit, applied)| last == commit && commit == applied)
    };
    rests.len() == 1 && rests.iter().all(at_rest)
}

fn undelivered(world: &World, with_delayed: bool) -> usize {
    // What retention gave up by now need not come any more.
    let given_up = |group| world.cluster.given_up(group);
    let given_up: Vec<i64> = (0..world.parameters.groups).map(given_up).collect();
    let is_missing = |send: &Send| {
        let counts = with_delayed || !matches!(send.outcome, Outcome::Waits { .. });
        let is_kept = |(group, position): (usize, i64)| position >= given_up[group];
        counts && send.acknowledged().is_some_and(is_kept)
    };
    world.history.owed().into_iter().filter(is_missing).count()
}

/// Where each member stands.
pub(super) fn describe(world: &World) -> String {
    let one = |member: &Member, group: usize| {
        let name = format!("{}'s {}", member.machine.name, cluster::group_name(group));
        match (member.running(), member.status(group)) {
            (Running::Down, _) => format!("{name} is down"),
            (_, None) => format!("{name} is starting"),
            (running, Some(status)) => format!(
                "{name} {running:?} {:?} term {} leader {:?} serving {} last {} commit {} applied {}",
                status.role,
                status.term,
                status.leader,
                status.serving,
                status.last_index,
                status.commit,
                status.applied
            ),
        }
    };
    let members = world.cluster.members.iter();
    let each = members
        .flat_map(|member| (0..world.parameters.groups).map(move |group| one(member, group)));
    each.collect::<Vec<_>>().join("; ")
}
