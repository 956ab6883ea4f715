//! Power goes everywhere at once where sends are answered before they are on disks, and what is left of it.
//!
//! Then more than a majority's caches may be gone, and with them what was acknowledged last. What the furthest
//! log on any disk holds must stay: that is everything that a majority had synced, and perhaps more. Only that
//! is judged, and that the group goes on: consumers, operators and locks end before, because what they were told
//! may be given up.
//!
//! Invariant: it strikes when all members remember everything, so that nothing else takes copies away.

use std::collections::BTreeSet;
use std::time::Duration;

use raft_log::fault::SimDisk;
use raft_log::{Log, LogError, Opened};
use tokio::time::{Instant, sleep};

use super::World;
use super::inspect::Inspector;
use super::liveness::{self, Took};
use crate::cluster::{self, Running};
use crate::dice::Dice;
use crate::faults::{self, Kind};
use crate::invariants::equal_logs::Stored;

const KEPT: &str = "what the furthest log left holds stays when all power goes";
const REMEMBERS: &str = "members come to remember everything";
/// How long members may take to have everything again, when all of them are there.
const REMEMBERS_WITHIN: Duration = Duration::from_secs(60);
/// Whoever has power after this loses it all the same.
const DARK_WITHIN: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(1);

/// What is left when power has gone everywhere.
#[derive(Debug, Clone)]
pub(super) struct Left {
    /// When that was.
    at: Duration,
    /// By group: what begins before this must stay.
    kept_to: Vec<i64>,
}

impl World {
    /// Everything is well, then power goes, and the groups have to go on with what is left.
    pub(super) async fn all_power_goes(
        &mut self,
        inspector: &Inspector,
        took: &mut Took,
    ) -> Option<Left> {
        faults::heal(&self.cluster, &self.consumers, &self.parameters);
        let members = self.cluster.members.len();
        (0..members).for_each(|number| self.cluster.start_again(number));
        self.until_all_remember().await?;
        liveness::recovers(self, took).await?;
        self.consumers.end();
        madsim::runtime::Handle::current().kill(self.cluster.operator);
        let mut dice = Dice::of(self.parameters.seed, "dark");
        sleep(Duration::from_millis(dice.between(0, 500))).await;
        self.power_goes(&mut dice).await;
        let left = inspector.what_is_left(self);
        for number in 0..members {
            sleep(Duration::from_millis(dice.between(0, 1_000))).await;
            self.cluster.start_again((number + members / 2) % members);
        }
        self.cluster.keep_dark(false);
        // Who ended by itself meanwhile, to be started again, was not.
        (0..members).for_each(|number| self.cluster.start_again(number));
        liveness::recovers(self, took).await?;
        self.stop_producers().await?;
        liveness::converges_all(self, took).await?;
        Some(left)
    }

    async fn until_all_remember(&self) -> Option<()> {
        let began = Instant::now();
        let lacks = || self.cluster.members.iter().any(|member| !member.machine.remembers_all());
        while lacks() {
            if began.elapsed() > REMEMBERS_WITHIN {
                self.findings.report(REMEMBERS, liveness::describe(self));
            }
            if !self.findings.is_empty() {
                return None;
            }
            sleep(liveness::LOOK).await;
        }
        Some(())
    }

    /// At once, or each machine's in the middle of a disk call.
    async fn power_goes(&self, dice: &mut Dice) {
        let (cluster, members) = (&self.cluster, self.cluster.members.len());
        cluster.keep_dark(true);
        if dice.one_in(2) {
            self.counts.struck(Kind::PowerAtCall);
            (0..members).for_each(|number| cluster.doom(number, dice.between(1, 60)));
            let began = Instant::now();
            let any_up = || cluster.members.iter().any(|member| member.running() != Running::Down);
            while any_up() && began.elapsed() < DARK_WITHIN {
                sleep(LOOK).await;
            }
        } else {
            self.counts.struck(Kind::PowerAll);
        }
        let up = (0..members).filter(|number| cluster.members[*number].running() != Running::Down);
        up.for_each(|number| cluster.lose_power(number));
    }

    /// Acknowledged messages that must still be there, and how many others there are.
    pub(super) fn judge_left(&self, left: &Left, group: usize, stored: &[Stored], given_up: i64) {
        let there: BTreeSet<i64> = stored.iter().map(|stored| stored.position).collect();
        let mut lost = 0;
        for send in self.history.sends(self.trace.elapsed()) {
            let Some((of, position)) = send.acknowledged() else { continue };
            if of != group || position < given_up || there.contains(&position) {
                continue;
            }
            if send.called > left.at || position < left.kept_to[group] {
                let (message, outcome) = (send.message, &send.outcome);
                self.findings.report(KEPT, format!("message {message} is lost: {outcome:?}"));
            }
            lost += 1;
        }
        let name = cluster::group_name(group);
        self.trace.tell(format_args!("{lost} acknowledged messages of {name} went with the power"));
    }
}

impl Inspector {
    /// How much of what was committed the furthest log on any disk holds. What is behind is forgotten.
    fn what_is_left(&self, world: &World) -> Left {
        let mut seen = self.seen();
        seen.look(&world.cluster, &world.findings);
        let mut left = Left { at: world.trace.elapsed(), kept_to: Vec::new() };
        for (number, group) in seen.groups.iter_mut().enumerate() {
            let ends = (0..world.cluster.members.len()).map(|member| {
                end_of_log(world, member, number).unwrap_or_else(|error| {
                    world.findings.report(KEPT, format!("n{member}'s log does not open: {error}"));
                    (0, 0)
                })
            });
            let (term, last) = ends.max().unwrap_or_default();
            let committed = group.equal_logs.committed();
            let kept_to = group.equal_logs.give_up_behind(last);
            group.equal_state.give_up_behind(last);
            let name = cluster::group_name(number);
            world.trace.tell(format_args!(
                "the furthest log of {name} ends with entry {last} of term {term}; {committed} were committed"
            ));
            left.kept_to.push(kept_to);
        }
        left
    }
}

/// Term and index of the last entry that a machine's disk has of a group's log. Of one that has to be mended
/// first, only what is before the damage: the rest may stay, or go.
fn end_of_log(world: &World, number: usize, group: usize) -> Result<(u64, u64), LogError> {
    let member = &world.cluster.members[number];
    // Opening writes.
    let copy: SimDisk = member.machine.disk.medium();
    let options = world.cluster.log_options(number, group);
    Ok(match Log::examine(copy, &member.log_dirs[group], options)? {
        Opened::Whole(log) => (log.last_term().0, log.last_index().0),
        Opened::Damaged(log) => (log.damage().before.term.0, log.damage().before.index.0),
        Opened::Headless(_) => (0, 0),
    })
}
