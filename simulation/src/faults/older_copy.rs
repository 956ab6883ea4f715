//! A machine's disk is put back from a copy that was made some time ago, while its process ran.
//!
//! Invariant: as when a disk is lost, no other member lacks anything then, and all others have durably
//! that its member claimed more since. What nobody heard of, or all who heard of it forgot with their
//! processes, can not be noticed, and so not be survived.

use std::path::PathBuf;
use std::time::Duration;

use raft_log::{Claim, heard_claims};
use raftmq::replication::Role;
use tokio::time::{Instant, sleep};

use super::Kind;
use super::nemesis::Nemesis;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::machine::Backup;

const HEARD_FILE: &str = "heard";
/// The longest wait for the others to have durably that the member went on. They write it in ten seconds
/// at the latest.
const HEARD_WITHIN: Duration = Duration::from_secs(12);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// An older copy is noticed within this, where those who know are there.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

impl Cluster {
    /// The member's disk as it is now, and how far its logs reach. None unless all is well: everybody is
    /// there, remembers everything and knows a leader.
    pub fn back_up(&self, number: usize) -> Option<(Backup, Vec<Claim>)> {
        let reach = self.reach(number)?;
        let machine = &self.members[number].machine;
        self.trace.tell(format_args!("{}'s disk is copied", machine.name));
        Some((machine.back_up(), reach))
    }

    /// How far a machine's member of each group reaches, if all is well.
    pub fn reach(&self, number: usize) -> Option<Vec<Claim>> {
        let well = |member: &crate::cluster::Member| {
            member.machine.remembers_all()
                && (0..self.groups()).all(|group| {
                    member.status(group).is_some_and(|status| {
                        status.leader.is_some() && status.peers.iter().all(|peer| peer.connected)
                    })
                })
        };
        if !self.members.iter().all(well) || self.up().len() < self.members.len() {
            return None;
        }
        let status = |group| self.members[number].status(group);
        (0..self.groups())
            .map(|group| {
                let status = status(group)?;
                Some(Claim { term: status.term.0, index: status.last_index.0 })
            })
            .collect()
    }

    /// Whether all others' disks say that the member claimed more than this, in every group.
    pub fn is_known_to_have_more(&self, number: usize, than: &[Claim]) -> bool {
        let others = self.members.iter().enumerate().filter(|(other, _)| *other != number);
        let mut files = others.flat_map(|(_, member)| {
            let file = |dir: &PathBuf| member.machine.disk.content(&dir.join(HEARD_FILE));
            member.log_dirs.iter().map(file).zip(than)
        });
        files.all(|(file, than)| {
            let claims = file.and_then(|content| heard_claims(&content)).unwrap_or_default();
            let of_member = claims.get(&(number as u64 + 1));
            of_member.is_some_and(|heard| heard.before_that_of(0) > *than)
        })
    }

    /// The process ends, and its machine's disk is as it was when the copy was made.
    pub fn restore(&self, number: usize, backup: &Backup) {
        let machine = &self.members[number].machine;
        self.kill(number);
        self.trace.tell(format_args!("{}'s disk is put back from an older copy", machine.name));
        machine.restore(backup);
    }

    /// Whether a restored member knows that it was, for all groups, or has made up for it.
    pub fn has_noticed(&self, number: usize) -> bool {
        let member = &self.members[number];
        (0..self.groups()).all(|group| {
            let lost = |status: raftmq::replication::ReplicaStatus| status.role == Role::Recovering;
            member.machine.remembers(group) || member.status(group).is_some_and(lost)
        })
    }
}

impl Nemesis {
    pub(super) async fn older_copy(&mut self, dice: &mut Dice, long_ms: u64) {
        let victim = self.leader_or_any(dice);
        let cluster = self.cluster.clone();
        let Some((backup, copied)) = cluster.back_up(victim) else { return };
        self.wait_ms(dice.between(500, 4_000)).await;
        let patience = Instant::now() + HEARD_WITHIN;
        while !cluster.is_known_to_have_more(victim, &copied) {
            if cluster.reach(victim).is_none() || Instant::now() > patience {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
        if cluster.reach(victim).is_none() {
            return;
        }
        self.counts.struck(Kind::OlderCopy);
        cluster.restore(victim, &backup);
        // Often the one that has the newest is away just then.
        let away = (victim + 1 + dice.below(cluster.members.len() - 1)) % cluster.members.len();
        let goes_away = dice.one_in(2);
        if goes_away {
            cluster.kill(away);
        }
        if dice.one_in(2) {
            self.wait_ms(long_ms).await;
        }
        cluster.start_again(victim);
        let began = Instant::now();
        while !cluster.has_noticed(victim) && began.elapsed() < NOTICED_WITHIN {
            sleep(Duration::from_millis(5)).await;
        }
        if goes_away {
            self.wait_ms(long_ms).await;
            cluster.start_again(away);
        }
    }
}
