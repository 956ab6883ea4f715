//! A process is killed before it synced, or ends because a sync failed; the next one finds its writes in
//! the machine's cache, and after a failed sync they count as clean there although they are not durable.
//!
//! Whatever the next process is told by its log it will act on without another sync: it reports
//! entries as stored and answers a repeated request for a vote. So all of it must be durable by the
//! time the log is open, or a loss of power takes back what was promised.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use bytes::Bytes;
use raft::Storage as _;
use raft::eraftpb::{Entry, HardState};
use raft_log::fault::{Loss, SimDisk};
use raft_log::{Disk as _, DiskFile as _, Log, LogOptions, SEGMENT_BYTES_MIN};

const DIR: &str = "/log";

fn open(disk: &SimDisk) -> Log<SimDisk> {
    let options = LogOptions {
        segment_bytes: SEGMENT_BYTES_MIN,
        prepare_ahead_bytes: SEGMENT_BYTES_MIN / 2,
        ..LogOptions::new("cluster", "group", "n0", vec![1, 2, 3])
    };
    Log::open(disk.clone(), Path::new(DIR), options).unwrap()
}

fn entries(first: u64, count: u64, payload_bytes: usize) -> Vec<Entry> {
    let entry = |index| Entry {
        index,
        term: 1,
        data: Bytes::from(vec![index as u8; payload_bytes]),
        ..Entry::default()
    };
    (first..first + count).map(entry).collect()
}

#[test]
fn what_is_found_after_a_kill_survives_a_loss_of_power() {
    // Within a segment, and across the ends of several.
    for payload_bytes in [100, 5_000, 30_000] {
        let disk = SimDisk::new();
        let mut log = open(&disk);
        log.append(&entries(1, 3, payload_bytes)).unwrap();
        log.begin_sync().wait().unwrap();
        log.append(&entries(4, 6, payload_bytes)).unwrap();
        drop(log);
        disk.restart(Loss::Nothing);
        let found = open(&disk).last_index();
        assert!(found.0 >= 3, "{found} of {payload_bytes} bytes");
        disk.restart(Loss::All);
        assert_eq!(open(&disk).last_index(), found, "entries of {payload_bytes} bytes");
    }
}

#[test]
fn a_vote_found_after_a_kill_survives_a_loss_of_power() {
    // The power goes in the middle of each of the sync's calls; the cache stays, as after a kill.
    for call in 1..20 {
        let disk = SimDisk::new();
        let mut log = open(&disk);
        log.set_hard_state(HardState { term: 1, vote: 1, ..HardState::default() });
        log.begin_sync().wait().unwrap();
        log.set_hard_state(HardState { term: 2, vote: 3, ..HardState::default() });
        disk.power_off_at_call(call);
        let finished = log.begin_sync().wait().is_ok();
        drop(log);
        disk.restart(Loss::Nothing);
        let told = open(&disk).initial_state().unwrap().hard_state;
        assert!(!finished || told.term == 2, "call {call}");
        disk.restart(Loss::All);
        assert_eq!(open(&disk).initial_state().unwrap().hard_state, told, "call {call}");
        if finished {
            return;
        }
    }
    panic!("a sync takes fewer calls");
}

#[test]
fn what_is_found_after_a_failed_sync_survives_a_loss_of_power() {
    // Each sync in turn fails, for entries within a segment and across the ends of several.
    for payload_bytes in [100, 5_000, 30_000] {
        let mut failed = 0;
        for nth in 1..12 {
            let disk = SimDisk::new();
            let mut log = open(&disk);
            log.append(&entries(1, 3, payload_bytes)).unwrap();
            log.begin_sync().wait().unwrap();
            disk.fail_sync(nth);
            let more = log.append(&entries(4, 6, payload_bytes));
            failed += usize::from(more.and_then(|()| log.begin_sync().wait()).is_err());
            drop(log);
            disk.restart(Loss::Nothing);
            let found = open(&disk).last_index();
            disk.restart(Loss::All);
            let what = format!("sync {nth} failed, entries of {payload_bytes} bytes");
            assert_eq!(open(&disk).last_index(), found, "{what}");
        }
        assert!(failed > 0, "entries of {payload_bytes} bytes: no sync that matters failed");
    }
}

#[test]
fn a_vote_found_after_a_failed_sync_survives_a_loss_of_power() {
    for nth in 1..6 {
        let disk = SimDisk::new();
        let mut log = open(&disk);
        log.set_hard_state(HardState { term: 1, vote: 1, ..HardState::default() });
        log.begin_sync().wait().unwrap();
        log.set_hard_state(HardState { term: 2, vote: 3, ..HardState::default() });
        disk.fail_sync(nth);
        let failed = log.begin_sync().wait().is_err();
        assert!(nth > 1 || failed, "the vote is synced first of all");
        drop(log);
        disk.restart(Loss::Nothing);
        let told = open(&disk).initial_state().unwrap().hard_state;
        disk.restart(Loss::All);
        assert_eq!(open(&disk).initial_state().unwrap().hard_state, told, "sync {nth}");
    }
}

#[test]
fn a_kill_makes_nothing_durable() {
    let disk = SimDisk::new();
    let path = Path::new("/file");
    let file = disk.create(path).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file.write_at(b"synced", 0).unwrap();
    file.sync_now().unwrap();
    file.write_at(b"cached", 0).unwrap();
    disk.restart(Loss::Nothing);
    assert_eq!(disk.content(path).unwrap(), b"cached");
    assert_eq!(disk.durable(path, 0..6, <[u8]>::to_vec).unwrap(), b"synced");
    disk.restart(Loss::All);
    assert_eq!(disk.content(path).unwrap(), b"synced");
}

#[test]
fn a_name_changed_before_a_kill_is_lost_with_the_power() {
    let disk = SimDisk::new();
    let (old, new, gone) = (Path::new("/old"), Path::new("/new"), Path::new("/gone"));
    disk.create(old).unwrap();
    disk.create(gone).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.rename(old, new).unwrap();
    disk.remove(gone).unwrap();
    disk.restart(Loss::Nothing);
    assert_eq!(disk.list(Path::new("/")).unwrap(), ["new"]);
    disk.restart(Loss::All);
    assert_eq!(disk.list(Path::new("/")).unwrap(), ["gone", "old"]);
}
