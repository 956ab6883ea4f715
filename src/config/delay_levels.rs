//! The delays that a message may ask for by the number of its level: `1s 5s 10s`.
//!
//! Invariant: there is at least one level, and no delay is shorter than a second: half of the shortest
//! one is how often the leader looks for messages that wait.

use super::setting::Setting;

const MILLISECONDS_OF_UNITS: [(char, i64); 4] =
    [('d', 86_400_000), ('h', 3_600_000), ('m', 60_000), ('s', 1_000)];
/// No longer than this: a year.
const DELAY_MS_MAX: i64 = 366 * 86_400_000;
const LEVELS_MAX: usize = 64;

/// All levels, the first one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayLevels(Vec<i64>);

impl DelayLevels {
    /// The highest level; the lowest is 1.
    pub fn max(&self) -> i32 {
        i32::try_from(self.0.len()).expect("the number of levels is bounded when they are read")
    }

    /// What a message of that level waits, in milliseconds. A level beyond the highest, which a file
    /// of another day may have known, waits as long as the highest.
    pub fn delay_ms(&self, level: i32) -> i64 {
        let at = usize::try_from(level.clamp(1, self.max()) - 1).expect("clamped");
        self.0[at]
    }

    /// The shortest delay in milliseconds.
    pub fn shortest_ms(&self) -> i64 {
        self.0.iter().copied().min().expect("there is at least one level")
    }

    /// The longest delay in milliseconds.
    pub fn longest_ms(&self) -> i64 {
        self.0.iter().copied().max().expect("there is at least one level")
    }
}

impl Setting for DelayLevels {
    fn parse(text: &str) -> Result<Self, String> {
        let delays: Option<Vec<i64>> = text.split_whitespace().map(delay_ms).collect();
        match delays {
            Some(delays) if (1..=LEVELS_MAX).contains(&delays.len()) => Ok(DelayLevels(delays)),
            _ => Err(format!(
                "1 to {LEVELS_MAX} delays of a second to a year, each a whole number and one of s m \
                 h d, with a blank between them, such as 1s 5s 10s"
            )),
        }
    }

    fn render(&self) -> String {
        let text = |delay_ms: &i64| {
            let whole = |(_, unit_ms): &&(char, i64)| delay_ms % unit_ms == 0;
            let (unit, unit_ms) = MILLISECONDS_OF_UNITS.iter().find(whole).unwrap_or(&('s', 1_000));
            format!("{}{unit}", delay_ms / unit_ms)
        };
        self.0.iter().map(text).collect::<Vec<_>>().join(" ")
    }
}

fn delay_ms(text: &str) -> Option<i64> {
    let (number, unit_ms) = MILLISECONDS_OF_UNITS
        .iter()
        .find_map(|(unit, unit_ms)| Some((text.strip_suffix(*unit)?, *unit_ms)))?;
    let delay_ms = number.parse::<i64>().ok()?.checked_mul(unit_ms)?;
    (1_000..=DELAY_MS_MAX).contains(&delay_ms).then_some(delay_ms)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_numbered_from_one_and_print_as_they_read() {
        let levels = DelayLevels::parse("1s 90s  2m 36h 1d").unwrap();
        assert_eq!(levels.max(), 5);
        let delays = [1, 2, 3, 4, 5].map(|level| levels.delay_ms(level));
        assert_eq!(delays, [1_000, 90_000, 120_000, 129_600_000, 86_400_000]);
        assert_eq!((levels.shortest_ms(), levels.longest_ms()), (1_000, 129_600_000));
        assert_eq!(levels.delay_ms(9), 86_400_000, "beyond the highest counts as the highest");
        assert_eq!(levels.render(), "1s 90s 2m 36h 1d");
        assert_eq!(DelayLevels::parse(&levels.render()).unwrap(), levels);
    }

    #[test]
    fn what_is_no_delay_is_refused() {
        for text in ["", "5", "s", "1s 2x", "0s", "-1s", "1.5s", "500d", "99999999999999999d"] {
            assert!(DelayLevels::parse(text).is_err(), "{text}");
        }
    }
}
