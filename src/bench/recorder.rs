//! Latencies of one measurement.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency told apart; longer ones count as this.
const LATENCY_MAX_US: u64 = 600_000_000;

/// A histogram of latencies in microseconds, three significant digits.
pub(super) struct Recorder(Histogram<u64>);

impl Recorder {
    pub(super) fn new() -> Recorder {
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3);
        Recorder(histogram.expect("bounds and precision are constants in the valid range"))
    }

    pub(super) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros.max(1));
    }

    pub(super) fn merge(&mut self, other: &Recorder) {
        let merged = self.0.add(&other.0);
        merged.expect("both histograms have the same bounds");
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Latencies in microseconds, rising, each with how often it came.
    pub(super) fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value()))
    }

    pub(super) fn summary(&self) -> LatencySummary {
        let ms = |micros: u64| micros as f64 / 1000.0;
        let at = |quantile: f64| ms(self.0.value_at_quantile(quantile));
        LatencySummary {
            mean_ms: (self.0.mean() * 1.0).round() / 1000.0,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: ms(self.0.max()),
        }
    }
}

/// What is reported of a histogram.
#[derive(Debug, Clone, Serialize)]
pub(super) struct LatencySummary {
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl std::fmt::Display for LatencySummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "p50 {:.2} ms  p90 {:.2} ms  p99 {:.2} ms  p99.9 {:.2} ms  max {:.2} ms  mean {:.2} ms",
            self.p50_ms, self.p90_ms, self.p99_ms, self.p999_ms, self.max_ms, self.mean_ms
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_known_distribution() {
        let mut recorder = Recorder::new();
        let mut other = Recorder::new();
        for ms in 1..=500 {
            recorder.record(Duration::from_millis(ms));
            other.record(Duration::from_millis(500 + ms));
        }
        recorder.merge(&other);
        let summary = recorder.summary();
        assert_eq!(recorder.count(), 1000);
        assert!((summary.p50_ms - 500.0).abs() < 1.0, "{summary}");
        assert!((summary.p99_ms - 990.0).abs() < 2.0, "{summary}");
        assert!((summary.max_ms - 1000.0).abs() < 2.0, "{summary}");
    }

    #[test]
    fn an_endless_wait_counts_as_the_longest() {
        let mut recorder = Recorder::new();
        recorder.record(Duration::from_secs(86_400));
        assert_eq!(recorder.count(), 1);
        assert!(recorder.summary().max_ms >= 599_000.0);
    }
}
