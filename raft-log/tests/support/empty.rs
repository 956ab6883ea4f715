//! A log in memory with nothing in it, for tests of what is beside its entries.

use std::path::Path;

use raft_log::fault::SimDisk;
use raft_log::{Log, LogOptions, SEGMENT_BYTES_MIN};

pub fn options() -> LogOptions {
    LogOptions {
        segment_bytes: SEGMENT_BYTES_MIN,
        prepare_ahead_bytes: 0,
        ..LogOptions::new("cluster", "group", "n0", vec![1, 2, 3])
    }
}

pub fn open(disk: &SimDisk) -> Log<SimDisk> {
    Log::open(disk.clone(), Path::new("/log"), options()).unwrap()
}
