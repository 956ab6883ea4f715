//! What a log says of the memory in its directory, through starts, losses and crashes.
#![allow(clippy::unwrap_used)]

#[path = "support/empty.rs"]
mod empty;

use std::path::Path;

use empty::{open, options};
use raft::Storage as _;
use raft::eraftpb::{Entry, HardState};
use raft_log::fault::{Loss, SimDisk};
use raft_log::{Log, LogOptions, Past, SEGMENT_BYTES_MIN, Standing};

#[test]
fn a_new_directory_says_so_until_it_is_told_otherwise_whatever_the_crash() {
    let past = Past { term: 3, last_term: 2, last_index: 70 };
    let steps = [
        Standing::New,
        Standing::Founding,
        Standing::Lost,
        Standing::Recovering(past),
        Standing::Voter,
    ];
    let disk = SimDisk::new();
    assert_eq!(open(&disk).standing(), Standing::New);
    for pair in steps.windows(2) {
        disk.restart(Loss::All);
        let mut log = open(&disk);
        assert_eq!(log.standing(), pair[0]);
        log.set_standing(pair[1]).unwrap();
        drop(log);
        disk.restart(Loss::All);
        assert_eq!(open(&disk).standing(), pair[1], "durable when it returned");
    }
}

#[test]
fn a_crash_during_a_change_leaves_one_of_the_two() {
    for call in 1..=12 {
        let disk = SimDisk::new();
        open(&disk).set_standing(Standing::Lost).unwrap();
        let mut log = open(&disk);
        disk.power_off_at_call(call);
        let changed = log.set_standing(Standing::Voter);
        drop(log);
        disk.restart(Loss::Torn(call));
        let found = open(&disk).standing();
        assert!(matches!(found, Standing::Lost | Standing::Voter), "{found:?}");
        assert!(changed.is_err() || found == Standing::Voter, "call {call}");
    }
}

#[test]
fn a_directory_whose_creation_was_cut_short_is_new_at_the_next_start() {
    for call in 1..=30 {
        let disk = SimDisk::new();
        disk.power_off_at_call(call);
        let options = LogOptions {
            segment_bytes: SEGMENT_BYTES_MIN,
            ..LogOptions::new("cluster", "group", "n0", vec![1, 2, 3])
        };
        let _ = Log::open(disk.clone(), Path::new("/log"), options);
        disk.restart(Loss::Torn(call));
        assert_eq!(open(&disk).standing(), Standing::New, "call {call}");
    }
}

#[test]
fn unreadable_votes_are_a_lost_memory_beside_a_kept_log() {
    for damage in ["both slots", "no file"] {
        let disk = SimDisk::new();
        let mut log = open(&disk);
        log.set_standing(Standing::Voter).unwrap();
        let entry = |index| Entry { index, term: 4, data: vec![7; 10].into(), ..Entry::default() };
        log.append(&[entry(1), entry(2)]).unwrap();
        log.set_hard_state(HardState { term: 6, vote: 2, commit: 2, ..HardState::default() });
        log.begin_sync().wait().unwrap();
        drop(log);
        let path = Path::new("/log/hard-state");
        match damage {
            "both slots" => assert!(disk.flip_bit(path, 20, 3) && disk.flip_bit(path, 4116, 3)),
            _ => raft_log::Disk::remove(&disk, path).unwrap(),
        }
        let log = open(&disk);
        assert_eq!(log.standing(), Standing::Lost, "{damage}");
        let state = log.initial_state().unwrap().hard_state;
        assert_eq!((state.term, state.vote, log.last_index().0), (4, 0, 2), "{damage}");
        drop(log);
        assert_eq!(open(&disk).standing(), Standing::Lost, "{damage}, once more");
    }
}

fn open_in(boot: &str, disk: &SimDisk) -> Log<SimDisk> {
    let options = LogOptions { boot: boot.to_owned(), ..options() };
    Log::open(disk.clone(), Path::new("/log"), options).unwrap()
}

#[test]
fn who_answered_unsynced_doubts_its_memory_in_another_boot_only() {
    let disk = SimDisk::new();
    let mut log = open_in("first", &disk);
    log.answer_unsynced(true).unwrap();
    drop(log);
    assert_eq!(open_in("second", &disk).standing(), Standing::New, "it promised nothing yet");
    let mut log = open_in("first", &disk);
    log.set_standing(Standing::Voter).unwrap();
    log.answer_unsynced(true).unwrap();
    drop(log);
    disk.restart(Loss::Nothing);
    assert_eq!(open_in("first", &disk).standing(), Standing::Voter, "the page cache survived");
    disk.restart(Loss::All);
    assert_eq!(open_in("second", &disk).standing(), Standing::Doubtful);
    assert_eq!(open_in("second", &disk).standing(), Standing::Doubtful, "until it is told more");
    let mut log = open_in("second", &disk);
    log.answer_unsynced(true).unwrap();
    log.set_standing(Standing::Recovering(Past::default())).unwrap();
    drop(log);
    assert_eq!(open_in("third", &disk).standing(), Standing::Lost, "it went on after that past");
}

#[test]
fn who_answers_after_syncs_or_stopped_in_good_order_has_no_doubt() {
    let disk = SimDisk::new();
    let mut log = open_in("first", &disk);
    log.set_standing(Standing::Voter).unwrap();
    log.answer_unsynced(true).unwrap();
    log.answer_unsynced(false).unwrap();
    drop(log);
    disk.restart(Loss::All);
    assert_eq!(open_in("second", &disk).standing(), Standing::Voter);
    assert_eq!(open_in("", &disk).standing(), Standing::Voter);
}

#[test]
fn a_boot_that_cannot_be_told_or_read_raises_the_doubt() {
    for (boot, damaged) in [("", false), ("first", true)] {
        let disk = SimDisk::new();
        let mut log = open_in(boot, &disk);
        log.set_standing(Standing::Voter).unwrap();
        log.answer_unsynced(true).unwrap();
        drop(log);
        disk.restart(Loss::All);
        assert!(!damaged || disk.flip_bit(Path::new("/log/unsynced"), 4, 3));
        assert_eq!(open_in(boot, &disk).standing(), Standing::Doubtful, "{boot:?}");
    }
}

#[test]
fn a_crash_while_the_doubt_is_noted_never_hides_it() {
    for call in 1..=16 {
        let disk = SimDisk::new();
        let mut log = open_in("first", &disk);
        log.set_standing(Standing::Voter).unwrap();
        log.answer_unsynced(true).unwrap();
        drop(log);
        disk.restart(Loss::All);
        disk.power_off_at_call(call);
        let mut options = LogOptions::new("cluster", "group", "n0", vec![1, 2, 3]);
        options.segment_bytes = SEGMENT_BYTES_MIN;
        options.boot = "second".to_owned();
        if let Ok(mut log) = Log::open(disk.clone(), Path::new("/log"), options) {
            assert_eq!(log.standing(), Standing::Doubtful);
            let _ = log.answer_unsynced(true);
        }
        disk.restart(Loss::Torn(call));
        assert_eq!(open_in("third", &disk).standing(), Standing::Doubtful, "call {call}");
    }
}
