//! The picture: all charts below each other, for a page or alone in a file.
//!
//! Invariant: alone it is the same picture, with its style inside and with what it shows in words.

use super::chart::{LEFT, RIGHT, over_time};
use super::style::STYLE;
use super::svg::{Anchor, Svg, escape};
use super::{Picture, histogram, side};

const WIDTH: f64 = 860.0;
/// Characters of a line below the picture.
const LINE_CHARACTERS_MAX: usize = 125;

/// The picture for a page that has the style already.
pub(super) fn within(picture: &Picture) -> String {
    let mut svg = Svg::default();
    let height = charts(&mut svg, picture, 24.0);
    wrap(picture, &svg.into_text(), height, "")
}

/// The picture as a file of its own.
pub(super) fn alone(picture: &Picture) -> String {
    let mut svg = Svg::default();
    svg.text("title", Anchor::Start, (LEFT, 32.0), &picture.title);
    let mut bottom = charts(&mut svg, picture, 64.0) + 8.0;
    svg.line("grid", (LEFT, bottom - 14.0), (RIGHT, bottom - 14.0));
    let pair = |(label, value): &(String, String)| format!("{label}: {value}");
    let machine = picture.machine.iter().map(pair).collect::<Vec<_>>().join(", ");
    for text in picture.settings.iter().map(pair).chain([machine]) {
        for line in lines(&text) {
            svg.text("tick", Anchor::Start, (LEFT, bottom + 4.0), &line);
            bottom += 15.0;
        }
    }
    let paper = r#"<rect class="paper" width="100%" height="100%"/>"#;
    wrap(picture, &svg.into_text(), bottom + 8.0, &format!("<style>\n{STYLE}</style>\n{paper}\n"))
}

fn charts(svg: &mut Svg, picture: &Picture, top: f64) -> f64 {
    let mut bottom = over_time(svg, picture, top);
    if picture.latency.is_some() {
        bottom = histogram::draw(svg, picture, bottom + 22.0);
    }
    if picture.beside.is_some() {
        bottom = side::draw(svg, picture, bottom + 22.0);
    }
    bottom + 6.0
}

fn wrap(picture: &Picture, elements: &str, height: f64, before: &str) -> String {
    let title = escape(&picture.title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" \
         role=\"img\">\n<title>{title}</title>\n{before}{elements}</svg>\n"
    )
}

/// Breaks at spaces where there are some in time.
fn lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let current = lines.last().map_or(0, |line| line.chars().count());
        if current > 0 && current + 1 + word.chars().count() > LINE_CHARACTERS_MAX {
            lines.push("    ".to_owned() + word);
        } else if let Some(line) = lines.last_mut() {
            if current > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
