//! Counters of the broker's traffic and the rates that the tools show.
//!
//! Counting is one relaxed atomic add per request. Rates come from totals sampled every ten seconds,
//! so a rate is always the difference of two totals and never drifts.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Samples kept: one every ten seconds for ten minutes, and the one before.
const SAMPLES_MAX: usize = 61;
const SAMPLE_PERIOD_S: f64 = 10.0;

/// A total with its recent history.
#[derive(Default)]
pub struct Counter {
    total: AtomicU64,
    samples: Mutex<VecDeque<u64>>,
}

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.total.fetch_add(n, Ordering::Relaxed);
    }

    /// Counted so far.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    fn sample(&self) {
        let mut samples = self.samples.lock();
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(self.total());
    }

    /// Rates per second over ten seconds, a minute and ten minutes, as the tools split them.
    pub fn rates(&self) -> String {
        let samples = self.samples.lock();
        let rate = |back: usize| -> f64 {
            let Some(last) = samples.back() else { return 0.0 };
            let back = back.min(samples.len() - 1);
            if back == 0 {
                return 0.0;
            }
            let earlier = samples[samples.len() - 1 - back];
            #[allow(clippy::cast_precision_loss)]
            let difference = last.saturating_sub(earlier) as f64;
            #[allow(clippy::cast_precision_loss)]
            let seconds = back as f64 * SAMPLE_PERIOD_S;
            difference / seconds
        };
        format!("{:.2} {:.2} {:.2}", rate(1), rate(6), rate(60))
    }
}

/// Everything counted by one broker.
#[derive(Default)]
pub struct BrokerStats {
    /// Messages stored.
    pub put_messages: Counter,
    /// Bytes of bodies stored.
    pub put_bytes: Counter,
    /// Sends that were refused.
    pub put_failed: Counter,
    /// Messages handed to consumers.
    pub get_messages: Counter,
    /// Pulls that found messages.
    pub get_found: Counter,
    /// Pulls that found none.
    pub get_missed: Counter,
    /// Requests handed to the leader.
    pub forwarded: Counter,
}

impl BrokerStats {
    /// Takes a sample of every total; called every ten seconds.
    pub fn sample(&self) {
        for counter in [
            &self.put_messages,
            &self.put_bytes,
            &self.put_failed,
            &self.get_messages,
            &self.get_found,
            &self.get_missed,
            &self.forwarded,
        ] {
            counter.sample();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_three_decimals_from_differences() {
        let counter = Counter::default();
        assert_eq!(counter.rates(), "0.00 0.00 0.00");
        counter.sample();
        counter.add(100);
        counter.sample();
        assert_eq!(counter.rates(), "10.00 10.00 10.00");
        counter.sample();
        assert_eq!(counter.rates(), "0.00 5.00 5.00");
        for _ in 0..100 {
            counter.sample();
        }
        assert_eq!(counter.samples.lock().len(), SAMPLES_MAX);
    }
}
