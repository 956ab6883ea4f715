//! Counters of the broker's traffic and the rates that the tools show.
//!
//! Counting is one relaxed atomic add per request. Rates come from totals sampled every ten seconds,
//! so a rate is always the difference of two totals and never drifts.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::metrics::history::{Flow, SAMPLE_PERIOD};

/// Samples kept: one every ten seconds for ten minutes, and the one before.
const SAMPLES_MAX: usize = 61;
/// Ten seconds, a minute and ten minutes: the spans of the tools' rates, in samples.
const SAMPLES_BACK: [usize; 3] = [1, 6, 60];
const SPANS_MS: [i64; 3] = [10_000, 60_000, 600_000];
const DAY_MS: i64 = 86_400_000;

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

    /// Per second over one of [`SAMPLES_BACK`].
    fn rate(&self, span: usize) -> f64 {
        let samples = self.samples.lock();
        let Some(last) = samples.back() else { return 0.0 };
        let back = SAMPLES_BACK[span].min(samples.len() - 1);
        if back == 0 {
            return 0.0;
        }
        let earlier = samples[samples.len() - 1 - back];
        #[allow(clippy::cast_precision_loss)]
        let difference = last.saturating_sub(earlier) as f64;
        #[allow(clippy::cast_precision_loss)]
        let seconds = back as f64 * SAMPLE_PERIOD.as_secs_f64();
        difference / seconds
    }

    /// Rates per second over ten seconds, a minute and ten minutes, as the tools split them.
    pub fn rates(&self) -> String {
        show(std::array::from_fn(|span| self.rate(span)))
    }
}

/// Totals at the last two midnights.
#[derive(Debug, Default)]
struct Days {
    today: Option<i64>,
    /// Messages stored and handed out.
    yesterday_morning: (u64, u64),
    today_morning: (u64, u64),
}

/// Stored and handed out at the last two midnights, since this process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mornings {
    /// As yesterday began.
    pub yesterday: (u64, u64),
    /// As today began.
    pub today: (u64, u64),
}

/// What is counted by request; what passes by topic and group is in [`crate::metrics::traffic`].
#[derive(Default)]
pub struct BrokerStats {
    /// Sends that were refused.
    pub put_failed: Counter,
    /// Pulls that found messages.
    pub get_found: Counter,
    /// Pulls that found none.
    pub get_missed: Counter,
    /// Requests handed to the leader.
    pub forwarded: Counter,
    days: Mutex<Days>,
}

impl BrokerStats {
    /// Takes a sample of every total; called every ten seconds.
    pub fn sample(&self) {
        for counter in [&self.put_failed, &self.get_found, &self.get_missed, &self.forwarded] {
            counter.sample();
        }
    }

    /// Notes the totals of stored and handed out messages when a day has begun since the last call.
    pub fn observe_day(&self, now_ms: i64, totals: (u64, u64)) {
        let day = now_ms.div_euclid(DAY_MS);
        let mut days = self.days.lock();
        if days.today.is_some_and(|today| today != day) {
            days.yesterday_morning = days.today_morning;
            days.today_morning = totals;
        }
        days.today = Some(day);
    }

    /// The totals at the last two midnights.
    pub fn mornings(&self) -> Mornings {
        let days = self.days.lock();
        Mornings { yesterday: days.yesterday_morning, today: days.today_morning }
    }

    /// Pulls per second, whatever they found, over ten seconds, a minute and ten minutes.
    pub fn get_rates(&self) -> String {
        show(std::array::from_fn(|at| self.get_found.rate(at) + self.get_missed.rate(at)))
    }
}

/// Messages per second of a flow, over ten seconds, a minute and ten minutes.
pub fn message_rates(flow: &Flow, now_ms: i64) -> String {
    show(SPANS_MS.map(|span_ms| {
        let window = flow.recent(span_ms, now_ms);
        window.per_second(window.counted.messages)
    }))
}

/// As the tools split them.
fn show(rates: [f64; 3]) -> String {
    rates.map(|rate| format!("{rate:.2}")).join(" ")
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

    #[test]
    fn a_day_begins_with_what_was_counted_before() {
        let stats = BrokerStats::default();
        let noon_ms = 20_000 * DAY_MS + DAY_MS / 2;
        stats.observe_day(noon_ms, (5, 3));
        assert_eq!(stats.mornings(), Mornings::default(), "it began before this process");
        stats.observe_day(noon_ms + DAY_MS, (10, 6));
        stats.observe_day(noon_ms + DAY_MS + 1, (11, 7));
        assert_eq!(stats.mornings(), Mornings { yesterday: (0, 0), today: (10, 6) });
        stats.observe_day(noon_ms + 2 * DAY_MS, (20, 9));
        assert_eq!(stats.mornings(), Mornings { yesterday: (10, 6), today: (20, 9) });
    }

    #[test]
    fn message_rates_are_of_ten_seconds_a_minute_and_ten_minutes() {
        let flow = Flow::with_ten_minutes(0);
        for tick in 1..=60 {
            flow.count(if tick > 54 { 20 } else { 10 }, 1);
            flow.sample(tick * 10_000);
        }
        assert_eq!(message_rates(&flow, 600_000), "2.00 2.00 1.10");
    }
}
