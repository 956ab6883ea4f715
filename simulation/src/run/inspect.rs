//! Looks at the members all through a run, and takes their disks apart after it.
//!
//! Invariant: looking changes nothing: it reads, and its own time costs none of the run's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raft_log::fault::Loss;
use tokio::time::sleep;

use super::World;
use crate::cluster::Cluster;
use crate::invariants::Findings;
use crate::invariants::equal_logs;
use crate::invariants::equal_state::EqualState;
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
    equal_state: EqualState,
    /// Last status of each member that was noted.
    noted: BTreeMap<usize, (u64, Option<u64>, bool)>,
    committed: u64,
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

    /// Takes the disks of stopped members apart, and judges what clients were told.
    pub(super) fn examine(&self, world: &World) {
        let committed = self.seen().committed;
        let cached = logs(world, READABLE);
        let entries = equal_logs::compare(cached, committed, &world.findings);
        let digest = |index| self.seen().equal_state.digest(index);
        let stored = equal_logs::rebuild(&entries, digest, &world.findings);
        let placed: Vec<Placed> = stored
            .iter()
            .filter(|stored| stored.topic == TOPIC)
            .map(|stored| Placed {
                message: message::number_of(&stored.body, world.parameters.body_bytes_max),
                queue_id: stored.queue_id,
                offset: stored.offset,
            })
            .collect();
        let sends = world.history.sends(world.trace.elapsed());
        // Undelivered messages are a finding only of a run that came to its end.
        let deliveries = world.history.deliveries();
        oracle::judge(&sends, &deliveries, &placed, &world.findings);
        self.without_caches(world, committed);
    }

    /// All power goes at last: a majority still holds every committed entry.
    fn without_caches(&self, world: &World, committed: u64) {
        for member in &world.cluster.members {
            member.machine.disk.restart(Loss::All);
        }
        let durable = logs(world, KEPT);
        let holders = durable
            .values()
            .filter(|entries| entries.last().is_some_and(|entry| entry.index.0 >= committed))
            .count();
        let quorum = world.cluster.members.len() / 2 + 1;
        if committed > 0 && holders < quorum {
            let what = format!("{holders} members of {quorum} hold entry {committed}");
            world.findings.report(KEPT, what);
        }
    }
}

fn logs(world: &World, invariant: &'static str) -> BTreeMap<String, Vec<raft_log::StoredEntry>> {
    let mut logs = BTreeMap::new();
    for (number, member) in world.cluster.members.iter().enumerate() {
        let options = world.cluster.log_options(number);
        match equal_logs::read(&member.machine.disk, &member.log_dir, options) {
            Ok(entries) => drop(logs.insert(member.machine.name.clone(), entries)),
            Err(error) => {
                world.findings.report(invariant, format!("{}: {error}", member.machine.name));
            }
        }
    }
    logs
}

impl Seen {
    fn look(&mut self, cluster: &Cluster, findings: &Findings) {
        for (number, member) in cluster.members.iter().enumerate() {
            let Some(live) = member.live() else { continue };
            let status = live.status.borrow().clone();
            let name = &member.machine.name;
            self.one_leader.seen(&status, findings);
            let applied = live.view.applied().0;
            // The status tells its numbers a tick late.
            self.committed = self.committed.max(status.commit.0).max(applied);
            // Every index at rest, every sixteenth under load: a digest costs as much as an entry.
            let rests = applied == status.last_index.0;
            if (rests || applied.is_multiple_of(16)) && !self.equal_state.knows(name, applied) {
                self.equal_state.seen(name, applied, live.view.digest(), findings);
            }
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
