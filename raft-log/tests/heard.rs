//! What was heard of other members, through crashes at every call, and what a log claims of itself.
#![allow(clippy::unwrap_used)]

#[path = "support/empty.rs"]
mod empty;

use std::path::Path;

use empty::open;
use raft::eraftpb::{Entry, HardState};
use raft_log::fault::{Loss, SimDisk};
use raft_log::{Claim, Heard, HeardOf, Log, Standing};

fn heard(term: u64) -> HeardOf {
    let mut heard = Heard::default();
    heard.note(5, Claim { term, index: 10 * term });
    [(2, heard), (3, Heard::default())].into()
}

#[test]
fn a_crash_while_it_is_stored_leaves_what_was_heard_before_or_after() {
    let mut changed_at = None;
    for call in 1..=12 {
        let disk = SimDisk::new();
        let log = open(&disk);
        log.heard_file().store(&heard(1)).wait().unwrap();
        assert_eq!(log.heard_file().load(), heard(1));
        disk.power_off_at_call(call);
        let stored = log.heard_file().store(&heard(2)).wait();
        drop(log);
        disk.restart(Loss::Torn(call));
        let log = open(&disk);
        let found = log.heard_file().load();
        assert!(found == heard(1) || found == heard(2), "call {call}: {found:?}");
        assert!(stored.is_err() || found == heard(2), "call {call}");
        changed_at = changed_at.or((found == heard(2)).then_some(call));
        // Whatever was left behind is in nobody's way.
        log.heard_file().store(&heard(3)).wait().unwrap();
        drop(log);
        disk.restart(Loss::All);
        assert_eq!(open(&disk).heard_file().load(), heard(3));
    }
    assert!(changed_at.is_some_and(|call| call > 1), "{changed_at:?}");
}

#[test]
fn a_damaged_file_and_a_full_disk_end_nothing() {
    let disk = SimDisk::new();
    let log = open(&disk);
    log.heard_file().store(&heard(1)).wait().unwrap();
    disk.set_capacity_bytes(Some(0));
    log.heard_file().store(&heard(2)).wait().unwrap();
    assert_eq!(log.heard_file().load(), heard(1), "as it was");
    disk.set_capacity_bytes(None);
    assert!(disk.flip_bit(Path::new("/log/heard"), 40, 1));
    assert_eq!(log.heard_file().load(), HeardOf::new());
    assert!(log.check_space().is_ok());
}

/// Steps of a member's life after each of which its claim is told.
fn live(log: &mut Log<SimDisk>, step: u64) -> Result<(), raft_log::LogError> {
    let entry = |index, term| Entry { index, term, data: vec![7; 600].into(), ..Entry::default() };
    let state = |term| HardState { term, vote: 1, ..HardState::default() };
    match step {
        0 => log.set_hard_state(state(1)),
        1 => log.append(&[entry(1, 1), entry(2, 1), entry(3, 1)])?,
        2 => log.append(&[entry(4, 1)])?,
        // A newer leader has less: its term first, then what it takes back.
        3 => log.set_hard_state(state(2)),
        4 => log.append(&[entry(3, 2)])?,
        5 => log.append(&[entry(4, 2), entry(5, 2)])?,
        _ => log.set_hard_state(state(3)),
    }
    log.begin_sync().wait()
}

#[test]
fn no_crash_takes_a_claim_back_that_was_told() {
    for call in 1..=80 {
        for loss in [Loss::All, Loss::Torn(call), Loss::Torn(call + 1000)] {
            let disk = SimDisk::new();
            let mut log = open(&disk);
            log.set_standing(Standing::Voter).unwrap();
            disk.power_off_at_call(call);
            let mut told = Claim::default();
            for step in 0..=6 {
                if live(&mut log, step).is_err() {
                    break;
                }
                assert!(log.claim() >= told);
                told = log.claim();
            }
            drop(log);
            disk.restart(loss);
            let claim = open(&disk).claim();
            assert!(claim >= told, "call {call}, {loss:?}: {claim:?} after {told:?} was told");
        }
    }
}
