//! Damage in a log that is in use: a scrub finds it, nobody reads it, and only the entry that was there
//! takes its place. Power may go during any disk call of that.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use raft::eraftpb::Entry;
use raft::{GetEntriesContext, Storage, StorageError};
use raft_log::fault::{Loss, SimDisk};
use raft_log::{DamagedEntry, Log, LogError, LogIndex, MendError, Mended, SEGMENT_BYTES_MIN};
use support::{ENTRIES, entry, fill, now, options};

const DIR: &str = "/log";
const STEP_BYTES: u64 = 10_000;

fn open(disk: &SimDisk) -> Log<SimDisk> {
    Log::open(disk.clone(), Path::new(DIR), options("n0")).unwrap()
}

/// Four segments of entries, all durable and committed, the first three with index files.
fn filled() -> SimDisk {
    let disk = SimDisk::new();
    fill(&mut open(&disk));
    disk
}

fn place(log: &Log<SimDisk>, index: u64) -> (PathBuf, u64) {
    let position = log.reader().position_of(LogIndex(index)).unwrap().0;
    let start = position - position % SEGMENT_BYTES_MIN;
    (Path::new(DIR).join(format!("{start:020}")), position - start)
}

/// Looks through the whole log; the indexes of what is damaged.
fn scrub(log: &Log<SimDisk>) -> Result<Vec<u64>, LogError> {
    let (reader, mut next) = (log.reader(), LogIndex(1));
    while next <= reader.last_index() {
        let step = now(reader.scrub(next, reader.last_index(), STEP_BYTES))?;
        assert!(step.next > next, "a scrub goes on");
        next = step.next;
    }
    Ok(indexes(&reader.damaged()))
}

fn indexes(entries: &[DamagedEntry]) -> Vec<u64> {
    entries.iter().map(|damaged| damaged.index.0).collect()
}

fn mend(log: &Log<SimDisk>, index: u64) -> Result<Mended, MendError> {
    now(log.reader().mend(entry(index), LogIndex(0)))
}

#[test]
fn whatever_is_hit_is_found_kept_from_readers_and_mended() {
    let disk = filled();
    let mut log = open(&disk);
    // Behind it, so that nothing that is hit lies where the log ends.
    log.append(&(ENTRIES + 1..=ENTRIES + 9).map(entry).collect::<Vec<_>>()).unwrap();
    log.begin_sync().wait().unwrap();
    let told = Arc::new(AtomicUsize::new(0));
    let telling = Arc::clone(&told);
    log.reader().on_damage(move || {
        telling.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(scrub(&log).unwrap(), Vec::<u64>::new());
    let sealed = log.reader().sealed_to().0;
    assert!((100..ENTRIES).contains(&sealed), "three segments are full: {sealed}");

    for (times, (index, at)) in
        [(1, 20), (2, 60), (sealed, 3), (sealed + 1, 47), (70, 48), (71, 500)]
            .into_iter()
            .enumerate()
    {
        let (path, offset) = place(&log, index);
        let before = disk.content(&path).unwrap();
        assert!(disk.flip_bit(&path, offset + at, 6));
        assert_eq!(scrub(&log).unwrap(), vec![index], "byte {at} of entry {index}");
        assert_eq!(scrub(&log).unwrap(), vec![index]);
        assert_eq!(told.load(Ordering::Relaxed), times + 1, "told once each time");

        let reader = log.reader();
        let position = reader.position_of(LogIndex(index)).unwrap();
        let corrupt =
            |error: LogError| assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
        corrupt(reader.read(position, 8).unwrap_err());
        corrupt(reader.entries_from(position, 1).unwrap_err());
        let waits = log.entries(index, index + 1, None, GetEntriesContext::empty(true));
        assert_eq!(waits, Err(raft::Error::Store(StorageError::LogTemporarilyUnavailable)));
        assert_eq!(log.term(index).unwrap(), entry(index).term, "the index knows the term");
        let next = log.entries(index + 1, index + 2, None, GetEntriesContext::empty(true));
        assert_eq!(next.unwrap(), [entry(index + 1)], "its neighbours are read");

        let other = Entry { term: entry(index).term + 1, ..entry(index) };
        let refused = now(reader.mend(other, LogIndex(ENTRIES))).unwrap_err();
        assert!(matches!(refused, MendError::OtherEntry(LogIndex(named)) if named == index));
        assert_eq!(mend(&log, index).unwrap(), Mended::Whole);
        assert_eq!(disk.content(&path).unwrap(), before);
        assert!(reader.damaged().is_empty());
        let read = log.entries(index, index + 1, None, GetEntriesContext::empty(true));
        assert_eq!(read.unwrap(), [entry(index)]);
    }
}

#[test]
fn a_reader_that_meets_damage_tells_of_it_too() {
    let disk = filled();
    let log = open(&disk);
    let (path, offset) = place(&log, 30);
    assert!(disk.flip_bit(&path, offset + 100, 0));
    let from = log.reader().position_of(LogIndex(28)).unwrap();
    assert!(log.reader().entries_from(from, usize::MAX).is_err());
    assert_eq!(log.reader().damaged()[0].index, LogIndex(30));
}

#[test]
fn a_lost_page_is_written_when_all_its_entries_are_there() {
    let sealed = open(&filled()).reader().sealed_to().0;
    for (index, at) in [(1, 0), (50, 300), (51, 0), (sealed, 100), (sealed + 1, 10)] {
        let disk = filled();
        let log = open(&disk);
        let (path, offset) = place(&log, index);
        let before = disk.content(&path).unwrap();
        assert!(disk.lose_page(&path, offset + at));
        let found = scrub(&log).unwrap();
        assert!(found.contains(&index) && found.len() <= 6, "{found:?}");
        for &damaged in &found {
            let waits = log.entries(damaged, damaged + 1, None, GetEntriesContext::empty(true));
            assert_eq!(waits, Err(raft::Error::Store(StorageError::LogTemporarilyUnavailable)));
        }
        let outcomes: Vec<Mended> =
            found.iter().rev().map(|&damaged| mend(&log, damaged).unwrap()).collect();
        let (last, others) = outcomes.split_last().unwrap();
        assert!(others.iter().all(|mended| *mended == Mended::Waits), "{outcomes:?} of {found:?}");
        assert_eq!(*last, Mended::Whole);
        assert!(!disk.has_lost_pages(&path), "entry {index}");
        assert_eq!(disk.content(&path).unwrap(), before);
        assert_eq!(scrub(&log).unwrap(), Vec::<u64>::new());
        let read = log.entries(index, index + 1, None, GetEntriesContext::empty(true));
        assert_eq!(read.unwrap(), [entry(index)]);
    }
}

#[test]
fn who_mends_one_entry_of_a_lost_page_is_told_of_all_that_share_it() {
    let disk = filled();
    let (path, offset) = place(&open(&disk), 50);
    assert!(disk.lose_page(&path, offset));
    let all = scrub(&open(&disk)).unwrap();
    assert!(all.len() > 4, "{all:?}");
    for &one in &all {
        let log = open(&disk);
        let reader = log.reader();
        let (index, missing) = (LogIndex(one), || indexes(&log.reader().missing()));
        assert_eq!(now(reader.scrub(index, index, 1)).unwrap().next, LogIndex(one + 1));
        assert_eq!(missing(), [one]);
        assert_eq!(mend(&log, one).unwrap(), Mended::Waits);
        assert_eq!(indexes(&reader.damaged()), all, "entry {one} was given");
        let others: Vec<u64> = all.iter().copied().filter(|&other| other != one).collect();
        assert_eq!(missing(), others, "entry {one} was given");
    }
}

#[test]
fn mending_a_lost_page_may_lose_power_during_any_disk_call() {
    for nth in 1.. {
        let disk = filled();
        let log = open(&disk);
        let (path, offset) = place(&log, 50);
        let before = disk.content(&path).unwrap();
        assert!(disk.lose_page(&path, offset + 300));
        disk.power_off_at_call(nth);
        let found = scrub(&log).unwrap_or_default();
        let outcome = found.iter().try_for_each(|&index| mend(&log, index).map(drop));
        if !disk.is_powered_off() {
            outcome.unwrap();
            assert!(nth > 5);
            break;
        }
        drop(log);
        disk.restart(Loss::Torn(nth));
        let log = open(&disk);
        for index in scrub(&log).unwrap() {
            mend(&log, index).unwrap();
        }
        assert!(!disk.has_lost_pages(&path), "power lost during call {nth}");
        assert_eq!(disk.content(&path).unwrap(), before, "power lost during call {nth}");
    }
}

#[test]
fn what_lies_where_the_log_is_written_waits() {
    let disk = filled();
    let mut log = open(&disk);
    let (path, offset) = place(&log, ENTRIES);
    assert!(disk.flip_bit(&path, offset + 60, 2));
    assert_eq!(scrub(&log).unwrap(), vec![ENTRIES]);
    assert!(matches!(mend(&log, ENTRIES), Err(MendError::TooNew(LogIndex(ENTRIES)))));
    log.append(&(ENTRIES + 1..=ENTRIES + 9).map(entry).collect::<Vec<_>>()).unwrap();
    log.begin_sync().wait().unwrap();
    mend(&log, ENTRIES).unwrap();
    assert_eq!(scrub(&log).unwrap(), Vec::<u64>::new());
}

#[test]
fn an_entry_that_is_taken_back_is_damaged_no_more() {
    let disk = filled();
    let mut log = open(&disk);
    log.append(&(ENTRIES + 1..=ENTRIES + 30).map(entry).collect::<Vec<_>>()).unwrap();
    log.begin_sync().wait().unwrap();
    let (path, offset) = place(&log, ENTRIES + 5);
    assert!(disk.flip_bit(&path, offset + 60, 2));
    assert_eq!(scrub(&log).unwrap(), vec![ENTRIES + 5]);
    let other = Entry { term: 9, ..entry(ENTRIES + 2) };
    log.append(&[other]).unwrap();
    assert!(log.reader().damaged().is_empty());
}

#[test]
fn mending_may_lose_power_during_any_disk_call() {
    for (index, at) in [(40, 12), (41, 300)] {
        let before = filled().content(&place(&open(&filled()), index).0).unwrap();
        for nth in 1.. {
            let disk = filled();
            let log = open(&disk);
            let (path, offset) = place(&log, index);
            assert!(disk.flip_bit(&path, offset + at, 1));
            disk.power_off_at_call(nth);
            let found = scrub(&log);
            let outcome = mend(&log, index);
            if !disk.is_powered_off() {
                assert_eq!(found.unwrap(), vec![index]);
                outcome.unwrap();
                assert!(nth > 5);
                break;
            }
            drop(log);
            disk.restart(Loss::Torn(nth));
            let log = open(&disk);
            let left = scrub(&log).unwrap();
            assert!(left.is_empty() || left == [index], "{left:?}");
            mend(&log, index).unwrap();
            assert_eq!(disk.content(&path).unwrap(), before, "power lost during call {nth}");
        }
    }
}
