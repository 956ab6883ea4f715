//! SVG text, element by element.
//!
//! Invariant: whatever text or value is put in, what comes out is well-formed, and its words are the
//! ones put in.

use std::fmt::{Display, Write as _};

/// Elements in the order in which they are painted.
#[derive(Debug, Default)]
pub(super) struct Svg(String);

/// Which end of a text its place names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    pub(super) fn into_text(self) -> String {
        self.0
    }

    pub(super) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.put(format_args!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    /// A rectangle from one corner to the opposite one; `title` is what a reader sees who points at it.
    pub(super) fn rect(&mut self, class: &str, a: (f64, f64), b: (f64, f64), title: Option<&str>) {
        let (x, y) = (a.0.min(b.0), a.1.min(b.1));
        let (width, height) = ((a.0 - b.0).abs(), (a.1 - b.1).abs());
        let end = match title {
            Some(title) => format!("><title>{}</title></rect>", escape(title)),
            None => "/>".to_owned(),
        };
        self.put(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"{end}"#
        ));
    }

    pub(super) fn text(&mut self, class: &str, anchor: Anchor, at: (f64, f64), text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let ((x, y), text) = (at, escape(text));
        self.put(format_args!(
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    /// A line through points; where there is none, it is interrupted.
    pub(super) fn path(&mut self, class: &str, points: impl Iterator<Item = Option<(f64, f64)>>) {
        let mut moves = String::new();
        let mut drawing = false;
        for point in points {
            if let Some((x, y)) = point {
                let command = if drawing { 'L' } else { 'M' };
                let _ = write!(moves, "{command}{x:.1} {y:.1}");
                if !drawing {
                    // A lone point is a dot, thanks to round ends.
                    let _ = write!(moves, "l0 0");
                }
            }
            drawing = point.is_some();
        }
        if !moves.is_empty() {
            self.put(format_args!(r#"<path class="{class}" d="{moves}"/>"#));
        }
    }

    pub(super) fn dot(&mut self, class: &str, (x, y): (f64, f64), radius: f64) {
        self.put(format_args!(
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{radius:.1}"/>"#
        ));
    }

    fn put(&mut self, element: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{element}");
    }
}

/// Text as it may stand between tags and in attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            // Not allowed in XML, however it is written.
            control if control.is_control() => escaped.push('\u{FFFD}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_end_its_element() {
        assert_eq!(
            escape("</text><b a='1'>&\"\u{7}"),
            "&lt;/text&gt;&lt;b a=&#39;1&#39;&gt;&amp;&quot;\u{FFFD}"
        );
    }

    #[test]
    fn a_line_is_interrupted_where_nothing_was_measured() {
        let mut svg = Svg::default();
        let points = [Some((0.0, 1.0)), Some((1.0, 2.0)), None, Some((3.0, 4.0))];
        svg.path("p50", points.into_iter());
        let text = svg.into_text();
        assert_eq!(text.trim(), r#"<path class="p50" d="M0.0 1.0l0 0L1.0 2.0M3.0 4.0l0 0"/>"#);
        let mut nothing = Svg::default();
        nothing.path("p50", [None].into_iter());
        assert!(nothing.into_text().is_empty());
    }
}
