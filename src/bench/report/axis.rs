//! Axes: where a value lies, which values are labelled, and how numbers are written.
//!
//! Invariant: a scale's ticks lie inside it, and every value it was made for does too.

/// Maps values to coordinates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    from: f64,
    to: f64,
    logarithmic: bool,
    /// Coordinates of the two ends.
    start: f64,
    end: f64,
}

impl Axis {
    /// From zero to the first round value that is not below `largest`.
    pub(super) fn linear(largest: f64, start: f64, end: f64) -> Axis {
        let step = step_for(largest);
        let to = (largest / step).ceil().max(1.0) * step;
        Axis { from: 0.0, to, logarithmic: false, start, end }
    }

    /// From zero to exactly `to`: time, which has an end.
    pub(super) fn until(to: f64, start: f64, end: f64) -> Axis {
        Axis { from: 0.0, to: to.max(f64::MIN_POSITIVE), logarithmic: false, start, end }
    }

    /// Whole decades around both values, which are positive.
    pub(super) fn decades(smallest: f64, largest: f64, start: f64, end: f64) -> Axis {
        let from = smallest.log10().floor();
        let to = largest.log10().ceil().max(from + 1.0);
        Axis { from: 10f64.powf(from), to: 10f64.powf(to), logarithmic: true, start, end }
    }

    /// The coordinate of a value; beyond the ends, of the end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let scaled = |value: f64| if self.logarithmic { value.log10() } else { value };
        let (from, to) = (scaled(self.from), scaled(self.to));
        let share = (scaled(value.max(self.from)) - from) / (to - from);
        self.start + share.clamp(0.0, 1.0) * (self.end - self.start)
    }

    /// Labelled values.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let decades = (self.to / self.from).log10().round() as i32;
            return (0..=decades).map(|decade| self.from * 10f64.powi(decade)).collect();
        }
        let step = step_for(self.to);
        let count = (self.to / step * (1.0 + 1e-9)).floor() as u32;
        (0..=count).map(|tick| f64::from(tick) * step).collect()
    }
}

/// 1, 2 or 5 times a power of ten, so that `largest` is four to ten of them.
fn step_for(largest: f64) -> f64 {
    if !(largest.is_finite() && largest > 0.0) {
        return 1.0;
    }
    let power = 10f64.powf(largest.log10().floor());
    match largest / power {
        ..2.0 => power / 5.0,
        2.0..5.0 => power / 2.0,
        _ => power,
    }
}

/// A number with as many digits as it is worth, thousands set apart.
pub(super) fn number(value: f64) -> String {
    let magnitude = value.abs();
    let text = match magnitude {
        100.0.. => return grouped(value.round() as i64),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    match text.trim_end_matches('0').trim_end_matches('.') {
        // A small value must not read as none.
        "0" | "-0" if magnitude > 0.0 => format!("{value:.0e}"),
        short => short.to_owned(),
    }
}

/// A count, thousands set apart.
pub(super) fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_axes_end_on_a_round_value() {
        let axis = Axis::linear(1234.0, 200.0, 0.0);
        assert_eq!(axis.ticks(), [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0, 1200.0, 1400.0]);
        assert_eq!((axis.at(0.0), axis.at(700.0), axis.at(1400.0)), (200.0, 100.0, 0.0));
        assert_eq!(Axis::linear(0.0, 200.0, 0.0).ticks().last(), Some(&1.0));
        for largest in [0.3, 1.0, 7.0, 10.0, 99.0, 100.0, 4_999.0, 123_456.0] {
            let ticks = Axis::linear(largest, 0.0, 1.0).ticks();
            assert!((2..=12).contains(&ticks.len()), "{largest}: {ticks:?}");
            assert!(ticks.last().is_some_and(|last| *last >= largest), "{largest}: {ticks:?}");
        }
    }

    #[test]
    fn logarithmic_axes_are_whole_decades() {
        let axis = Axis::decades(0.4, 312.0, 0.0, 400.0);
        let ticks: Vec<String> = axis.ticks().into_iter().map(number).collect();
        assert_eq!(ticks, ["0.1", "1", "10", "100", "1,000"]);
        assert!((axis.at(1.0) - 100.0).abs() < 1e-9 && (axis.at(1000.0) - 400.0).abs() < 1e-9);
        // What is below has the end's place.
        assert!((axis.at(0.0)).abs() < 1e-9);
        assert_eq!(Axis::decades(1.0, 1.0, 0.0, 1.0).ticks().len(), 2);
    }

    #[test]
    fn time_ends_where_the_run_does() {
        let axis = Axis::until(12.3, 0.0, 123.0);
        assert_eq!(axis.ticks(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
        assert!((axis.at(12.3) - 123.0).abs() < 1e-9);
    }

    #[test]
    fn numbers_keep_what_they_are_worth() {
        let written: Vec<String> =
            [0.0, 0.004, 0.25, 1.0, 9.876, 12.34, 100.4, 12_345.6, -1_000.0].map(number).into();
        assert_eq!(written, ["0", "4e-3", "0.25", "1", "9.88", "12.3", "100", "12,346", "-1,000"]);
    }
}
