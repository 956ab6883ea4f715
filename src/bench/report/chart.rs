//! What changed over time: throughput, latencies and failed sends, with what happened marked in all three.
//!
//! Invariant: all charts of a picture share one time axis, so that what stands below each other happened
//! at the same time.

use super::axis::{Axis, number};
use super::svg::{Anchor, Svg};
use super::{Event, Picture, Point};

pub(super) const LEFT: f64 = 64.0;
pub(super) const RIGHT: f64 = 844.0;
/// Lines that can still be told apart.
const BROKERS_MAX: usize = 6;
const NUMBER_RADIUS: f64 = 8.0;
/// Events close to each other have their numbers in rows above each other.
const NUMBER_ROWS: usize = 3;

/// A chart's place, and its axes.
struct Frame {
    top: f64,
    bottom: f64,
    time: Axis,
    value: Axis,
}

/// Draws the charts that have time as their axis; where they end.
pub(super) fn over_time(svg: &mut Svg, picture: &Picture, top: f64) -> f64 {
    let time = Axis::until(picture.length_s, LEFT, RIGHT);
    let mut bottom = throughput(svg, picture, time, top);
    if picture.latency.is_some() {
        bottom = latency(svg, picture, time, bottom + 30.0);
        bottom = failures(svg, picture, time, bottom + 30.0);
    }
    for tick in time.ticks() {
        let at = (time.at(tick), bottom + 16.0);
        svg.text("tick", Anchor::Middle, at, &format!("{} s", number(tick)));
    }
    event_list(svg, &picture.events, bottom + 40.0)
}

fn throughput(svg: &mut Svg, picture: &Picture, time: Axis, top: f64) -> f64 {
    let unit = if picture.latency.is_some() { "sends acknowledged" } else { "messages" };
    svg.text("heading", Anchor::Start, (LEFT, top), &format!("Throughput, {unit} a second"));
    let rows = number_rows(&picture.events, time);
    let plot_top =
        top + 14.0 + 2.2 * NUMBER_RADIUS * rows.iter().max().map_or(0.0, |r| *r as f64 + 1.0);
    let plot_bottom = plot_top + 170.0;
    let rate = |point: &Point, count: u64| point.per_second(count, picture.interval_s);
    let largest = picture.points.iter().filter_map(|point| rate(point, point.answered));
    let value = Axis::linear(largest.fold(0.0, f64::max), plot_bottom, plot_top);
    let frame = Frame { top: plot_top, bottom: plot_bottom, time, value };
    frame.grid(svg);
    frame.events(svg, &picture.events);
    let several = (2..=BROKERS_MAX).contains(&picture.brokers.len());
    if several {
        for index in 0..picture.brokers.len() {
            let of_broker = |point: &Point| rate(point, point.answered_by_broker[index]);
            frame.path(svg, &format!("b{index}"), picture, of_broker);
        }
    }
    frame.path(svg, "total", picture, |point| rate(point, point.answered));
    let mut legend = vec![("total".to_owned(), "all".to_owned())];
    let named = |(index, name): (usize, &String)| (format!("b{index}"), name.clone());
    legend.extend(picture.brokers.iter().enumerate().map(named));
    if several {
        draw_legend(svg, &legend, top);
    }
    frame.numbers(svg, &picture.events, &rows);
    frame.touch(svg, picture);
    plot_bottom
}

fn latency(svg: &mut Svg, picture: &Picture, time: Axis, top: f64) -> f64 {
    svg.text("heading", Anchor::Start, (LEFT, top), "Latency in milliseconds, log scale");
    let names = ["p50", "p99", "max"].map(|name| (name.to_owned(), name.to_owned()));
    draw_legend(svg, &names, top);
    let (plot_top, plot_bottom) = (top + 14.0, top + 184.0);
    let measured = || picture.points.iter().filter_map(|point| point.latency);
    let smallest = measured().map(|latency| latency.p50_ms).fold(f64::INFINITY, f64::min);
    let largest = measured().map(|latency| latency.max_ms).fold(0.0, f64::max);
    let value = Axis::decades(smallest, largest, plot_bottom, plot_top);
    let frame = Frame { top: plot_top, bottom: plot_bottom, time, value };
    frame.grid(svg);
    frame.events(svg, &picture.events);
    frame.path(svg, "max", picture, |point| Some(point.latency?.max_ms));
    frame.path(svg, "p99", picture, |point| Some(point.latency?.p99_ms));
    frame.path(svg, "p50", picture, |point| Some(point.latency?.p50_ms));
    frame.touch(svg, picture);
    plot_bottom
}

fn failures(svg: &mut Svg, picture: &Picture, time: Axis, top: f64) -> f64 {
    let heading = format!("Failed sends, every {} s", number(picture.interval_s));
    svg.text("heading", Anchor::Start, (LEFT, top), &heading);
    let (plot_top, plot_bottom) = (top + 14.0, top + 64.0);
    let largest = picture.points.iter().map(|point| point.failed).max().unwrap_or(0);
    let value = Axis::linear(largest as f64, plot_bottom, plot_top);
    let frame = Frame { top: plot_top, bottom: plot_bottom, time, value };
    frame.outline(svg);
    frame.events(svg, &picture.events);
    if largest == 0 {
        let middle = (f64::midpoint(LEFT, RIGHT), f64::midpoint(plot_top, plot_bottom) + 4.0);
        svg.text("soft", Anchor::Middle, middle, "none");
        return plot_bottom;
    }
    let top_tick = value.ticks().last().copied().unwrap_or(0.0);
    svg.text("tick", Anchor::End, (LEFT - 8.0, plot_top + 4.0), &number(top_tick));
    svg.text("tick", Anchor::End, (LEFT - 8.0, plot_bottom + 4.0), "0");
    for point in picture.points.iter().filter(|point| point.failed > 0) {
        let from = time.at(point.begin_s);
        let to = time.at(point.begin_s + point.covered_s).max(from + 2.0);
        let title = format!("{}: {} failed", seconds(point.begin_s), point.failed);
        let upper = value.at(point.failed as f64).min(plot_bottom - 1.0);
        svg.rect("failed", (from, upper), (to, plot_bottom), Some(&title));
    }
    plot_bottom
}

impl Frame {
    fn outline(&self, svg: &mut Svg) {
        svg.line("grid", (LEFT, self.top), (RIGHT, self.top));
        svg.line("base", (LEFT, self.bottom), (RIGHT, self.bottom));
        for tick in self.time.ticks() {
            let x = self.time.at(tick);
            svg.line("base", (x, self.bottom), (x, self.bottom + 4.0));
        }
    }

    fn grid(&self, svg: &mut Svg) {
        for tick in self.value.ticks() {
            let y = self.value.at(tick);
            svg.line("grid", (LEFT, y), (RIGHT, y));
            svg.text("tick", Anchor::End, (LEFT - 8.0, y + 4.0), &number(tick));
        }
        self.outline(svg);
    }

    /// A line of one value of each point, at the middle of its stretch of time.
    fn path(
        &self,
        svg: &mut Svg,
        class: &str,
        picture: &Picture,
        of: impl Fn(&Point) -> Option<f64>,
    ) {
        let places = picture.points.iter().map(|point| {
            let middle = point.begin_s + point.covered_s / 2.0;
            Some((self.time.at(middle), self.value.at(of(point)?)))
        });
        svg.path(class, places);
    }

    fn events(&self, svg: &mut Svg, events: &[Event]) {
        for event in events {
            let from = self.time.at(event.from_s);
            match event.to_s {
                Some(to_s) => {
                    let to = self.time.at(to_s).max(from + 2.0);
                    svg.rect("band", (from, self.top), (to, self.bottom), Some(&event.text));
                }
                None => svg.line("moment", (from, self.top), (from, self.bottom)),
            }
        }
    }

    fn numbers(&self, svg: &mut Svg, events: &[Event], rows: &[usize]) {
        for (index, (event, row)) in events.iter().zip(rows).enumerate() {
            let y = self.top - NUMBER_RADIUS - 1.0 - 2.2 * NUMBER_RADIUS * *row as f64;
            number_mark(svg, (self.time.at(event.from_s), y), index + 1);
        }
    }

    /// What a point's figures are, for a reader who points at it.
    fn touch(&self, svg: &mut Svg, picture: &Picture) {
        for point in &picture.points {
            let from = (self.time.at(point.begin_s), self.top);
            let to = (self.time.at(point.begin_s + point.covered_s), self.bottom);
            svg.rect("touch", from, to, Some(&point_title(point, picture.interval_s)));
        }
    }
}

fn point_title(point: &Point, interval_s: f64) -> String {
    let mut title = seconds(point.begin_s);
    match point.per_second(point.answered, interval_s) {
        Some(rate) => title += &format!(": {} a second", number(rate)),
        None => title += &format!(": {} answered", point.answered),
    }
    if let Some(latency) = point.latency {
        let [p50, p99, max] = [latency.p50_ms, latency.p99_ms, latency.max_ms].map(number);
        title += &format!(", p50 {p50} ms, p99 {p99} ms, max {max} ms");
    }
    if point.failed > 0 {
        title += &format!(", {} failed", point.failed);
    }
    title
}

pub(super) fn seconds(seconds: f64) -> String {
    format!("{seconds:.2} s")
}

/// Which row an event's number is in, so that no two lie on each other while there are rows.
fn number_rows(events: &[Event], time: Axis) -> Vec<usize> {
    let mut ends = [f64::NEG_INFINITY; NUMBER_ROWS];
    let row_of = |event: &Event| {
        let x = time.at(event.from_s);
        let free = ends.iter().position(|end| x >= *end).unwrap_or(NUMBER_ROWS - 1);
        ends[free] = x + 2.2 * NUMBER_RADIUS;
        free
    };
    events.iter().map(row_of).collect()
}

fn number_mark(svg: &mut Svg, (x, y): (f64, f64), number: usize) {
    svg.dot("number", (x, y), NUMBER_RADIUS);
    svg.text("inside", Anchor::Middle, (x, y + 4.0), &number.to_string());
}

/// The numbered events in words; where the list ends.
fn event_list(svg: &mut Svg, events: &[Event], top: f64) -> f64 {
    let mut y = top;
    for (index, event) in events.iter().enumerate() {
        number_mark(svg, (LEFT + NUMBER_RADIUS, y), index + 1);
        let text = format!("{}  {}", seconds(event.from_s), event.text);
        svg.text("event", Anchor::Start, (LEFT + 3.0 * NUMBER_RADIUS, y + 4.0), &text);
        y += 2.4 * NUMBER_RADIUS;
    }
    y
}

/// Samples of lines with their names, right-aligned beside a chart's heading.
fn draw_legend(svg: &mut Svg, entries: &[(String, String)], y: f64) {
    let width = |name: &str| 34.0 + 6.8 * name.chars().count() as f64 + 14.0;
    let mut x = RIGHT - entries.iter().map(|(_, name)| width(name)).sum::<f64>();
    for (class, name) in entries {
        svg.path(class, [Some((x, y - 4.0)), Some((x + 28.0, y - 4.0))].into_iter());
        svg.text("soft", Anchor::Start, (x + 34.0, y), name);
        x += width(name);
    }
}
