//! What a member counts of its own work, for those who watch.
//!
//! Invariant: counted once for an entry or a sync, by the owner alone; whoever reads never waits.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Duration;

use crate::metrics::histogram::Histogram;

/// Bounds of times, in microseconds.
const MICROSECONDS: &[u64] = &[
    100, 200, 300, 500, 750, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000,
    500_000, 1_000_000, 2_000_000, 5_000_000,
];
const PROPOSALS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096];
const BYTES: &[u64] = &[1 << 8, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22];

/// See the module.
pub struct ReplicaFigures {
    /// How long a sync to disk took, in microseconds.
    pub sync_us: Histogram,
    /// From proposing an entry to its commit here, in microseconds, while this member leads.
    pub commit_us: Histogram,
    /// Proposals that became one entry.
    pub entry_proposals: Histogram,
    /// Payload of an entry proposed here.
    pub entry_bytes: Histogram,
    elections: AtomicU64,
    leaderships: AtomicU64,
    leader_changes: AtomicU64,
    stood_in: AtomicU64,
    led_in: AtomicU64,
    followed: AtomicU64,
}

impl Default for ReplicaFigures {
    fn default() -> Self {
        ReplicaFigures {
            sync_us: Histogram::new(MICROSECONDS),
            commit_us: Histogram::new(MICROSECONDS),
            entry_proposals: Histogram::new(PROPOSALS),
            entry_bytes: Histogram::new(BYTES),
            elections: AtomicU64::new(0),
            leaderships: AtomicU64::new(0),
            leader_changes: AtomicU64::new(0),
            stood_in: AtomicU64::new(0),
            led_in: AtomicU64::new(0),
            followed: AtomicU64::new(0),
        }
    }
}

/// A duration in microseconds.
pub(super) fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl ReplicaFigures {
    /// Terms in which this member stood for election.
    pub fn elections(&self) -> u64 {
        self.elections.load(Ordering::Relaxed)
    }

    /// Terms in which it led.
    pub fn leaderships(&self) -> u64 {
        self.leaderships.load(Ordering::Relaxed)
    }

    /// How often the leader that it knows of was another one than before.
    pub fn leader_changes(&self) -> u64 {
        self.leader_changes.load(Ordering::Relaxed)
    }

    /// Counts what a new role, term or leader says; zero is no leader.
    pub(super) fn observe(&self, term: u64, stands: bool, leads: bool, leader: u64) {
        if (stands || leads) && self.stood_in.swap(term, Ordering::Relaxed) != term {
            self.elections.fetch_add(1, Ordering::Relaxed);
        }
        if leads && self.led_in.swap(term, Ordering::Relaxed) != term {
            self.leaderships.fetch_add(1, Ordering::Relaxed);
        }
        if leader != 0 && self.followed.swap(leader, Ordering::Relaxed) != leader {
            self.leader_changes.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_is_counted_once_and_a_leader_when_it_is_another() {
        let figures = ReplicaFigures::default();
        let counted = || (figures.elections(), figures.leaderships(), figures.leader_changes());
        figures.observe(1, true, false, 0);
        figures.observe(1, false, true, 3);
        figures.observe(1, false, true, 3);
        assert_eq!(counted(), (1, 1, 1));
        figures.observe(2, false, false, 0);
        figures.observe(2, false, false, 3);
        assert_eq!(counted(), (1, 1, 1), "the same leader in a new term");
        figures.observe(3, false, false, 2);
        figures.observe(4, true, false, 0);
        figures.observe(5, true, false, 0);
        assert_eq!(counted(), (3, 1, 2));
    }
}
