//! Members that are started on an older copy of their own directory: it is noticed by whoever heard of
//! more, and nothing acknowledged is lost; an honest restart is never taken for one.

use std::path::{Path, PathBuf};

use raft_log::fault::{Loss, SimDisk};
use raft_log::{Disk, LogIndex, RealDisk, Standing};

use super::app::Append;
use super::cluster::{Cluster, Settings, within};
use super::lost_disk::{all_have, goes_on, stands_in_vain};
use super::{append_many, values};
use crate::replication::Role;

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

impl Cluster<RealDisk> {
    fn backup_dir(&self, id: u64) -> PathBuf {
        self.log_dir(id).with_extension("backup")
    }

    /// The member is stopped for a copy of its directory; the last entry in it.
    async fn back_up(&mut self, id: u64) -> LogIndex {
        self.kill(id).await;
        copy_dir(&self.log_dir(id), &self.backup_dir(id));
        let last = self.open_log(id).last_index();
        self.start_member(id).await;
        last
    }

    /// Puts a stopped member's copy in the place of its directory.
    fn restore(&self, id: u64) {
        std::fs::remove_dir_all(self.log_dir(id)).unwrap();
        copy_dir(&self.backup_dir(id), &self.log_dir(id));
        assert_eq!(self.open_log(id).standing(), Standing::Voter, "nothing of it looks wrong");
    }
}

impl<D: Disk> Cluster<D> {
    /// Waits until one member has heard that the other has more than this entry durably.
    async fn wait_heard(&self, by: u64, of: u64, index: LogIndex) {
        let heard = async {
            while self.handle(by).heard_of(of).before_that_of(0).index <= index.0 {
                tokio::task::yield_now().await;
            }
        };
        within("a claim to be heard", heard).await;
    }

    /// Appends a value on whichever of two members that do not reach each other leads, again if a busy
    /// machine had it deposed; who led, and who did not.
    async fn append_on_either(&self, value: u64, [one, other, third]: [u64; 3]) -> (u64, u64) {
        loop {
            let leader = self.leader().await;
            if leader == third {
                // Refused when it does not lead any more.
                let _ = self.handle(third).transfer_leader(Some(one)).await;
                continue;
            }
            let (proposal, answer) = Append::new(value, 100);
            let taken = self.handle(leader).propose(proposal).is_ok();
            if taken && within("an answer", answer).await.is_ok_and(|answer| answer.is_ok()) {
                return (leader, if leader == one { other } else { one });
            }
        }
    }
}

/// A group in which one follower's directory was copied, when it held what was acknowledged until then.
struct Copied {
    cluster: Cluster,
    leader: u64,
    /// Whose directory it is.
    restored: u64,
    /// The last entry in the copy.
    held: LogIndex,
    other: u64,
    acknowledged: Vec<u64>,
}

async fn copied() -> Copied {
    let mut cluster = Cluster::start(Settings::with_short_election_timeout()).await;
    let leader = cluster.leader().await;
    let acknowledged = append_many(&cluster, leader, 0, 100, 100).await;
    cluster.converge(leader).await;
    let [restored, other] = cluster.others(leader)[..] else { unreachable!("three members") };
    let held = cluster.back_up(restored).await;
    Copied { cluster, leader, restored, held, other, acknowledged }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_on_an_older_copy_is_given_what_it_lacks() {
    let Copied { mut cluster, leader, restored, held, other, mut acknowledged } = copied().await;
    acknowledged.extend(append_many(&cluster, leader, 100, 100, 100).await);
    cluster.converge(leader).await;
    cluster.wait_heard(leader, restored, held).await;

    cluster.kill(restored).await;
    cluster.restore(restored);
    cluster.start_member(restored).await;
    // The leader believed that it had everything.
    cluster.converge(leader).await;
    cluster.wait_whole(restored).await;
    assert_eq!(values(&cluster, restored), acknowledged);
    cluster.kill(restored).await;
    assert_eq!(cluster.open_log(restored).standing(), Standing::Voter);
    // It counts again, and is not taken for an older copy a second time.
    cluster.start_member(restored).await;
    cluster.converge(leader).await;
    cluster.kill(other).await;
    assert!(cluster.append(leader, 200, 10).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_only_other_copy_is_away_nobody_is_elected_without_it() {
    let Copied { mut cluster, leader, restored, held, other, .. } = copied().await;
    cluster.converge(leader).await;
    // One hears of what the two others store, and is not given it.
    cluster.cut(leader, other);
    let (leader, behind) = cluster.append_on_either(100, [leader, other, restored]).await;
    cluster.wait_heard(behind, restored, held).await;
    cluster.kill(leader).await;
    cluster.kill(restored).await;
    cluster.restore(restored);
    // What was heard outlives the process that heard it.
    cluster.stop(behind).await;
    cluster.start_member(behind).await;
    cluster.mend(leader, behind);
    cluster.start_member(restored).await;
    cluster.wait_recovering(restored).await;
    // It was asked to vote, and to be led, and does neither; nor after another start.
    cluster.kill(restored).await;
    assert_eq!(cluster.open_log(restored).standing(), Standing::Lost);
    cluster.start_member(restored).await;
    stands_in_vain(&cluster, behind).await;

    cluster.start_member(leader).await;
    goes_on(&cluster, restored).await;
    for id in 1..=3 {
        let mut had = values(&cluster, id);
        had.dedup();
        assert_eq!(had, (0..=100).collect::<Vec<_>>(), "member {id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knows_better_is_believed_whenever_it_is_heard() {
    let Copied { mut cluster, leader, restored, held, other, .. } = copied().await;
    cluster.converge(leader).await;
    cluster.cut(restored, other);
    append_many(&cluster, leader, 100, 100, 100).await;
    cluster.converge(leader).await;
    cluster.wait_heard(leader, restored, held).await;
    cluster.kill(restored).await;
    cluster.restore(restored);
    cluster.cut(leader, restored);
    cluster.mend(restored, other);
    cluster.start_member(restored).await;
    // Nobody that it reaches knows, so it takes part.
    let candidate = |status: &crate::replication::ReplicaStatus| status.role == Role::Candidate;
    cluster.wait_status(restored, "an election", candidate).await;
    let mut status = cluster.handle(restored).status();
    let noticed = tokio::spawn(async move {
        status.wait_for(|status| status.role == Role::Recovering).await.is_ok()
    });
    cluster.cut(restored, other);
    cluster.mend(leader, restored);
    assert!(within("the older copy to be noticed", noticed).await.unwrap());
    cluster.mend(restored, other);
    all_have(&cluster, restored, 0..200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_restart_is_not_taken_for_an_older_copy_whatever_the_power_took() {
    let settings = Settings { segment_bytes: 128 << 10, ..Settings::default() };
    let mut cluster = Cluster::prepare_on(settings, |_| SimDisk::new()).await;
    cluster.start_all().await;
    for round in 0..6 {
        let leader = cluster.leader().await;
        for id in cluster.others(leader) {
            cluster.wait_whole(id).await;
        }
        append_many(&cluster, leader, round * 1000, 100, 300).await;
        let victim = if round % 2 == 0 { leader } else { cluster.others(leader)[0] };
        let mut in_flight = Vec::new();
        for value in 0..100 {
            in_flight.push(cluster.propose(leader, round * 1000 + 100 + value, 300).await);
        }
        cluster.kill(victim).await;
        let loss = [Loss::All, Loss::Torn(round), Loss::Nothing][round as usize % 3];
        cluster.lose_power(victim, loss);
        let away = cluster.others(victim)[usize::from(round > 2)];
        cluster.kill(away).await;
        // One that counts as lost would wait for the other that is away.
        cluster.start_member(victim).await;
        cluster.leader().await;
        cluster.wait_whole(victim).await;
        cluster.start_member(away).await;
    }
    assert!(cluster.fatal.lock().is_empty());
}
