//! The leader dies: another member leads within two seconds, and the old one comes back equal.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::time::Duration;

use support::cluster::Cluster;
use support::load::{Acknowledged, Load};
use support::poll;

const TOPIC: &str = "Failover";
const QUEUES: i32 = 4;
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn when_the_leader_is_killed_another_leads_within_two_seconds_and_the_old_one_follows() {
    let mut cluster = Cluster::start();
    let (old, _) = cluster.await_leader(None);
    cluster.connect(old).create_topic(TOPIC, QUEUES).unwrap();
    let mut all = Acknowledged::default();

    let load = Load::start(cluster.address(old), TOPIC, QUEUES, 0);
    poll::until("sends acknowledged", LIMIT, || (load.acknowledged() >= 2_000).then_some(()));
    cluster.kill(old);
    let (new, waited) = cluster.await_leader(Some(old));
    assert!(waited < Duration::from_secs(2), "broker id 0 moved after {waited:?}");
    load.finish(&mut all);

    let load = Load::start(cluster.address(new), TOPIC, QUEUES, 1);
    poll::until("sends acknowledged", LIMIT, || (load.acknowledged() >= 2_000).then_some(()));
    cluster.restart(old);
    load.finish(&mut all);
    all.assert_stored(&mut cluster.connect(new), TOPIC, QUEUES);
    poll::until("the old leader is registered as a follower", LIMIT, || {
        cluster.broker_id(old).filter(|id| *id != 0)
    });
    assert_eq!(cluster.leader(), Some(new), "the one that came back does not take over");
    all.assert_stored(&mut cluster.connect(old), TOPIC, QUEUES);

    let logs = cluster.await_equal_logs(LIMIT);
    for log in &logs {
        assert_eq!(log["applied"], log["lastIndex"], "{log}");
        let leads = log["member"].as_u64() == Some(new as u64 + 1);
        assert_eq!(log["role"], if leads { "Leader" } else { "Follower" }, "{log}");
    }
}
