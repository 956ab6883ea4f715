//! When a send is acknowledged, its record is on the disks of a majority: not in their caches.
//!
//! Looked up at the moment of the acknowledgement, in what each simulated disk would keep if power
//! went right then.

use std::path::PathBuf;
use std::sync::Arc;

use raft_log::fault::SimDisk;
use raftmq::protocol::record::RecordView;

use super::Findings;
use crate::machine::Machine;
use crate::workload::message;

/// A message is acknowledged long before the log has grown by this many segments.
const LATER_SEGMENTS: u64 = 8;
/// What a record has around its body is shorter.
const AROUND_BYTES_MAX: u64 = 4 << 10;
const INVARIANT: &str = "durable on a majority before acknowledged";

/// Where to look; clones look at the same disks.
#[derive(Clone)]
pub struct QuorumDurable {
    inner: Arc<Inner>,
}

struct Inner {
    /// Each member's machine and the directory of its log.
    logs: Vec<(Machine, PathBuf)>,
    segment_bytes: u64,
    body_bytes_max: u64,
    findings: Findings,
}

impl QuorumDurable {
    /// Over the logs of a group's members.
    pub fn new(
        logs: Vec<(Machine, PathBuf)>,
        segment_bytes: u64,
        body_bytes_max: u64,
        findings: Findings,
    ) -> QuorumDurable {
        let inner = Inner { logs, segment_bytes, body_bytes_max, findings };
        QuorumDurable { inner: Arc::new(inner) }
    }

    /// Messages were acknowledged, and said to be at these positions.
    pub fn acknowledged(&self, messages: &[u64], positions: &[i64]) {
        if messages.len() != positions.len() {
            let what = format!("messages {messages:?} have positions {positions:?}");
            self.inner.findings.report(INVARIANT, what);
        }
        for (message, position) in messages.iter().zip(positions) {
            self.check(*message, *position);
        }
    }

    fn check(&self, message: u64, position: i64) {
        let Inner { logs, findings, .. } = &*self.inner;
        // A disk that was lost a moment ago counts if it was one of those that had it.
        let holders = logs.iter().filter(|(machine, dir)| {
            machine.disks().iter().any(|disk| self.holds(disk, dir, message, position))
        });
        let quorum = logs.len() / 2 + 1;
        let holders = holders.take(quorum).count();
        if holders < quorum {
            let what = format!(
                "message {message} at position {position} is on {holders} disks, not on {quorum}"
            );
            findings.report(INVARIANT, what);
        }
    }

    fn holds(&self, disk: &SimDisk, dir: &std::path::Path, message: u64, position: i64) -> bool {
        let Inner { segment_bytes, body_bytes_max, .. } = *self.inner;
        let Ok(at) = u64::try_from(position) else { return false };
        let start = at / segment_bytes * segment_bytes;
        let path = dir.join(format!("{start:020}"));
        let is_it = |bytes: &[u8]| {
            RecordView::parse(bytes).is_ok_and(|record| {
                record.physical_offset == position
                    && message::number_of(record.body, body_bytes_max) == Some(message)
            })
        };
        let end = (at - start + body_bytes_max + AROUND_BYTES_MAX).min(segment_bytes);
        let held = disk.durable(&path, at - start..end, is_it);
        held.unwrap_or_else(|| self.gave_up(disk, dir, start))
    }

    /// Whether the segment was the log's and went, because its disk was full: that may happen between
    /// a commit and its acknowledgement. The oldest segments go first, so a later one is there.
    fn gave_up(&self, disk: &SimDisk, dir: &std::path::Path, start: u64) -> bool {
        let segment = |nth| dir.join(format!("{:020}", start + nth * self.inner.segment_bytes));
        let is_there = |nth| disk.content(&segment(nth)).is_some();
        !is_there(0) && (1..=LATER_SEGMENTS).any(is_there)
    }
}
