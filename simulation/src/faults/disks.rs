//! What goes wrong with disks: slow, stalled, full, failing, in the wrong machine.
//!
//! Invariant: each of it is something that must be survived. A member may end with the exit code that its
//! disk's failure explains, and no other; whatever was acknowledged stays.

use raft_log::Fatal;

use super::Kind;
use super::nemesis::Nemesis;
use crate::dice::Dice;
use crate::machine::Pace;

/// The exit code of a process that ended for another reason than its log.
const OTHER_CODE: i32 = 1;

impl Nemesis {
    pub(super) async fn disk_fails(&mut self, kind: Kind, dice: &mut Dice, long_ms: u64) {
        match kind {
            Kind::SlowDisk | Kind::StalledDisk => self.hinder(kind, dice, long_ms).await,
            Kind::FullDisk => self.fill(dice, long_ms).await,
            Kind::NoSpace => self.no_space(dice, long_ms).await,
            Kind::PowerWhileStalled => self.power_while_stalled(dice, long_ms).await,
            Kind::ForeignDisk => {
                let (victim, other) = self.two(dice);
                self.cluster.start_with_disk_of(victim, other).await;
                self.cluster.start_again(victim);
            }
            _ => self.fail_once(kind, dice, long_ms).await,
        }
    }

    async fn hinder(&mut self, kind: Kind, dice: &mut Dice, long_ms: u64) {
        let victim = self.leader_or_any(dice);
        let member = &self.cluster.members[victim];
        let slow_us = dice.pick(&[20_000, 100_000, 500_000]);
        let (name, pacemaker) = (member.machine.name.clone(), member.machine.pace.clone());
        if kind == Kind::SlowDisk {
            self.cluster.trace.tell(format_args!("{name}'s disk takes up to {slow_us} us"));
            pacemaker.set(|pace| *pace = Pace { most_us: slow_us, ..pace.clone() });
        } else {
            self.cluster.trace.tell(format_args!("{name}'s disk stalls"));
            pacemaker.set(|pace| pace.stalled = true);
        }
        self.wait_ms(long_ms).await;
        self.cluster.trace.tell(format_args!("{name}'s disk is as before"));
        let pace = self.parameters.disk.clone();
        pacemaker.set(|now| *now = pace);
    }

    async fn fill(&mut self, dice: &mut Dice, long_ms: u64) {
        let victim = self.leader_or_any(dice);
        let machine = self.cluster.members[victim].machine.clone();
        let used_percent = dice.pick(&[80, 87, 87, 95]) as u8;
        let name = &machine.name;
        self.cluster.trace.tell(format_args!("{name}'s disk is {used_percent} % full"));
        machine.fill(used_percent);
        self.wait_ms(long_ms).await;
        machine.fill(self.parameters.used_percent());
    }

    async fn no_space(&mut self, dice: &mut Dice, long_ms: u64) {
        let victim = self.leader_or_any(dice);
        let room_bytes = dice.pick(&[0, 16 << 10, 128 << 10, 512 << 10]);
        let cluster = self.cluster.clone();
        let member = &cluster.members[victim];
        let name = &member.machine.name;
        cluster.trace.tell(format_args!("{name}'s disk has room for {room_bytes} bytes more"));
        member.excuse(&[Fatal::DiskFull.exit_code(), OTHER_CODE]);
        member.machine.disk.set_capacity_bytes(Some(room_bytes));
        self.wait_ms(long_ms).await;
        cluster.trace.tell(format_args!("{name}'s disk has room again"));
        member.machine.disk.set_capacity_bytes(None);
    }

    async fn power_while_stalled(&mut self, dice: &mut Dice, long_ms: u64) {
        let victim = self.leader_or_any(dice);
        let cluster = self.cluster.clone();
        let member = &cluster.members[victim];
        let name = &member.machine.name;
        cluster.trace.tell(format_args!("{name}'s disk stalls"));
        member.machine.pace.set(|pace| pace.stalled = true);
        self.wait_ms(dice.between(20, 600)).await;
        // Meanwhile another machine may have lost power.
        if cluster.may_lose_power() {
            cluster.lose_power(victim);
        }
        member.machine.pace.set(|pace| pace.stalled = false);
        self.wait_ms(long_ms / 2).await;
        cluster.start_again(victim);
    }

    /// One call fails; the member ends, and comes back by being started again.
    async fn fail_once(&mut self, kind: Kind, dice: &mut Dice, long_ms: u64) {
        let victim = self.leader_or_any(dice);
        let cluster = self.cluster.clone();
        let member = &cluster.members[victim];
        let name = &member.machine.name;
        // A write that was to be durable counts as a sync.
        let codes = [Fatal::FsyncFailed, Fatal::DiskFailed].map(Fatal::exit_code);
        member.excuse(&codes);
        member.excuse(&[OTHER_CODE]);
        if kind == Kind::SyncError {
            let nth = dice.between(1, 30);
            cluster.trace.tell(format_args!("sync {nth} of {name}'s disk will fail"));
            member.machine.disk.fail_sync(nth);
        } else {
            cluster.trace.tell(format_args!("the next write to {name}'s disk will fail"));
            member.machine.disk.fail_next_write();
        }
        self.wait_ms(long_ms).await;
        member.machine.disk.forget_failures();
    }
}
