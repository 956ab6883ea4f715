//! How often which latency came.
//!
//! Invariant: the bars hold every latency of the run, each once.

use super::axis::{Axis, number};
use super::chart::{LEFT, RIGHT};
use super::svg::{Anchor, Svg};
use super::{Bar, Picture};
use crate::bench::recorder::Recorder;

const BARS_A_DECADE: f64 = 10.0;

/// Bars of equal width on a logarithmic axis, from the shortest latency to the longest.
pub(super) fn bars(recorder: &Recorder) -> Vec<Bar> {
    let bound_ms = |index: i32| 10f64.powf(f64::from(index) / BARS_A_DECADE) / 1000.0;
    let mut bars: Vec<Bar> = Vec::new();
    let mut first = 0;
    for (micros, count) in recorder.counts() {
        let index = (((micros.max(1)) as f64).log10() * BARS_A_DECADE).floor() as i32;
        if bars.is_empty() {
            first = index;
        }
        while bars.len() <= (index - first) as usize {
            let next = first + bars.len() as i32;
            bars.push(Bar { from_ms: bound_ms(next), to_ms: bound_ms(next + 1), count: 0 });
        }
        bars[(index - first) as usize].count += count;
    }
    bars
}

/// Draws the histogram; where it ends.
pub(super) fn draw(svg: &mut Svg, picture: &Picture, top: f64) -> f64 {
    let (Some(latency), Some(first), Some(last)) =
        (&picture.latency, picture.bars.first(), picture.bars.last())
    else {
        return top;
    };
    let heading =
        "Latencies of the whole run: how many sends took how many milliseconds, log scales";
    svg.text("heading", Anchor::Start, (LEFT, top), heading);
    let (plot_top, bottom) = (top + 52.0, top + 212.0);
    let largest = picture.bars.iter().map(|bar| bar.count).max().unwrap_or(1);
    let x = Axis::decades(first.from_ms, last.to_ms, LEFT, RIGHT);
    // A decade below one, so that a single latency is seen.
    let y = Axis::decades(0.5, largest.max(1) as f64, bottom, plot_top);
    for tick in y.ticks().into_iter().filter(|tick| *tick >= 1.0) {
        svg.line("grid", (LEFT, y.at(tick)), (RIGHT, y.at(tick)));
        svg.text("tick", Anchor::End, (LEFT - 8.0, y.at(tick) + 4.0), &number(tick));
    }
    for bar in picture.bars.iter().filter(|bar| bar.count > 0) {
        let (from, to) = (x.at(bar.from_ms) + 0.5, x.at(bar.to_ms) - 0.5);
        let title = format!("{} to {} ms: {}", number(bar.from_ms), number(bar.to_ms), bar.count);
        svg.rect("bar", (from, y.at(bar.count as f64)), (to, bottom), Some(&title));
    }
    svg.line("base", (LEFT, bottom), (RIGHT, bottom));
    for tick in x.ticks() {
        svg.line("base", (x.at(tick), bottom), (x.at(tick), bottom + 4.0));
        svg.text("tick", Anchor::Middle, (x.at(tick), bottom + 16.0), &number(tick));
    }
    let quantiles = [
        ("p50", latency.p50_ms, 14.0),
        ("p99", latency.p99_ms, 26.0),
        ("max", latency.max_ms, 38.0),
    ];
    for (name, value, below) in quantiles {
        let at = x.at(value);
        svg.path(name, [Some((at, top + below + 2.0)), Some((at, bottom))].into_iter());
        let (anchor, beside) =
            if at > RIGHT - 90.0 { (Anchor::End, -5.0) } else { (Anchor::Start, 5.0) };
        let label = format!("{name} {} ms", number(value));
        svg.text("soft", anchor, (at + beside, top + below + 8.0), &label);
    }
    bottom + 24.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn bars_hold_every_latency_once() {
        let mut recorder = Recorder::new();
        for micros in [1u64, 900, 950, 1000, 1100, 2_000_000] {
            recorder.record(Duration::from_micros(micros));
        }
        let bars = bars(&recorder);
        assert_eq!(bars.iter().map(|bar| bar.count).sum::<u64>(), 6);
        assert_eq!((bars[0].count, bars.last().unwrap().count), (1, 1));
        for pair in bars.windows(2) {
            assert!((pair[0].to_ms - pair[1].from_ms).abs() < 1e-12);
        }
        let one_ms = bars.iter().find(|bar| (bar.from_ms - 1.0).abs() < 1e-9).unwrap();
        assert_eq!(one_ms.count, 2, "1.0 and 1.1 ms");
        assert!(super::bars(&Recorder::new()).is_empty());
    }
}
