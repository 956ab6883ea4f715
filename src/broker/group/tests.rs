//! A group without replication: what the sequencer writes goes to a log in memory and is applied
//! from there.
#![allow(clippy::unwrap_used)]

mod delivery;
mod derived;
mod leases;
mod queues;
mod real_log;
mod sequencing;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use raft_log::{LogIndex, Position, Term};
use smallvec::smallvec;

use super::*;
use crate::protocol::properties::PropertiesBuilder;
use crate::protocol::record;
use crate::protocol::topic::TopicConfig;
use crate::replication::machine::{Committed, Machine, Sequencer, Slot};
use crate::state::Command;
use crate::store::checkpoint::MemoryCheckpoint;
use crate::store::log::LogEntry;
use crate::store::testing::{TestFiles, TestLog};
use crate::store::worker::Worker;

const SEGMENT_BYTES: u64 = 64 << 10;
const EXTENT_BYTES: u64 = 4 << 10;
/// More than any fetch of a test.
const ALL: FetchLimits = FetchLimits { messages: 1_000, bytes: 1 << 20, scanned: 1_000 };

/// What outlives a restart.
#[derive(Clone)]
struct Disk {
    log: TestLog,
    files: TestFiles,
    checkpoint: MemoryCheckpoint,
    snapshot: Option<(LogIndex, Bytes)>,
}

impl Disk {
    fn new() -> Disk {
        Disk {
            log: TestLog::new(SEGMENT_BYTES),
            files: TestFiles::default(),
            checkpoint: MemoryCheckpoint::default(),
            snapshot: None,
        }
    }

    /// The same log, everything derived deleted.
    fn log_only(&self) -> Disk {
        Disk { log: self.log.clone(), snapshot: self.snapshot.clone(), ..Disk::new() }
    }
}

#[derive(Default)]
struct Heard {
    arrivals: Mutex<Vec<Arrival>>,
    topics: Mutex<Vec<Arc<str>>>,
}

impl EffectsSink for Heard {
    fn messages_arrived(&self, arrivals: &[Arrival]) {
        self.arrivals.lock().extend_from_slice(arrivals);
    }

    fn topics_changed(&self, topics: &[Arc<str>]) {
        self.topics.lock().extend_from_slice(topics);
    }
}

struct Node {
    disk: Disk,
    group: Group,
    heard: Arc<Heard>,
    outcomes: Arc<Mutex<Vec<SendOutcome>>>,
    queue: VecDeque<Proposal>,
    /// Sequenced entries that are not applied.
    in_flight: VecDeque<(LogEntry, GroupPending)>,
    payload_bytes_target: usize,
    now_ms: i64,
    term: Term,
}

fn options(disk: &Disk, heard: Arc<Heard>) -> GroupOptions {
    GroupOptions {
        log: Arc::new(disk.log.clone()),
        last_index: disk.log.last_index(),
        snapshot: disk.snapshot.clone().map(|(index, state)| StateSnapshot { index, state }),
        files: Arc::new(disk.files.clone()),
        extent_bytes: EXTENT_BYTES,
        checkpoint: Box::new(disk.checkpoint.clone()),
        checkpoint_interval_bytes: 2 * EXTENT_BYTES,
        worker: Arc::new(Worker::inline()),
        sink: heard,
    }
}

/// Topic, queue, bounds and bodies.
type VisibleQueue = (String, i32, (i64, i64), Vec<String>);

impl Node {
    fn new() -> Node {
        Node::start(Disk::new())
    }

    /// Opens, replays the log and leads.
    fn start(disk: Disk) -> Node {
        let mut node = Node::open(disk);
        node.replay();
        node.group.sequencer.begin_term(node.term);
        node
    }

    /// Opens, and stands where the checkpoint does.
    fn open(disk: Disk) -> Node {
        let heard = Arc::new(Heard::default());
        let group = open(options(&disk, Arc::clone(&heard))).unwrap();
        Node {
            disk,
            group,
            heard,
            outcomes: Arc::default(),
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            payload_bytes_target: 1 << 20,
            now_ms: 1_000,
            term: Term(1),
        }
    }

    /// Another start from what is on disk, orderly or not.
    fn restart(self) -> Node {
        let disk = self.disk.clone();
        drop(self);
        Node::start(disk)
    }

    fn replay(&mut self) {
        for entry in self.disk.log.entries() {
            if entry.index > self.group.machine.applied() {
                self.apply(entry, None);
            }
        }
        self.group.machine.batch_applied();
    }

    fn apply(&mut self, entry: LogEntry, pending: Option<GroupPending>) {
        let outcome = self.group.machine.apply(
            Committed {
                index: entry.index,
                term: entry.term,
                position: entry.position,
                payload_position: entry.payload_position,
                payload: entry.payload,
            },
            pending,
        );
        if let Some(position) = outcome.compact_to {
            self.disk.log.compact_to(position);
        }
    }

    fn propose(&mut self, proposal: Proposal) {
        self.queue.push_back(proposal);
    }

    /// Sequences one entry, which is then in flight.
    fn sequence(&mut self) -> bool {
        let log = self.disk.log.clone();
        let mut payload = BytesMut::new();
        let slot = Slot {
            index: LogIndex(log.last_index().0 + 1),
            term: self.term,
            payload_bytes_target: self.payload_bytes_target,
            payload_bytes_limit: 32 << 10,
            now_ms: self.now_ms,
            place: &|bytes| log.place(bytes),
        };
        match self.group.sequencer.sequence(&mut self.queue, &slot, &mut payload) {
            Some(pending) => {
                let entry = self.disk.log.append(self.term, payload.freeze());
                self.in_flight.push_back((entry, pending));
                true
            }
            None => false,
        }
    }

    /// Sequences what is queued and applies all that is in flight.
    fn settle(&mut self) {
        while !self.queue.is_empty() && self.sequence() {}
        while let Some((entry, pending)) = self.in_flight.pop_front() {
            self.apply(entry, Some(pending));
        }
        self.group.machine.batch_applied();
    }

    fn command(&mut self, command: Command) {
        self.propose(Proposal::Command { command, reply: Box::new(drop) });
        self.settle();
    }

    fn create_topic(&mut self, topic: &str) {
        self.command(Command::create_topic_if_absent(&TopicConfig::new(topic, 4, 6)));
    }

    /// Proposes a message; its outcome will be the next in `outcomes`.
    fn offer(&mut self, topic: &str, queue_id: i32, messages: &[NewMessage]) {
        let outcomes = Arc::clone(&self.outcomes);
        self.propose(Proposal::Messages(MessagesProposal {
            topic: Arc::from(topic),
            create_topics: Vec::new(),
            messages: messages.iter().cloned().collect(),
            queue_id,
            reply: Box::new(move |outcome| outcomes.lock().push(outcome)),
        }));
    }

    fn send(&mut self, topic: &str, queue_id: i32, body: &str) -> Stored {
        self.send_message(topic, queue_id, message(body, "", ""))
    }

    fn send_message(&mut self, topic: &str, queue_id: i32, message: NewMessage) -> Stored {
        self.offer(topic, queue_id, &[message]);
        self.settle();
        match self.outcomes.lock().pop() {
            Some(SendOutcome::Stored(stored)) => stored,
            other => panic!("not stored: {other:?}"),
        }
    }

    fn fetch(&self, topic: &str, queue_id: i32, offset: i64) -> FetchResult {
        self.group.view.fetch(topic, queue_id, offset, ALL, None).unwrap()
    }

    fn bounds(&self, topic: &str, queue_id: i32) -> (i64, i64) {
        let bounds = self.group.view.bounds(topic, queue_id).unwrap();
        (bounds.min, bounds.max)
    }

    /// Everything a consumer could see: bounds and bodies of each queue.
    fn visible(&self) -> Vec<VisibleQueue> {
        let (topics, _) = self.group.view.topics();
        let queues = topics.iter().flat_map(|topic| (0..4).map(move |q| (&topic.name, q)));
        queues
            .map(|(topic, queue_id)| {
                let bounds = self.bounds(topic, queue_id);
                let mut all = Vec::new();
                let mut next = bounds.0;
                while next < bounds.1 {
                    let fetched = self.fetch(topic, queue_id, next);
                    assert_eq!(fetched.status, FetchStatus::Found, "{topic} {queue_id} {next}");
                    all.extend(bodies(&fetched.records));
                    next = fetched.next_begin_offset;
                }
                assert_eq!(all.len() as i64, bounds.1 - bounds.0);
                (topic.to_string(), queue_id, bounds, all)
            })
            .collect()
    }
}

fn message(body: &str, tags: &str, keys: &str) -> NewMessage {
    let mut properties = PropertiesBuilder::new();
    properties.put("TAGS", tags);
    properties.put("KEYS", keys);
    NewMessage {
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 5,
        born_host: "10.0.0.1:4000".parse().unwrap(),
        store_host: "10.0.0.2:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: Bytes::copy_from_slice(body.as_bytes()),
        properties: properties.build(),
    }
}

fn bodies(records: &Bytes) -> Vec<String> {
    record::records(records)
        .map(|record| String::from_utf8(record.unwrap().body.to_vec()).unwrap())
        .collect()
}

/// A body that fills about a quarter of an extent.
fn long(name: &str) -> String {
    format!("{name:-<900}")
}
