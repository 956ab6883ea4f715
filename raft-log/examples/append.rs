//! Measures appends and group syncs on a directory of a real disk:
//! `cargo run --release -p raft-log --example append -- DIR [PAYLOAD_BYTES] [SECONDS]`.
//!
//! One group is in flight while the next is appended, as replication does it. Entries per group are
//! tried in turn.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft::eraftpb::Entry;
use raft::{GetEntriesContext, Storage};
use raft_log::{Log, LogOptions, RealDisk};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let dir = arguments.first().expect("the directory to write to");
    let payload_bytes: usize = arguments.get(1).map_or(1024, |text| text.parse().unwrap());
    let seconds: f64 = arguments.get(2).map_or(2.0, |text| text.parse().unwrap());
    for entries_per_group in [1, 8, 64, 512] {
        let dir = Path::new(dir).join(format!("log-{entries_per_group}"));
        measure(&dir, payload_bytes, entries_per_group, Duration::from_secs_f64(seconds));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

fn measure(dir: &Path, payload_bytes: usize, entries_per_group: u64, time: Duration) {
    let options = LogOptions::new("bench", "bench", "n0", vec![1]);
    let mut log = Log::open(RealDisk::new(), dir, options).unwrap();
    let payload = Bytes::from(vec![7_u8; payload_bytes]);
    let (mut next, began) = (1, Instant::now());
    let (mut groups, mut appending, mut reading) = (Vec::new(), Duration::ZERO, Duration::ZERO);
    while began.elapsed() < time {
        let entries: Vec<Entry> = (next..next + entries_per_group)
            .map(|index| Entry { index, term: 1, data: payload.clone(), ..Entry::default() })
            .collect();
        let at = Instant::now();
        log.append(&entries).unwrap();
        appending += at.elapsed();
        let read_at = Instant::now();
        let context = GetEntriesContext::empty(false);
        assert_eq!(
            log.entries(next, next + entries_per_group, None, context).unwrap().len() as u64,
            entries_per_group
        );
        reading += read_at.elapsed();
        log.begin_sync().wait().unwrap();
        groups.push(at.elapsed());
        next += entries_per_group;
    }
    let elapsed = began.elapsed().as_secs_f64();
    groups.sort_unstable();
    let entries = (next - 1) as f64;
    println!(
        "{entries_per_group:>4} x {payload_bytes} B: {:>9.0} entries/s, {:>6.0} MiB/s, group p50 {:?} p99 {:?}, append {:.0} ns, read {:.0} ns an entry",
        entries / elapsed,
        entries * payload_bytes as f64 / elapsed / 1048576.0,
        groups[groups.len() / 2],
        groups[groups.len() * 99 / 100],
        appending.as_nanos() as f64 / entries,
        reading.as_nanos() as f64 / entries,
    );
}
