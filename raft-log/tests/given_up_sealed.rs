//! Damage in a full segment, whose index is sound, among entries that were synced and never committed. The log
//! opens; what the group has in their place proves that they are given up, and the log is opened again with
//! that segment doubted. Power may go during any disk call.
#![allow(clippy::unwrap_used)]

#[path = "support/hurt.rs"]
mod hurt;
#[path = "support/left_behind.rs"]
mod left_behind;
mod support;

use std::path::Path;

use hurt::*;
use left_behind::*;
use raft::Storage as _;
use raft_log::fault::{Loss, SimDisk};
use raft_log::{
    Disk, Log, LogError, LogIndex, LogOptions, MendError, Opened, PAGE_BYTES, Position,
    SEGMENT_BYTES_MIN,
};
use support::{ENTRIES, now, options};

/// What becomes of the damage in an open log.
#[derive(Debug, PartialEq)]
enum Met {
    /// There is none, or no more.
    Nothing,
    /// An entry lies there that the group gave up.
    GivenUp(Position),
    /// What the peer has is of no help for this entry.
    NoHelp(LogIndex),
}

/// Checks an open log behind what is known to be committed, and mends it with what the peer has.
fn mend_open(log: &Log<SimDisk>, peer: &Log<SimDisk>, committed: u64) -> Result<Met, LogError> {
    let (reader, last) = (log.reader(), log.last_index());
    let mut next = LogIndex(log.initial_state().unwrap().hard_state.commit + 1);
    while next <= last {
        next = now(reader.scrub(next, last, 1 << 20))?.next;
    }
    while let Some(damaged) = reader.missing().into_iter().next() {
        let index = damaged.index;
        let fetched = now(peer.reader().fetch(index, index, 1))?;
        let given = fetched.map(raft_entries).unwrap_or_default().pop();
        let Some(given) = given else { return Ok(Met::NoHelp(index)) };
        match now(reader.mend(given, LogIndex(committed))) {
            Ok(_) => {}
            Err(MendError::GivenUp(_)) => return Ok(Met::GivenUp(damaged.position)),
            Err(MendError::Log(error)) => return Err(error),
            Err(_) => return Ok(Met::NoHelp(index)),
        }
    }
    Ok(Met::Nothing)
}

/// What a start does until the log is whole, and nothing of it that raft reads is damaged.
fn start(disk: &SimDisk, peer: &Log<SimDisk>, committed: u64) -> Result<(), LogError> {
    let mut doubted = None;
    for _ in 0..9 {
        let options = LogOptions { doubted, ..options("n0") };
        let mut opened = Log::examine(disk.clone(), Path::new(DIR), options)?;
        let log = loop {
            opened = match opened {
                Opened::Whole(log) => break log,
                Opened::Damaged(damaged) => {
                    let mut patch = damaged.patch();
                    fill_patch(&mut patch, peer, committed).unwrap();
                    damaged.mend(patch)?
                }
                Opened::Headless(log) => return Err(log.error()),
            };
        };
        match mend_open(&log, peer, committed)? {
            Met::Nothing => return Ok(()),
            Met::GivenUp(position) => doubted = Some(position),
            Met::NoHelp(index) => panic!("entry {index} is still damaged"),
        }
    }
    panic!("it does not end");
}

/// The log is whole as far as its index says.
fn opens(disk: &SimDisk) -> bool {
    matches!(examine(disk).unwrap(), Opened::Whole(_))
}

/// Hurts a byte of an entry, and leaves the indexes.
fn flip(disk: &SimDisk, index: u64, offset: u64) {
    let (path, begin) = place(&filled("n0"), index);
    assert!(disk.flip_bit(&path, begin + offset, 5));
}

/// The same with the page around it.
fn lose_sealed(disk: &SimDisk, index: u64, offset: u64) {
    let (path, begin) = place(&filled("n0"), index);
    assert!(disk.lose_page(&path, begin + offset));
}

/// The last entry of the segment in which the group goes other ways.
fn last_of_sealed() -> u64 {
    first_of(&filled("n0"), 3) - 1
}

type Least = fn() -> u64;

/// What is hit, and how many entries are there at least when that is mended.
const GIVEN_UP: &[(&str, Least, Hurt)] = &[
    ("a header, the first of them", || SHARED + 1, |disk| flip(disk, SHARED + 1, 17)),
    ("a payload, the first of them", || SHARED + 1, |disk| flip(disk, SHARED + 1, 300)),
    ("a header, one of them", || SHARED + 4, |disk| flip(disk, SHARED + 6, 17)),
    ("a payload, one of them", || SHARED + 4, |disk| flip(disk, SHARED + 6, 300)),
    ("the last of them in the segment", || SHARED, |disk| flip(disk, last_of_sealed(), 17)),
    ("a page around the first of them", || SHARED + 1, |disk| lose_sealed(disk, SHARED + 1, 0)),
    ("a page within the first of them", || SHARED + 1, |disk| lose_sealed(disk, SHARED + 1, 400)),
    ("a page around one of them", || SHARED + 1, |disk| lose_sealed(disk, SHARED + 6, 0)),
    (
        "some of them and some before",
        || SHARED + 1,
        |disk| (SHARED - 3..=SHARED + 3).for_each(|index| flip(disk, index, 17)),
    ),
    (
        "one of them and one long before",
        || SHARED + 4,
        |disk| [SHARED - 5, SHARED + 6].iter().for_each(|&index| flip(disk, index, 17)),
    ),
    (
        "all pages of the segment from the first of them on",
        || SHARED,
        |disk| {
            let (path, begin) = place(&filled("n0"), SHARED + 1);
            for page in begin / PAGE_BYTES..SEGMENT_BYTES_MIN / PAGE_BYTES {
                assert!(disk.lose_page(&path, page * PAGE_BYTES));
            }
        },
    ),
];

#[test]
fn a_damaged_entry_that_the_group_gave_up_does_not_keep_a_start_waiting() {
    let peer = gone_on(ENTRIES);
    for (what, least, hurt) in GIVEN_UP {
        let disk = left_behind();
        drop(open(&disk, "n0"));
        hurt(&disk);
        assert!(opens(&disk), "{what}: the index is sound");
        start(&disk, &peer, ENTRIES).unwrap();
        let entries = open(&disk, "n0").last_index().0;
        assert!((least()..=ENTRIES).contains(&entries), "{what}: {entries}");
        check_left(&disk, entries, what);
    }
}

#[test]
fn power_may_go_while_it_is_taken_back() {
    let peer = gone_on(ENTRIES);
    for (what, _, hurt) in GIVEN_UP {
        for nth in 1.. {
            let disk = left_behind();
            drop(open(&disk, "n0"));
            hurt(&disk);
            disk.power_off_at_call(nth);
            let outcome = start(&disk, &peer, ENTRIES);
            if !disk.is_powered_off() {
                outcome.unwrap();
                assert!(nth > 20, "{what}: it takes some calls");
                break;
            }
            disk.restart(Loss::Torn(nth));
            let case = format!("{what}, power lost during call {nth}");
            start(&disk, &peer, ENTRIES).unwrap();
            let entries = open(&disk, "n0").last_index().0;
            assert!((SHARED..=ENTRIES).contains(&entries), "{case}: {entries}");
            check_left(&disk, entries, &case);
        }
    }
}

#[test]
fn what_may_have_been_committed_waits_and_stays() {
    let peer = gone_on(ENTRIES);
    for (disk, committed, case) in [
        (left_behind(), SHARED + 1, "the peer does not know its entry to be committed"),
        (filled("n0"), ENTRIES, "this member knew its own to be committed"),
    ] {
        drop(open(&disk, "n0"));
        flip(&disk, SHARED + 2, 17);
        let bytes = log_bytes(&disk);
        let log = open(&disk, "n0");
        now(log.reader().scrub(LogIndex(SHARED + 2), LogIndex(SHARED + 2), 1)).unwrap();
        let met = mend_open(&log, &peer, committed).unwrap();
        assert_eq!(met, Met::NoHelp(LogIndex(SHARED + 2)), "{case}");
        drop(log);
        assert_eq!(log_bytes(&disk), bytes, "{case}");
    }
}

#[test]
fn a_doubted_segment_in_which_nothing_is_damaged_stays_as_it_is() {
    let disk = filled("n0");
    drop(open(&disk, "n0"));
    let before = disk.contents();
    for nth in 0..4 {
        let doubted = Some(Position(nth * SEGMENT_BYTES_MIN + 17));
        let log = Log::open(disk.clone(), Path::new(DIR), LogOptions { doubted, ..options("n0") });
        assert_eq!(log.unwrap().last_index(), LogIndex(ENTRIES));
        assert_eq!(disk.contents(), before, "segment {nth}");
    }
}

#[test]
fn an_index_that_is_doubted_still_tells_damage_from_a_torn_end() {
    let disk = left_behind();
    let index = last_of_sealed() - 2;
    let doubted = Some(open(&disk, "n0").reader().position_of(LogIndex(index)).unwrap());
    flip(&disk, index, 17);
    // The trailers of the segments before say nothing.
    disk.remove(&segment(3 * SEGMENT_BYTES_MIN)).unwrap();
    let doubting = LogOptions { doubted, ..options("n0") };
    let opened = Log::examine(disk.clone(), Path::new(DIR), doubting).unwrap();
    let Opened::Damaged(damaged) = opened else { panic!("the damage is not seen") };
    assert_eq!(damaged.damage().before.index, LogIndex(index - 1));
    assert!(damaged.reach() > LogIndex(index));
    drop(damaged);
    forget_indexes(&disk);
    assert!(opens(&disk), "nothing else says that there was more");
}
