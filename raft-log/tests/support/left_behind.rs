//! A member's log whose end the group gave up while the member was away.
#![allow(dead_code, reason = "every test file uses a part of it")]

use raft::Storage as _;
use raft::eraftpb::{Entry, HardState};
use raft_log::fault::SimDisk;
use raft_log::{Log, LogIndex, Standing};

use super::hurt::{lost_pages, open};
use super::support::{ENTRIES, entry};

/// The last entry that the group has as well.
pub const SHARED: u64 = 100;
/// The term in which the group went on without this member.
pub const LATER: u64 = 9;

/// What the group has committed in the place of an entry behind the shared ones.
pub fn other(index: u64) -> Entry {
    let data = vec![!index as u8; 300 + (index * 53 % 1900) as usize];
    Entry { index, term: LATER, data: data.into(), ..Entry::default() }
}

/// A disk with all entries, of which only the shared ones are known to be committed.
pub fn left_behind() -> SimDisk {
    let disk = SimDisk::new();
    let mut log = open(&disk, "n0");
    log.append(&(1..=ENTRIES).map(entry).collect::<Vec<_>>()).unwrap();
    log.begin_sync().wait().unwrap();
    let term = entry(ENTRIES).term;
    log.set_hard_state(HardState { term, vote: 1, commit: SHARED - 9, ..HardState::default() });
    log.begin_sync().wait().unwrap();
    disk
}

/// The log of a member that has the shared entries and others behind them, up to `last`.
pub fn gone_on(last: u64) -> Log<SimDisk> {
    let mut log = open(&SimDisk::new(), "n1");
    let shared = (1..=SHARED).map(entry);
    log.append(&shared.chain((SHARED + 1..=last).map(other)).collect::<Vec<_>>()).unwrap();
    log
}

/// Whether the log has what all have, then a part of one of the two ends, and nothing else.
pub fn check_left(disk: &SimDisk, entries: u64, case: &str) {
    let log = open(disk, "n0");
    assert_eq!(log.last_index(), LogIndex(entries), "{case}");
    assert_eq!(log.standing(), Standing::New, "{case}: it forgot nothing");
    let state = log.initial_state().unwrap().hard_state;
    assert!(state.term >= LATER && state.vote == 0, "{case}: {state:?}");
    let held = log.reader().entries_from(log.first_position(), usize::MAX).unwrap();
    let held: Vec<Entry> = held.into_iter().map(Entry::from).collect();
    let (shared, rest) = held.split_at(SHARED as usize);
    assert!(shared.iter().eq((1..=SHARED).map(entry).collect::<Vec<_>>().iter()), "{case}");
    let own = rest.iter().all(|held| *held == entry(held.index));
    let theirs = rest.iter().all(|held| *held == other(held.index));
    assert!(own || theirs, "{case}");
    assert!(!lost_pages(disk), "{case}");
}
