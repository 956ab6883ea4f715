//! The page: the picture, and every number in it as text.
//!
//! Invariant: one file without scripts and without anything from elsewhere; what cannot be seen in
//! the picture can be read in its tables.

use std::fmt::Write as _;

use super::axis::{grouped, number};
use super::chart::seconds;
use super::style::{PAGE_STYLE, STYLE};
use super::svg::escape;
use super::{Latency, Picture, figure};

/// The whole page.
pub(super) fn render(picture: &Picture) -> String {
    let title = escape(&picture.title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}{PAGE_STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n"
    );
    page += &head(picture);
    page += &format!("<div class=\"wide\">{}</div>\n", figure::within(picture));
    page += &events(picture);
    page += &beside(picture);
    page += &pairs("Settings", &picture.settings);
    page += &pairs("Machine", &picture.machine);
    page += &format!("<h2>As printed</h2>\n<pre>{}</pre>\n", escape(&picture.printed));
    page += &points(picture);
    page += "</main>\n</body>\n</html>\n";
    page
}

/// The figures that are looked for first.
fn head(picture: &Picture) -> String {
    let mut figures = vec![("a second, mean", number(picture.mean_per_second()))];
    if let Some(latency) = &picture.latency {
        figures.push(("p50", format!("{} ms", number(latency.p50_ms))));
        figures.push(("p99", format!("{} ms", number(latency.p99_ms))));
        figures.push(("max", format!("{} ms", number(latency.max_ms))));
        figures.push(("failed sends", grouped(picture.failed as i64)));
        let silence = picture.longest_silence_s().map(|s| format!("{} ms", number(s * 1000.0)));
        figures.push(("longest silence", silence.unwrap_or("none".to_owned())));
    }
    let mut text = "<dl class=\"head\">\n".to_owned();
    for (label, value) in figures {
        let _ = writeln!(text, "<div><dt>{label}</dt><dd>{}</dd></div>", escape(&value));
    }
    text + "</dl>\n"
}

fn events(picture: &Picture) -> String {
    if picture.events.is_empty() {
        return String::new();
    }
    let rows = picture.events.iter().enumerate().map(|(index, event)| {
        let to = event.to_s.map_or(String::new(), seconds);
        vec![(index + 1).to_string(), seconds(event.from_s), to, event.text.clone()]
    });
    table("What happened", &["", "from", "to", ""], rows)
}

fn beside(picture: &Picture) -> String {
    let Some(beside) = &picture.beside else { return String::new() };
    let mut columns = vec![""];
    columns.extend(beside.systems.iter().map(String::as_str));
    let rows = beside.rows.iter().map(|row| {
        let value = |value: &Option<f64>| match value {
            Some(value) => format!("{} {}", number(*value), row.unit).trim().to_owned(),
            None => "not measured".to_owned(),
        };
        std::iter::once(row.title.clone()).chain(row.values.iter().map(value)).collect()
    });
    let when = format!("Side by side, measured {} on {}", beside.measured_at, beside.machine);
    table(&when, &columns, rows)
}

fn pairs(heading: &str, pairs: &[(String, String)]) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    let mut text = format!("<h2>{heading}</h2>\n<table>\n");
    for (label, value) in pairs {
        let (label, value) = (escape(label), escape(value));
        let _ = writeln!(text, "<tr><th>{label}</th><td class=\"break\">{value}</td></tr>");
    }
    text + "</table>\n"
}

/// Every interval of the run.
fn points(picture: &Picture) -> String {
    let mut columns =
        vec!["from s", "length s", "answered", "failed", "p50 ms", "p99 ms", "max ms"];
    let several = picture.brokers.len() > 1;
    if several {
        columns.extend(picture.brokers.iter().map(String::as_str));
    }
    let rows = picture.points.iter().map(|point| {
        let mut row = vec![
            format!("{:.3}", point.begin_s),
            format!("{:.3}", point.covered_s),
            point.answered.to_string(),
            point.failed.to_string(),
        ];
        let latency = |of: fn(Latency) -> f64| {
            point.latency.map_or(String::new(), |latency| format!("{:.3}", of(latency)))
        };
        row.extend([latency(|l| l.p50_ms), latency(|l| l.p99_ms), latency(|l| l.max_ms)]);
        if several {
            row.extend(point.answered_by_broker.iter().map(u64::to_string));
        }
        row
    });
    let table = table("Every interval", &columns, rows);
    format!("<details>\n<summary>Every interval as numbers</summary>\n{table}</details>\n")
}

fn table(heading: &str, columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let heading = escape(heading);
    let mut text = format!("<h2>{heading}</h2>\n<div class=\"wide\"><table>\n<tr>");
    for column in columns {
        let _ = write!(text, "<th class=\"n\">{}</th>", escape(column));
    }
    text += "</tr>\n";
    for row in rows {
        text += "<tr>";
        for cell in row {
            let class =
                if cell.starts_with(|c: char| c.is_ascii_digit()) { " class=\"n\"" } else { "" };
            let _ = write!(text, "<td{class}>{}</td>", escape(&cell));
        }
        text += "</tr>\n";
    }
    text + "</table></div>\n"
}
