//! All members die at once under load: whatever was acknowledged is there after the restart.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::time::Duration;

use support::cluster::Cluster;
use support::load::{Acknowledged, Load};
use support::poll;

const TOPIC: &str = "Crash";
const QUEUES: i32 = 4;
const ROUNDS: usize = 3;
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn when_all_three_are_killed_under_load_everything_acknowledged_is_read_back() {
    let mut cluster = Cluster::start();
    let (mut leader, _) = cluster.await_leader(None);
    cluster.connect(leader).create_topic(TOPIC, QUEUES).unwrap();
    let mut all = Acknowledged::default();
    for round in 0..ROUNDS {
        let load = Load::start(cluster.address(leader), TOPIC, QUEUES, round);
        let enough = 2_000 * (round as u64 + 1);
        poll::until("sends acknowledged", LIMIT, || (load.acknowledged() >= enough).then_some(()));
        cluster.kill_all();
        load.finish(&mut all);
        assert!(all.len() as u64 >= enough);

        cluster.restart_all(&[0, 1, 2]);
        leader = serving_leader(&cluster);
        all.assert_stored(&mut cluster.connect(leader), TOPIC, QUEUES);
        for member in 0..3 {
            assert_minimum_unchanged(&cluster, member);
        }
    }
}

/// The NameServer may still name the leader of before the crash: what counts is who serves.
fn serving_leader(cluster: &Cluster) -> usize {
    poll::until("a leader serves", LIMIT, || {
        let leader = cluster.leader()?;
        cluster.connect(leader).max_offset(TOPIC, 0).ok().map(|_| leader)
    })
}

fn assert_minimum_unchanged(cluster: &Cluster, member: usize) {
    let mut wire = cluster.connect(member);
    for queue in 0..QUEUES {
        let minimum = wire.min_offset(TOPIC, queue).unwrap();
        assert_eq!(minimum, 0, "minimum of queue {queue} on member {member}");
    }
}
