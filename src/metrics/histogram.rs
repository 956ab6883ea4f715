//! Histograms with fixed bounds, as Prometheus has them.
//!
//! Invariant: observing is two or three relaxed atomic adds; a bucket counts what is at most its bound
//! and above the one before.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts by size. The unit is the bounds'.
pub struct Histogram {
    bounds: &'static [u64],
    /// One more than bounds: the last is for what is above all of them.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// What a histogram held at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Each bound with how many were at most that.
    pub cumulative: Vec<(u64, u64)>,
    /// How many there were.
    pub count: u64,
    /// All of them added up.
    pub sum: u64,
}

impl Histogram {
    /// Nothing observed yet; `bounds` rise.
    pub fn new(bounds: &'static [u64]) -> Histogram {
        assert!(bounds.is_sorted(), "bounds rise");
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, buckets, sum: AtomicU64::new(0) }
    }

    /// Observes one value.
    pub fn observe(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[at].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// What it holds now. Observations that go on meanwhile may be in the sum and in no bucket yet.
    pub fn snapshot(&self) -> Snapshot {
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        snapshot(self.bounds, counts, self.sum.load(Ordering::Relaxed))
    }
}

/// Adds up counts that were kept apart.
pub fn snapshot(bounds: &[u64], counts: impl Iterator<Item = u64>, sum: u64) -> Snapshot {
    let mut count = 0;
    let totals: Vec<u64> = counts
        .map(|of_bucket| {
            count += of_bucket;
            count
        })
        .collect();
    Snapshot { cumulative: bounds.iter().copied().zip(totals).collect(), count, sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_at_most_its_bound() {
        let histogram = Histogram::new(&[10, 100]);
        for value in [0, 10, 11, 100, 101] {
            histogram.observe(value);
        }
        let held = histogram.snapshot();
        assert_eq!(held.cumulative, [(10, 2), (100, 4)]);
        assert_eq!((held.count, held.sum), (5, 222));
    }
}
