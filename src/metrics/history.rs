//! Totals of the past, from which the tools' rates come: of a minute, an hour and a day.
//!
//! A sample is taken every ten seconds; what is asked for is the difference between now and the oldest
//! sample of the span, so that a figure is never a guess and never drifts.
//!
//! Invariant: samples are bounded; time comes from the caller, and when it jumps, a span is wrong until
//! its samples are of the new time and never after.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// How often counters are sampled.
pub const SAMPLE_PERIOD: Duration = Duration::from_secs(10);
/// The same in milliseconds.
pub const SAMPLE_PERIOD_MS: i64 = SAMPLE_PERIOD.as_millis() as i64;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

/// What a rate is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// 60 s, in steps of 10 s.
    Minute,
    /// 60 min, in steps of 10 min.
    Hour,
    /// 24 h, in steps of 1 h.
    Day,
}

/// Counted so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Messages.
    pub messages: u64,
    /// Their bytes, with what is stored around their bodies.
    pub bytes: u64,
    /// How often some were counted together.
    pub times: u64,
}

/// What was counted within a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The difference.
    pub counted: Totals,
    /// How long that took, at least a second.
    pub elapsed_ms: i64,
}

impl Window {
    /// A count of this window per second.
    pub fn per_second(&self, count: u64) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let (count, elapsed_ms) = (count as f64, self.elapsed_ms as f64);
        count * 1000.0 / elapsed_ms
    }
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at_ms: i64,
    totals: Totals,
}

/// Samples of three resolutions.
#[derive(Debug)]
struct History {
    recent: VecDeque<Sample>,
    recent_max: usize,
    minutes: VecDeque<Sample>,
    hours: VecDeque<Sample>,
}

impl History {
    fn new(now_ms: i64, recent_max: usize) -> History {
        let first = || VecDeque::from([Sample { at_ms: now_ms, totals: Totals::default() }]);
        History { recent: first(), recent_max, minutes: first(), hours: first() }
    }

    fn sample(&mut self, sample: Sample) {
        push(&mut self.recent, sample, self.recent_max, 0);
        push(&mut self.minutes, sample, 8, 10 * MINUTE_MS);
        push(&mut self.hours, sample, 26, HOUR_MS);
    }

    fn window(samples: &VecDeque<Sample>, span_ms: i64, now: Sample) -> Window {
        let begin = samples.iter().find(|sample| now.at_ms - sample.at_ms <= span_ms);
        let begin = begin.or(samples.back()).copied().unwrap_or(now);
        let counted = Totals {
            messages: now.totals.messages.saturating_sub(begin.totals.messages),
            bytes: now.totals.bytes.saturating_sub(begin.totals.bytes),
            times: now.totals.times.saturating_sub(begin.totals.times),
        };
        Window { counted, elapsed_ms: (now.at_ms - begin.at_ms).max(1000) }
    }
}

fn push(samples: &mut VecDeque<Sample>, sample: Sample, most: usize, apart_ms: i64) {
    let last_ms = samples.back().map_or(i64::MIN / 2, |last| last.at_ms);
    if (sample.at_ms - last_ms).abs() < apart_ms {
        return;
    }
    if samples.len() >= most {
        samples.pop_front();
    }
    samples.push_back(sample);
}

/// A flow of messages: totals with their history.
#[derive(Debug)]
pub struct Flow {
    messages: AtomicU64,
    bytes: AtomicU64,
    times: AtomicU64,
    history: Mutex<History>,
}

impl Flow {
    /// Nothing counted yet. Its minute can be asked for.
    pub fn new(now_ms: i64) -> Flow {
        Flow::remembering(now_ms, 8)
    }

    /// The same, with ten minutes of samples for [`Flow::recent`].
    pub fn with_ten_minutes(now_ms: i64) -> Flow {
        Flow::remembering(now_ms, 62)
    }

    fn remembering(now_ms: i64, recent_max: usize) -> Flow {
        Flow {
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            times: AtomicU64::new(0),
            history: Mutex::new(History::new(now_ms, recent_max)),
        }
    }

    /// Counts messages that came together.
    pub fn count(&self, messages: u64, bytes: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.times.fetch_add(1, Ordering::Relaxed);
    }

    /// Counted so far.
    pub fn totals(&self) -> Totals {
        Totals {
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            times: self.times.load(Ordering::Relaxed),
        }
    }

    /// Takes a sample; called every [`SAMPLE_PERIOD_MS`].
    pub fn sample(&self, now_ms: i64) {
        self.history.lock().sample(Sample { at_ms: now_ms, totals: self.totals() });
    }

    /// What was counted within a span that ends now. A flow that is younger has a shorter one.
    pub fn over(&self, span: Span, now_ms: i64) -> Window {
        let history = self.history.lock();
        let (samples, span_ms, step_ms) = match span {
            Span::Minute => (&history.recent, MINUTE_MS, SAMPLE_PERIOD_MS),
            Span::Hour => (&history.minutes, HOUR_MS, 10 * MINUTE_MS),
            Span::Day => (&history.hours, 24 * HOUR_MS, HOUR_MS),
        };
        let now = Sample { at_ms: now_ms, totals: self.totals() };
        History::window(samples, span_ms + step_ms / 2, now)
    }

    /// What was counted within the last so many milliseconds.
    pub fn recent(&self, span_ms: i64, now_ms: i64) -> Window {
        let history = self.history.lock();
        let now = Sample { at_ms: now_ms, totals: self.totals() };
        History::window(&history.recent, span_ms + SAMPLE_PERIOD_MS / 2, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: i64 = 1_700_000_000_000;

    /// Counts one message and samples every ten seconds for so long; the time at the end.
    fn run(flow: &Flow, seconds: i64) -> i64 {
        for tick in 1..=seconds / 10 {
            flow.count(1, 100);
            flow.sample(START_MS + tick * SAMPLE_PERIOD_MS);
        }
        START_MS + seconds * 1000
    }

    #[test]
    fn what_is_young_tells_everything_at_once() {
        let flow = Flow::new(START_MS);
        flow.count(5, 500);
        for span in [Span::Minute, Span::Hour, Span::Day] {
            let window = flow.over(span, START_MS + 100);
            assert_eq!(window.counted, Totals { messages: 5, bytes: 500, times: 1 });
            assert_eq!(window.elapsed_ms, 1000, "no rate is over less than a second");
        }
        let later = flow.over(Span::Minute, START_MS + 20_000);
        assert!((later.per_second(later.counted.messages) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_span_ends_now_and_forgets_what_is_older() {
        let flow = Flow::with_ten_minutes(START_MS);
        let now_ms = run(&flow, 26 * 3600);
        assert_eq!(flow.over(Span::Minute, now_ms).counted.messages, 6);
        assert_eq!(flow.over(Span::Hour, now_ms).counted.messages, 360);
        assert_eq!(flow.over(Span::Day, now_ms).counted.messages, 24 * 360);
        assert_eq!(flow.recent(10_000, now_ms).counted.messages, 1);
        assert_eq!(flow.recent(600_000, now_ms).counted.messages, 60);
        assert_eq!(flow.totals().bytes, 26 * 360 * 100);
        let history = flow.history.lock();
        let held = (history.recent.len(), history.minutes.len(), history.hours.len());
        assert_eq!(held, (62, 8, 26));
    }

    #[test]
    fn a_clock_that_jumps_back_yields_no_nonsense() {
        let flow = Flow::new(START_MS);
        run(&flow, 120);
        let window = flow.over(Span::Minute, START_MS - 3_600_000);
        assert!(window.elapsed_ms >= 1000 && window.counted.messages <= 12);
        flow.sample(START_MS - 3_600_000);
        flow.count(1, 1);
        assert!(flow.over(Span::Minute, START_MS - 3_590_000).counted.messages >= 1);
    }
}
