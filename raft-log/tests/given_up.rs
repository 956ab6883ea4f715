//! Damage among entries that were synced and never committed: what the group has in their place proves it,
//! and they are taken back. Power may go during any disk call.
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
use raft::eraftpb::{Entry, HardState};
use raft_log::fault::{Loss, SimDisk};
use raft_log::{
    Disk, Log, LogError, LogIndex, Opened, PAGE_BYTES, PatchRefused, SEGMENT_BYTES_MIN,
};
use support::{ENTRIES, entry, now, options};

type Count = fn() -> u64;

/// What is hit, and how many entries there are when that is mended.
const GIVEN_UP: &[(&str, Count, Hurt)] = &[
    ("the first of them", || SHARED + 1, |disk| flip_again(disk, SHARED + 1, 17)),
    ("one of them", || SHARED + 4, |disk| flip_again(disk, SHARED + 6, 17)),
    ("the last of them", || ENTRIES - 2, |disk| flip_again(disk, ENTRIES, 17)),
    (
        "some of them and some before",
        || SHARED + 1,
        |disk| {
            (SHARED - 3..=SHARED + 3).for_each(|index| flip_again(disk, index, 17));
        },
    ),
    ("a page around the first of them", || SHARED + 1, |disk| lose(disk, SHARED + 1, 0)),
    (
        "the first of them in a segment",
        || first_of_last() - 2,
        |disk| {
            let (path, begin) = place(&filled("n0"), first_of_last());
            assert_eq!(begin, 0);
            assert!(disk.flip_bit(&path, 17, 5));
        },
    ),
];

/// Index of the first entry in the last segment.
fn first_of_last() -> u64 {
    first_of(&filled("n0"), 3)
}

#[test]
fn what_the_group_gave_up_is_taken_back() {
    let peer = gone_on(ENTRIES);
    for (what, left, hurt) in GIVEN_UP {
        let disk = left_behind();
        hurt(&disk);
        let error = Log::open(disk.clone(), Path::new(DIR), options("n0")).err().unwrap();
        assert!(matches!(error, LogError::Corrupt { .. }), "{what}: {error}");
        repair_from(&disk, &peer, ENTRIES).unwrap();
        check_left(&disk, left(), what);
    }
}

#[test]
fn power_may_go_while_what_was_given_up_is_taken_back() {
    let peer = gone_on(ENTRIES);
    for (what, left, hurt) in GIVEN_UP {
        for nth in 1.. {
            let disk = left_behind();
            hurt(&disk);
            disk.power_off_at_call(nth);
            let outcome = repair_from(&disk, &peer, ENTRIES);
            if !disk.is_powered_off() {
                outcome.unwrap();
                assert!(nth > 5, "{what}: it takes some calls");
                break;
            }
            disk.restart(Loss::Torn(nth));
            repair_from(&disk, &peer, ENTRIES).unwrap();
            let entries = open(&disk, "n0").last_index().0;
            let case = format!("{what}, power lost during call {nth}");
            assert!((SHARED..=left() + 2).contains(&entries), "{case}: {entries}");
            check_left(&disk, entries, &case);
        }
    }
}

#[test]
fn nothing_is_taken_back_that_may_have_been_committed() {
    let peer = gone_on(ENTRIES);
    let disk = left_behind();
    flip_again(&disk, SHARED + 1, 17);
    let bytes = log_bytes(&disk);
    let unproven = fill_patch(&mut damaged(&disk).patch(), &peer, SHARED);
    assert_eq!(unproven, Err(PatchRefused::OtherEntry(LogIndex(SHARED + 1))));
    let disk = left_behind();
    flip_again(&disk, SHARED + 3, 17);
    let unproven = fill_patch(&mut damaged(&disk).patch(), &peer, SHARED + 1);
    assert_eq!(unproven, Err(PatchRefused::OtherPast(LogIndex(SHARED + 3))));
    // Who knew it to be committed contradicts the group.
    let disk = filled("n0");
    flip_again(&disk, SHARED + 1, 17);
    let contradiction = fill_patch(&mut damaged(&disk).patch(), &peer, ENTRIES);
    assert_eq!(contradiction, Err(PatchRefused::OtherEntry(LogIndex(SHARED + 1))));
    assert_eq!(log_bytes(&disk).len(), bytes.len());
}

#[test]
fn who_has_nothing_of_what_was_given_up_waits_until_the_group_is_as_far() {
    let disk = left_behind();
    (SHARED + 1..=ENTRIES).for_each(|index| flip_again(&disk, index, 17));
    let further = ENTRIES + 60;
    repair_from(&disk, &gone_on(further), further).unwrap();
    let held = open(&disk, "n0").last_index().0;
    assert!((ENTRIES..further).contains(&held), "{held}");
    check_left(&disk, held, "all of them");
}

#[test]
fn a_term_newer_than_what_was_claimed_comes_before_anything_is_taken_back() {
    let disk = left_behind();
    let mut log = open(&disk, "n0");
    let held = LATER + 3;
    log.set_hard_state(HardState { term: held, vote: 2, commit: SHARED, ..HardState::default() });
    log.begin_sync().wait().unwrap();
    drop(log);
    flip_again(&disk, SHARED + 1, 17);
    repair_from(&disk, &gone_on(ENTRIES), ENTRIES).unwrap();
    let state = open(&disk, "n0").initial_state().unwrap().hard_state;
    assert_eq!((state.term, state.vote), (held + 1, 0));
}

/// An entry whose message contains what reads as the header of the entry behind it.
fn forged() -> Entry {
    let index = SHARED + 1;
    let disk = SimDisk::new();
    let mut log = open(&disk, "n0");
    let short = Entry { data: vec![7; 56].into(), ..entry(index) };
    let others = (1..index).map(entry).chain([short, entry(index + 1)]);
    log.append(&others.collect::<Vec<_>>()).unwrap();
    log.begin_sync().wait().unwrap();
    drop(log);
    let (path, begin) = place(&disk, index + 1);
    let header = disk.content(&path).unwrap()[begin as usize..][..48].to_vec();
    let data = [vec![7; 56], header, vec![7; 900]].concat();
    Entry { data: data.into(), ..entry(index) }
}

#[test]
fn a_header_that_somebody_sent_proves_nothing() {
    let entries = || {
        let shared = (1..=SHARED).map(entry);
        shared.chain([forged()]).chain((SHARED + 2..=ENTRIES).map(entry)).collect::<Vec<_>>()
    };
    let disk = SimDisk::new();
    let mut log = open(&disk, "n0");
    log.append(&entries()).unwrap();
    log.begin_sync().wait().unwrap();
    log.begin_sync().wait().unwrap();
    drop(log);
    let bytes = log_bytes(&disk);
    let (path, begin) = place(&disk, SHARED + 1);
    forget_indexes(&disk);
    assert!(disk.flip_bit(&path, begin + 17, 5));
    let mut peer = open(&SimDisk::new(), "n1");
    peer.append(&entries()).unwrap();
    let refused = fill_patch(&mut damaged(&disk).patch(), &peer, SHARED);
    assert_eq!(refused, Err(PatchRefused::Unproven(LogIndex(SHARED + 1))));
    repair_from(&disk, &peer, ENTRIES).unwrap();
    assert_eq!(log_bytes(&disk), bytes);
}

/// Hurts the first entry of the last segment. The segment before has its index.
const BEHIND_A_SEALED_SEGMENT: &[Hurt] = &[
    |disk| assert!(disk.flip_bit(&segment(3 * SEGMENT_BYTES_MIN), 17, 5)),
    |disk| assert!(disk.lose_page(&segment(3 * SEGMENT_BYTES_MIN), 0)),
    |disk| {
        for page in 0..SEGMENT_BYTES_MIN / PAGE_BYTES {
            assert!(disk.lose_page(&segment(3 * SEGMENT_BYTES_MIN), page * PAGE_BYTES));
        }
    },
];

#[test]
fn what_fits_before_the_end_of_a_sealed_segment_is_another_entry() {
    let last = first_of_last() - 1;
    let mut peer = open(&SimDisk::new(), "n1");
    let empty = Entry { index: last + 1, term: LATER, ..Entry::default() };
    let shared = (1..=last).map(entry).chain([empty]);
    peer.append(&shared.chain((last + 2..=ENTRIES + 60).map(other)).collect::<Vec<_>>()).unwrap();
    let empty_at = peer.reader().position_of(LogIndex(last + 1)).unwrap();
    assert!(empty_at.0 < 3 * SEGMENT_BYTES_MIN, "there is room for it");
    for (hurt, nth) in
        BEHIND_A_SEALED_SEGMENT.iter().flat_map(|hurt| (0..40).map(move |nth| (hurt, nth)))
    {
        let disk = left_behind();
        drop(open(&disk, "n0"));
        let index = Path::new(DIR).join(format!("{:020}.index", 2 * SEGMENT_BYTES_MIN));
        assert!(disk.exists(&index).unwrap());
        hurt(&disk);
        if nth > 0 {
            disk.power_off_at_call(nth);
            let _ = repair_from(&disk, &peer, ENTRIES + 60);
            disk.restart(Loss::Torn(nth));
        }
        repair_from(&disk, &peer, ENTRIES + 60).unwrap();
        let log = open(&disk, "n0");
        assert!(log.last_index() > LogIndex(last), "power lost during call {nth}");
        let held = log.reader().entries_from(empty_at, usize::MAX).unwrap();
        let behind = peer.reader().entries_from(empty_at, usize::MAX).unwrap();
        assert_eq!(held, behind[..held.len()], "power lost during call {nth}");
        assert!(!lost_pages(&disk));
    }
}

/// What is hit behind what the group at rest has, and leaves entries before it in which the two differ.
const FURTHER_ON: &[Hurt] = &[
    |disk| flip_again(disk, SHARED + 9, 17),
    |disk| flip_again(disk, SHARED + 9, 300),
    |disk| flip_again(disk, ENTRIES, 17),
    |disk| lose(disk, SHARED + 9, 0),
];

/// Takes back what a peer shows to be given up that is not as far as the damage.
fn take_back(disk: &SimDisk, shown: u64) -> Result<(), LogError> {
    let Opened::Damaged(damaged) = examine(disk)? else { return Ok(()) };
    let patch = damaged.patch_without(&other(shown), LogIndex(shown)).unwrap();
    assert!(matches!(damaged.mend(patch)?, Opened::Whole(_)));
    Ok(())
}

#[test]
fn a_group_at_rest_that_is_not_as_far_shows_that_damage_was_given_up() {
    for hurt in FURTHER_ON {
        for shown in [SHARED + 1, SHARED + 5] {
            let disk = left_behind();
            hurt(&disk);
            take_back(&disk, shown).unwrap();
            check_left(&disk, shown - 1, "no power is lost");
            for nth in 1.. {
                let disk = left_behind();
                hurt(&disk);
                disk.power_off_at_call(nth);
                let outcome = take_back(&disk, shown);
                if !disk.is_powered_off() {
                    outcome.unwrap();
                    assert!(nth > 5, "it takes some calls");
                    break;
                }
                disk.restart(Loss::Torn(nth));
                take_back(&disk, shown).unwrap();
                let entries = open(&disk, "n0").last_index().0;
                assert!((shown - 1..ENTRIES).contains(&entries), "call {nth}: {entries}");
                check_left(&disk, entries, &format!("power lost during call {nth}"));
            }
        }
    }
}

/// What is hit where the group at rest has committed one entry.
const AROUND_THE_LAST: &[Hurt] = &[
    |disk| lose(disk, SHARED + 1, 0),
    |disk| lose(disk, SHARED + 1, 400),
    |disk| (SHARED - 3..=SHARED + 3).for_each(|index| flip_again(disk, index, 17)),
];

/// What a start does with a peer that has committed one entry behind the shared ones.
fn repair_at_rest(disk: &SimDisk, peer: &Log<SimDisk>) -> Result<(), LogError> {
    let mut opened = examine(disk)?;
    for _ in 0..9 {
        let Opened::Damaged(damaged) = opened else { return Ok(()) };
        let mut patch = damaged.patch();
        if fill_patch(&mut patch, peer, SHARED + 1).is_err() {
            let last = damaged.damage().before.index;
            assert_eq!(last, LogIndex(SHARED + 1), "the peer has nothing more");
            patch = damaged.patch_without(&other(SHARED + 1), last).unwrap();
        }
        opened = damaged.mend(patch)?;
    }
    panic!("it does not end");
}

#[test]
fn what_is_newer_than_what_follows_shows_that_damage_was_given_up() {
    let peer = gone_on(SHARED + 1);
    for hurt in AROUND_THE_LAST {
        let disk = left_behind();
        hurt(&disk);
        repair_at_rest(&disk, &peer).unwrap();
        let entries = open(&disk, "n0").last_index().0;
        assert!((SHARED + 1..ENTRIES).contains(&entries), "{entries}");
        check_left(&disk, entries, "no power is lost");
        for nth in 1.. {
            let disk = left_behind();
            hurt(&disk);
            disk.power_off_at_call(nth);
            let outcome = repair_at_rest(&disk, &peer);
            if !disk.is_powered_off() {
                outcome.unwrap();
                assert!(nth > 5, "it takes some calls");
                break;
            }
            disk.restart(Loss::Torn(nth));
            repair_at_rest(&disk, &peer).unwrap();
            let entries = open(&disk, "n0").last_index().0;
            assert!((SHARED..ENTRIES).contains(&entries), "call {nth}: {entries}");
            check_left(&disk, entries, &format!("power lost during call {nth}"));
        }
    }
}

#[test]
fn what_a_peer_has_as_well_or_may_give_up_itself_shows_nothing() {
    let disk = left_behind();
    flip_again(&disk, SHARED + 9, 17);
    let log = damaged(&disk);
    let shows = |entry: &Entry, committed| log.patch_without(entry, LogIndex(committed)).is_some();
    assert!(shows(&other(SHARED + 5), SHARED + 5));
    assert!(!shows(&other(SHARED + 5), SHARED + 4), "it is not known to be committed");
    assert!(!shows(&entry(SHARED), SHARED), "it is the same");
    assert!(!shows(&entry(SHARED + 5), SHARED + 5), "it is the same");
    assert!(!shows(&other(SHARED - 9), SHARED), "this member knew its own to be committed");
    assert!(!shows(&other(SHARED + 9), ENTRIES), "what was there is not known");
    let disk = filled("n0");
    flip_again(&disk, SHARED + 9, 17);
    let knew = damaged(&disk).patch_without(&other(SHARED + 5), LogIndex(ENTRIES));
    assert!(knew.is_none(), "this member knew its own to be committed");
    // The same is asked of a log that is open.
    let given_up = |disk: &SimDisk, entry: Entry, committed| {
        now(open(disk, "n0").reader().was_given_up(entry, LogIndex(committed)))
    };
    let (behind, knows) = (left_behind(), filled("n0"));
    assert!(given_up(&behind, other(SHARED + 5), SHARED + 5));
    assert!(!given_up(&behind, other(SHARED + 5), SHARED + 4));
    assert!(!given_up(&behind, entry(SHARED + 5), SHARED + 5));
    assert!(!given_up(&knows, other(SHARED + 5), SHARED + 5));
}
