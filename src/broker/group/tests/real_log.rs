//! The same over the log and the files of the operating system.

use std::path::Path;

use raft::eraftpb::Entry;
use raft_log::{ENTRY_HEADER_BYTES, EntryKind, Log, LogOptions, RealDisk};

use super::*;
use crate::broker::ThisMachine;

struct RealNode {
    log: Log<RealDisk>,
    group: Group,
}

fn start(dir: &Path) -> RealNode {
    let options = LogOptions {
        segment_bytes: SEGMENT_BYTES,
        prepare_ahead_bytes: SEGMENT_BYTES,
        ..LogOptions::new("cluster", "group", "n0", vec![1])
    };
    let log = Log::open(RealDisk::new(), &dir.join("log"), options).unwrap();
    let options =
        GroupOptions::of_log(&log, &ThisMachine, &dir.join("derived"), EXTENT_BYTES, Arc::new(()))
            .unwrap();
    let mut node = RealNode { group: open(options).unwrap(), log };
    let applied = node.group.machine.applied();
    for entry in node.log.reader().entries_from(Position(0), 64 << 20).unwrap() {
        if entry.index > applied {
            assert_eq!(entry.kind, EntryKind::Normal);
            node.apply(entry.index.0, entry.position, entry.payload, None);
        }
    }
    node.group.sequencer.begin_term(Term(1));
    node
}

impl RealNode {
    fn apply(
        &mut self,
        index: u64,
        position: Position,
        payload: Bytes,
        pending: Option<GroupPending>,
    ) {
        let entry = Committed {
            index: LogIndex(index),
            term: Term(1),
            position,
            payload_position: Position(position.0 + ENTRY_HEADER_BYTES),
            payload,
        };
        self.group.machine.apply(entry, pending);
        self.group.machine.batch_applied();
    }

    /// Writes and applies an entry of these proposals.
    fn entry(&mut self, proposals: Vec<Proposal>) {
        let mut queue = VecDeque::from(proposals);
        let index = self.log.last_index().0 + 1;
        let (log, tail) = (&self.log, self.log.tail());
        let mut payload = BytesMut::new();
        let slot = Slot {
            index: LogIndex(index),
            term: Term(1),
            payload_bytes_target: 60_000,
            payload_bytes_limit: 60_000,
            now_ms: 1_000,
            place: &|bytes| Position(log.place(tail, bytes).0 + ENTRY_HEADER_BYTES),
        };
        let pending =
            self.group.sequencer.sequence(&mut queue, &slot, &mut payload).expect("an entry");
        assert!(queue.is_empty());
        let position = self.log.place(tail, payload.len());
        let data = payload.freeze();
        let entry = Entry { index, term: 1, data: data.clone(), ..Entry::default() };
        self.log.append(&[entry]).unwrap();
        self.apply(index, position, data, Some(pending));
    }

    fn visible(&self) -> Vec<(i64, i64, Vec<String>)> {
        (0..4)
            .map(|queue_id| {
                let bounds = self.group.view.bounds("t", queue_id).unwrap();
                let fetched = self.group.view.fetch("t", queue_id, 0, ALL, None).unwrap();
                assert_eq!(fetched.status, FetchStatus::Found);
                (bounds.min, bounds.max, bodies(&fetched.records))
            })
            .collect()
    }
}

fn send(queue_id: i32, body: &str) -> Proposal {
    Proposal::Messages(MessagesProposal {
        topic: Arc::from("t"),
        create_topics: vec![Arc::new(TopicConfig::new("t", 4, 6))],
        messages: smallvec![message(body, "tag", "key")],
        queue_id,
        reply: Box::new(|outcome| assert!(matches!(outcome, SendOutcome::Stored(_)))),
    })
}

#[test]
fn a_start_finds_what_was_there_with_and_without_derived_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = start(dir.path());
    for i in 0..60 {
        node.entry((0..4).map(|q| send(q, &long(&format!("{i} {q}")))).collect());
    }
    assert!(node.log.tail() > Position(3 * SEGMENT_BYTES));
    node.log.begin_sync().wait().unwrap();
    let (visible, digest) = (node.visible(), node.group.view.digest());
    assert_eq!(visible[0].1, 60);
    drop(node);

    let node = start(dir.path());
    assert_eq!((node.visible(), node.group.view.digest()), (visible.clone(), digest));
    drop(node);

    let extents = dir.path().join("derived/extents");
    let files: Vec<_> = std::fs::read_dir(&extents).unwrap().map(|f| f.unwrap().path()).collect();
    assert!(files.len() > 40, "{} files", files.len());
    let file = std::fs::OpenOptions::new().write(true).open(&files[7]).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, &[0xff; 40], 100).unwrap();
    let node = start(dir.path());
    assert_eq!((node.visible(), node.group.view.digest()), (visible.clone(), digest));
    drop(node);

    std::fs::remove_dir_all(dir.path().join("derived")).unwrap();
    let node = start(dir.path());
    assert_eq!((node.visible(), node.group.view.digest()), (visible, digest));
}
