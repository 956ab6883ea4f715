//! Members that cannot read the snapshot at which their log begins, or entries that the others gave up: peers
//! give what is missing, or everything.

use raft_log::{LogError, Position, Standing};

use super::app::Shared;
use super::cluster::{Cluster, Settings, within};
use super::{append_many, values};
use crate::replication::{ReplicaStatus, StartError};

const SEGMENT_BYTES: u64 = 64 << 10;

impl Cluster {
    /// Three members with a log of several segments, and the leader.
    async fn with_segments() -> (Cluster, u64) {
        Cluster::of_members_with_segments(3).await
    }

    async fn of_members_with_segments(members: u64) -> (Cluster, u64) {
        let settings = Settings {
            members,
            segment_bytes: SEGMENT_BYTES,
            entry_bytes_target: 4 << 10,
            ..Settings::default()
        };
        let cluster = Cluster::start(settings).await;
        let leader = cluster.leader().await;
        append_many(&cluster, leader, 0, 1000, 500).await;
        cluster.converge(leader).await;
        (cluster, leader)
    }

    /// Has the logs of these members begin at a segment, by their leader's next entries.
    async fn compact(&self, leader: u64, ids: &[u64], segment: u64, values: u64) {
        let position = Position(segment * SEGMENT_BYTES);
        for id in ids {
            self.members[id].state.lock().compact_to = Some(position);
        }
        append_many(self, leader, values, 10, 500).await;
        let begins = |status: &ReplicaStatus| status.first_position == position;
        for &id in ids {
            self.wait_status(id, "compaction", begins).await;
        }
        within("the removal of what was given up", async {
            while ids.iter().any(|&id| self.segment_file(id, segment - 1).exists()) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    fn snapshot_file(&self, id: u64, segment: u64) -> std::path::PathBuf {
        let position = segment * SEGMENT_BYTES;
        self.log_dir(id).join(format!("{position:020}.snapshot"))
    }

    fn segment_file(&self, id: u64, segment: u64) -> std::path::PathBuf {
        self.log_dir(id).join(format!("{:020}", segment * SEGMENT_BYTES))
    }

    #[allow(clippy::disallowed_methods)] // behind the back of its Disk
    fn lose_segment(&self, id: u64, segment: u64) {
        std::fs::remove_file(self.segment_file(id, segment)).unwrap();
    }

    /// What a disk gives that cannot read the file any more is as much worth as this.
    #[allow(clippy::disallowed_methods)] // behind the back of its Disk
    fn lose_snapshot(&self, id: u64, segment: u64) {
        std::fs::write(self.snapshot_file(id, segment), b"damaged").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_read_its_first_snapshot_is_given_it_and_goes_on_as_before() {
    let (mut cluster, leader) = Cluster::with_segments().await;
    cluster.compact(leader, &[1, 2, 3], 4, 1000).await;
    let [lost, other] = cluster.others(leader)[..] else { unreachable!("three members") };
    cluster.kill(lost).await;
    let before = std::fs::read(cluster.snapshot_file(lost, 4)).unwrap();
    cluster.lose_snapshot(lost, 4);
    cluster.start_member(lost).await;
    cluster.converge(leader).await;
    assert_eq!(values(&cluster, lost), (0..1010).collect::<Vec<_>>());
    assert_eq!(std::fs::read(cluster.snapshot_file(lost, 4)).unwrap(), before);
    cluster.kill(lost).await;
    assert_eq!(cluster.open_log(lost).standing(), Standing::Voter, "it forgot nothing");
    cluster.start_member(lost).await;
    // It counts: with the other gone there is no majority without it.
    cluster.kill(other).await;
    let serving = cluster.leader().await;
    assert!(cluster.append(serving, 1010, 10).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lacks_a_snapshot_that_nobody_has_is_given_everything_by_the_leader() {
    let (mut cluster, leader) = Cluster::with_segments().await;
    let lost = cluster.others(leader)[0];
    cluster.compact(leader, &[1, 2, 3], 4, 1000).await;
    let others: Vec<u64> = (1..=3).filter(|&id| id != lost).collect();
    cluster.kill(lost).await;
    cluster.compact(leader, &others, 6, 1010).await;
    within("the removal of what was given up", async {
        while others.iter().any(|&id| cluster.snapshot_file(id, 4).exists()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    cluster.lose_snapshot(lost, 4);
    cluster.start_member(lost).await;
    cluster.converge(leader).await;
    cluster.wait_whole(lost).await;
    assert_eq!(values(&cluster, lost), (0..1020).collect::<Vec<_>>());
    let same_start = |status: &ReplicaStatus| status.first_position == Position(6 * SEGMENT_BYTES);
    cluster.wait_status(lost, "the leader's snapshot", same_start).await;
    cluster.kill_all().await;
    assert_eq!(cluster.entries(lost), cluster.entries(leader));
    assert!(cluster.fatal.lock().is_empty(), "{:?}", cluster.fatal.lock());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_one_gives_up_nothing_when_it_lacks_its_first_snapshot() {
    let (mut cluster, only) = Cluster::of_members_with_segments(1).await;
    cluster.compact(only, &[only], 4, 1000).await;
    cluster.kill(only).await;
    cluster.lose_snapshot(only, 4);
    let ended = cluster.mended_log(only).await.map(|_| ()).unwrap_err();
    assert!(matches!(&ended, StartError::Log(LogError::Corrupt { .. })), "{ended}");
    assert!(cluster.segment_file(only, 4).exists(), "nothing is removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_one_gives_up_nothing_when_it_lacks_entries() {
    let (mut cluster, only) = Cluster::of_members_with_segments(1).await;
    cluster.kill(only).await;
    cluster.lose_segment(only, 2);
    let ended = cluster.mended_log(only).await.map(|_| ()).unwrap_err();
    assert!(matches!(&ended, StartError::Log(LogError::Corrupt { .. })), "{ended}");
    assert!(cluster.segment_file(only, 0).exists(), "nothing is removed");
    assert!(cluster.segment_file(only, 4).exists(), "nothing is removed");
}

/// A follower that ended when its log had eight segments, and lost one of them since; what it had applied; and
/// the leader.
async fn without_a_segment() -> (Cluster, u64, Shared, u64) {
    let (mut cluster, leader) = Cluster::with_segments().await;
    let lost = cluster.others(leader)[0];
    let applied = cluster.kill(lost).await;
    append_many(&cluster, leader, 1000, 1000, 500).await;
    cluster.lose_segment(lost, 2);
    (cluster, leader, applied, lost)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lacks_entries_that_all_others_gave_up_is_given_everything_by_the_leader() {
    for with_its_state in [false, true] {
        let (mut cluster, leader, applied, lost) = without_a_segment().await;
        let others: Vec<u64> = (1..=3).filter(|&id| id != lost).collect();
        cluster.compact(leader, &others, 12, 2000).await;
        let state = if with_its_state { applied } else { Shared::default() };
        cluster.start_with(lost, state).await;
        cluster.converge(leader).await;
        cluster.wait_whole(lost).await;
        assert_eq!(values(&cluster, lost), (0..2010).collect::<Vec<_>>());
        let begins = |status: &ReplicaStatus| status.first_position == Position(12 * SEGMENT_BYTES);
        cluster.wait_status(lost, "the leader's snapshot", begins).await;
        cluster.kill_all().await;
        assert_eq!(cluster.entries(lost), cluster.entries(leader));
        assert!(cluster.fatal.lock().is_empty(), "{:?}", cluster.fatal.lock());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lacks_entries_before_the_others_begin_begins_there_too_and_keeps_what_follows() {
    for with_its_state in [false, true] {
        let (mut cluster, leader, applied, lost) = without_a_segment().await;
        let others: Vec<u64> = (1..=3).filter(|&id| id != lost).collect();
        cluster.compact(leader, &others, 5, 2000).await;
        let kept = std::fs::read(cluster.segment_file(lost, 6)).unwrap();
        let (log, options) = cluster.mended_log(lost).await.unwrap();
        assert_eq!(log.first_position(), Position(5 * SEGMENT_BYTES));
        assert!(log.tail() > Position(7 * SEGMENT_BYTES), "its own end is {}", log.tail());
        assert_eq!(log.standing(), Standing::Voter, "it forgot nothing");
        drop((log, options));
        assert_eq!(std::fs::read(cluster.segment_file(lost, 6)).unwrap(), kept);
        let state = if with_its_state { applied } else { Shared::default() };
        cluster.start_with(lost, state).await;
        cluster.converge(leader).await;
        assert_eq!(values(&cluster, lost), (0..2010).collect::<Vec<_>>());
        cluster.kill_all().await;
        assert_eq!(cluster.entries(lost), cluster.entries(leader));
        assert!(cluster.fatal.lock().is_empty(), "{:?}", cluster.fatal.lock());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_another_member_has_not_applied_for_good_are_not_given_up() {
    let (cluster, leader, _, lost) = without_a_segment().await;
    // Nothing of its own says that what it has behind there follows their snapshot.
    cluster.lose_segment(lost, 5);
    let others: Vec<u64> = (1..=3).filter(|&id| id != lost).collect();
    // They begin behind what is missing, and before the last that is there.
    cluster.compact(leader, &others, 5, 2000).await;
    let ended = cluster.mended_log(lost).await.map(|_| ()).unwrap_err();
    assert!(matches!(&ended, StartError::Log(LogError::Corrupt { .. })), "{ended}");
    assert!(cluster.segment_file(lost, 6).exists(), "nothing is removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_cannot_read_its_first_snapshot_gets_it_and_sends_it() {
    let (mut cluster, leader) = Cluster::with_segments().await;
    let [behind, other] = cluster.others(leader)[..] else { unreachable!("three members") };
    cluster.kill(behind).await;
    cluster.compact(leader, &[leader, other], 4, 1000).await;
    cluster.lose_snapshot(leader, 4);
    // Nothing of it is left, so it needs the snapshot.
    std::fs::remove_dir_all(cluster.log_dir(behind)).unwrap();
    cluster.start_member(behind).await;
    cluster.converge(leader).await;
    cluster.wait_whole(behind).await;
    assert_eq!(values(&cluster, behind), (0..1010).collect::<Vec<_>>());
    assert!(cluster.fatal.lock().is_empty(), "{:?}", cluster.fatal.lock());
    let [renewed, given] =
        [leader, other].map(|id| std::fs::read(cluster.snapshot_file(id, 4)).unwrap());
    assert_eq!(renewed, given);
}
