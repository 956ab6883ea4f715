//! A member's directory is gone: it starts again with nothing, is given everything, and counts again.
//! Whatever happens to the leader meanwhile, nothing acknowledged is lost.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::time::Duration;

use support::cluster::Cluster;
use support::load::{Acknowledged, Load};
use support::poll;

const TOPIC: &str = "LostDisk";
const QUEUES: i32 = 4;
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_member_whose_directory_was_deleted_comes_back_whole() {
    let mut cluster = Cluster::start();
    let (leader, _) = cluster.await_leader(None);
    cluster.connect(leader).create_topic(TOPIC, QUEUES).unwrap();
    let mut all = Acknowledged::default();
    let load = Load::start(cluster.address(leader), TOPIC, QUEUES, 0);
    poll::until("sends acknowledged", LIMIT, || (load.acknowledged() >= 2_000).then_some(()));

    let (lost, other) = ((leader + 1) % 3, (leader + 2) % 3);
    lose_disk(&mut cluster, lost);
    cluster.restart(lost);
    let before = load.acknowledged();
    poll::until("sends go on", LIMIT, || (load.acknowledged() >= before + 2_000).then_some(()));
    load.finish(&mut all);
    cluster.await_equal_logs(LIMIT);
    poll::until("its memory is whole", LIMIT, || {
        let logs = cluster.raft_status()?;
        let followers = logs.iter().filter(|log| log["role"] == "Follower").count();
        (followers == 2 && cluster.leader() == Some(leader)).then_some(())
    });
    // With one of the others gone it is needed for every acknowledgement.
    cluster.kill(other);
    let load = Load::start(cluster.address(leader), TOPIC, QUEUES, 1);
    poll::until("sends acknowledged", LIMIT, || (load.acknowledged() >= 1_000).then_some(()));
    load.finish(&mut all);
    cluster.kill(leader);
    cluster.restart(other);
    let (next, _) = cluster.await_leader(Some(leader));
    all.assert_stored(&mut cluster.connect(next), TOPIC, QUEUES);
}

#[test]
fn when_the_leader_dies_right_after_a_member_lost_its_directory_nothing_is_lost() {
    let mut cluster = Cluster::start();
    let (mut leader, _) = cluster.await_leader(None);
    cluster.connect(leader).create_topic(TOPIC, QUEUES).unwrap();
    let mut all = Acknowledged::default();
    for round in 0..3 {
        let load = Load::start(cluster.address(leader), TOPIC, QUEUES, round);
        poll::until("sends acknowledged", LIMIT, || (load.acknowledged() >= 1_000).then_some(()));
        // The leader may be the only one that has the newest; its own turn comes, too.
        let lost = (leader + 1 + round) % 3;
        lose_disk(&mut cluster, lost);
        cluster.restart(lost);
        if lost != leader {
            cluster.kill(leader);
            load.finish(&mut all);
            cluster.restart(leader);
        } else {
            load.finish(&mut all);
        }
        leader = poll::until("a leader serves", LIMIT, || {
            let leader = cluster.leader()?;
            cluster.connect(leader).max_offset(TOPIC, 0).is_ok().then_some(leader)
        });
        poll::until("all are registered", LIMIT, || {
            (0..3).all(|member| cluster.broker_id(member).is_some()).then_some(())
        });
        cluster.await_equal_logs(LIMIT);
        all.assert_stored(&mut cluster.connect(leader), TOPIC, QUEUES);
    }
}

/// The process dies, and its directory with it.
fn lose_disk(cluster: &mut Cluster, member: usize) {
    cluster.kill(member);
    std::fs::remove_dir_all(cluster.directory().join(format!("store-n{member}"))).unwrap();
}
