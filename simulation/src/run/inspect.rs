//! Looks at the members all through a run, and takes their disks apart after it.
//!
//! Invariant: looking changes nothing: it reads, and its own time costs none of the run's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use madsim::task::NodeId;
use raft_log::fault::Loss;
use raftmq::protocol::names::{dead_letter_topic, retry_topic};
use raftmq::state::State;
use tokio::time::sleep;

use super::World;
use super::dark::Left;
use crate::cluster::{self, Cluster, Member};
use crate::faults::Kind;
use crate::history::Queue;
use crate::invariants::Findings;
use crate::invariants::bounded_memory;
use crate::invariants::delayed_once;
use crate::invariants::derived_files;
use crate::invariants::durable_votes::DurableVotes;
use crate::invariants::equal_logs::{EqualLogs, Stored};
use crate::invariants::equal_state::EqualState;
use crate::invariants::honest_progress;
use crate::invariants::newest_registration::NewestRegistration;
use crate::invariants::not_mistaken;
use crate::invariants::one_leader::OneLeader;
use crate::invariants::taken_back::TakenBack;
use crate::oracle::{self, Placed};
use crate::workload::{CONSUMER_GROUP, TOPIC, message};

const READABLE: &str = "a stopped member's log can be opened";
const KEPT: &str = "what is committed survives the loss of all power";
/// Damage that is known is mended within this when everybody is there.
const MENDED_WITHIN: Duration = Duration::from_secs(30);
const MENDING_LOOK: Duration = Duration::from_millis(100);
/// How often members are looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What was seen of one group.
#[derive(Default)]
pub(super) struct Group {
    one_leader: OneLeader,
    durable_votes: DurableVotes,
    pub(super) equal_state: EqualState,
    pub(super) equal_logs: EqualLogs,
    /// Last status of each member that was noted.
    noted: BTreeMap<usize, (u64, Option<u64>, bool)>,
}

pub(super) struct Seen {
    pub(super) groups: Vec<Group>,
    newest_registration: NewestRegistration,
}

/// See the module.
pub(super) struct Inspector {
    seen: Arc<Mutex<Seen>>,
}

impl Inspector {
    /// Looks at the members of a run from now on.
    pub(super) fn start(world: &World) -> Inspector {
        let groups = (0..world.parameters.groups).map(|_| Group::default()).collect();
        let newest_registration = NewestRegistration::default();
        let seen = Arc::new(Mutex::new(Seen { groups, newest_registration }));
        let (cluster, findings) = (Arc::clone(&world.cluster), world.findings.clone());
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            loop {
                shared.lock().unwrap_or_else(PoisonError::into_inner).look(&cluster, &findings);
                sleep(LOOK).await;
            }
        });
        Inspector { seen }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Terms with a leader, and indexes at which states were compared.
    pub(super) fn looked_at(&self) -> (usize, usize) {
        let seen = self.seen();
        let terms = seen.groups.iter().map(|group| group.one_leader.terms()).sum();
        (terms, seen.groups.iter().map(|group| group.equal_state.indexes()).sum())
    }

    /// Waits until what disks lost on the way has been met and mended, as long as that may take.
    pub(super) async fn until_mended(&self, world: &World) {
        let disks_lose =
            [Kind::BitRot, Kind::Unreadable, Kind::UnreadableDerived, Kind::UnreadableSnapshot];
        if !world.parameters.faults.iter().any(|kind| disks_lose.contains(kind)) {
            return;
        }
        let end = world.trace.elapsed() + MENDED_WITHIN;
        while is_mending(world) && world.trace.elapsed() < end {
            sleep(MENDING_LOOK).await;
        }
    }

    /// A last look at what runs, and at the states that it came to; whatever was acknowledged has been
    /// applied by somebody by now.
    pub(super) fn look(&self, world: &World) {
        let mut seen = self.seen();
        seen.look(&world.cluster, &world.findings);
        for ((node, group), held) in raftmq::observe::take_held() {
            let name = format!("{}'s {group}", name_of(&world.cluster, node));
            let memory = &world.cluster.members[0].memory;
            bounded_memory::check(&name, &held, memory, &world.findings);
        }
        for member in &world.cluster.members {
            for (number, group) in seen.groups.iter_mut().enumerate() {
                let Some(live) = member.live(number) else { continue };
                let (name, applied) = (&member.machine.name, live.view.applied().0);
                group.equal_state.seen(name, applied, live.view.digest(), &world.findings);
                derived_files::check(name, &live.view, &world.findings);
            }
        }
    }

    /// Takes the disks of stopped members apart, and judges what clients were told.
    pub(super) fn examine(&self, world: &World, left: Option<&Left>) {
        if world.parameters.ends_dark {
            return self.examine_left(world, left);
        }
        let mut seen = self.seen();
        let (mut placed, mut given_up) = (Vec::new(), Vec::new());
        let mut progress = BTreeMap::new();
        for (number, group) in seen.groups.iter_mut().enumerate() {
            group.on_disks(number, world, READABLE);
            let (stored, below, state) = group.rebuilt(number, world);
            placed.extend(placed_in(number, &stored, world));
            given_up.push(below);
            let sends = world.history.sends(world.trace.elapsed());
            let levels_ms = world.parameters.delay_levels_s.map(|seconds| seconds as i64 * 1_000);
            let bytes_max = world.parameters.body_bytes_max;
            let number_of = |body: &[u8]| message::number_of(body, bytes_max);
            let delayed = delayed_once::Delayed {
                stored: &stored,
                levels_ms,
                given_up: below,
                schedule: state.schedule(),
                number_of: &number_of,
            };
            delayed.judge(number, &sends, &world.findings);
            taken_back(number, &stored, below, &state, world);
            let reached = state.offsets().progress(CONSUMER_GROUP, TOPIC).into_iter().flatten();
            progress.extend(reached.map(|(id, at)| (Queue { group: number, id: *id }, *at)));
        }
        let sends = world.history.sends(world.trace.elapsed());
        let deliveries = world.history.deliveries();
        oracle::judge(&sends, &deliveries, &placed, &given_up, &world.findings);
        honest_progress::judge(&progress, &placed, &deliveries, &given_up, &world.findings);
        world.no_gap.judge(&placed, &world.findings);
        if world.parameters.flush_async {
            return;
        }
        for member in &world.cluster.members {
            member.machine.disk.restart(Loss::All);
        }
        for (number, group) in seen.groups.iter_mut().enumerate() {
            group.is_kept(number, world);
        }
    }
}

impl Inspector {
    /// The same after all power went, when clients may have been told what is given up.
    fn examine_left(&self, world: &World, left: Option<&Left>) {
        for (number, group) in self.seen().groups.iter_mut().enumerate() {
            group.on_disks(number, world, READABLE);
            let digest = |index| group.equal_state.digest(index);
            let (stored, given_up, _) = group.equal_logs.rebuild(digest, &world.findings);
            if let Some(left) = left {
                world.judge_left(left, number, &stored, given_up);
            }
        }
    }
}

impl Group {
    /// The records of the group's log, the position below which retention gave everything up,
    /// and the state that follows from the log.
    fn rebuilt(&self, number: usize, world: &World) -> (Vec<Stored>, i64, State) {
        let digest = |index| self.equal_state.digest(index);
        let (stored, given_up, state) = self.equal_logs.rebuild(digest, &world.findings);
        world.topics[number].judge(&state, &world.findings);
        (stored, given_up, state)
    }

    /// After a loss of all power a majority still holds what is committed.
    fn is_kept(&mut self, number: usize, world: &World) {
        let last = self.on_disks(number, world, KEPT);
        let committed = self.equal_logs.committed();
        let holders = last.iter().filter(|last| **last >= committed).count();
        let quorum = world.cluster.members.len() / 2 + 1;
        if holders < quorum {
            let what = format!("{holders} members of {quorum} hold entry {committed}: {last:?}");
            world.findings.report(KEPT, what);
        }
    }

    /// Compares all disks with what was committed; the last index on each.
    fn on_disks(&mut self, group: usize, world: &World, invariant: &'static str) -> Vec<u64> {
        let mut last = Vec::new();
        for (number, member) in world.cluster.members.iter().enumerate() {
            let (machine, dir) = (&member.machine, &member.log_dirs[group]);
            let options = world.cluster.log_options(number, group);
            let (name, findings) = (&machine.name, &world.findings);
            match self.equal_logs.on_disk(name, &machine.disk, dir, options, findings) {
                Ok(index) => last.push(index),
                Err(error) => findings.report(invariant, format!("{name}: {error}")),
            }
        }
        last
    }

    fn look(&mut self, group: usize, cluster: &Cluster, findings: &Findings) {
        for (number, member) in cluster.members.iter().enumerate() {
            let name = &member.machine.name;
            let Some(status) = member.status(group) else { continue };
            self.one_leader.seen(&status, findings);
            not_mistaken::seen(&member.machine, group, &status, findings);
            let disks = cluster.members.iter();
            let disks = disks.map(|member| (&member.machine, member.log_dirs[group].as_path()));
            self.durable_votes.seen(&status, disks, findings);
            let place = (status.term.0, status.leader, status.serving);
            if self.noted.insert(number, place) != Some(place) {
                let group = cluster::group_name(group);
                cluster.trace.note(format_args!(
                    "{name} is {:?} of {group} in term {}, leader {:?}, serving {}",
                    status.role, status.term, status.leader, status.serving
                ));
                if status.serving {
                    let term = status.term;
                    cluster.trace.tell(format_args!("{name} leads {group} in term {term}"));
                }
            }
        }
    }
}

/// Whether something that a disk lost is not back yet. Asking reads the logs: a process that meets a page which
/// its disk cannot read ends by that, and mends the page in its next life. That begins with what it had applied
/// when it last wrote that down, and has to come as far as the others again.
fn is_mending(world: &World) -> bool {
    let cluster = &world.cluster;
    let applied = |member: &Member, group| member.live(group).map(|live| live.view.applied());
    let furthest: Vec<_> = (0..world.parameters.groups)
        .map(|group| cluster.members.iter().filter_map(|member| applied(member, group)).max())
        .collect();
    cluster.members.iter().enumerate().any(|(number, member)| {
        let lacks = |group| {
            let live = member.live(group);
            live.is_some_and(|live| derived_files::is_being_mended(&live.view))
                || applied(member, group) < furthest[group]
                || cluster.lacks_head(number, group)
        };
        // Asked first, so that it is known what becomes of that.
        (0..world.parameters.groups).any(lacks) || !member.is_there()
    })
}

/// Compares what consumers sent back with what came of it.
fn taken_back(group: usize, stored: &[Stored], given_up: i64, state: &State, world: &World) {
    let (retry, dead) = (retry_topic(CONSUMER_GROUP), dead_letter_topic(CONSUMER_GROUP));
    let progress =
        |topic| state.offsets().progress(CONSUMER_GROUP, topic).cloned().unwrap_or_default();
    let check = TakenBack {
        group,
        stored,
        topics: [TOPIC, &retry, &dead],
        progress: [progress(TOPIC), progress(&retry)],
        answers: &world.history.answers(),
        attempts_max: world.parameters.attempts_max.unwrap_or(0),
        given_up,
    };
    check.judge(&world.findings);
}

/// What a group's log says of the messages.
fn placed_in(group: usize, stored: &[Stored], world: &World) -> Vec<Placed> {
    let placed = stored.iter().filter(|stored| stored.topic == TOPIC).map(|stored| Placed {
        message: message::number_of(&stored.body, world.parameters.body_bytes_max),
        queue: Queue { group, id: stored.queue_id },
        offset: stored.offset,
        position: stored.position,
    });
    placed.collect()
}

impl Seen {
    pub(super) fn look(&mut self, cluster: &Cluster, findings: &Findings) {
        cluster.note_memories();
        for ((node, group), entry) in raftmq::observe::take_applied() {
            let logs = &mut self.group(&group).equal_logs;
            logs.seen(name_of(cluster, node), entry, findings);
        }
        for ((node, group), index, digest) in raftmq::observe::take_digests() {
            let states = &mut self.group(&group).equal_state;
            states.seen(name_of(cluster, node), index.0, digest, findings);
        }
        for mastery in raftmq::observe::take_masteries() {
            self.newest_registration.seen(mastery, findings);
        }
        for (number, group) in self.groups.iter_mut().enumerate() {
            group.look(number, cluster, findings);
        }
    }

    fn group(&mut self, name: &str) -> &mut Group {
        let number = cluster::group_of(name).expect("there are no other groups");
        &mut self.groups[number]
    }
}

fn name_of(cluster: &Cluster, node: NodeId) -> &str {
    let member = cluster.members.iter().find(|member| member.node == node);
    member.map_or("a stranger", |member| member.machine.name.as_str())
}
