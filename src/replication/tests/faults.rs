//! Members on hostile disks: failed syncs, and power cuts that strike all of them at once.

use std::collections::BTreeSet;

use raft_log::Fatal;
use raft_log::fault::{Loss, SimDisk};

use super::app::{Answer, Append};
use super::cluster::{Cluster, Settings, within};
use super::{append_many, values};
use crate::replication::machine::Refusal;

/// Proposes once and waits for the outcome, which may be that the member takes nothing any more.
async fn try_append(cluster: &Cluster<SimDisk>, id: u64, value: u64) -> Answer {
    let (proposal, answer) = Append::new(value, 100);
    match cluster.handle(id).propose(proposal) {
        Ok(()) => within("an answer", answer).await.expect("every proposal is answered"),
        Err((_, refusal)) => Err(refusal),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_ends_the_member_and_nothing_more_is_acknowledged() {
    let disk = SimDisk::new();
    let settings = Settings { members: 1, ..Settings::default() };
    let mut cluster = Cluster::prepare_on(settings, |_| disk.clone()).await;
    cluster.start_all().await;
    cluster.leader().await;
    assert_eq!(append_many(&cluster, 1, 0, 100, 100).await.len(), 100);
    disk.fail_sync(1);
    // It may have met the failure before it was asked: it also syncs now and then by itself.
    let outcome = try_append(&cluster, 1, 100).await;
    assert!(matches!(outcome, Err(Refusal::Unknown | Refusal::ShuttingDown)), "{outcome:?}");
    let mut status = cluster.handle(1).status();
    within("the member's end", async { while status.changed().await.is_ok() {} }).await;
    let (late, _answer) = Append::new(101, 100);
    assert_eq!(cluster.handle(1).propose(late).unwrap_err().1, Refusal::ShuttingDown);
    assert_eq!(cluster.handle(1).read_index().await, Err(Refusal::ShuttingDown));
    assert_eq!(*cluster.fatal.lock(), [Fatal::FsyncFailed]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_fails_is_replaced() {
    let mut cluster = Cluster::prepare_on(Settings::default(), |_| SimDisk::new()).await;
    cluster.start_all().await;
    let leader = cluster.leader().await;
    append_many(&cluster, leader, 0, 100, 100).await;
    cluster.disk(leader).fail_sync(1);
    // The others may still commit it: then it is acknowledged, and must stay.
    let outcome = try_append(&cluster, leader, 100).await;
    let next = cluster.leader_except(leader).await;
    assert_eq!(append_many(&cluster, next, 200, 10, 100).await.len(), 10);
    assert_eq!(*cluster.fatal.lock(), [Fatal::FsyncFailed]);
    let have: BTreeSet<u64> = values(&cluster, next).into_iter().collect();
    let kept = have.contains(&100);
    assert!(kept || outcome.is_err(), "{outcome:?}");
    assert!((0..100).all(|value| have.contains(&value)));
}

// On one thread, so that no proposal slips in behind a refusal and has the disk looked at again.
#[tokio::test]
async fn a_full_disk_refuses_and_when_there_is_room_again_takes() {
    let disk = SimDisk::new();
    let settings = Settings { members: 1, segment_bytes: 128 << 10, ..Settings::default() };
    let mut cluster = Cluster::prepare_on(settings, |_| disk.clone()).await;
    cluster.start_all().await;
    cluster.leader().await;
    disk.set_capacity_bytes(Some(0));
    let mut value = 0;
    loop {
        match cluster.append(1, value, 4_000).await {
            Ok(_) => value += 1,
            Err(refusal) => break assert_eq!(refusal, Refusal::Overloaded),
        }
        assert!(value < 1_000, "the disk is never full");
    }
    disk.set_capacity_bytes(None);
    let taken = async { while cluster.append(1, value, 4_000).await.is_err() {} };
    within("a send to be taken again", taken).await;
    assert!(cluster.fatal.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_all_members_lose_power() {
    let settings = Settings { segment_bytes: 128 << 10, ..Settings::default() };
    let mut cluster = Cluster::prepare_on(settings, |_| SimDisk::new()).await;
    let mut acknowledged = BTreeSet::new();
    for round in 0..6 {
        cluster.start_all().await;
        let leader = cluster.leader().await;
        cluster.converge(leader).await;
        let have: BTreeSet<u64> = values(&cluster, leader).into_iter().collect();
        let lost: Vec<_> = acknowledged.difference(&have).collect();
        assert!(lost.is_empty(), "lost {lost:?} before round {round}");
        let first = round * 1000;
        acknowledged.extend(append_many(&cluster, leader, first, 300, 300).await);
        let mut in_flight = Vec::new();
        for value in first + 300..first + 400 {
            in_flight.push((value, cluster.propose(leader, value, 300).await));
        }
        for id in 1..=3 {
            cluster.kill(id).await;
        }
        for id in 1..=3 {
            let loss = if round % 2 == 0 { Loss::All } else { Loss::Torn(first + id) };
            cluster.disk(id).restart(loss);
        }
        for (value, answer) in in_flight {
            if let Ok(Ok(_)) = answer.await {
                acknowledged.insert(value);
            }
        }
    }
    assert!(cluster.fatal.lock().is_empty());
}
