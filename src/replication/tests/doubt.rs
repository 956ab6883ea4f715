//! Members that answer before they sync, on machines that lose power: what one of them forgets the others
//! still have, and nobody is elected without it.

use std::collections::BTreeSet;

use raft_log::fault::{Loss, SimDisk};
use raft_log::{Fatal, Standing};

use super::cluster::{Cluster, Settings, within};
use super::lost_disk::{all_have, stands_in_vain};
use super::proxy::Link;
use super::{append_many, values};
use crate::replication::{FlushMode, Role};

/// A leader and one follower acknowledged 200 values; the third member has half of them. The follower
/// loses power and is down, and the leader is cut off.
struct Torn {
    cluster: Cluster<SimDisk>,
    leader: u64,
    forgot: u64,
    behind: u64,
}

async fn torn(doubt_wait_ms: u64) -> Torn {
    loop {
        if let Some(torn) = try_tear(doubt_wait_ms).await {
            return torn;
        }
    }
}

/// None when the sync of now and then came right before the power went, and nothing is lost.
async fn try_tear(doubt_wait_ms: u64) -> Option<Torn> {
    let settings = Settings {
        flush_mode: FlushMode::Async,
        doubt_wait_ms,
        ..Settings::with_short_election_timeout()
    };
    let mut cluster = Cluster::prepare_on(settings, |_| SimDisk::new()).await;
    cluster.start_all().await;
    let leader = cluster.leader().await;
    for id in cluster.others(leader) {
        cluster.wait_whole(id).await;
    }
    append_many(&cluster, leader, 0, 100, 100).await;
    cluster.converge(leader).await;
    let [forgot, behind] = cluster.others(leader)[..] else { unreachable!("three members") };
    cluster.links_of(behind).for_each(Link::cut);
    assert_eq!(append_many(&cluster, leader, 100, 99, 100).await.len(), 99);
    let (acknowledged, _) = cluster.append(leader, 199, 100).await.unwrap();
    cluster.kill(forgot).await;
    cluster.lose_power(forgot, Loss::All);
    if cluster.open_log(forgot).last_index() >= acknowledged {
        return None;
    }
    // Before the third is reached again, that it is not given the rest.
    cluster.links_of(leader).for_each(Link::cut);
    cluster.mend(forgot, behind);
    cluster.wait_status(leader, "the leader to give up", |status| !status.serving).await;
    Some(Torn { cluster, leader, forgot, behind })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_forgot_waits_for_whoever_may_know() {
    let Torn { mut cluster, leader, forgot, behind } = torn(0).await;
    assert_eq!(cluster.open_log(forgot).standing(), Standing::Doubtful);
    cluster.start_member(forgot).await;
    cluster.wait_recovering(forgot).await;
    stands_in_vain(&cluster, behind).await;

    cluster.links_of(leader).for_each(Link::mend);
    all_have(&cluster, forgot, 0..200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_may_prefer_to_go_on_and_who_knew_more_ends_and_says_so() {
    let Torn { mut cluster, leader, forgot, behind } = torn(300).await;
    cluster.start_member(forgot).await;
    let serving = cluster.leader_except(leader).await;
    assert_eq!(append_many(&cluster, serving, 200, 100, 100).await.len(), 100);
    let have: BTreeSet<u64> = values(&cluster, serving).into_iter().collect();
    let lost = (100..200).filter(|value| !have.contains(value)).count();
    assert!(lost > 0 && (0..100).all(|value| have.contains(&value)), "{lost} of member {behind}");

    let mut status = cluster.handle(leader).status();
    cluster.links_of(leader).for_each(Link::mend);
    within("the member's end", async { while status.changed().await.is_ok() {} }).await;
    assert_eq!(*cluster.fatal.lock(), [Fatal::LogCorrupt]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_machine_that_loses_power_takes_part_again_while_the_others_go_on() {
    let settings = Settings { flush_mode: FlushMode::Async, ..Settings::default() };
    let mut cluster = Cluster::prepare_on(settings, |_| SimDisk::new()).await;
    cluster.start_all().await;
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        let leader = cluster.leader().await;
        for id in cluster.others(leader) {
            cluster.wait_whole(id).await;
        }
        acknowledged.extend(append_many(&cluster, leader, round * 100, 100, 100).await);
        let victim = if round % 2 == 0 { leader } else { cluster.others(leader)[0] };
        cluster.kill(victim).await;
        cluster.lose_power(victim, if round < 3 { Loss::All } else { Loss::Torn(round) });
        cluster.start_member(victim).await;
        let serving = cluster.leader().await;
        cluster.converge(serving).await;
        cluster.wait_whole(victim).await;
        for id in 1..=3 {
            assert_eq!(values(&cluster, id), acknowledged, "member {id}, round {round}");
        }
    }
    assert!(cluster.fatal.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_lose_power_they_go_on_with_what_is_left() {
    let settings = Settings { flush_mode: FlushMode::Async, ..Settings::default() };
    let mut cluster = Cluster::prepare_on(settings, |_| SimDisk::new()).await;
    cluster.start_all().await;
    for round in 0..4 {
        let leader = cluster.leader().await;
        let acknowledged = append_many(&cluster, leader, round * 100, 100, 100).await;
        assert_eq!(acknowledged.len(), 100);
        for id in 1..=3 {
            cluster.kill(id).await;
            cluster.lose_power(id, Loss::Torn(round + id));
        }
        for id in 1..=3 {
            cluster.start_member(id).await;
        }
        let serving = cluster.leader().await;
        cluster.converge(serving).await;
        for id in 1..=3 {
            cluster.wait_whole(id).await;
            assert_eq!(
                values(&cluster, id),
                values(&cluster, serving),
                "member {id}, round {round}"
            );
        }
    }
    assert!(cluster.fatal.lock().is_empty());
    assert!((1..=3).all(|id| cluster.handle(id).status().borrow().role != Role::Recovering));
}
