//! A store directory of an earlier version is taken over as it is: what is in it was acknowledged.
//!
//! `fixtures/store-format-1.tar.gz` was written by this very file with the program of that format, and
//! stays; a later format gets an archive beside it, written by
//! `RAFTMQ_KEEP_STORE=tests/fixtures/store-format-N.tar.gz cargo test --test upgrade`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use support::cluster::{BOOT_LIMIT, raftmq};
use support::poll;
use support::ports::HeldPorts;
use support::process::Process;
use support::wire::{Record, SUCCESS, Wire};

const ARCHIVES: [&str; 1] = ["store-format-1.tar.gz"];
const ARCHIVE_BYTES_MAX: u64 = 300 * 1024;
const ORDERS: &str = "Orders";
const QUEUES: i32 = 2;
const LATER: &str = "Later";
const GROUP: &str = "Readers";
/// Several segments of the smallest size.
const MESSAGES: usize = 150;
const BODY_BYTES: usize = 1500;
const COMMITTED: i64 = 41;
const LIMIT: Duration = Duration::from_secs(60);
const NEWER_FORMAT_EXIT_CODE: i32 = 8;
const SEND_MESSAGE_V2: i32 = 310;
const QUERY_CONSUMER_OFFSET: i32 = 14;
const UPDATE_CONSUMER_OFFSET: i32 = 15;
const UPDATE_GROUP: i32 = 200;

#[test]
fn stores_of_earlier_versions_are_taken_over() {
    for archive in ARCHIVES {
        let folder = tempfile::tempdir().unwrap();
        let path = fixtures().join(archive);
        let bytes = std::fs::metadata(&path).unwrap().len();
        assert!(bytes <= ARCHIVE_BYTES_MAX, "{archive} has {bytes} bytes");
        tar(&["-xzf", path.to_str().unwrap()], folder.path());
        check_files(folder.path());
        check(folder.path());
    }
}

/// So that the next archive can be made when it is needed.
#[test]
fn the_program_that_makes_such_a_store_still_does() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    check_files(folder.path());
    if let Some(archive) = std::env::var_os("RAFTMQ_KEEP_STORE") {
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join(archive);
        tar(&["--owner=0", "--group=0", "-czf", archive.to_str().unwrap(), "store"], folder.path());
    }
    check(folder.path());
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    tar(&["-xzf", fixtures().join(ARCHIVES[0]).to_str().unwrap()], folder.path());
    let identity = folder.path().join("store/dledger-n0/identity");
    let text = std::fs::read_to_string(&identity).unwrap().replace("format 1", "format 2");
    let body = &text[..text.rfind("crc32=").unwrap()];
    let newer = format!("{body}crc32={:08x}\n", crc32fast::hash(body.as_bytes()));
    std::fs::write(&identity, &newer).unwrap();
    let mut refused = Member::spawn(folder.path(), "1s").process;
    let status = poll::until("the broker ends", LIMIT, || refused.ended());
    assert_eq!(status.code(), Some(NEWER_FORMAT_EXIT_CODE), "{}", refused.tail());
    for said in ["identity has format 2", "a newer one has run here"] {
        assert!(refused.said(said), "{}", refused.tail());
    }
    assert_eq!(std::fs::read_to_string(&identity).unwrap(), newer);
}

/// The only member of a group, whose store is `store` in the folder.
struct Member {
    process: Process,
    address: SocketAddr,
    _ports: HeldPorts,
}

impl Member {
    fn spawn(folder: &Path, delays: &str) -> Member {
        let held_ports = HeldPorts::new(2);
        let ports = held_ports.numbers();
        let store = folder.join("store");
        let text = format!(
            "brokerClusterName=Upgraded\nbrokerName=broker-a\nbrokerIP1=127.0.0.1\n\
             listenPort={}\nnamesrvAddr=127.0.0.1:9\nstorePathRootDir={}\n\
             enableDLegerCommitLog=true\ndLegerGroup=broker-a\ndLegerPeers=n0-127.0.0.1:{}\n\
             dLegerSelfId=n0\nmappedFileSizeCommitLog=65536\nextentBytes=16384\n\
             messageDelayLevel={delays}\nfileReservedTime=876000\ndiskMaxUsedSpaceRatio=95\n\
             diskSpaceCleanForciblyRatio=95\n",
            ports[0],
            store.display(),
            ports[1],
        );
        std::fs::write(folder.join("member.conf"), text).unwrap();
        let process = raftmq(folder, "broker", &["member.conf".to_owned()]);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[0]));
        Member { process, address, _ports: held_ports }
    }

    /// Started, and leads.
    fn start(folder: &Path, delays: &str) -> (Member, Wire) {
        let member = Member::spawn(folder, delays);
        member.process.await_line("boot success", BOOT_LIMIT);
        let wire = poll::until("it leads", LIMIT, || {
            let mut wire = Wire::connect(member.address).ok()?;
            wire.create_topic("Probe", 1).ok().map(|()| wire)
        });
        (member, wire)
    }
}

/// Writes a store with all kinds of files, by a process that is killed twice.
fn make(folder: &Path) {
    // Due long after the process is dead.
    let (mut member, mut wire) = Member::start(folder, "2h");
    wire.create_topic(ORDERS, QUEUES).unwrap();
    wire.create_topic(LATER, 1).unwrap();
    let group = json!({ "groupName": GROUP, "retryQueueNums": 1 }).to_string();
    wire.call(UPDATE_GROUP, json!({}), group.as_bytes()).unwrap().succeeded().unwrap();
    for number in 0..MESSAGES / 2 {
        send(&mut wire, number);
    }
    let delayed = properties_with("later", "DELAY\u{1}1\u{2}");
    assert_eq!(send_to(&mut wire, LATER, 0, b"later", &delayed), 0);
    member.process.kill();
    // The second start makes a checkpoint, from the newest snapshot.
    let (mut member, mut wire) = Member::start(folder, "2h");
    for number in MESSAGES / 2..MESSAGES {
        send(&mut wire, number);
    }
    let commit = json!({
        "consumerGroup": GROUP, "topic": ORDERS, "queueId": "1",
        "commitOffset": COMMITTED.to_string(),
    });
    wire.call(UPDATE_CONSUMER_OFFSET, commit, b"").unwrap().succeeded().unwrap();
    assert_eq!(committed(&mut wire), COMMITTED);
    member.process.kill();
}

/// Everything that `make` wrote is there, and the store goes on.
fn check(folder: &Path) {
    let (member, mut wire) = Member::start(folder, "1s");
    assert!(!member.process.said("made again"), "{}", member.process.tail());
    for queue in 0..QUEUES {
        let expected: Vec<Vec<u8>> =
            (0..MESSAGES).filter(|number| queue_of(*number) == queue).map(body).collect();
        assert_eq!(wire.min_offset(ORDERS, queue).unwrap(), 0);
        assert_eq!(wire.max_offset(ORDERS, queue).unwrap(), expected.len() as i64);
        let records = wire.pull_all(ORDERS, queue, 0).unwrap();
        let offsets = records.iter().map(|record| record.queue_offset);
        assert!(offsets.eq(0..expected.len() as i64), "queue {queue} has a hole");
        let bodies: Vec<Vec<u8>> = records.into_iter().map(|record| record.body).collect();
        assert!(bodies == expected, "queue {queue} holds other messages");
    }
    assert_eq!(committed(&mut wire), COMMITTED);
    let later: Vec<Record> = poll::until("the delayed message comes", LIMIT, || {
        Some(wire.pull_all(LATER, 0, 0).unwrap()).filter(|records| !records.is_empty())
    });
    assert_eq!((later.len(), &later[0].body[..]), (1, &b"later"[..]));
    assert_eq!(send(&mut wire, MESSAGES), (MESSAGES / QUEUES as usize) as i64);
}

/// The store holds what a start on it is to show.
fn check_files(folder: &Path) {
    let (log, store) = (folder.join("store/dledger-n0"), folder.join("store"));
    let names = |directory: &Path| -> Vec<String> {
        let files = std::fs::read_dir(directory).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    };
    let logged = names(&log);
    let count = |wanted: &dyn Fn(&str) -> bool| logged.iter().filter(|name| wanted(name)).count();
    assert!(count(&|name| name.len() == 20) >= 3, "segments: {logged:?}");
    for kind in [".index", ".snapshot", "hard-state", "identity"] {
        assert!(count(&|name| name.ends_with(kind)) > 0, "no {kind}: {logged:?}");
    }
    assert!(!names(&store.join("extents")).is_empty(), "no extent files");
    assert!(store.join("checkpoint/db").exists(), "no checkpoint");
}

fn queue_of(number: usize) -> i32 {
    number as i32 % QUEUES
}

fn body(number: usize) -> Vec<u8> {
    let mut body = format!("order {number}").into_bytes();
    body.resize(BODY_BYTES, b'.');
    body
}

/// Its queue offset.
fn send(wire: &mut Wire, number: usize) -> i64 {
    let properties = properties_with(&format!("order-{number}"), "TAGS\u{1}T\u{2}");
    send_to(wire, ORDERS, queue_of(number), &body(number), &properties)
}

fn properties_with(key: &str, more: &str) -> String {
    format!("UNIQ_KEY\u{1}{key}\u{2}KEYS\u{1}{key}\u{2}{more}")
}

fn send_to(wire: &mut Wire, topic: &str, queue: i32, body: &[u8], properties: &str) -> i64 {
    let ext = json!({
        "a": "maker", "b": topic, "c": "TBW102", "d": "4", "e": queue.to_string(), "f": "0",
        "g": "1700000000000", "h": "0", "i": properties, "j": "0", "k": "false",
    });
    let answer = wire.call(SEND_MESSAGE_V2, ext, body).unwrap();
    assert_eq!(answer.code, SUCCESS, "{}", answer.remark);
    answer.number("queueOffset")
}

fn committed(wire: &mut Wire) -> i64 {
    let ask = json!({ "consumerGroup": GROUP, "topic": ORDERS, "queueId": "1" });
    wire.call(QUERY_CONSUMER_OFFSET, ask, b"").unwrap().succeeded().unwrap().number("offset")
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn tar(arguments: &[&str], folder: &Path) {
    let output = Command::new("tar").args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "tar {arguments:?}: {output:?}");
}
