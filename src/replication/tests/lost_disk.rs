//! Members that lose their disk, or the votes on it: nothing is promised twice, nothing acknowledged is
//! lost, and they come back by themselves.

use std::collections::BTreeSet;
use std::ops::Range;

use raft::Storage as _;
use raft_log::{Disk, RealDisk, Standing};
use tokio::time::{Duration, timeout};

use super::cluster::{Cluster, Settings};
use super::proxy::Link;
use super::{append_many, values};
use crate::replication::standing::NOBODY;
use crate::replication::{PeerState, ReplicaStatus, Role};

impl Cluster<RealDisk> {
    /// What a stopped member's directory held is gone.
    fn wipe(&self, id: u64) {
        std::fs::remove_dir_all(self.log_dir(id)).unwrap();
    }
}

impl<D: Disk> Cluster<D> {
    pub fn others(&self, id: u64) -> Vec<u64> {
        (1..=3).filter(|&other| other != id).collect()
    }

    pub async fn wait_whole(&self, id: u64) {
        let whole = |status: &ReplicaStatus| status.role != Role::Recovering && status.term.0 > 0;
        self.wait_status(id, "a whole memory", whole).await;
    }

    pub async fn wait_recovering(&self, id: u64) {
        let lost = |status: &ReplicaStatus| status.role == Role::Recovering;
        self.wait_status(id, "a lost memory to be noticed", lost).await;
    }
}

/// A member stands for election, again and again, and nobody is elected for longer than the longest
/// time after which a member does that.
pub async fn stands_in_vain<D: Disk>(cluster: &Cluster<D>, id: u64) {
    let candidate = |status: &ReplicaStatus| status.role == Role::Candidate;
    cluster.wait_status(id, "an election", candidate).await;
    let longest = Duration::from_millis(2 * cluster.settings.election_timeout_ms + 500);
    let elected = timeout(longest, cluster.leader()).await;
    assert!(elected.is_err(), "elected without what was acknowledged: {elected:?}");
}

/// The group goes on, and a member that had forgotten something takes part again.
pub async fn goes_on<D: Disk>(cluster: &Cluster<D>, forgot: u64) {
    let serving = cluster.leader().await;
    cluster.converge(serving).await;
    cluster.wait_whole(forgot).await;
}

/// The same, and everybody has these values.
pub async fn all_have<D: Disk>(cluster: &Cluster<D>, forgot: u64, wanted: Range<u64>) {
    goes_on(cluster, forgot).await;
    for id in 1..=3 {
        assert_eq!(values(cluster, id), wanted.clone().collect::<Vec<_>>(), "member {id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_group_forms_without_one_of_its_members_who_joins_later() {
    let mut cluster = Cluster::prepare(Settings::default()).await;
    cluster.start_member(1).await;
    cluster.start_member(2).await;
    let leader = cluster.leader().await;
    let acknowledged = append_many(&cluster, leader, 0, 100, 100).await;
    assert_eq!(acknowledged.len(), 100);
    cluster.start_member(3).await;
    cluster.converge(leader).await;
    cluster.wait_whole(3).await;
    assert_eq!(values(&cluster, 3), acknowledged);
    // It counts from now on: without it there would be no majority.
    cluster.kill(leader).await;
    let next = cluster.leader_except(leader).await;
    assert!(cluster.append(next, 100, 10).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_with_an_empty_disk_is_given_everything_and_then_counts() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    let acknowledged = append_many(&cluster, leader, 0, 1000, 100).await;
    cluster.converge(leader).await;
    let term = cluster.handle(leader).status().borrow().term.0;
    let [lost, other] = cluster.others(leader)[..] else { unreachable!("three members") };
    cluster.kill(lost).await;
    cluster.wipe(lost);
    cluster.start_member(lost).await;
    // The leader believed that it had everything, and would have waited for ever.
    cluster.converge(leader).await;
    cluster.wait_whole(lost).await;
    let flows = |status: &ReplicaStatus| {
        status.peers.iter().all(|peer| peer.state == PeerState::Replicate && peer.may_lead)
    };
    cluster.wait_status(leader, "entries to flow", flows).await;
    assert_eq!(values(&cluster, lost), acknowledged);
    let status = cluster.handle(leader).status().borrow().clone();
    assert_eq!((status.role, status.term.0), (Role::Leader, term), "nobody was disturbed");

    cluster.kill(lost).await;
    let log = cluster.open_log(lost);
    let state = log.initial_state().unwrap().hard_state;
    assert_eq!((state.term, state.vote), (term, NOBODY), "it has no vote to give in that term");
    assert_eq!(log.standing(), Standing::Voter);
    drop(log);
    cluster.start_member(lost).await;
    cluster.kill(leader).await;
    let next = cluster.leader_except(leader).await;
    assert!(cluster.append(next, 1000, 10).await.is_ok());
    cluster.kill(lost).await;
    cluster.kill(other).await;
    assert_eq!(cluster.entries(lost), cluster.entries(other));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_loses_its_disk_comes_back_as_a_follower() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let leader = cluster.leader().await;
        acknowledged.extend(append_many(&cluster, leader, round * 100, 100, 100).await);
        cluster.kill(leader).await;
        cluster.wipe(leader);
        cluster.start_member(leader).await;
        let next = cluster.leader_except(leader).await;
        cluster.converge(next).await;
        cluster.wait_whole(leader).await;
        for id in 1..=3 {
            assert_eq!(values(&cluster, id), acknowledged, "member {id}, round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_only_other_copy_is_away_nobody_is_elected_without_it() {
    let mut cluster = Cluster::start(Settings::with_short_election_timeout()).await;
    let leader = cluster.leader().await;
    append_many(&cluster, leader, 0, 100, 100).await;
    cluster.converge(leader).await;
    let [lost, behind] = cluster.others(leader)[..] else { unreachable!("three members") };
    cluster.links_of(behind).for_each(Link::cut);
    // On the leader and on the member that is about to lose it, and nowhere else.
    let acknowledged = append_many(&cluster, leader, 100, 100, 100).await;
    assert_eq!(acknowledged.len(), 100);
    cluster.kill(leader).await;
    cluster.kill(lost).await;
    cluster.wipe(lost);
    cluster.links.values().for_each(Link::mend);
    cluster.start_member(lost).await;
    cluster.wait_recovering(lost).await;
    stands_in_vain(&cluster, behind).await;
    // Another crash changes nothing of that.
    cluster.kill(lost).await;
    assert_eq!(cluster.open_log(lost).standing(), Standing::Lost);
    cluster.start_member(lost).await;
    stands_in_vain(&cluster, behind).await;
    assert_eq!(cluster.handle(lost).status().borrow().role, Role::Recovering);

    cluster.start_member(leader).await;
    all_have(&cluster, lost, 0..200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_votes_are_unreadable_keeps_its_log_and_asks() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    let acknowledged = append_many(&cluster, leader, 0, 500, 100).await;
    cluster.converge(leader).await;
    let [lost, other] = cluster.others(leader)[..] else { unreachable!("three members") };
    cluster.kill(lost).await;
    let had = cluster.entries(lost);
    std::fs::remove_file(cluster.log_dir(lost).join("hard-state")).unwrap();
    assert_eq!(cluster.open_log(lost).standing(), Standing::Lost);
    assert_eq!(cluster.entries(lost), had, "entries are not lost with the votes");
    cluster.kill(other).await;
    cluster.start_member(lost).await;
    cluster.wait_recovering(lost).await;
    cluster.start_member(other).await;
    let serving = cluster.leader().await;
    cluster.converge(serving).await;
    cluster.wait_whole(lost).await;
    let have: BTreeSet<u64> = values(&cluster, lost).into_iter().collect();
    assert!(acknowledged.iter().all(|value| have.contains(value)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_five_and_then_another_lose_their_disks() {
    let settings = Settings { members: 5, ..Settings::default() };
    let mut cluster = Cluster::start(settings).await;
    let leader = cluster.leader().await;
    let acknowledged = append_many(&cluster, leader, 0, 100, 100).await;
    cluster.converge(leader).await;
    let lost: Vec<u64> = (1..=5).filter(|&id| id != leader).take(2).collect();
    for &id in &lost {
        cluster.kill(id).await;
        cluster.wipe(id);
    }
    for &id in &lost {
        cluster.start_member(id).await;
    }
    let serving = cluster.leader().await;
    cluster.converge(serving).await;
    for &id in &lost {
        cluster.wait_whole(id).await;
        assert_eq!(values(&cluster, id), acknowledged, "member {id}");
    }
}
