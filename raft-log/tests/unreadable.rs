//! Pages that the disk cannot read where nothing tells what they held: the end of the log, term and vote,
//! and files that can do without. What may have been promised is never forgotten in silence.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use raft::eraftpb::{Entry, HardState};
use raft::{Storage as _, StorageError};
use raft_log::fault::{Loss, SimDisk};
use raft_log::{
    Disk, HeadlessLog, Log, LogError, LogIndex, LogOptions, Opened, Position, SEGMENT_BYTES_MIN,
    Standing,
};

const DIR: &str = "/log";
/// What the trailers know to be durable.
const WITNESSED: u64 = 10;
/// What was synced, and may have been acknowledged.
const SYNCED: u64 = 20;

fn options(voters: u64) -> LogOptions {
    LogOptions {
        segment_bytes: SEGMENT_BYTES_MIN,
        prepare_ahead_bytes: SEGMENT_BYTES_MIN,
        boot: "one".to_owned(),
        ..LogOptions::new("cluster", "group", "n0", (1..=voters).collect())
    }
}

fn try_open(disk: &SimDisk, voters: u64) -> Result<Log<SimDisk>, LogError> {
    Log::open(disk.clone(), Path::new(DIR), options(voters))
}

fn open(disk: &SimDisk) -> Log<SimDisk> {
    try_open(disk, 3).unwrap()
}

fn entry(index: u64) -> Entry {
    let data = vec![index as u8; 700 + (index * 37 % 1500) as usize];
    Entry { index, term: 3, data: Bytes::from(data), ..Entry::default() }
}

fn append(log: &mut Log<SimDisk>, from: u64, to: u64) {
    log.append(&(from..=to).map(entry).collect::<Vec<_>>()).unwrap();
    log.begin_sync().wait().unwrap();
}

/// A voter's log, of which the end was synced and no witness says so.
fn filled(voters: u64) -> SimDisk {
    let disk = SimDisk::new();
    let mut log = try_open(&disk, voters).unwrap();
    log.set_standing(Standing::Voter).unwrap();
    append(&mut log, 1, WITNESSED);
    let vote = |term, vote| HardState { term, vote, commit: WITNESSED, ..HardState::default() };
    for (term, to) in [(3, 1), (4, 2), (5, 3)] {
        log.set_hard_state(vote(term, to));
        log.begin_sync().wait().unwrap();
    }
    append(&mut log, WITNESSED + 1, SYNCED);
    disk
}

fn file(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn first_segment() -> PathBuf {
    file(&format!("{:020}", 0))
}

/// Where entry `index` begins in the first segment.
fn offset_of(disk: &SimDisk, index: u64) -> u64 {
    open(disk).reader().position_of(LogIndex(index)).unwrap().0
}

#[test]
fn the_log_s_end_is_not_cut_by_a_member_that_goes_on_as_if_nothing_was() {
    for (index, at) in [(SYNCED, 60), (SYNCED - 3, 0), (WITNESSED + 5, 100)] {
        let disk = filled(3);
        let offset = offset_of(&disk, index) + at;
        assert!(disk.lose_page(&first_segment(), offset));
        let mut log = open(&disk);
        assert_eq!(log.standing(), Standing::Lost, "entry {index}");
        let last = log.last_index().0;
        assert!((WITNESSED..SYNCED).contains(&last), "what can be read stays: {last}");
        assert!(!disk.has_lost_pages(&first_segment()));
        append(&mut log, last + 1, SYNCED);
        drop(log);
        disk.restart(Loss::All);
        let log = open(&disk);
        assert_eq!((log.last_index().0, log.standing()), (SYNCED, Standing::Lost));
    }
}

#[test]
fn power_may_go_while_the_end_is_cut() {
    for nth in 1.. {
        let disk = filled(3);
        let offset = offset_of(&disk, SYNCED - 3);
        assert!(disk.lose_page(&first_segment(), offset));
        disk.power_off_at_call(nth);
        let opened = try_open(&disk, 3);
        if !disk.is_powered_off() {
            drop(opened.unwrap());
            break;
        }
        drop(opened);
        disk.restart(Loss::Torn(nth));
        let log = open(&disk);
        let whole = log.last_index().0 == SYNCED;
        assert!(whole || log.standing() == Standing::Lost, "power lost during call {nth}");
    }
}

#[test]
fn a_member_that_is_alone_does_not_cut_what_it_cannot_read() {
    let disk = filled(1);
    let offset = try_open(&disk, 1).unwrap().reader().position_of(LogIndex(SYNCED)).unwrap().0;
    assert!(disk.lose_page(&first_segment(), offset + 60));
    let before = disk.contents();
    let error = try_open(&disk, 1).err().unwrap();
    assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
    assert!(disk.has_lost_pages(&first_segment()));
    assert_eq!(disk.contents(), before);
}

#[test]
fn a_page_behind_the_log_s_end_held_nothing() {
    let disk = filled(3);
    let tail = open(&disk).tail().0;
    assert!(disk.lose_page(&first_segment(), tail + 2 * 4096));
    let mut log = open(&disk);
    assert_eq!((log.last_index().0, log.standing()), (SYNCED, Standing::Voter));
    append(&mut log, SYNCED + 1, SYNCED + 9);
    assert!(!disk.has_lost_pages(&first_segment()));
}

#[test]
fn a_lost_slot_of_the_hard_state_may_have_held_the_newest_vote() {
    let path = file("hard-state");
    for (slots, known) in [(&[0][..], true), (&[1][..], true), (&[0, 1][..], false)] {
        let disk = filled(3);
        for slot in slots {
            assert!(disk.lose_page(&path, slot * 4096));
        }
        let mut log = open(&disk);
        assert_eq!(log.standing(), Standing::Lost, "slots {slots:?}");
        let term = log.initial_state().unwrap().hard_state.term;
        assert_eq!(term >= 4, known, "the other slot is a bound: {term}");
        assert!(!disk.has_lost_pages(&path));
        for term in 8..11 {
            log.set_hard_state(HardState { term, vote: 1, ..HardState::default() });
            log.begin_sync().wait().unwrap();
        }
        drop(log);
        disk.restart(Loss::All);
        assert_eq!(open(&disk).initial_state().unwrap().hard_state.term, 10);
    }
}

#[test]
fn files_that_can_be_done_without_are() {
    let derived: [(&str, Standing); 3] = [
        ("index", Standing::Voter),
        ("trailer", Standing::Voter),
        // In another boot, or in one that nobody can tell, the end of the log is in doubt.
        ("unsynced", Standing::Doubtful),
    ];
    for (what, standing) in derived {
        let disk = filled(3);
        let mut log = open(&disk);
        append(&mut log, SYNCED + 1, 99);
        append(&mut log, 100, 100);
        if what == "unsynced" {
            log.answer_unsynced(true).unwrap();
        }
        drop(log);
        // With what the last one had no time to write.
        drop(open(&disk));
        let (path, offset) = match what {
            "index" => (file(&format!("{:020}.index", 0)), 100),
            "trailer" => (first_segment(), SEGMENT_BYTES_MIN + 5),
            name => (file(name), 0),
        };
        assert!(disk.lose_page(&path, offset), "{what}");
        let log = open(&disk);
        assert_eq!((log.last_index().0, log.standing()), (100, standing), "{what}");
        if what != "unsynced" {
            assert!(!disk.has_lost_pages(&path), "{what} is made again");
        }
    }
}

#[test]
fn a_standing_that_cannot_be_read_promises_least() {
    let disk = filled(3);
    open(&disk).set_standing(Standing::Doubtful).unwrap();
    assert!(disk.lose_page(&file("standing"), 0));
    assert_eq!(open(&disk).standing(), Standing::Lost);
}

#[test]
fn an_identity_that_cannot_be_read_is_named() {
    let disk = filled(3);
    assert!(disk.exists(&file("identity")).unwrap());
    assert!(disk.lose_page(&file("identity"), 0));
    let error = try_open(&disk, 3).err().unwrap();
    let named = |error: &LogError| matches!(error, LogError::Corrupt { file: at, .. } if *at == file("identity"));
    assert!(named(&error), "{error}");
}

#[test]
fn a_snapshot_that_the_disk_does_not_give_is_waited_for() {
    let mut refused = 0;
    loop {
        let disk = filled(3);
        let mut log = open(&disk);
        append(&mut log, SYNCED + 1, 3 * SYNCED);
        log.set_hard_state(HardState { term: 5, commit: 3 * SYNCED, ..HardState::default() });
        log.begin_sync().wait().unwrap();
        let boundary = log.reader().boundary_before(Position(SEGMENT_BYTES_MIN)).unwrap().unwrap();
        log.snapshots().save(boundary, b"the state").unwrap();
        let tail = log.tail();
        assert_eq!(log.compact_to(tail).unwrap(), boundary.position);
        disk.power_off_at_call(1 + refused);
        match log.snapshot(0, 2) {
            Ok(snapshot) => break assert_eq!(snapshot.get_metadata().index, boundary.index.0),
            Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable)) => refused += 1,
            Err(error) => panic!("call {refused}: raft ends the process over {error}"),
        }
    }
    assert!(refused > 0, "the disk was never asked");
}

/// A log that begins at its second segment, and what its snapshot there was.
fn compacted(voters: u64) -> (SimDisk, Bytes) {
    let disk = filled(voters);
    let mut log = try_open(&disk, voters).unwrap();
    append(&mut log, SYNCED + 1, 3 * SYNCED);
    log.set_hard_state(HardState { term: 5, vote: 3, commit: 3 * SYNCED, ..HardState::default() });
    log.begin_sync().wait().unwrap();
    let boundary = log.reader().boundary_before(Position(SEGMENT_BYTES_MIN)).unwrap().unwrap();
    let snapshot = log.snapshots().save(boundary, b"the state").unwrap();
    let tail = log.tail();
    assert_eq!(log.compact_to(tail).unwrap(), boundary.position);
    (disk, snapshot.to_raft().data)
}

fn snapshot_file() -> PathBuf {
    file(&format!("{SEGMENT_BYTES_MIN:020}.snapshot"))
}

fn headless(disk: &SimDisk) -> Result<HeadlessLog<SimDisk>, LogError> {
    match Log::examine(disk.clone(), Path::new(DIR), options(3))? {
        Opened::Headless(headless) => Ok(headless),
        Opened::Whole(_) | Opened::Damaged(_) => panic!("that its snapshot is lost is not seen"),
    }
}

#[test]
fn a_log_whose_first_snapshot_cannot_be_read_takes_a_peer_s() {
    let (disk, given) = compacted(3);
    assert!(disk.lose_page(&snapshot_file(), 0));
    let before = disk.contents();
    let log = headless(&disk).unwrap();
    assert_eq!(log.position(), Position(SEGMENT_BYTES_MIN));
    let other = {
        let disk = filled(3);
        let mut log = open(&disk);
        // The same position, in a log that was never this one.
        let entry = |index| Entry { term: 4, ..entry(index) };
        log.append(&(SYNCED + 1..=3 * SYNCED).map(entry).collect::<Vec<_>>()).unwrap();
        let boundary = log.reader().boundary_before(Position(SEGMENT_BYTES_MIN)).unwrap().unwrap();
        log.snapshots().save(boundary, b"another state").unwrap().to_raft().data
    };
    for wrong in [other, given.slice(..given.len() - 1)] {
        assert!(matches!(log.put(wrong), Err(LogError::BadSnapshot(_))));
    }
    assert_eq!(disk.contents(), before, "nothing was changed");
    let Opened::Whole(whole) = log.put(given.clone()).unwrap() else { panic!("it is not whole") };
    assert_eq!((whole.last_index().0, whole.standing()), (3 * SYNCED, Standing::Voter));
    let snapshot = whole.snapshots().at(Position(SEGMENT_BYTES_MIN)).unwrap().unwrap();
    assert_eq!(snapshot.to_raft().data, given);
}

#[test]
fn power_may_go_while_a_log_without_its_snapshot_is_given_up() {
    for nth in 1.. {
        let (disk, _) = compacted(3);
        assert!(disk.lose_page(&snapshot_file(), 0));
        disk.power_off_at_call(nth);
        let given_up = headless(&disk).and_then(|log| log.begin_anew());
        let done = given_up.is_ok();
        disk.restart(Loss::Torn(nth));
        let log = match Log::examine(disk.clone(), Path::new(DIR), options(3)).unwrap() {
            Opened::Whole(log) => log,
            Opened::Headless(log) => match log.begin_anew().unwrap() {
                Opened::Whole(log) => log,
                _ => panic!("call {nth}: it is not given up"),
            },
            Opened::Damaged(_) => panic!("call {nth}: the log is neither there nor gone"),
        };
        let state = log.initial_state().unwrap().hard_state;
        assert_eq!((state.term, state.vote, state.commit), (5, 3, 0), "call {nth}");
        assert_eq!((log.last_index().0, log.standing()), (0, Standing::Lost), "call {nth}");
        if done {
            assert!(nth > 20, "{nth} calls");
            return;
        }
    }
}

#[test]
fn a_member_that_is_alone_does_not_give_up_what_it_cannot_apply() {
    let (disk, _) = compacted(1);
    assert!(disk.lose_page(&snapshot_file(), 0));
    let before = disk.contents();
    let error = Log::examine(disk.clone(), Path::new(DIR), options(1)).err().unwrap();
    assert!(
        matches!(&error, LogError::Corrupt { file, .. } if *file == snapshot_file()),
        "{error}"
    );
    assert_eq!(disk.contents(), before);
}
