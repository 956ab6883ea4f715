//! The page and the picture show what was measured, no more and no less.
//!
//! They are read back as a reader would: tables cell by cell, lines by where they are drawn.

use std::time::Duration;

use tokio::time::Instant;

use super::axis::Axis;
use super::chart::{LEFT, RIGHT};
use super::*;
use crate::bench::silence::Watch;

const MS: Duration = Duration::from_millis(1);

/// Two brokers for one second; the first has no leader from 300 to 620 ms.
async fn measured() -> Picture {
    let start = Instant::now();
    let brokers = vec!["broker-a".to_owned(), "broker-b".to_owned()];
    let mut timeline = Timeline::new(start, Duration::from_secs(1), brokers);
    let mut watch = Watch::new("broker-a", "h:1", start);
    for ms in 0..1000u32 {
        let now = start + ms * MS;
        let interval = timeline.at(now).unwrap();
        interval.by_broker[1] += 1;
        interval.latency.record(MS);
        if (300..620).contains(&ms) {
            continue;
        }
        interval.by_broker[0] += 1;
        interval.latency.record(if ms == 620 { 320 * MS } else { 2 * MS });
        if ms == 620 {
            watch.reconnected("h:2");
        }
        if let Some(silence) = watch.heard(now, now - MS) {
            timeline.silent(silence);
        }
    }
    timeline.mark(start + 299 * MS, "kill command");
    timeline.failed(start + 301 * MS, 17);
    timeline.end_at(start + 1000 * MS);
    let mut picture = Picture::of(&timeline);
    picture.title = "A run".to_owned();
    picture.set("topic", "BenchTopic");
    picture.printed = "acknowledged   1680".to_owned();
    picture
}

/// The cells of the table under a heading, without its first row.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let from = page.find(&format!("<h2>{heading}</h2>")).unwrap();
    let table = page[from..].split("</table>").next().unwrap();
    let rows = table.split("<tr>").skip(1).filter(|row| row.contains("<td"));
    let cells = |row: &str| {
        let cells = row.split("</td>").filter_map(|cell| cell.rsplit_once('>'));
        cells.map(|(_, text)| text.trim().to_owned()).take(row.matches("</td>").count()).collect()
    };
    rows.map(cells).collect()
}

#[tokio::test]
async fn every_interval_stands_in_the_page_as_measured() {
    let picture = measured().await;
    assert_eq!((picture.answered, picture.failed), (1680, 17));
    let page = page::render(&picture);
    let rows = table(&page, "Every interval");
    assert_eq!(rows.len(), 10);
    assert_eq!(rows[0], ["0.000", "0.100", "200", "0", "1.000", "2.000", "2.000", "100", "100"]);
    assert_eq!(rows[3], ["0.300", "0.100", "100", "17", "1.000", "1.000", "1.000", "0", "100"]);
    let answered: u64 = rows.iter().map(|row| row[2].parse::<u64>().unwrap()).sum();
    assert_eq!(answered, picture.answered);
    let longest: Vec<&String> =
        rows.iter().map(|row| &row[6]).filter(|max| max.len() > 6).collect();
    assert_eq!(longest, ["320.255"], "a histogram has three digits");
    for expected in ["<dd>1,680</dd>", "<dd>17</dd>", "acknowledged   1680", "BenchTopic"] {
        assert!(page.contains(expected), "no {expected}");
    }
}

#[tokio::test]
async fn the_failover_is_noticed_and_marked() {
    let picture = measured().await;
    let [kill, silence] = &picture.events[..] else { panic!("{:?}", picture.events) };
    assert_eq!((kill.text.as_str(), kill.to_s), ("kill command", None));
    let length_s = silence.to_s.unwrap() - silence.from_s;
    assert!((length_s - 0.321).abs() < 1e-6, "{length_s}");
    assert!(silence.text.contains("broker-a") && silence.text.contains("h:2 led instead of h:1"));
    let picture_alone = figure::alone(&picture);
    let time = Axis::until(1.0, LEFT, RIGHT);
    let band = format!("class=\"band\" x=\"{:.1}\"", time.at(silence.from_s));
    // Throughput, latency and failed sends share their time.
    assert_eq!(picture_alone.matches(&band).count(), 3);
    assert_eq!(picture_alone.matches("class=\"moment\"").count(), 3);
}

#[tokio::test]
async fn lines_are_drawn_where_the_numbers_are() {
    let picture = measured().await;
    let drawing = figure::alone(&picture);
    let path = drawing.split("class=\"total\" d=\"").nth(1).unwrap().split('"').next().unwrap();
    let places: Vec<(f64, f64)> = path
        .split(['M', 'L'])
        .filter(|place| !place.is_empty())
        .map(|place| place.trim_end_matches("l0 0").split_once(' ').unwrap())
        .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
        .collect();
    assert_eq!(places.len(), 10);
    // 2,000 a second before, 1,000 while one of two brokers is silent: twice the height of the axis.
    let (before, within) = (places[1].1, places[4].1);
    let zero = within + (within - before);
    let ratio = (zero - places[6].1) / (zero - within);
    assert!(
        (ratio - 1.8).abs() < 0.02,
        "{ratio}: 1,800 a second in the interval that ends the silence"
    );
    let time = Axis::until(1.0, LEFT, RIGHT);
    assert!((places[4].0 - time.at(0.45)).abs() < 0.06);
}

#[tokio::test]
async fn whatever_is_written_in_stays_text() {
    let mut picture = measured().await;
    let evil = "</svg></td><script>alert(\"1\" & 'x')</script>";
    picture.title = evil.to_owned();
    picture.printed = evil.to_owned();
    picture.brokers[0] = evil.to_owned();
    picture.set(evil, evil);
    picture.events[0].text = evil.to_owned();
    picture.beside = Some(Beside {
        measured_at: evil.to_owned(),
        machine: evil.to_owned(),
        systems: vec![evil.to_owned()],
        rows: vec![beside::Row {
            title: evil.to_owned(),
            unit: evil.to_owned(),
            more_is_better: true,
            values: vec![Some(1.0)],
        }],
    });
    for text in [page::render(&picture), figure::alone(&picture)] {
        assert!(!text.contains("<script"), "{text}");
        assert!(text.contains("&lt;script&gt;alert(&quot;1&quot; &amp; &#39;x&#39;)"));
        assert_well_formed(&text);
    }
}

#[tokio::test]
async fn a_page_needs_nothing_but_itself() {
    let picture = measured().await;
    for text in [page::render(&picture), figure::alone(&picture)] {
        let without_namespace = text.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for elsewhere in ["http:", "https:", "//", "url(", "@import", "src=", "href=", "<script"] {
            assert!(!without_namespace.contains(elsewhere), "{elsewhere}");
        }
        assert!(text.contains("prefers-color-scheme:dark"));
        assert_well_formed(&text);
    }
}

#[tokio::test]
async fn nothing_measured_is_still_a_page() {
    let start = Instant::now();
    let mut timeline = Timeline::new(start, Duration::ZERO, vec!["a".into()]);
    timeline.end_at(start);
    let picture = Picture::of(&timeline);
    for text in [page::render(&picture), figure::alone(&picture)] {
        assert_well_formed(&text);
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}

#[tokio::test]
async fn peers_stand_beside_it_with_their_numbers() {
    let mut picture = measured().await;
    picture.beside = Some(Beside {
        measured_at: "2026-01-31".into(),
        machine: "2 cores".into(),
        systems: vec!["raftmq".into(), "DLedger".into()],
        rows: vec![beside::Row {
            title: "64 in flight".into(),
            unit: "sends/s".into(),
            more_is_better: true,
            values: vec![Some(70_000.0), None],
        }],
    });
    let page = page::render(&picture);
    let rows = table(&page, "Side by side, measured 2026-01-31 on 2 cores");
    assert_eq!(rows, [["64 in flight", "70,000 sends/s", "not measured"]]);
    let side = figure::alone(&picture);
    for expected in [">70,000<", ">not measured<", ">DLedger<", "more is better"] {
        assert!(side.contains(expected), "no {expected}");
    }
}

#[test]
fn a_name_says_what_is_wanted() {
    assert!(check_name(Path::new("a/b.html")).is_ok() && check_name(Path::new("c.svg")).is_ok());
    let error = check_name(Path::new("report.pdf")).unwrap_err().to_string();
    assert!(error.contains("report.pdf") && error.contains(".svg"), "{error}");
}

/// Every element that is opened is closed, in order.
fn assert_well_formed(text: &str) {
    const VOID: [&str; 2] = ["meta", "!doctype"];
    let mut open = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let tag = rest[at + 1..].split('>').next().unwrap();
        rest = &rest[at + 1 + tag.len()..];
        let name = tag.split([' ', '/', '\n']).find(|name| !name.is_empty()).unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "before {:?}", rest.get(..80));
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert!(open.is_empty(), "still open: {open:?}");
}
