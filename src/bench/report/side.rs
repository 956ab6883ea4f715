//! Systems side by side: one group of bars for each figure.
//!
//! Invariant: bars are compared only within their own figure, and each carries its number.

use super::Picture;
use super::axis::{Axis, number};
use super::chart::{LEFT, RIGHT};
use super::svg::{Anchor, Svg};

const BAR: f64 = 16.0;
/// Names of systems stand left of their bars.
const NAMES: f64 = 280.0;
/// Room for the number right of the longest bar.
const NUMBERS: f64 = 110.0;

/// Draws the bars; where they end.
pub(super) fn draw(svg: &mut Svg, picture: &Picture, top: f64) -> f64 {
    let Some(beside) = &picture.beside else { return top };
    svg.text("heading", Anchor::Start, (LEFT, top), "Side by side");
    let when = format!("measured {} on {}", beside.measured_at, beside.machine);
    svg.text("soft", Anchor::End, (RIGHT, top), &when);
    let mut y = top + 26.0;
    for row in &beside.rows {
        let better = if row.more_is_better { "more is better" } else { "less is better" };
        let title = format!("{} ({}{better})", row.title, unit_of(&row.unit));
        svg.text("row", Anchor::Start, (LEFT, y), &title);
        y += 8.0;
        let largest = row.values.iter().flatten().copied().fold(0.0, f64::max);
        let x = Axis::until(largest, LEFT + NAMES, RIGHT - NUMBERS);
        for (index, (system, value)) in beside.systems.iter().zip(&row.values).enumerate() {
            let middle = y + BAR / 2.0 + 4.0;
            svg.text("soft", Anchor::End, (LEFT + NAMES - 8.0, middle), system);
            let class = if index == 0 { "bar" } else { "other" };
            let end = value.map_or(LEFT + NAMES, |value| x.at(value).max(LEFT + NAMES + 1.0));
            if value.is_some() {
                svg.rect(class, (LEFT + NAMES, y + 2.0), (end, y + BAR - 2.0), None);
            }
            let text = value.map_or("not measured".to_owned(), number);
            svg.text("value", Anchor::Start, (end + 6.0, middle), &text);
            y += BAR;
        }
        y += 22.0;
    }
    y
}

fn unit_of(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!("{unit}, ") }
}
