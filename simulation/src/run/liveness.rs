//! What a cluster in which nothing goes wrong any more must come to, and how soon.
//!
//! Bounds are a small multiple of what configuration promises, plus what the simulated network needs
//! after a cut: it tries a stuck message again after up to ten seconds.
//!
//! Invariant: a bound that passes is a finding that says what was still missing.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::World;
use crate::cluster::Running;
use crate::history::Outcome;

const LEADER: &str = "a majority elects a leader";
const ACKNOWLEDGES: &str = "a leader acknowledges sends";
const DRAINS: &str = "consumers are given everything";
const CONVERGES: &str = "members converge";
const LOOK: Duration = Duration::from_millis(20);
/// The simulated network's longest pause before it tries again.
const NETWORK_RETRY: Duration = Duration::from_secs(10);
/// Longer than a member takes to publish its numbers.
const STATUS_DELAY: Duration = Duration::from_millis(100);
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(15);
const DRAIN_LIMIT: Duration = Duration::from_secs(60);
const CONVERGE_LIMIT: Duration = Duration::from_secs(30);

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

/// A new cluster begins to work.
pub(super) async fn first_acknowledgement(world: &World) {
    // What is missing is reported.
    let _ = acknowledges(world, 0).await;
}

/// A majority elects a leader, which acknowledges sends.
pub(super) async fn recovers(world: &World, took: &mut Took) -> Option<()> {
    let elections = Duration::from_millis(world.parameters.election_timeout_ms * 10);
    let limit = NETWORK_RETRY + elections;
    let elected =
        within(world, limit, LEADER, || world.cluster.leader().is_none().then(|| describe(world)));
    took.leader = elected.await?;
    world.trace.tell(format_args!("there is a leader"));
    took.acknowledgement = acknowledges(world, world.history.acknowledged()).await?;
    Some(())
}

async fn acknowledges(world: &World, before: u64) -> Option<Duration> {
    let acknowledged = within(world, ACKNOWLEDGE_LIMIT, ACKNOWLEDGES, || {
        (world.history.acknowledged() == before).then(|| describe(world))
    });
    let waited = acknowledged.await?;
    world.trace.tell(format_args!("sends are acknowledged"));
    Some(waited)
}

/// Consumers get all that was acknowledged, and members come to rest at one index.
pub(super) async fn settles(world: &World, took: &mut Took) -> Option<()> {
    let drained = within(world, DRAIN_LIMIT, DRAINS, || {
        let missing = undelivered(world);
        (missing > 0).then(|| format!("{missing} messages are missing; {}", describe(world)))
    });
    drained.await?;
    world.trace.tell(format_args!("everything acknowledged was delivered"));
    // No more offsets are committed when consumers are gone.
    for &node in &world.consumers {
        madsim::runtime::Handle::current().kill(node);
    }
    madsim::runtime::Handle::current().kill(world.cluster.operator);
    // A status tells its numbers a tick late.
    sleep(STATUS_DELAY).await;
    let converged = within(world, CONVERGE_LIMIT, CONVERGES, || {
        let rests: BTreeSet<Option<(u64, u64, u64)>> = world
            .cluster
            .members
            .iter()
            .map(|member| {
                let status = member.status()?;
                Some((status.last_index.0, status.commit.0, status.applied.0))
            })
            .collect();
        let at_rest = |rest: &Option<(u64, u64, u64)>| {
            rest.is_some_and(|(last, commit, applied)| last == commit && commit == applied)
        };
        let converged = rests.len() == 1 && rests.iter().all(at_rest);
        (!converged).then(|| describe(world))
    });
    took.convergence = converged.await?;
    world.trace.tell(format_args!("all members hold the same"));
    Some(())
}

fn undelivered(world: &World) -> usize {
    let delivered: BTreeSet<u64> =
        world.history.deliveries().iter().map(|delivery| delivery.message).collect();
    // What retention gave up by now need not come any more.
    let lives = world.cluster.members.iter().filter_map(|member| member.live());
    let given_up = lives.map(|live| live.view.min_position().0).max().unwrap_or(0);
    let sends = world.history.sends(Duration::ZERO);
    let owed = sends.iter().filter(|send| match send.outcome {
        Outcome::Stored { position, .. } => u64::try_from(position).is_ok_and(|at| at >= given_up),
        _ => false,
    });
    owed.filter(|send| !delivered.contains(&send.message)).count()
}

/// Where each member stands.
fn describe(world: &World) -> String {
    let one = |member: &crate::cluster::Member| {
        let name = &member.machine.name;
        match (member.running(), member.status()) {
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
    world.cluster.members.iter().map(one).collect::<Vec<_>>().join("; ")
}
