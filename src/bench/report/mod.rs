//! `--report`: a run as one page, or as one picture, that needs nothing but itself.
//!
//! Invariant: a pure function from what was measured to text. No figure is computed while drawing: what a
//! chart shows is a field of [`Picture`], and stands as a number in the page's tables.

mod axis;
mod beside;
mod chart;
mod figure;
mod histogram;
mod machine;
mod page;
mod side;
mod style;
mod svg;
#[cfg(test)]
mod tests;

use std::path::Path;

use super::directory::Broker;
use super::recorder::{LatencySummary, Recorder};
use super::silence::Silence;
use super::timeline::Timeline;
pub(super) use beside::{Beside, read as read_beside};

/// A count as titles have it, thousands set apart.
pub(super) fn grouped(count: u64) -> String {
    axis::grouped(i64::try_from(count).unwrap_or(i64::MAX))
}

/// Shorter stretches at a run's end have no rate worth drawing.
const COVERED_MIN: f64 = 0.5;
/// Of silences without a change of leader the longest are shown.
const STALLS_MAX: usize = 9;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReportError {
    #[error("{file}: {source}: is the folder there, and may it be written to?")]
    Write { file: String, source: std::io::Error },
    #[error("{file}: {source}: --beside takes what tests/peer/compare --results wrote")]
    ReadBeside { file: String, source: std::io::Error },
    #[error("{file}: {source}: --beside takes what tests/peer/compare --results wrote")]
    Beside { file: String, source: serde_json::Error },
    #[error("{0}: a report's name ends with .html for a page, or .svg for the picture alone")]
    Kind(String),
}

/// All that a report shows.
#[derive(Debug, Clone, Default)]
pub(super) struct Picture {
    /// What was measured.
    pub title: String,
    /// Label and value, in the order in which they are shown.
    pub settings: Vec<(String, String)>,
    pub machine: Vec<(String, String)>,
    /// The run as it was printed.
    pub printed: String,
    /// How long one point stands for.
    pub interval_s: f64,
    /// How long the run was.
    pub length_s: f64,
    /// Broker names; one line each where there are several.
    pub brokers: Vec<String>,
    pub points: Vec<Point>,
    pub answered: u64,
    pub failed: u64,
    /// Whether latencies were measured; if not, nothing about them is shown.
    pub latency: Option<LatencySummary>,
    pub bars: Vec<Bar>,
    pub events: Vec<Event>,
    pub beside: Option<Beside>,
}

/// One interval.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    pub begin_s: f64,
    /// How much of it lies inside the run.
    pub covered_s: f64,
    pub answered: u64,
    pub answered_by_broker: Vec<u64>,
    pub failed: u64,
    /// None when nothing was answered.
    pub latency: Option<Latency>,
}

/// Latencies of one interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

/// How many latencies lay between two bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bar {
    pub from_ms: f64,
    pub to_ms: f64,
    pub count: u64,
}

/// Something that happened, or was done.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    pub from_s: f64,
    /// None for a moment.
    pub to_s: Option<f64>,
    pub text: String,
}

impl Point {
    /// Answers a second; none for a stretch too short to tell.
    fn per_second(&self, answered: u64, interval_s: f64) -> Option<f64> {
        let whole_enough = self.covered_s >= interval_s * COVERED_MIN;
        whole_enough.then(|| answered as f64 / self.covered_s)
    }
}

impl Picture {
    /// What a run looked like.
    pub(super) fn of(timeline: &Timeline) -> Picture {
        let total = timeline.total();
        let (answered, failed) = timeline.counts();
        let point =
            |(begin_s, covered_s, interval): (f64, f64, &super::timeline::Interval)| Point {
                begin_s,
                covered_s,
                answered: interval.answered(),
                answered_by_broker: interval.by_broker.clone(),
                failed: interval.failed,
                latency: latency_of(&interval.latency),
            };
        let points: Vec<Point> = timeline.intervals().map(point).collect();
        Picture {
            interval_s: timeline.width().as_secs_f64(),
            length_s: points.last().map_or(0.0, |point| point.begin_s + point.covered_s),
            brokers: timeline.brokers().to_vec(),
            points,
            answered,
            failed,
            latency: (total.count() > 0).then(|| total.summary()),
            bars: histogram::bars(&total),
            events: events(timeline),
            ..Picture::default()
        }
    }

    pub(super) fn set(&mut self, label: &str, value: impl ToString) {
        self.settings.push((label.to_owned(), value.to_string()));
    }

    /// The brokers at the run's begin, each with who led.
    pub(super) fn set_brokers(&mut self, brokers: &[Broker]) {
        let one = |broker: &Broker| {
            format!("{} with {} queues, led by {}", broker.name, broker.queues, broker.address)
        };
        self.set("brokers at the begin", brokers.iter().map(one).collect::<Vec<_>>().join("; "));
    }

    /// The mean over the whole run.
    fn mean_per_second(&self) -> f64 {
        if self.length_s > 0.0 { self.answered as f64 / self.length_s } else { 0.0 }
    }

    /// The longest time in which a broker answered nothing.
    fn longest_silence_s(&self) -> Option<f64> {
        let lengths = self.events.iter().filter_map(|event| Some(event.to_s? - event.from_s));
        lengths.max_by(f64::total_cmp)
    }
}

fn latency_of(recorder: &Recorder) -> Option<Latency> {
    let LatencySummary { p50_ms, p99_ms, max_ms, .. } = recorder.summary();
    (recorder.count() > 0).then_some(Latency { p50_ms, p99_ms, max_ms })
}

/// What was done, every change of leader, and the longest of the other silences.
fn events(timeline: &Timeline) -> Vec<Event> {
    let (changes, mut stalls): (Vec<_>, Vec<_>) =
        timeline.silences().into_iter().partition(|silence| silence.leader_changed());
    stalls.sort_by_key(|silence| std::cmp::Reverse(silence.length()));
    stalls.truncate(STALLS_MAX);
    let silences = changes.into_iter().chain(stalls).map(|silence| Event {
        from_s: timeline.seconds(silence.from),
        to_s: Some(timeline.seconds(silence.to)),
        text: describe(silence),
    });
    let marks = timeline.marks().iter().map(|(at, what)| Event {
        from_s: timeline.seconds(*at),
        to_s: None,
        text: what.clone(),
    });
    let mut events: Vec<Event> = marks.chain(silences).collect();
    events.sort_by(|a, b| a.from_s.total_cmp(&b.from_s));
    events
}

fn describe(silence: &Silence) -> String {
    let (broker, length_ms) = (&silence.broker, silence.length().as_millis());
    let (before, after) = &silence.leaders;
    match (silence.ended, silence.leader_changed()) {
        (true, true) => {
            format!("{broker}: no answer for {length_ms} ms, then {after} led instead of {before}")
        }
        (true, false) => format!("{broker}: no answer for {length_ms} ms, then {after} as before"),
        (false, _) => format!("{broker}: no answer for the last {length_ms} ms of the run"),
    }
}

/// Whether the name says which kind of report is wanted; asked before anything is measured.
pub(super) fn check_name(file: &Path) -> Result<(), ReportError> {
    let extension = file.extension().and_then(|extension| extension.to_str());
    match extension {
        Some("html" | "htm" | "svg") => Ok(()),
        _ => Err(ReportError::Kind(file.display().to_string())),
    }
}

/// Writes the page, or for a name that ends with `.svg` the picture alone.
pub(super) fn write(file: &Path, picture: &mut Picture) -> Result<(), ReportError> {
    picture.machine = machine::describe();
    let alone = file.extension().is_some_and(|extension| extension == "svg");
    let text = if alone { figure::alone(picture) } else { page::render(picture) };
    // A tool's output, not a broker's state: nothing to be durable, nothing to simulate.
    #[allow(clippy::disallowed_methods)]
    let written = std::fs::write(file, text);
    written.map_err(|source| ReportError::Write { file: file.display().to_string(), source })
}
