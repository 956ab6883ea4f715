//! The log on the operating system's files: what it stores it gives back, before and after
//! reopening, across segments, truncations, compaction and snapshots.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use bytes::Bytes;
use raft::eraftpb::{Entry, HardState};
use raft::{GetEntriesContext, Storage, StorageError};
use raft_log::{
    Disk, DiskFile, ENTRY_HEADER_BYTES, Fatal, Lane, Log, LogError, LogIndex, LogOptions, Position,
    RealDisk, SEGMENT_BYTES_MIN,
};

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: SEGMENT_BYTES_MIN,
        prepare_ahead_bytes: SEGMENT_BYTES_MIN,
        tail_bytes_max: 1000,
        ..LogOptions::new("cluster", "group", "n0", vec![1, 2, 3])
    }
}

fn open(dir: &Path) -> Log<RealDisk> {
    Log::open(RealDisk::new(), dir, options()).unwrap()
}

fn entry(index: u64, term: u64, payload: Vec<u8>) -> Entry {
    Entry { index, term, data: Bytes::from(payload), ..Entry::default() }
}

/// Payload sizes that are small, large, empty, and that leave odd rests.
fn payload(index: u64, term: u64) -> Vec<u8> {
    let bytes = [0, 1, 7, 100, 5000, 30_000][(index % 6) as usize] + term as usize;
    (0..bytes).map(|nth| (nth as u64 * 31 + index * 7 + term) as u8).collect()
}

fn fill(log: &mut Log<RealDisk>, indexes: std::ops::RangeInclusive<u64>, term: u64) {
    let entries: Vec<Entry> = indexes.map(|i| entry(i, term, payload(i, term))).collect();
    for batch in entries.chunks(3) {
        log.append(batch).unwrap();
    }
}

fn sync(log: &mut Log<RealDisk>) {
    log.begin_sync().wait().unwrap();
}

fn all(log: &Log<RealDisk>) -> Vec<Entry> {
    let (first, last) = (log.first_index().unwrap(), log.last_index().0);
    log.entries(first, last + 1, None, GetEntriesContext::empty(false)).unwrap()
}

#[test]
fn entries_come_back_across_segments_and_a_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    fill(&mut log, 1..=40, 1);
    sync(&mut log);
    let (tail, before) = (log.tail(), all(&log));
    assert!(tail.0 > 3 * SEGMENT_BYTES_MIN, "the test must cross segments");
    assert_eq!(before.len(), 40);
    for entry in &before {
        assert_eq!(entry.data, payload(entry.index, 1));
        assert_eq!(log.term(entry.index).unwrap(), 1);
    }
    drop(log);
    let log = open(dir.path());
    assert_eq!((log.tail(), all(&log)), (tail, before));
}

#[test]
fn positions_follow_from_sizes_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let mut at = Position(0);
    let reader = log.reader();
    for index in 1..=40 {
        let payload = payload(index, 1);
        let header = log.place(at, payload.len());
        at = log.end_of(header, payload.len());
        fill(&mut log, index..=index, 1);
        assert_eq!(reader.position_of(LogIndex(index)), Some(header));
        assert_eq!(log.tail(), at);
        let begin = Position(header.0 + ENTRY_HEADER_BYTES);
        assert_eq!(reader.read(begin, payload.len()).unwrap(), payload);
    }
    let stored = reader.entries_from(Position(0), usize::MAX).unwrap();
    assert_eq!(stored.len(), 40);
    assert!(stored.iter().all(|held| held.payload == payload(held.index.0, 1)));
    assert_eq!(reader.entries_from(Position(0), 1).unwrap().len(), 1);
    assert!(matches!(reader.read(at, 1), Err(LogError::Unavailable { .. })));
}

#[test]
fn entries_honour_the_size_limit_with_at_least_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    fill(&mut log, 1..=12, 1);
    let context = || GetEntriesContext::empty(false);
    assert_eq!(log.entries(5, 13, Some(0), context()).unwrap().len(), 1);
    assert_eq!(log.entries(1, 13, Some(300), context()).unwrap().len(), 3);
    assert_eq!(log.entries(1, 13, None, context()).unwrap().len(), 12);
}

#[test]
fn a_conflicting_suffix_is_replaced_and_slices_of_it_stay_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    fill(&mut log, 1..=40, 1);
    sync(&mut log);
    let held = all(&log);
    fill(&mut log, 11..=20, 2);
    sync(&mut log);
    for entry in &held {
        assert_eq!(entry.data, payload(entry.index, 1), "a slice changed under its holder");
    }
    drop(held);
    // The same without slices, which goes another way.
    fill(&mut log, 15..=16, 3);
    sync(&mut log);
    let check = |log: &Log<RealDisk>| {
        let terms: Vec<u64> = all(log).iter().map(|entry| entry.term).collect();
        let expected: Vec<u64> =
            [[1; 10].as_slice(), &[2; 4], &[3; 2]].concat().into_iter().collect();
        assert_eq!(terms, expected);
        assert!(all(log).iter().all(|held| held.data == payload(held.index, held.term)));
    };
    check(&log);
    drop(log);
    check(&open(dir.path()));
}

#[test]
fn the_hard_state_survives_and_the_commit_is_bounded_by_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    assert_eq!(log.initial_state().unwrap().conf_state.voters, [1, 2, 3]);
    fill(&mut log, 1..=3, 4);
    log.set_hard_state(HardState { term: 5, vote: 2, commit: 9, ..HardState::default() });
    sync(&mut log);
    drop(log);
    let state = open(dir.path()).initial_state().unwrap().hard_state;
    assert_eq!((state.term, state.vote, state.commit), (5, 2, 3));
}

#[test]
fn snapshots_allow_compaction_and_carry_a_log_to_another_member() {
    let (dir, other_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk = RealDisk::new();
    let mut log = Log::open(disk.clone(), dir.path(), options()).unwrap();
    fill(&mut log, 1..=40, 3);
    log.set_hard_state(HardState { term: 3, vote: 1, commit: 40, ..HardState::default() });
    sync(&mut log);
    let reader = log.reader();
    let second =
        reader.entries_from(Position(2 * SEGMENT_BYTES_MIN), 1).unwrap().first().unwrap().position;
    let boundary = reader.boundary_before(second).unwrap().unwrap();
    assert_eq!(boundary.position, Position(2 * SEGMENT_BYTES_MIN));
    log.snapshots().save(boundary, b"the state").unwrap();
    let tail = log.tail();
    assert_eq!(log.compact_to(tail).unwrap(), boundary.position);
    assert_eq!(log.first_index().unwrap(), boundary.index.0 + 1);
    assert!(matches!(reader.read(Position(0), 1), Err(LogError::Compacted { .. })));
    // The helper removes the files, in its own time and in the order of what it is given.
    let (tell, told) = mpsc::channel();
    drop(disk.offload(Lane::Prepare, move || tell.send(()).unwrap()));
    told.recv().unwrap();
    assert_eq!(log.snapshots().positions().unwrap(), [boundary.position]);
    assert!(!dir.path().join(format!("{:020}", 0)).exists());
    drop(log);
    let log = open(dir.path());
    assert_eq!(log.first_position(), boundary.position);
    let snapshot = log.snapshot(0, 2).unwrap();

    let mut other = Log::open(RealDisk::new(), other_dir.path(), options()).unwrap();
    fill(&mut other, 1..=7, 1);
    sync(&mut other);
    other.install_snapshot(&snapshot).unwrap();
    assert_eq!((other.tail(), other.last_index()), (boundary.position, boundary.index));
    other.append(&all(&log)).unwrap();
    sync(&mut other);
    assert_eq!((other.tail(), all(&other)), (log.tail(), all(&log)));
    drop(other);
    let other = Log::open(RealDisk::new(), other_dir.path(), options()).unwrap();
    assert_eq!((other.tail(), all(&other)), (log.tail(), all(&log)));
    let latest = other.snapshots().latest().unwrap().unwrap();
    assert_eq!((latest.boundary, &latest.state[..]), (boundary, &b"the state"[..]));
}

#[test]
fn a_directory_has_one_owner_and_one_member() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let second = Log::open(RealDisk::new(), dir.path(), options()).err().unwrap();
    assert_eq!(second.fatal(), Some(Fatal::AlreadyRunning), "{second}");
    drop(log);
    let other = LogOptions { member: "n1".to_owned(), ..options() };
    let error = Log::open(RealDisk::new(), dir.path(), other).err().unwrap();
    assert_eq!(error.fatal(), Some(Fatal::WrongIdentity), "{error}");
    drop(open(dir.path()));
    std::fs::remove_file(dir.path().join("identity")).unwrap();
    let mut log = Log::open(RealDisk::new(), dir.path(), options());
    if let Ok(log) = &mut log {
        // Nothing was ever written: the directory counts as one whose creation was cut short.
        fill(log, 1..=1, 1);
        sync(log);
    }
    drop(log);
    std::fs::remove_file(dir.path().join("identity")).unwrap();
    let error = Log::open(RealDisk::new(), dir.path(), options()).err().unwrap();
    assert_eq!(error.fatal(), Some(Fatal::WrongIdentity), "{error}");
}

fn flip(path: &Path, offset: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
}

#[test]
fn damage_is_an_error_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    fill(&mut log, 1..=40, 1);
    sync(&mut log);
    // At rest the log writes down how far it is durable.
    sync(&mut log);
    let reader = log.reader();
    let in_tail_segment = reader.position_of(LogIndex(40)).unwrap();
    drop((log, reader));
    let name = |position: u64| format!("{:020}", position - position % SEGMENT_BYTES_MIN);
    // In the segment that is being written.
    let path = dir.path().join(name(in_tail_segment.0));
    flip(&path, in_tail_segment.0 % SEGMENT_BYTES_MIN + 20);
    let error = Log::open(RealDisk::new(), dir.path(), options()).err().unwrap();
    assert!(
        matches!(&error, LogError::Corrupt { position, .. } if *position <= in_tail_segment),
        "{error}"
    );
    flip(&path, in_tail_segment.0 % SEGMENT_BYTES_MIN + 20);
    // In a sealed one, which opening sees to: found when read.
    drop(open(dir.path()));
    flip(&dir.path().join(name(0)), 300);
    let log = open(dir.path());
    let error = log.reader().entries_from(Position(0), usize::MAX).unwrap_err();
    assert_eq!(error.fatal(), Some(Fatal::LogCorrupt), "{error}");
}

#[test]
fn zeros_go_to_the_open_file_whatever_its_name_stands_for_now() {
    const BYTES: usize = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let (name, elsewhere) = (dir.path().join("name"), dir.path().join("elsewhere"));
    let (disk, content) = (RealDisk::new(), vec![0xff; BYTES]);
    let file = disk.create(&name).unwrap();
    file.write_at(&content, 0).unwrap();
    disk.rename(&name, &elsewhere).unwrap();
    disk.create(&name).unwrap().write_at(&content, 0).unwrap();
    file.write_zeros(0..BYTES as u64).unwrap();
    let is = |path: &Path, byte: u8| std::fs::read(path).unwrap().iter().all(|it| *it == byte);
    assert!(is(&name, 0xff), "another file was written to");
    assert!(is(&elsewhere, 0));
}

#[test]
fn damage_that_raft_meets_is_told_before_raft_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    log.on_read_failure(move |error| telling.lock().unwrap().push(error.clone()));
    fill(&mut log, 1..=40, 1);
    sync(&mut log);
    // What is in files need not be in memory any more.
    fill(&mut log, 41..=41, 1);
    let damaged = log.reader().position_of(LogIndex(5)).unwrap();
    let path = dir.path().join(format!("{:020}", 0));
    flip(&path, damaged.0 + ENTRY_HEADER_BYTES + 20);
    let context = || GetEntriesContext::empty(false);
    assert_eq!(log.entries(1, 5, None, context()).unwrap().len(), 4);
    assert!(told.lock().unwrap().is_empty(), "nothing damaged was read");
    let waits = log.entries(3, 8, None, GetEntriesContext::empty(true));
    assert_eq!(waits, Err(raft::Error::Store(StorageError::LogTemporarilyUnavailable)));
    assert!(told.lock().unwrap().is_empty(), "raft can wait for it");
    assert!(log.entries(3, 8, None, context()).is_err());
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1);
    let LogError::Corrupt { file, position, .. } = &told[0] else { panic!("{}", told[0]) };
    assert_eq!((file, *position), (&path, damaged));
}
