//! A member's log on the simulated disk that is hurt, and mended with what a peer has.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft::eraftpb::Entry;
use raft_log::fault::SimDisk;
use raft_log::{
    DamagedLog, Disk, Fetched, Log, LogError, LogIndex, Opened, Patch, PatchRefused, Patched,
    SEGMENT_BYTES_MIN,
};

use super::support::{ENTRIES, fill, now, options};

pub const DIR: &str = "/log";
const LIMIT_BYTES: usize = 3_000;

/// What is done to a disk.
pub type Hurt = fn(&SimDisk);

pub fn open(disk: &SimDisk, member: &str) -> Log<SimDisk> {
    Log::open(disk.clone(), Path::new(DIR), options(member)).unwrap()
}

/// A member's disk with `ENTRIES` entries in four segments, all durable and committed.
pub fn filled(member: &str) -> SimDisk {
    let disk = SimDisk::new();
    fill(&mut open(&disk, member));
    disk
}

pub fn segment(start: u64) -> PathBuf {
    Path::new(DIR).join(format!("{start:020}"))
}

/// Where the header of entry `index` is: segment and offset.
pub fn place(disk: &SimDisk, index: u64) -> (PathBuf, u64) {
    let position = open(disk, "n0").reader().position_of(LogIndex(index)).unwrap().0;
    let start = position - position % SEGMENT_BYTES_MIN;
    (segment(start), position - start)
}

/// Index of the first entry of the `nth` segment.
pub fn first_of(disk: &SimDisk, nth: u64) -> u64 {
    let reader = open(disk, "n0").reader();
    let start = nth * SEGMENT_BYTES_MIN;
    (1..=ENTRIES).find(|&index| reader.position_of(LogIndex(index)).unwrap().0 >= start).unwrap()
}

/// With an index file opening does not read the segment: without, it does.
pub fn forget_indexes(disk: &SimDisk) {
    for name in disk.list(Path::new(DIR)).unwrap() {
        if name.ends_with(".index") {
            disk.remove(&Path::new(DIR).join(name)).unwrap();
        }
    }
    disk.sync_dir(Path::new(DIR)).unwrap();
}

/// The log's bytes without trailers.
pub fn log_bytes(disk: &SimDisk) -> Vec<Vec<u8>> {
    let names = disk.list(Path::new(DIR)).unwrap();
    let segments = names.iter().filter(|name| name.parse::<u64>().is_ok());
    let entries = |name: &String| {
        let content = disk.content(&Path::new(DIR).join(name)).unwrap();
        content[..SEGMENT_BYTES_MIN as usize].to_vec()
    };
    segments.map(entries).collect()
}

pub fn examine(disk: &SimDisk) -> Result<Opened<SimDisk>, LogError> {
    Log::examine(disk.clone(), Path::new(DIR), options("n0"))
}

pub fn damaged(disk: &SimDisk) -> Arc<DamagedLog<SimDisk>> {
    match examine(disk).unwrap() {
        Opened::Damaged(damaged) => damaged,
        Opened::Whole(_) | Opened::Headless(_) => panic!("the damage is not seen"),
    }
}

pub fn raft_entries(fetched: Fetched) -> Vec<Entry> {
    fetched.entries.into_iter().map(Entry::from).collect()
}

/// Fills the patch from a peer's log.
pub fn fill_patch(
    patch: &mut Patch,
    peer: &Log<SimDisk>,
    committed: u64,
) -> Result<(), PatchRefused> {
    while let Patched::Wants(first) = patch.state() {
        let fetched = peer.reader().fetch(first, LogIndex(u64::MAX), LIMIT_BYTES);
        let fetched = now(fetched).unwrap().ok_or(PatchRefused::Nothing)?;
        let previous_crc = fetched.previous_crc;
        patch.add(previous_crc, &raft_entries(fetched), LogIndex(committed))?;
    }
    Ok(())
}

/// Mends damage after damage until the log is whole. How many there were.
pub fn repair(disk: &SimDisk, peer: &Log<SimDisk>) -> Result<u32, LogError> {
    repair_from(disk, peer, 0)
}

/// [`repair`] with a peer that knows everything up to an index to be committed.
pub fn repair_from(disk: &SimDisk, peer: &Log<SimDisk>, committed: u64) -> Result<u32, LogError> {
    let mut opened = examine(disk)?;
    for mended in 0.. {
        let damaged = match opened {
            Opened::Whole(_) => return Ok(mended),
            Opened::Damaged(damaged) => damaged,
            Opened::Headless(log) => panic!("no snapshot was damaged: {}", log.error()),
        };
        let mut patch = damaged.patch();
        fill_patch(&mut patch, peer, committed).unwrap();
        opened = damaged.mend(patch)?;
    }
    unreachable!()
}

/// [`flip`] when the log cannot be opened any more.
pub fn flip_again(disk: &SimDisk, index: u64, offset: u64) {
    let (path, begin) = place(&filled("n0"), index);
    forget_indexes(disk);
    assert!(disk.flip_bit(&path, begin + offset, 5));
}

/// The page of a byte of an entry cannot be read any more.
pub fn lose(disk: &SimDisk, index: u64, offset: u64) {
    let (path, begin) = place(&filled("n0"), index);
    forget_indexes(disk);
    assert!(disk.lose_page(&path, begin + offset));
}

pub fn lost_pages(disk: &SimDisk) -> bool {
    let names = disk.list(Path::new(DIR)).unwrap();
    names.iter().any(|name| disk.has_lost_pages(&Path::new(DIR).join(name)))
}
