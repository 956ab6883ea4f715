//! A machine's disk is lost, and an empty one is in its place.
//!
//! Invariant: never is a second disk lost before the member of the first has everything again. More can
//! not be survived: with a majority of the disks, what was acknowledged is gone.

use raft_log::PAGE_BYTES;
use raftmq::replication::Role;

use super::Kind;
use super::nemesis::Nemesis;
use crate::cluster::{self, Cluster};
use crate::dice::Dice;

impl Cluster {
    /// The process ends, and what its disk held is gone. Refused while any member lacks anything.
    pub fn lose_disk(&self, number: usize) -> bool {
        if !self.members.iter().all(|member| member.machine.remembers_all()) {
            return false;
        }
        let machine = &self.members[number].machine;
        self.kill(number);
        self.trace.tell(format_args!("{} has lost its disk", machine.name));
        machine.lose_disk();
        true
    }

    /// A page of the file with a member's votes cannot be read any more. False when somebody else is without
    /// memory, or the file is not there.
    pub fn lose_votes(&self, number: usize, group: usize, slot: u64) -> bool {
        if !self.members.iter().all(|member| member.machine.remembers_all()) {
            return false;
        }
        let member = &self.members[number];
        let machine = &member.machine;
        self.kill(number);
        let path = member.log_dirs[group].join("hard-state");
        if !machine.disk.lose_page(&path, slot * PAGE_BYTES) {
            return true;
        }
        let name = &machine.name;
        self.trace
            .tell(format_args!("{name}'s disk cannot read slot {slot} of its votes any more"));
        machine.forgot(group);
        true
    }

    /// Notes who takes part like any other member, so that another may lose its disk.
    pub fn note_memories(&self) {
        let lacking = self.members.iter().enumerate();
        for (number, member) in lacking.filter(|(_, member)| !member.machine.remembers_all()) {
            let machine = &member.machine;
            for group in (0..self.groups()).filter(|group| !machine.remembers(*group)) {
                let whole = !self.lacks_head(number, group)
                    && member.status(group).is_some_and(|status| {
                        status.role != Role::Recovering && status.leader.is_some()
                    });
                if whole {
                    let name = cluster::group_name(group);
                    self.trace.note(format_args!("{} remembers {name}", machine.name));
                    machine.remembered(group);
                }
            }
        }
    }
}

impl Nemesis {
    pub(super) async fn lose_disk(&mut self, dice: &mut Dice, long_ms: u64) {
        let any = dice.below(self.cluster.members.len());
        let group = self.any_group(dice);
        let leader = self.cluster.leader(group).unwrap_or(any);
        let victim = if dice.one_in(2) { leader } else { any };
        if !self.cluster.lose_disk(victim) {
            return;
        }
        self.counts.struck(Kind::LostDisk);
        // Often at once: others may still count on what it said.
        if dice.one_in(2) {
            self.wait_ms(long_ms).await;
        }
        self.cluster.start_again(victim);
    }
}
