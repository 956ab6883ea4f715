//! Timestamps for humans, in UTC.

/// `2026-01-31 23:59:59,999`, as mqadmin writes it; empty for a time that was never set.
pub(crate) fn with_milliseconds(timestamp_ms: i64) -> String {
    if timestamp_ms <= 0 {
        return String::new();
    }
    format!("{},{:03}", to_the_second(timestamp_ms), timestamp_ms % 1000)
}

/// `2026-01-31 23:59:59`; empty for a time that was never set.
pub(crate) fn to_the_second(timestamp_ms: i64) -> String {
    if timestamp_ms <= 0 {
        return String::new();
    }
    let seconds = timestamp_ms / 1000;
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Milliseconds since 1970 of `yyyy-MM-dd#HH:mm:ss:SSS`, which is how tools write it on a command line.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('#')?;
    let numbers = |text: &str, separator| -> Option<Vec<i64>> {
        text.split(separator).map(|number| number.parse().ok()).collect()
    };
    let (date, time) = (numbers(date, '-')?, numbers(time, ':')?);
    let ([year, month, day], [hour, minute, second, milliseconds]) = (&date[..], &time[..]) else {
        return None;
    };
    let in_range = (1970..10_000).contains(year)
        && (1..=12).contains(month)
        && (0..24).contains(hour)
        && (0..60).contains(minute)
        && (0..60).contains(second)
        && (0..1000).contains(milliseconds);
    // Few enough days to look the date up: no second way to count them that could differ.
    let from = (year - 1970) * 365;
    let days =
        in_range.then(|| (from..from + 3000).find(|d| civil(*d) == (*year, *month, *day)))??;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + milliseconds)
}

/// Year, month and day of a day counted from 1970-01-01, in eras of 400 years from March.
fn civil(day: i64) -> (i64, i64, i64) {
    let from_era_zero = day + 719_468;
    let era = from_era_zero.div_euclid(146_097);
    let day_of_era = from_era_zero.rem_euclid(146_097);
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(with_milliseconds(1_709_208_000_007), "2024-02-29 12:00:00,007");
        assert_eq!(to_the_second(1_735_689_599_999), "2024-12-31 23:59:59");
        assert_eq!(to_the_second(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(to_the_second(0), "");
    }

    #[test]
    fn moments_are_read_as_they_are_written() {
        assert_eq!(parse("2024-02-29#12:00:00:007"), Some(1_709_208_000_007));
        assert_eq!(parse("1970-01-01#00:00:00:000"), Some(0));
        assert_eq!(parse("9999-12-31#23:59:59:999"), Some(253_402_300_799_999));
        for wrong in ["2023-02-29#12:00:00:000", "2024-02-29", "2024-13-01#00:00:00:000", "#", "x"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
