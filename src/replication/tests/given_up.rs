//! A leader that was cut off, and whose last entries the group gave up, comes back with one of them damaged in
//! a full segment.

use raft_log::fault::SimDisk;
use raft_log::{Log, LogIndex, Position, Standing};

use super::app::Shared;
use super::cluster::{Cluster, Settings, within};
use super::{append_many, values};
use crate::replication::{MendedLog, ReplicaOptions, ReplicaStatus, mend_log};

const SEGMENT_BYTES: u64 = 64 << 10;
/// What all members have, committed.
const SHARED: u64 = 100;
/// What only the leader that is cut off has: more than a segment.
const ITS_OWN: u64 = 400;

struct LeftBehind {
    cluster: Cluster<SimDisk>,
    /// The one that was cut off; it does not run.
    former: u64,
    state: Shared,
    leader: u64,
    /// The first entry of its own that the group gave up.
    first: LogIndex,
}

/// A group that went on without its leader by so many values.
async fn left_behind(values: u64) -> LeftBehind {
    // An entry for each value.
    let settings =
        Settings { segment_bytes: SEGMENT_BYTES, entry_bytes_target: 1, ..Settings::default() };
    let mut cluster = Cluster::prepare_on(settings, |_| SimDisk::new()).await;
    cluster.start_all().await;
    let former = cluster.leader().await;
    append_many(&cluster, former, 0, SHARED, 500).await;
    let last = cluster.converge(former).await;
    cluster.links_of(former).for_each(|link| link.cut());
    for value in SHARED..SHARED + ITS_OWN {
        drop(cluster.propose(former, value, 500).await);
    }
    let has_them = |status: &ReplicaStatus| status.last_index.0 >= last.0 + ITS_OWN;
    cluster.wait_status(former, "its own entries", has_them).await;
    let state = cluster.kill(former).await;
    let leader = cluster.leader().await;
    cluster.links_of(former).for_each(|link| link.mend());
    append_many(&cluster, leader, 1000, values, 500).await;
    LeftBehind { cluster, former, state, leader, first: LogIndex(last.0 + 1) }
}

/// The log as a start has it mended, and how often it was opened again.
async fn whole_log(
    cluster: &Cluster<SimDisk>,
    id: u64,
    applied: LogIndex,
) -> (Log<SimDisk>, ReplicaOptions, u32) {
    let mut options = cluster.options(id).await;
    let mut doubted = None;
    for again in 0.. {
        let log = cluster.mended_log_with(id, doubted, &mut options).await.unwrap();
        match mend_log(&log, applied, &mut options).await.unwrap() {
            MendedLog::Whole => return (log, options, again),
            MendedLog::GivenUp(position) => doubted = Some(position),
        }
    }
    unreachable!()
}

type Hurt = fn(&SimDisk, &std::path::Path, u64) -> bool;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_among_entries_that_the_group_gave_up_keeps_no_member_from_starting() {
    let flip: Hurt = |disk, path, offset| disk.flip_bit(path, offset + 20, 3);
    let lose: Hurt = |disk, path, offset| disk.lose_page(path, offset);
    // A group at rest is not as far as what is damaged.
    for (hurt, behind, gone_on) in
        [(flip, 0, 100), (flip, 5, 100), (lose, 0, 100), (flip, 5, 0), (lose, 0, 0), (lose, 50, 0)]
    {
        let LeftBehind { mut cluster, former, state, leader, first } = left_behind(gone_on).await;
        let hurt_index = LogIndex(first.0 + behind);
        let log = cluster.open_log(former);
        let reader = log.reader();
        assert!(reader.sealed_to() > hurt_index, "{}", reader.sealed_to());
        let Position(position) = reader.position_of(hurt_index).unwrap();
        drop((log, reader));
        let start = position - position % SEGMENT_BYTES;
        let path = cluster.log_dir(former).join(format!("{start:020}"));
        assert!(hurt(cluster.disk(former), &path, position - start));

        let applied = LogIndex(first.0 - 1);
        let (log, options, again) =
            within("a whole log", whole_log(&cluster, former, applied)).await;
        assert_eq!(again, 1, "the index was sound");
        assert!(log.last_index() < LogIndex(first.0 + ITS_OWN));
        assert_eq!(log.standing(), Standing::Voter, "it forgot nothing");
        cluster.start_on(former, state, log, options).await;
        cluster.converge(leader).await;
        let wanted: Vec<u64> = (0..SHARED).chain(1000..1000 + gone_on).collect();
        for id in 1..=3 {
            assert_eq!(values(&cluster, id), wanted, "member {id}");
        }
        assert!(!cluster.disk(former).has_lost_pages(&path));
        cluster.kill_all().await;
        assert_eq!(cluster.entries(former), cluster.entries(leader));
        assert!(cluster.fatal.lock().is_empty(), "{:?}", cluster.fatal.lock());
    }
}
