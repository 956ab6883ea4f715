//! Prometheus' text format, version 0.0.4.
//!
//! Invariant: what is written parses whatever the names of topics and groups are; a family's samples
//! stand together below its help and type.

use std::fmt::{Display, Write as _};

use super::histogram::Snapshot;

/// What `Content-Type` says of it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Names and values, in the order given.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// What a family's samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until its process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
}

/// A page under construction.
pub struct Page {
    text: String,
    /// Labels that every sample has, as text.
    common: String,
}

/// A family under construction.
pub struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
    own: Labels<'a>,
}

impl Page {
    /// An empty page whose samples all have these labels.
    pub fn new(common: Labels<'_>) -> Page {
        let mut text = String::new();
        write_labels(&mut text, common);
        Page { text: String::with_capacity(16 << 10), common: text }
    }

    /// Begins a family; its samples have `own` labels beside the page's.
    pub fn family<'a>(
        &'a mut self,
        name: &'static str,
        kind: Kind,
        help: &str,
        own: Labels<'a>,
    ) -> Family<'a> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("text grows");
        Family { page: self, name, own }
    }

    /// The page.
    pub fn finish(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// One sample.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Display) -> &mut Self {
        self.line("", labels, None, value);
        self
    }

    /// All samples of one histogram, of whose unit `per_unit` make one of the family's.
    pub fn histogram(&mut self, labels: Labels<'_>, held: &Snapshot, per_unit: f64) -> &mut Self {
        // Divided, so that 100 of a million are 0.0001 to the last digit.
        #[allow(clippy::cast_precision_loss)]
        let scaled = |value: u64| value as f64 / per_unit;
        for (bound, count) in &held.cumulative {
            self.line("_bucket", labels, Some(&scaled(*bound).to_string()), count);
        }
        self.line("_bucket", labels, Some("+Inf"), held.count);
        self.line("_sum", labels, None, scaled(held.sum));
        self.line("_count", labels, None, held.count);
        self
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, le: Option<&str>, value: impl Display) {
        let text = &mut self.page.text;
        text.push_str(self.name);
        text.push_str(suffix);
        text.push('{');
        text.push_str(&self.page.common);
        write_labels(text, self.own);
        write_labels(text, labels);
        if let Some(bound) = le {
            write_labels(text, &[("le", bound)]);
        }
        writeln!(text, "}} {value}").expect("text grows");
    }
}

fn write_labels(text: &mut String, labels: Labels<'_>) {
    for (name, value) in labels {
        text.push_str(name);
        text.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str(r"\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str(r"\n"),
                other => text.push(other),
            }
        }
        text.push_str("\",");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_below_their_family_and_values_are_escaped() {
        let mut page = Page::new(&[("cluster", "C")]);
        let own = [("member", "n0")];
        let mut family = page.family("a_total", Kind::Counter, "Back\\slash.", &own);
        family.sample(&[("topic", "quo\"te\\ and\nline")], 7).sample(&[], 0.5);
        page.family("empty", Kind::Gauge, "Nothing.", &[]);
        assert_eq!(
            page.finish(),
            "# HELP a_total Back\\\\slash.\n# TYPE a_total counter\n\
             a_total{cluster=\"C\",member=\"n0\",topic=\"quo\\\"te\\\\ and\\nline\",} 7\n\
             a_total{cluster=\"C\",member=\"n0\",} 0.5\n\
             # HELP empty Nothing.\n# TYPE empty gauge\n"
        );
    }

    #[test]
    fn a_histogram_ends_with_everything() {
        let mut page = Page::new(&[]);
        let held =
            Snapshot { cumulative: vec![(100, 1), (1_000_000, 3)], count: 4, sum: 2_500_000 };
        page.family("h_seconds", Kind::Histogram, "H.", &[]).histogram(&[], &held, 1e6);
        let text = page.finish();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "h_seconds_bucket{le=\"0.0001\",} 1",
                "h_seconds_bucket{le=\"1\",} 3",
                "h_seconds_bucket{le=\"+Inf\",} 4",
                "h_seconds_sum{} 2.5",
                "h_seconds_count{} 4",
            ]
        );
    }
}
