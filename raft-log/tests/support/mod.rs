//! A log of several small segments, filled, for tests that then hurt it.

use bytes::Bytes;
use raft::eraftpb::{Entry, HardState};
use raft_log::{Disk, Log, LogOptions, SEGMENT_BYTES_MIN};

/// Four segments of them.
pub const ENTRIES: u64 = 150;

pub fn options(member: &str) -> LogOptions {
    LogOptions {
        segment_bytes: SEGMENT_BYTES_MIN,
        prepare_ahead_bytes: SEGMENT_BYTES_MIN,
        ..LogOptions::new("cluster", "group", member, vec![1, 2, 3])
    }
}

pub fn entry(index: u64) -> Entry {
    let data = vec![index as u8; 700 + (index * 37 % 1500) as usize];
    Entry { index, term: 1 + index / 40, data: Bytes::from(data), ..Entry::default() }
}

/// All entries, durable and committed.
pub fn fill<D: Disk>(log: &mut Log<D>) {
    let entries: Vec<Entry> = (1..=ENTRIES).map(entry).collect();
    log.append(&entries).unwrap();
    log.begin_sync().wait().unwrap();
    let term = entries.last().map_or(0, |last| last.term);
    log.set_hard_state(HardState { term, vote: 1, commit: ENTRIES, ..HardState::default() });
    log.begin_sync().wait().unwrap();
}

/// Runs a future of the simulated disk, which never waits.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(done) => done,
        std::task::Poll::Pending => panic!("the simulated disk waits for nothing"),
    }
}
