//! Damage in what was durable. Found at the start it is mended with what peers have, before the member
//! takes part again; found while the member runs, it is mended under way. The group loses nothing and
//! goes on meanwhile.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
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
const LIMIT: Duration = Duration::from_secs(60);
const MEMBERS: usize = 3;

#[test]
fn a_member_that_starts_with_damage_is_mended_by_its_peers_while_the_group_goes_on() {
    let mut cluster = Cluster::start();
    let (leader, _) = cluster.await_leader(None);
    let hurt = (leader + 1) % MEMBERS;
    let mut all = Acknowledged::default();
    create_topics(&cluster, leader);
    send_some(&cluster, leader, 0, &mut all);
    send_marked(&cluster, leader, MARK);
    send_some(&cluster, leader, 1, &mut all);
    cluster.await_equal_logs(LIMIT);

    let load = Load::start(cluster.address(leader), TOPIC, QUEUES, 2);
    cluster.process_mut(hurt).terminate();
    assert!(cluster.process_mut(hurt).wait().success());
    flip_a_bit_of(&segment(&cluster, hurt), MARK);
    let before = load.acknowledged();
    cluster.restart(hurt);
    let mended = "damage in the log repaired";
    assert!(cluster.process(hurt).said(mended), "{}", cluster.process(hurt).tail());
    poll::until("sends acknowledged meanwhile", LIMIT, || {
        (load.acknowledged() >= before + 500).then_some(())
    });
    load.finish(&mut all);

    cluster.await_equal_logs(LIMIT);
    assert_equal_bytes(&cluster, MARK);
    all.assert_stored(&mut cluster.connect(leader), TOPIC, QUEUES);
}

#[test]
fn members_with_different_damages_mend_each_other() {
    let mut cluster = Cluster::start();
    let (leader, _) = cluster.await_leader(None);
    let mut all = Acknowledged::default();
    create_topics(&cluster, leader);
    let marks = ["the first of them", "the second of them", "the third of them"];
    for (round, mark) in marks.iter().enumerate() {
        send_some(&cluster, leader, round, &mut all);
        send_marked(&cluster, leader, mark.as_bytes());
    }
    send_some(&cluster, leader, MEMBERS, &mut all);
    cluster.await_equal_logs(LIMIT);
    cluster.kill_all();
    // A payload, a header, and a payload: no entry is whole on fewer than two members.
    for (member, in_header) in [false, true, false].into_iter().enumerate() {
        let (file, mark) = (segment(&cluster, member), marks[member].as_bytes());
        if in_header {
            flip_a_bit_before(&file, mark);
        } else {
            flip_a_bit_of(&file, mark);
        }
    }
    cluster.restart_all(&[0, 1, 2]);
    let (leader, _) = cluster.await_leader(None);
    for member in 0..MEMBERS {
        let mended = "damage in the log repaired";
        assert!(cluster.process(member).said(mended), "{}", cluster.process(member).tail());
    }
    cluster.await_equal_logs(LIMIT);
    assert_equal_bytes(&cluster, marks[2].as_bytes());
    all.assert_stored(&mut cluster.connect(leader), TOPIC, QUEUES);
    let marked = cluster.connect(leader).pull_all(MARKED_TOPIC, 0, 0).unwrap();
    let bodies: Vec<&[u8]> = marked.iter().map(|message| &message.body[..]).collect();
    assert_eq!(bodies, marks.map(str::as_bytes));
}

#[test]
fn a_leader_that_meets_damage_leads_on_and_is_mended() {
    let mut cluster = Cluster::start_with("memoryBudgetBytes=33554432\nlogScrubBytesPerSecond=0");
    let (leader, _) = cluster.await_leader(None);
    let away = (leader + 1) % MEMBERS;
    let mut all = Acknowledged::default();
    create_topics(&cluster, leader);
    // What is sent now the absent member must be given from the disk.
    cluster.kill(away);
    send_some(&cluster, leader, 0, &mut all);
    send_marked(&cluster, leader, MARK);
    send_filler(&cluster, leader, FILLER_BODIES);

    let segment = segment(&cluster, leader);
    flip_a_bit_of(&segment, MARK);
    cluster.restart(away);
    cluster.await_equal_logs(LIMIT);
    assert_eq!(cluster.leader(), Some(leader));
    assert!(cluster.process_mut(leader).ended().is_none(), "{}", cluster.process(leader).tail());
    for what in ["an entry of the log is damaged", "damage in the log repaired"] {
        assert!(cluster.process(leader).said(what), "{}", cluster.process(leader).tail());
    }
    assert_equal_bytes(&cluster, MARK);
    all.assert_stored(&mut cluster.connect(leader), TOPIC, QUEUES);
    let marked = cluster.connect(leader).pull_all(MARKED_TOPIC, 0, 0).unwrap();
    assert_eq!(marked.len(), 1);
    assert_eq!(marked[0].body, MARK);
}

#[test]
fn damage_that_nobody_reads_is_found_and_mended_while_the_member_runs() {
    let settings = "memoryBudgetBytes=33554432\nmappedFileSizeCommitLog=16777216\n\
                    logScrubIntervalMs=50";
    let cluster = Cluster::start_with(settings);
    let (leader, _) = cluster.await_leader(None);
    create_topics(&cluster, leader);
    send_marked(&cluster, leader, MARK);
    // The first segment is full, and an entry of the next is durable.
    send_filler(&cluster, leader, 2 * FILLER_BODIES);
    cluster.await_equal_logs(LIMIT);
    for member in 0..2 {
        let file = segment(&cluster, member);
        let whole = std::fs::read(&file).unwrap();
        if member == 0 {
            flip_a_bit_of(&file, MARK);
        } else {
            flip_a_bit_before(&file, MARK);
        }
        poll::until("the damage is mended", LIMIT, || {
            (std::fs::read(&file).unwrap()[..1 << 20] == whole[..1 << 20]).then_some(())
        });
    }
    assert_eq!(cluster.leader(), Some(leader));
    let marked = cluster.connect(leader).pull_all(MARKED_TOPIC, 0, 0).unwrap();
    assert_eq!(marked[0].body, MARK);
}

fn create_topics(cluster: &Cluster, leader: usize) {
    for topic in [TOPIC, MARKED_TOPIC] {
        cluster.connect(leader).create_topic(topic, QUEUES).unwrap();
    }
}

fn send_some(cluster: &Cluster, leader: usize, round: usize, all: &mut Acknowledged) {
    let load = Load::start(cluster.address(leader), TOPIC, QUEUES, round);
    poll::until("sends acknowledged", LIMIT, || (load.acknowledged() >= 1_000).then_some(()));
    load.finish(all);
}

fn send_marked(cluster: &Cluster, leader: usize, mark: &[u8]) {
    let mut connection = cluster.connect(leader);
    connection.request_send(MARKED_TOPIC, 0, mark).unwrap();
    connection.receive().unwrap().succeeded().unwrap();
}

fn send_filler(cluster: &Cluster, leader: usize, bodies: usize) {
    let mut connection = cluster.connect(leader);
    for _ in 0..bodies {
        connection.request_send(MARKED_TOPIC, 1, &vec![b'.'; FILLER_BODY_BYTES]).unwrap();
        connection.receive().unwrap().succeeded().unwrap();
    }
}

/// The file with the beginning of a member's log.
fn segment(cluster: &Cluster, member: usize) -> PathBuf {
    cluster.directory().join(format!("store-n{member}/dledger-n{member}/{:020}", 0))
}

/// All members' logs are the same up to the text, which each of them has.
fn assert_equal_bytes(cluster: &Cluster, text: &[u8]) {
    let logs: Vec<Vec<u8>> = (0..MEMBERS)
        .map(|member| {
            let mut content = std::fs::read(segment(cluster, member)).unwrap();
            content.truncate(find(&content, text) + text.len());
            content
        })
        .collect();
    assert!(logs.iter().all(|log| *log == logs[0]), "the logs differ");
}

/// Damages the text itself.
fn flip_a_bit_of(segment: &Path, text: &[u8]) {
    let content = std::fs::read(segment).unwrap();
    flip(segment, &content, find(&content, text));
}

/// Damages the header of the entry that holds the text.
fn flip_a_bit_before(segment: &Path, text: &[u8]) {
    let content = std::fs::read(segment).unwrap();
    let text = find(&content, text);
    let header = content[..text].windows(4).rposition(|window| window == b"RMQE").unwrap();
    flip(segment, &content, header + 24);
}

fn find(content: &[u8], text: &[u8]) -> usize {
    content.windows(text.len()).position(|window| window == text).unwrap()
}

fn flip(segment: &Path, content: &[u8], at: usize) {
    let file = std::fs::File::options().write(true).open(segment).unwrap();
    file.write_all_at(&[content[at] ^ 1], at as u64).unwrap();
}
