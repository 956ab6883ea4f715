//! Damage in the log that is met while raft reads it: the member says where and ends; the group
//! loses nothing.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use support::cluster::Cluster;
use support::load::{Acknowledged, Load};
use support::poll;

const TOPIC: &str = "Kept";
const MARKED_TOPIC: &str = "Marked";
const MARK: &[u8] = b"this text stands nowhere else in the log";
/// With the smallest budget the log keeps 8 MiB of its tail in memory: this much more pushes the rest
/// out, so that it is read from the file.
const FILLER_BODIES: usize = 4;
const FILLER_BODY_BYTES: usize = 3 << 20;
const QUEUES: i32 = 4;
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_leader_that_meets_damage_names_it_and_ends_and_nothing_is_lost() {
    let mut cluster = Cluster::start_with("memoryBudgetBytes=33554432");
    let (old, _) = cluster.await_leader(None);
    let away = (old + 1) % 3;
    for topic in [TOPIC, MARKED_TOPIC] {
        cluster.connect(old).create_topic(topic, QUEUES).unwrap();
    }
    // What is sent now the absent member must be given from the disk.
    cluster.kill(away);
    let load = Load::start(cluster.address(old), TOPIC, QUEUES, 0);
    poll::until("sends acknowledged", LIMIT, || (load.acknowledged() >= 1_000).then_some(()));
    let mut connection = cluster.connect(old);
    connection.request_send(MARKED_TOPIC, 0, MARK).unwrap();
    connection.receive().unwrap().succeeded().unwrap();
    let mut all = Acknowledged::default();
    load.finish(&mut all);
    for _ in 0..FILLER_BODIES {
        connection.request_send(MARKED_TOPIC, 1, &vec![b'.'; FILLER_BODY_BYTES]).unwrap();
        connection.receive().unwrap().succeeded().unwrap();
    }

    let directory = cluster.directory().join(format!("store-n{old}/dledger-n{old}"));
    let segment = directory.join(format!("{:020}", 0));
    flip_a_bit_of(&segment, MARK);
    cluster.restart(away);
    let status = poll::until("the leader ended", LIMIT, || cluster.process_mut(old).ended());
    let said = cluster.process(old).tail();
    assert_eq!(status.code(), Some(3), "{status}\n{said}");
    let damage = format!("{} is damaged at position ", segment.display());
    assert!(said.contains(&damage) && said.contains("LogCorrupt (exit code 3)"), "{said}");

    let (new, _) = cluster.await_leader(Some(old));
    all.assert_stored(&mut cluster.connect(new), TOPIC, QUEUES);
    let marked = cluster.connect(new).pull_all(MARKED_TOPIC, 0, 0).unwrap();
    assert_eq!(marked.len(), 1);
    assert_eq!(marked[0].body, MARK);
}

fn flip_a_bit_of(segment: &Path, text: &[u8]) {
    let content = std::fs::read(segment).unwrap();
    let at = content.windows(text.len()).position(|window| window == text).unwrap();
    let file = std::fs::File::options().write(true).open(segment).unwrap();
    file.write_all_at(&[content[at] ^ 1], at as u64).unwrap();
}
