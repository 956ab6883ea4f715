//! Damage in what was durable: opening names it and changes nothing, a peer's entries mend it to the
//! bytes that were there, and nothing else is taken for them. Power may go during any disk call.
#![allow(clippy::unwrap_used)]

#[path = "support/hurt.rs"]
mod hurt;
mod support;

use std::path::Path;

use bytes::Bytes;
use hurt::*;
use raft::Storage as _;
use raft::eraftpb::{Entry, Snapshot};
use raft_log::fault::{Loss, SimDisk};
use raft_log::{
    BoundarySnapshot, DamageEnd, Disk, DiskFile, Log, LogError, LogIndex, Opened, PatchRefused,
    Position, SEGMENT_BYTES_MIN, Standing,
};
use support::{ENTRIES, entry, now, options};

fn flip(disk: &SimDisk, index: u64, offset: u64) {
    let (path, begin) = place(disk, index);
    forget_indexes(disk);
    assert!(disk.flip_bit(&path, begin + offset, 5));
}

/// What can be hit, and how many damages opening finds one after the other.
const PLACES: &[(&str, u32, Hurt)] = &[
    ("header of an entry", 1, |disk| flip(disk, 60, 17)),
    ("magic of an entry", 1, |disk| flip(disk, 60, 0)),
    ("payload of an entry", 1, |disk| flip(disk, 60, 48 + 300)),
    ("header of the first entry ever", 1, |disk| flip(disk, 1, 20)),
    ("header of a segment's first entry", 1, |disk| flip(disk, first_of(disk, 1), 3)),
    ("payload of a segment's first entry", 1, |disk| flip(disk, first_of(disk, 2), 60)),
    ("header of a segment's last entry", 1, |disk| flip(disk, first_of(disk, 2) - 1, 41)),
    ("payload of a segment's last entry", 1, |disk| flip(disk, first_of(disk, 2) - 1, 100)),
    ("payload of the last entry", 1, |disk| flip(disk, ENTRIES, 100)),
    ("padding", 1, |disk| {
        let last = first_of(disk, 1) - 1;
        let (path, begin) = place(disk, last);
        forget_indexes(disk);
        let stored = (48 + entry(last).data.len() as u64).next_multiple_of(8);
        assert!(disk.flip_bit(&path, begin + stored + 9, 1));
    }),
    ("several entries", 3, |disk| {
        for index in [20, 21, 70, ENTRIES - 1] {
            flip_again(disk, index, 8);
        }
    }),
    ("many headers in a row", 1, |disk| (40..90).for_each(|index| flip_again(disk, index, 30))),
    ("a whole segment", 1, |disk| {
        forget_indexes(disk);
        disk.remove(&segment(SEGMENT_BYTES_MIN)).unwrap();
        disk.sync_dir(Path::new(DIR)).unwrap();
    }),
    ("sectors that read as zeros", 2, |disk| {
        forget_indexes(disk);
        let file = disk.open(&segment(SEGMENT_BYTES_MIN)).unwrap();
        file.write_zeros(4096..12 * 1024).unwrap();
        file.sync_now().unwrap();
    }),
];

#[test]
fn whatever_is_hit_is_mended_to_the_bytes_that_were_there() {
    let peer = open(&filled("n1"), "n1");
    for (what, damages, hurt) in PLACES {
        let disk = filled("n0");
        let before = log_bytes(&disk);
        hurt(&disk);
        let hurt_bytes = log_bytes(&disk);
        assert_ne!(hurt_bytes, before, "{what}");
        let error = Log::open(disk.clone(), Path::new(DIR), options("n0")).err().unwrap();
        assert!(matches!(error, LogError::Corrupt { .. }), "{what}: {error}");
        assert_eq!(log_bytes(&disk), hurt_bytes, "{what}: nothing is changed");
        assert_eq!(repair(&disk, &peer).unwrap(), *damages, "{what}");
        assert_eq!(log_bytes(&disk), before, "{what}");
        let log = open(&disk, "n0");
        let whole = log.reader().entries_from(log.first_position(), usize::MAX).unwrap();
        assert_eq!(whole.len() as u64, ENTRIES, "{what}");
    }
}

/// Pages that cannot be read.
const LOST: &[(&str, Hurt)] = &[
    ("the log's first page", |disk| lose(disk, 1, 0)),
    ("a page with several entries", |disk| lose(disk, 60, 48)),
    ("pages in a row", |disk| (60..70).for_each(|index| lose(disk, index, 0))),
    ("pages apart", |disk| [20, 70, 110].iter().for_each(|&index| lose(disk, index, 100))),
    ("the first page of a segment", |disk| lose(disk, first_of(&filled("n0"), 1), 0)),
    ("the last entry of a segment", |disk| lose(disk, first_of(&filled("n0"), 2) - 1, 100)),
    ("padding", |disk| {
        forget_indexes(disk);
        assert!(disk.lose_page(&segment(0), SEGMENT_BYTES_MIN - 1));
    }),
    ("a whole segment", |disk| {
        forget_indexes(disk);
        for page in 0..SEGMENT_BYTES_MIN / 4096 {
            assert!(disk.lose_page(&segment(SEGMENT_BYTES_MIN), page * 4096));
        }
    }),
    ("a page and a bit behind it", |disk| {
        lose(disk, 60, 48);
        flip_again(disk, 66, 48);
    }),
    ("the log's last page", |disk| lose(disk, ENTRIES, 48)),
];

#[test]
fn a_page_that_cannot_be_read_is_mended_as_a_whole() {
    let peer = open(&filled("n1"), "n1");
    for (what, hurt) in LOST {
        let disk = filled("n0");
        let before = log_bytes(&disk);
        hurt(&disk);
        let error = Log::open(disk.clone(), Path::new(DIR), options("n0")).err().unwrap();
        assert!(matches!(error, LogError::Corrupt { .. }), "{what}: {error}");
        assert!(lost_pages(&disk), "{what}: nothing is changed");
        assert!(repair_from(&disk, &peer, ENTRIES).unwrap() > 0, "{what}");
        assert!(!lost_pages(&disk), "{what}");
        assert_eq!(log_bytes(&disk), before, "{what}");
        assert_eq!(open(&disk, "n0").last_index(), LogIndex(ENTRIES), "{what}");
    }
}

#[test]
fn mending_pages_may_lose_power_during_any_disk_call() {
    let peer = open(&filled("n1"), "n1");
    let before = log_bytes(&filled("n0"));
    for (what, hurt) in LOST.iter().filter(|(what, _)| !what.contains("whole")) {
        for nth in 1.. {
            let disk = filled("n0");
            hurt(&disk);
            disk.power_off_at_call(nth);
            let outcome = repair_from(&disk, &peer, ENTRIES);
            if !disk.is_powered_off() {
                outcome.unwrap();
                assert!(nth > 5, "{what}: a repair takes some calls");
                break;
            }
            disk.restart(Loss::Torn(nth));
            repair_from(&disk, &peer, ENTRIES).unwrap();
            assert!(!lost_pages(&disk), "{what}, power lost during call {nth}");
            assert_eq!(log_bytes(&disk), before, "{what}, power lost during call {nth}");
        }
    }
}

#[test]
fn a_repair_may_lose_power_during_any_disk_call() {
    let peer = open(&filled("n1"), "n1");
    // One of each way to write a patch.
    let ways = ["header of an entry", "padding", "several entries", "a whole segment"];
    for (what, _, hurt) in PLACES.iter().filter(|(what, ..)| ways.contains(what)) {
        let before = log_bytes(&filled("n0"));
        for nth in 1.. {
            let disk = filled("n0");
            hurt(&disk);
            disk.power_off_at_call(nth);
            let outcome = repair(&disk, &peer);
            if !disk.is_powered_off() {
                outcome.unwrap();
                assert!(nth > 5, "{what}: a repair takes some calls");
                break;
            }
            disk.restart(Loss::Torn(nth));
            repair(&disk, &peer).unwrap();
            assert_eq!(log_bytes(&disk), before, "{what}, power lost during call {nth}");
        }
    }
}

#[test]
fn power_may_go_while_a_damaged_log_is_given_up() {
    let ways = ["header of an entry", "several entries", "a whole segment"];
    for (what, _, hurt) in PLACES.iter().filter(|(what, ..)| ways.contains(what)) {
        let (term, vote) = (entry(ENTRIES).term, 1);
        for nth in 1.. {
            let disk = filled("n0");
            hurt(&disk);
            let log = damaged(&disk);
            assert_eq!(log.reach(), LogIndex(ENTRIES), "{what}");
            disk.power_off_at_call(nth);
            let given_up = log.begin_anew();
            let done = given_up.is_ok();
            drop((log, given_up));
            disk.restart(Loss::Torn(nth));
            let case = format!("{what}, power lost during call {nth}");
            // What is left meanwhile is damaged still, or a lost member's.
            let whole = match examine(&disk).unwrap() {
                Opened::Whole(whole) => whole,
                Opened::Headless(_) => panic!("{case}: it needs no snapshot"),
                Opened::Damaged(log) => {
                    assert!(!done && log.reach() <= LogIndex(ENTRIES), "{case}");
                    let Opened::Whole(whole) = log.begin_anew().unwrap() else { panic!("{case}") };
                    assert_eq!(whole.last_index(), LogIndex(0), "{case}");
                    whole
                }
            };
            assert_eq!(whole.standing(), Standing::Lost, "{case}");
            let state = whole.initial_state().unwrap().hard_state;
            assert_eq!((state.term, state.vote, state.commit), (term, vote, 0), "{case}");
            if done {
                assert_eq!(whole.last_index(), LogIndex(0), "{case}");
                assert!(nth > 20, "{what}: {nth} calls");
                break;
            }
        }
    }
}

/// The stored form of a member's snapshot where its `nth` segment begins.
fn snapshot_at(log: &Log<SimDisk>, nth: u64) -> Bytes {
    let position = Position(nth * SEGMENT_BYTES_MIN);
    let boundary = log.reader().boundary_before(position).unwrap().unwrap();
    log.snapshots().save(boundary, b"the state").unwrap();
    now(log.snapshots().fetch(position)).unwrap().unwrap()
}

/// A member whose log begins with its `nth` segment, and has a snapshot at the third one.
fn filled_from(nth: u64) -> SimDisk {
    let disk = filled("n0");
    let mut log = open(&disk, "n0");
    log.set_standing(Standing::Voter).unwrap();
    snapshot_at(&log, 1);
    log.compact_to(Position(nth * SEGMENT_BYTES_MIN)).unwrap();
    snapshot_at(&log, 2);
    disk
}

/// Ways to lose entries of the third segment.
const IN_THE_THIRD: &[(&str, Hurt)] = &[
    ("header of an entry", |disk| flip_again(disk, first_of(&filled("n0"), 2) + 3, 17)),
    ("header of the first entry", |disk| flip_again(disk, first_of(&filled("n0"), 2), 17)),
    ("the segment, not its index", |disk| {
        disk.remove(&segment(2 * SEGMENT_BYTES_MIN)).unwrap();
        disk.sync_dir(Path::new(DIR)).unwrap();
    }),
];

#[test]
fn power_may_go_while_a_damaged_log_begins_at_a_later_snapshot() {
    let start = Position(3 * SEGMENT_BYTES_MIN);
    let first = LogIndex(first_of(&filled("n0"), 3));
    let given = snapshot_at(&open(&filled("n1"), "n1"), 3);
    let both = |begins| IN_THE_THIRD.iter().map(move |way| (begins, way));
    for (begins, (what, hurt)) in [0, 1].into_iter().flat_map(both) {
        for call in 1.. {
            let disk = filled_from(begins);
            hurt(&disk);
            let log = damaged(&disk);
            assert_eq!(log.start_at(first).unwrap(), Some(start), "{what}");
            let snapshot = log.check_start(given.clone()).unwrap();
            disk.power_off_at_call(call);
            let begun = log.begin_at(&snapshot);
            let done = begun.is_ok();
            drop((log, begun));
            disk.restart(Loss::Torn(call));
            let case = format!("{what}, from segment {begins}, power lost during call {call}");
            let whole = match examine(&disk).unwrap() {
                Opened::Whole(whole) => whole,
                Opened::Headless(_) => panic!("{case}: its snapshot is durable first"),
                Opened::Damaged(log) => {
                    assert!(!done && log.reach() == LogIndex(ENTRIES), "{case}");
                    let Opened::Whole(whole) = log.begin_at(&snapshot).unwrap() else {
                        panic!("{case}")
                    };
                    whole
                }
            };
            assert_eq!(whole.standing(), Standing::Voter, "{case}");
            assert_eq!((whole.first_position(), whole.last_index().0), (start, ENTRIES), "{case}");
            let state = whole.initial_state().unwrap().hard_state;
            let promised = (entry(ENTRIES).term, 1, ENTRIES);
            assert_eq!((state.term, state.vote, state.commit), promised, "{case}");
            let kept = whole.reader().entries_from(start, usize::MAX).unwrap();
            assert_eq!(kept.len() as u64, ENTRIES + 1 - first.0, "{case}");
            assert_eq!(whole.snapshots().positions().unwrap(), [start], "{case}");
            if done {
                assert!(call > 10, "{case}");
                break;
            }
        }
    }
}

#[test]
fn a_log_begins_later_only_where_its_own_next_entry_follows() {
    let third = IN_THE_THIRD[0].1;
    let first = first_of(&filled("n0"), 3);
    let disk = filled_from(0);
    third(&disk);
    let before = disk.contents();
    let log = damaged(&disk);
    let other = SimDisk::new();
    let mut others = open(&other, "n1");
    let mut entries: Vec<Entry> = (1..=ENTRIES).map(entry).collect();
    entries[5].data = vec![7; entries[5].data.len()].into();
    others.append(&entries).unwrap();
    others.begin_sync().wait().unwrap();
    for (encoded, what) in [
        (snapshot_at(&others, 3), "of another past"),
        (snapshot_at(&open(&filled("n1"), "n1"), 2), "before the damage"),
        (Bytes::from_static(b"nothing"), "nothing"),
    ] {
        let refused = log.check_start(encoded).unwrap_err();
        assert!(matches!(refused, LogError::BadSnapshot(_)), "{what}: {refused}");
    }
    assert_eq!(log.start_at(LogIndex(first + 1)).unwrap(), None, "no snapshot stands there");
    assert_eq!(disk.contents(), before, "nothing is changed");
    drop(log);
    flip_again(&disk, first, 100);
    let log = damaged(&disk);
    assert_eq!(log.start_at(LogIndex(first)).unwrap(), None, "its payload may be another's");
    let whole = snapshot_at(&open(&filled("n1"), "n1"), 3);
    assert!(log.check_start(whole).is_err());
}

#[test]
fn entries_that_do_not_prove_themselves_change_nothing() {
    let disk = filled("n0");
    flip(&disk, 60, 17);
    let bytes = log_bytes(&disk);
    let log = damaged(&disk);
    assert_eq!(log.damage().before.index, LogIndex(59));
    assert_eq!(log.damage().last(), LogIndex(60));
    let crc = log.damage().before.chain_crc;
    let committed = LogIndex(ENTRIES);

    let refused = |previous_crc, entries: &[Entry]| {
        log.patch().add(previous_crc, entries, committed).unwrap_err()
    };
    assert_eq!(refused(crc, &[]), PatchRefused::Nothing);
    assert_eq!(refused(crc ^ 1, &[entry(60)]), PatchRefused::OtherPast(LogIndex(60)));
    assert_eq!(refused(crc, &[entry(61)]), PatchRefused::Disorder(LogIndex(60)));
    let older = Entry { term: 0, ..entry(60) };
    assert_eq!(refused(crc, &[older]), PatchRefused::Disorder(LogIndex(60)));
    let newer = Entry { term: entry(60).term + 1, ..entry(60) };
    assert_eq!(refused(crc, &[newer]), PatchRefused::OtherEntry(LogIndex(60)));
    let mut data = entry(60).data.to_vec();
    data[5] ^= 1;
    let other = Entry { data: data.into(), ..entry(60) };
    assert_eq!(refused(crc, &[other]), PatchRefused::OtherEntry(LogIndex(60)));
    let long = Entry { data: vec![0; SEGMENT_BYTES_MIN as usize].into(), ..entry(60) };
    assert_eq!(refused(crc, &[long]), PatchRefused::Disorder(LogIndex(60)));
    assert_eq!(log_bytes(&disk), bytes);
}

#[test]
fn without_anything_intact_behind_only_committed_entries_count() {
    let disk = filled("n0");
    flip(&disk, ENTRIES, 17);
    let before = log_bytes(&filled("n0"));
    let log = damaged(&disk);
    assert_eq!(log.damage().end, DamageEnd::Open(LogIndex(ENTRIES)));
    let peer = open(&filled("n1"), "n1");
    let unproven = fill_patch(&mut log.patch(), &peer, ENTRIES - 1);
    assert_eq!(unproven, Err(PatchRefused::Unproven(LogIndex(ENTRIES))));
    let mut patch = log.patch();
    fill_patch(&mut patch, &peer, ENTRIES).unwrap();
    assert_eq!(patch.entries(), 1);
    assert!(matches!(log.mend(patch), Ok(Opened::Whole(_))));
    assert_eq!(log_bytes(&disk), before);
}

#[test]
fn a_damaged_log_helps_with_what_is_intact_in_it() {
    let disk = filled("n0");
    for index in [30, 31, 90] {
        flip_again(&disk, index, 48 + 10);
    }
    let log = damaged(&disk);
    let fetch = |first, last| {
        let fetched = now(log.fetch(LogIndex(first), LogIndex(last), 10_000)).unwrap();
        fetched.map(|fetched| (fetched.previous_crc, raft_entries(fetched)))
    };
    let whole = open(&filled("n1"), "n1");
    for (first, count) in [(28, 2), (30, 0), (32, 3), (88, 2), (90, 0), (91, 3), (ENTRIES, 1)] {
        let own = fetch(first, first + 2);
        assert_eq!(own.as_ref().map_or(0, |(_, entries)| entries.len()), count, "from {first} on");
        let Some((crc, entries)) = own else { continue };
        assert_eq!(entries, (first..first + count as u64).map(entry).collect::<Vec<_>>());
        let theirs = now(whole.reader().fetch(LogIndex(first), LogIndex(first), 0)).unwrap();
        assert_eq!(theirs.unwrap().previous_crc, crc);
    }
    assert_eq!(fetch(ENTRIES + 1, ENTRIES + 1), None);
}

#[test]
fn a_torn_tail_is_still_cut_and_not_asked_for() {
    let disk = filled("n0");
    let mut log = open(&disk, "n0");
    log.append(&(ENTRIES + 1..=ENTRIES + 20).map(entry).collect::<Vec<_>>()).unwrap();
    drop(log.begin_write().wait());
    drop(log);
    let (path, begin) = place(&disk, ENTRIES);
    let stored = (48 + entry(ENTRIES).data.len() as u64).next_multiple_of(8);
    assert!(disk.flip_bit(&path, begin + stored + 20, 0), "the first entry that was not durable");
    assert_eq!(open(&disk, "n0").last_index(), LogIndex(ENTRIES));
}

const MARKER: &str = "/log/install";

/// Another member's snapshot at its sixth segment, behind all that [`filled`] has.
fn donated() -> Snapshot {
    let mut donor = open(&SimDisk::new(), "n1");
    donor.append(&(1..=300).map(entry).collect::<Vec<_>>()).unwrap();
    donor.begin_sync().wait().unwrap();
    BoundarySnapshot::decode(snapshot_at(&donor, 5)).unwrap().to_raft()
}

/// A member whose power went while it installed that: its marker is there. None when power went before or after.
fn with_marker(call: u64) -> Option<SimDisk> {
    let disk = filled_from(1);
    let mut log = open(&disk, "n0");
    disk.power_off_at_call(call);
    let installed = log.install_snapshot(&donated());
    assert!(installed.is_err() || !disk.is_powered_off() || call > 10);
    drop(log);
    disk.restart(Loss::Torn(call));
    disk.exists(Path::new(MARKER)).unwrap().then_some(disk)
}

/// Ways in which it cannot be read.
const UNREADABLE: &[Hurt] = &[
    |disk| assert!(disk.flip_bit(Path::new(MARKER), 9, 3)),
    |disk| assert!(disk.lose_page(Path::new(MARKER), 0)),
];

#[test]
fn an_installation_whose_marker_cannot_be_read_is_carried_through_by_a_member_that_is_lost() {
    let start = Position(5 * SEGMENT_BYTES_MIN);
    let (index, term) = (donated().get_metadata().index, donated().get_metadata().term);
    let mut seen = 0;
    for (call, hurt) in (1..60).flat_map(|call| UNREADABLE.iter().map(move |hurt| (call, hurt))) {
        let Some(disk) = with_marker(call) else { continue };
        seen += 1;
        hurt(&disk);
        for _ in 0..2 {
            let log = open(&disk, "n0");
            assert_eq!(log.standing(), Standing::Lost, "call {call}");
            assert_eq!((log.first_position(), log.last_index().0), (start, index), "call {call}");
            let state = log.initial_state().unwrap().hard_state;
            assert_eq!((state.term, state.vote, state.commit), (term, 0, index), "call {call}");
            assert_eq!(log.snapshots().positions().unwrap(), [start], "call {call}");
        }
    }
    assert!(seen > 10, "{seen} installations were interrupted");
}

#[test]
fn an_unreadable_marker_stands_for_the_newest_snapshot_or_for_nothing() {
    let disk = (1..).find_map(with_marker).unwrap();
    let snapshot = Path::new(DIR).join(format!("{:020}.snapshot", 5 * SEGMENT_BYTES_MIN));
    UNREADABLE[1](&disk);
    assert!(disk.lose_page(&snapshot, 0));
    let Opened::Headless(log) = examine(&disk).unwrap() else { panic!("its snapshot is lost") };
    assert_eq!(log.position(), Position(5 * SEGMENT_BYTES_MIN));
    let Opened::Whole(whole) = log.put(donated().data).unwrap() else { panic!("it was given") };
    assert_eq!(whole.standing(), Standing::Lost);
    drop((log, whole));

    // One that was committed behind cannot be what was being installed.
    let disk = (1..).find_map(with_marker).unwrap();
    UNREADABLE[0](&disk);
    disk.remove(&snapshot).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    let before = disk.contents();
    for _ in 0..2 {
        let error = examine(&disk).err().unwrap();
        assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
        assert_eq!(disk.contents(), before, "nothing is changed");
    }
}
