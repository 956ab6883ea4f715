//! What a run saw over time: answers, failed sends and latencies by interval, and when a broker was
//! silent.
//!
//! Invariant: an answer is counted in exactly one interval, and a run's totals are the sums over its
//! intervals; so what is drawn and what is printed cannot differ.

use std::time::Duration;

use tokio::time::Instant;

use super::recorder::Recorder;
use super::silence::Silence;

/// A picture has no room for more, and a histogram each is not for nothing.
const INTERVALS_MAX: usize = 240;
const WIDTH_MIN: Duration = Duration::from_millis(100);
/// Told one by one; a run with more has another problem than the one that is looked for.
const SILENCES_MAX: usize = 1000;

/// One stretch of a run.
pub(super) struct Interval {
    /// Successful answers of each broker name.
    pub by_broker: Vec<u64>,
    /// Sends that were refused, or left unanswered by a connection that was lost.
    pub failed: u64,
    pub latency: Recorder,
}

/// A run, interval by interval.
pub(super) struct Timeline {
    start: Instant,
    end: Instant,
    width: Duration,
    brokers: Vec<String>,
    intervals: Vec<Interval>,
    silences: Vec<Silence>,
    marks: Vec<(Instant, String)>,
}

impl Timeline {
    /// For a run that is measured from `start` on and will take about `span`.
    pub(super) fn new(start: Instant, span: Duration, brokers: Vec<String>) -> Timeline {
        let mut width = WIDTH_MIN;
        for step in [2.0, 2.5, 2.0].into_iter().cycle() {
            if width * INTERVALS_MAX as u32 >= span {
                break;
            }
            width = width.mul_f64(step);
        }
        let (intervals, silences, marks) = (Vec::new(), Vec::new(), Vec::new());
        Timeline { start, end: start, width, brokers, intervals, silences, marks }
    }

    /// The interval of `now`; none before the start.
    pub(super) fn at(&mut self, now: Instant) -> Option<&mut Interval> {
        let since = now.checked_duration_since(self.start)?;
        self.end = self.end.max(now);
        let index = |width: Duration| (since.as_nanos() / width.as_nanos()) as usize;
        while index(self.width) >= INTERVALS_MAX {
            self.coarsen();
        }
        let (index, brokers) = (index(self.width), self.brokers.len());
        while self.intervals.len() <= index {
            self.intervals.push(Interval::new(brokers));
        }
        self.intervals.get_mut(index)
    }

    /// Sends that came to nothing. Those before the start are not measured.
    pub(super) fn failed(&mut self, now: Instant, count: u64) {
        if count > 0
            && let Some(interval) = self.at(now)
        {
            interval.failed += count;
        }
    }

    /// A broker was silent. Connections that wait for the same one tell of one silence.
    pub(super) fn silent(&mut self, silence: Silence) {
        if silence.to <= self.start {
            return;
        }
        self.end = self.end.max(silence.to);
        if let Some(known) = self.silences.iter_mut().find(|known| known.is_the_same(&silence)) {
            known.merge(silence);
        } else if self.silences.len() < SILENCES_MAX {
            self.silences.push(silence);
        }
    }

    /// Something was done to the brokers.
    pub(super) fn mark(&mut self, at: Instant, what: &str) {
        self.marks.push((at, what.to_owned()));
    }

    /// The run is over; what it lasts beyond the last answer counts as silence.
    pub(super) fn end_at(&mut self, end: Instant) {
        self.end = self.end.max(end);
        // The last moment belongs to the interval before it.
        if let Some(last) = end.checked_sub(Duration::from_nanos(1)) {
            self.at(last);
        }
    }

    /// All latencies of the run.
    pub(super) fn total(&self) -> Recorder {
        let mut total = Recorder::new();
        self.intervals.iter().for_each(|interval| total.merge(&interval.latency));
        total
    }

    /// Successful answers and failed sends so far.
    pub(super) fn counts(&self) -> (u64, u64) {
        let sums = |(answered, failed): (u64, u64), interval: &Interval| {
            (answered + interval.answered(), failed + interval.failed)
        };
        self.intervals.iter().fold((0, 0), sums)
    }

    pub(super) fn brokers(&self) -> &[String] {
        &self.brokers
    }

    pub(super) fn width(&self) -> Duration {
        self.width
    }

    /// Every interval with its begin and how much of it lies inside the run, in seconds.
    pub(super) fn intervals(&self) -> impl Iterator<Item = (f64, f64, &Interval)> {
        let length = self.end.saturating_duration_since(self.start).as_secs_f64();
        let width = self.width.as_secs_f64();
        self.intervals.iter().enumerate().map(move |(index, interval)| {
            let begin = index as f64 * width;
            (begin, (length - begin).min(width), interval)
        })
    }

    /// In order of their begins.
    pub(super) fn silences(&self) -> Vec<&Silence> {
        let mut silences: Vec<&Silence> = self.silences.iter().collect();
        silences.sort_by_key(|silence| silence.from);
        silences
    }

    pub(super) fn marks(&self) -> &[(Instant, String)] {
        &self.marks
    }

    /// Seconds from the start; zero for what was before it.
    pub(super) fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.start).as_secs_f64()
    }

    /// Half as many intervals, twice as wide.
    fn coarsen(&mut self) {
        self.width *= 2;
        let mut fine = std::mem::take(&mut self.intervals).into_iter();
        while let Some(mut interval) = fine.next() {
            if let Some(next) = fine.next() {
                interval.merge(&next);
            }
            self.intervals.push(interval);
        }
    }
}

impl Interval {
    fn new(brokers: usize) -> Interval {
        Interval { by_broker: vec![0; brokers], failed: 0, latency: Recorder::new() }
    }

    pub(super) fn answered(&self) -> u64 {
        self.by_broker.iter().sum()
    }

    fn merge(&mut self, other: &Interval) {
        self.failed += other.failed;
        self.latency.merge(&other.latency);
        for (mine, theirs) in self.by_broker.iter_mut().zip(&other.by_broker) {
            *mine += theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(timeline: &mut Timeline, start: Instant, ms: u64) {
        let interval = timeline.at(start + Duration::from_millis(ms)).unwrap();
        interval.by_broker[0] += 1;
        interval.latency.record(Duration::from_millis(ms + 1));
    }

    #[tokio::test]
    async fn nothing_is_lost_when_intervals_grow_together() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start, Duration::from_secs(1), vec!["a".into()]);
        assert!(timeline.at(start - Duration::from_millis(1)).is_none());
        for ms in (0..30_000).step_by(50) {
            answer(&mut timeline, start, ms);
        }
        timeline.failed(start + Duration::from_millis(29_999), 7);
        assert_eq!(timeline.counts(), (600, 7));
        assert_eq!(timeline.total().count(), 600);
        assert_eq!(timeline.width(), Duration::from_millis(200));
        let counts: Vec<u64> = timeline.intervals().map(|(.., i)| i.answered()).collect();
        assert_eq!(counts, [4; 150]);
    }

    #[tokio::test]
    async fn the_width_follows_the_span() {
        let start = Instant::now();
        let width = |seconds| {
            let timeline = Timeline::new(start, Duration::from_secs(seconds), Vec::new());
            timeline.width().as_millis()
        };
        assert_eq!(
            [width(0), width(24), width(25), width(60), width(100), width(3600)],
            [100, 100, 200, 500, 500, 20_000]
        );
    }

    #[tokio::test]
    async fn the_last_interval_may_be_short() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start, Duration::from_secs(1), vec!["a".into()]);
        answer(&mut timeline, start, 10);
        timeline.end_at(start + Duration::from_millis(250));
        let covered: Vec<_> =
            timeline.intervals().map(|(begin, covered, _)| (begin, covered)).collect();
        assert_eq!(covered.len(), 3);
        assert!((covered[2].0 - 0.2).abs() < 1e-9 && (covered[2].1 - 0.05).abs() < 1e-9);
    }
}
