//! Makes things go wrong, one after the other.
//!
//! Invariant: whatever it breaks it mends after a while, and [`heal`] mends everything at once. Which
//! fault strikes whom follows from the seed and the state of the cluster.

use std::sync::Arc;
use std::time::Duration;

use madsim::task::NodeId;
use tokio::sync::watch;
use tokio::time::sleep;

use super::{Counts, Kind};
use crate::cluster::{self, Cluster};
use crate::dice::Dice;
use crate::parameters::Parameters;
use crate::workload::Consumers;

/// Torments the cluster until told to stop.
pub async fn torment(
    cluster: Arc<Cluster>,
    consumers: Consumers,
    parameters: Arc<Parameters>,
    counts: Counts,
    mut dice: Dice,
    stop: watch::Receiver<bool>,
) {
    let mut nemesis = Nemesis { cluster, consumers, parameters, counts, stop };
    loop {
        let pause = dice.between(50, nemesis.parameters.fault_pause_ms);
        nemesis.wait_ms(pause).await;
        if *nemesis.stop.borrow() {
            return;
        }
        if nemesis.parameters.faults.is_empty() {
            continue;
        }
        let kind = dice.pick(&nemesis.parameters.faults);
        nemesis.strike(kind, &mut dice).await;
    }
}

/// Mends all that a nemesis can have broken but for members that are down.
pub fn heal(cluster: &Cluster, consumers: &Consumers, parameters: &Parameters) {
    cluster.trace.tell(format_args!("network, disks and name server are well again"));
    cluster.network.heal();
    cluster.network.set_latency_ms(parameters.network_ms);
    for (number, member) in cluster.members.iter().enumerate() {
        member.machine.pace.set(|pace| *pace = parameters.disk.clone());
        member.machine.fill(0);
        member.machine.disk.set_capacity_bytes(None);
        member.machine.disk.forget_failures();
        cluster.resume(number);
    }
    raftmq::mischief::stop();
    cluster.start_name_server_again();
    consumers.start_all();
}

pub(super) struct Nemesis {
    pub(super) cluster: Arc<Cluster>,
    pub(super) consumers: Consumers,
    pub(super) parameters: Arc<Parameters>,
    pub(super) counts: Counts,
    stop: watch::Receiver<bool>,
}

impl Nemesis {
    /// Waits, shorter when told to stop.
    pub(super) async fn wait_ms(&mut self, duration_ms: u64) {
        tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => {}
            () = sleep(Duration::from_millis(duration_ms)) => {}
        }
    }

    pub(super) fn node(&self, number: usize) -> NodeId {
        self.cluster.members[number].node
    }

    pub(super) fn any(&self, dice: &mut Dice) -> usize {
        dice.below(self.cluster.members.len())
    }

    /// Some group.
    pub(super) fn any_group(&self, dice: &mut Dice) -> usize {
        match self.cluster.groups() {
            1 => 0,
            groups => dice.below(groups),
        }
    }

    /// The leader of some group, or anybody when there is none.
    pub(super) fn leader_or_any(&self, dice: &mut Dice) -> usize {
        let group = self.any_group(dice);
        let any = self.any(dice);
        self.cluster.leader(group).unwrap_or(any)
    }

    pub(super) fn two(&self, dice: &mut Dice) -> (usize, usize) {
        let members = self.cluster.members.len();
        let one = dice.below(members);
        (one, (one + 1 + dice.below(members - 1)) % members)
    }

    async fn strike(&mut self, kind: Kind, dice: &mut Dice) {
        if kind.takes_power() && !self.cluster.may_lose_power() {
            return;
        }
        // These may find nothing to strike.
        let may_miss = matches!(
            kind,
            Kind::LostDisk
                | Kind::OlderCopy
                | Kind::BitRot
                | Kind::Unreadable
                | Kind::UnreadableTail
                | Kind::UnreadableDerived
                | Kind::UnreadableSnapshot
                | Kind::Rebalance
        );
        if !may_miss {
            self.counts.struck(kind);
        }
        let long_ms = dice.pick(&[200, 1_000, 5_000]);
        let long_ms = dice.between(long_ms / 4, long_ms * 2);
        match kind {
            Kind::KillLeader | Kind::KillMember | Kind::PowerOne => {
                let victim = match kind {
                    Kind::KillLeader => self.leader_or_any(dice),
                    _ => self.any(dice),
                };
                match kind {
                    Kind::PowerOne => self.cluster.lose_power(victim),
                    _ => self.cluster.kill(victim),
                }
                self.wait_ms(long_ms).await;
                self.cluster.start_again(victim);
            }
            Kind::Transfer => self.transfer(dice),
            Kind::PowerAll => self.power_all(dice, long_ms).await,
            Kind::PowerAtCall => {
                let victim = self.any(dice);
                self.cluster.doom(victim, dice.between(1, 200));
                self.wait_ms(long_ms).await;
            }
            Kind::Pause => {
                let victim = self.leader_or_any(dice);
                self.cluster.pause(victim);
                self.wait_ms(long_ms).await;
                self.cluster.resume(victim);
            }
            Kind::Stop => {
                let victim = self.leader_or_any(dice);
                self.cluster.stop(victim).await;
                self.wait_ms(long_ms / 4).await;
                self.cluster.start_again(victim);
            }
            Kind::IsolateLeader | Kind::Split | Kind::OneWay | Kind::Bridge | Kind::Loss => {
                self.cut(kind, dice);
                self.wait_ms(long_ms).await;
                self.cluster.trace.tell(format_args!("the network is whole again"));
                self.cluster.network.heal();
            }
            Kind::Flap => self.flap(dice).await,
            Kind::Rebalance => self.rebalance(dice, long_ms).await,
            Kind::LostDisk => self.lose_disk(dice, long_ms).await,
            Kind::OlderCopy => self.older_copy(dice, long_ms).await,
            Kind::BitRot => self.rot(dice, long_ms).await,
            Kind::Unreadable => self.lose_pages(dice, long_ms).await,
            Kind::UnreadableTail => self.lose_tail(dice, long_ms).await,
            Kind::UnreadableDerived | Kind::UnreadableSnapshot => {
                self.lose_derived(kind, dice, long_ms).await
            }
            Kind::ClockJump => self.jump(dice),
            Kind::NameServer => {
                self.cluster.kill_name_server();
                self.wait_ms(long_ms).await;
                self.cluster.start_name_server_again();
            }
            Kind::Repeated | Kind::Reordered | Kind::Dropped | Kind::SlowLink | Kind::HalfOpen => {
                self.messages_fail(kind, dice, long_ms).await
            }
            Kind::SlowDisk
            | Kind::StalledDisk
            | Kind::FullDisk
            | Kind::NoSpace
            | Kind::SyncError
            | Kind::WriteError
            | Kind::PowerWhileStalled
            | Kind::ForeignDisk => self.disk_fails(kind, dice, long_ms).await,
        }
    }

    async fn power_all(&mut self, dice: &mut Dice, long_ms: u64) {
        let members = self.cluster.members.len();
        for number in 0..members {
            self.cluster.lose_power(number);
        }
        let first = dice.below(members);
        for at in 0..members {
            self.wait_ms(dice.between(0, long_ms / 2)).await;
            self.cluster.start_again((first + at) % members);
        }
    }

    /// Whether a member may be the last to have a part of the log.
    fn gives_up(&self) -> bool {
        let others = [Kind::FullDisk, Kind::LostDisk];
        let given_up = others.iter().any(|kind| self.parameters.faults.contains(kind));
        given_up || self.parameters.retention || self.parameters.lean
    }

    /// Pages of a log become unreadable, under a process or while there is none; or one that may hold the
    /// newest vote. With that a member loses its memory, as with its disk, and as many may at a time.
    async fn lose_pages(&mut self, dice: &mut Dice, long_ms: u64) {
        let (victim, group) = (self.any(dice), self.any_group(dice));
        let at_rest = dice.one_in(2);
        if dice.one_in(4) || self.gives_up() {
            if self.cluster.lose_votes(victim, group, dice.between(0, 1)) {
                self.counts.struck(Kind::Unreadable);
                self.wait_ms(long_ms).await;
                self.cluster.start_again(victim);
            }
            return;
        }
        if at_rest {
            self.cluster.kill(victim);
        }
        let index_too = at_rest && dice.one_in(2);
        if super::lose_pages(&self.cluster, victim, group, dice, index_too) {
            self.counts.struck(Kind::Unreadable);
        }
        self.wait_ms(long_ms).await;
        if at_rest {
            self.cluster.start_again(victim);
        }
    }

    /// Bits flip while a member is down. Where old messages are given up, or a disk may be lost, a member
    /// may be the last to have what was hit: then there is no whole copy, and nothing is struck.
    async fn rot(&mut self, dice: &mut Dice, long_ms: u64) {
        if self.gives_up() {
            return;
        }
        let victim = self.any(dice);
        self.cluster.kill(victim);
        let group = self.any_group(dice);
        if super::rot(&self.cluster, victim, group, dice, true).is_some() {
            self.counts.struck(Kind::BitRot);
        }
        self.wait_ms(long_ms).await;
        self.cluster.start_again(victim);
    }

    fn cut(&self, kind: Kind, dice: &mut Dice) {
        let (cluster, network) = (&self.cluster, &self.cluster.network);
        let (one, other) = self.two(dice);
        match kind {
            Kind::IsolateLeader => {
                let leader = self.leader_or_any(dice);
                cluster.trace.tell(format_args!("n{leader} is cut off"));
                network.isolate(self.node(leader));
            }
            Kind::Split => {
                let (mut left, mut right) = (vec![self.node(one)], vec![self.node(other)]);
                for number in (0..cluster.members.len()).filter(|n| *n != one && *n != other) {
                    let side = if dice.one_in(2) { &mut left } else { &mut right };
                    side.push(self.node(number));
                }
                if dice.one_in(2) {
                    left.push(cluster.name_server);
                }
                cluster.trace.tell(format_args!("members split, n{one} here and n{other} there"));
                network.split(&left, &right);
            }
            Kind::OneWay => {
                cluster.trace.tell(format_args!("nothing gets from n{one} to n{other}"));
                network.cut_one_way(self.node(one), self.node(other));
            }
            Kind::Bridge => {
                cluster.trace.tell(format_args!("n{one} and n{other} do not reach each other"));
                network.cut(self.node(one), self.node(other));
            }
            _ => {
                let permille = dice.between(10, 200) as u32;
                cluster.trace.tell(format_args!("the network loses {permille} of 1000 messages"));
                network.set_loss_permille(permille);
            }
        }
    }

    async fn flap(&mut self, dice: &mut Dice) {
        let (one, other) = self.two(dice);
        self.cluster.trace.tell(format_args!("the link between n{one} and n{other} flaps"));
        for _ in 0..dice.between(3, 10) {
            self.cluster.network.cut(self.node(one), self.node(other));
            self.wait_ms(dice.between(10, 400)).await;
            self.cluster.network.heal();
            self.wait_ms(dice.between(10, 400)).await;
        }
    }

    /// Asks any member, for any member or none in particular; what comes of it is its own affair.
    fn transfer(&self, dice: &mut Dice) {
        let group = self.any_group(dice);
        let (asked, wanted) = (self.any(dice), self.any(dice));
        let target = dice.one_in(2).then_some(wanted);
        self.cluster.trace.tell(format_args!(
            "n{asked} is asked to have {target:?} lead {}",
            cluster::group_name(group)
        ));
        let operator = self.cluster.operator;
        let node = madsim::runtime::Handle::current().get_node(operator).expect("it was made");
        drop(node.spawn(crate::workload::transfer_leader(group, asked, target)));
    }

    fn jump(&self, dice: &mut Dice) {
        let victim = if dice.one_in(2) { self.leader_or_any(dice) } else { self.any(dice) };
        let size_ms = dice.pick(&[500, 60_000, 86_400_000]);
        let ahead = i64::try_from(dice.between(0, 2 * size_ms)).unwrap_or(0);
        let offset_ms = ahead - i64::try_from(size_ms).unwrap_or(0);
        self.cluster.trace.tell(format_args!("n{victim}'s clock is off by {offset_ms} ms"));
        raftmq::clock::set_offset_ms(self.node(victim), offset_ms);
    }
}
