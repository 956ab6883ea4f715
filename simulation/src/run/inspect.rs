//! Looks at the members all through a run, and takes their disks apart after it.
//!
//! Invariant: looking changes nothing: it reads, and its own time costs none of the run's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use madsim::task::NodeId;
use raft_log::fault::Loss;
use tokio::time::sleep;

use super::World;
use crate::cluster::Cluster;
use crate::invariants::Findings;
use crate::invariants::derived_files;
use crate::invariants::durable_votes::DurableVotes;
use crate::invariants::equal_logs::EqualLogs;
use crate::invariants::equal_state::EqualState;
use crate::invariants::newest_registration::NewestRegistration;
use crate::invariants::one_leader::OneLeader;
use crate::oracle::{self, Placed};
use crate::workload::{TOPIC, message};

const READABLE: &str = "a stopped member's log can be opened";
const KEPT: &str = "what is committed survives the loss of all power";
/// How often members are looked at.
const LOOK: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Seen {
    one_leader: OneLeader,
    durable_votes: DurableVotes,
    equal_state: EqualState,
    equal_logs: EqualLogs,
    newest_registration: NewestRegistration,
    /// Last status of each member that was noted.
    noted: BTreeMap<usize, (u64, Option<u64>, bool)>,
}

/// See the module.
pub(super) struct Inspector {
    seen: Arc<Mutex<Seen>>,
}

impl Inspector {
    /// Looks at the members of a run from now on.
    pub(super) fn start(world: &World) -> Inspector {
        let seen = Arc::new(Mutex::new(Seen::default()));
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

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Terms with a leader, and indexes at which states were compared.
    pub(super) fn looked_at(&self) -> (usize, usize) {
        let seen = self.seen();
        (seen.one_leader.terms(), seen.equal_state.indexes())
    }

    /// A last look at what runs, and at the states that it came to; whatever was acknowledged has been
    /// applied by somebody by now.
    pub(super) fn look(&self, world: &World) {
        let mut seen = self.seen();
        seen.look(&world.cluster, &world.findings);
        for member in &world.cluster.members {
            let Some(live) = member.live() else { continue };
            let (name, applied) = (&member.machine.name, live.view.applied().0);
            seen.equal_state.seen(name, applied, live.view.digest(), &world.findings);
            derived_files::check(name, &live.view, &world.findings);
        }
    }

    /// Takes the disks of stopped members apart, and judges what clients were told.
    pub(super) fn examine(&self, world: &World) {
        let mut seen = self.seen();
        seen.on_disks(world, READABLE);
        let Seen { equal_logs, equal_state, .. } = &*seen;
        let (stored, given_up, state) =
            equal_logs.rebuild(|index| equal_state.digest(index), &world.findings);
        world.topics.judge(&state, &world.findings);
        let placed: Vec<Placed> = stored
            .iter()
            .filter(|stored| stored.topic == TOPIC)
            .map(|stored| Placed {
                message: message::number_of(&stored.body, world.parameters.body_bytes_max),
                queue_id: stored.queue_id,
                offset: stored.offset,
                position: stored.position,
            })
            .collect();
        let sends = world.history.sends(world.trace.elapsed());
        let deliveries = world.history.deliveries();
        oracle::judge(&sends, &deliveries, &placed, given_up, &world.findings);
        if world.parameters.flush_async {
            return;
        }
        for member in &world.cluster.members {
            member.machine.disk.restart(Loss::All);
        }
        let last = seen.on_disks(world, KEPT);
        let committed = seen.equal_logs.committed();
        let holders = last.iter().filter(|last| **last >= committed).count();
        let quorum = world.cluster.members.len() / 2 + 1;
        if holders < quorum {
            let what = format!("{holders} members of {quorum} hold entry {committed}: {last:?}");
            world.findings.report(KEPT, what);
        }
    }
}

impl Seen {
    /// Compares all disks with what was committed; the last index on each.
    fn on_disks(&mut self, world: &World, invariant: &'static str) -> Vec<u64> {
        let mut last = Vec::new();
        for (number, member) in world.cluster.members.iter().enumerate() {
            let (machine, dir) = (&member.machine, &member.log_dir);
            let options = world.cluster.log_options(number);
            let (name, findings) = (&machine.name, &world.findings);
            match self.equal_logs.on_disk(name, &machine.disk, dir, options, findings) {
                Ok(index) => last.push(index),
                Err(error) => findings.report(invariant, format!("{name}: {error}")),
            }
        }
        last
    }

    fn look(&mut self, cluster: &Cluster, findings: &Findings) {
        cluster.note_memories();
        for (node, entry) in raftmq::observe::take_applied() {
            self.equal_logs.seen(name_of(cluster, node), entry, findings);
        }
        for (node, index, digest) in raftmq::observe::take_digests() {
            self.equal_state.seen(name_of(cluster, node), index.0, digest, findings);
        }
        for mastery in raftmq::observe::take_masteries() {
            self.newest_registration.seen(mastery, findings);
        }
        for (number, member) in cluster.members.iter().enumerate() {
            let name = &member.machine.name;
            let Some(live) = member.live() else { continue };
            let status = live.status.borrow().clone();
            self.one_leader.seen(&status, findings);
            let disks = cluster.members.iter();
            let disks = disks.map(|member| (&member.machine, member.log_dir.as_path()));
            self.durable_votes.seen(&status, disks, findings);
            let place = (status.term.0, status.leader, status.serving);
            if self.noted.insert(number, place) != Some(place) {
                cluster.trace.note(format_args!(
                    "{name} is {:?} in term {}, leader {:?}, serving {}",
                    status.role, status.term, status.leader, status.serving
                ));
                if status.serving {
                    cluster.trace.tell(format_args!("{name} leads in term {}", status.term));
                }
            }
        }
    }
}

fn name_of(cluster: &Cluster, node: NodeId) -> &str {
    let member = cluster.members.iter().find(|member| member.node == node);
    member.map_or("a stranger", |member| member.machine.name.as_str())
}
