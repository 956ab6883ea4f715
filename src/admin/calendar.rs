//! Timestamps for humans, in UTC.

/// `2026-01-31 23:59:59,999`, as mqadmin writes it; empty for a time that was never set.
pub(super) fn with_milliseconds(timestamp_ms: i64) -> String {
    if timestamp_ms <= 0 {
        return String::new();
    }
    format!("{},{:03}", to_the_second(timestamp_ms), timestamp_ms % 1000)
}

/// `2026-01-31 23:59:59`; empty for a time that was never set.
pub(super) fn to_the_second(timestamp_ms: i64) -> String {
    if timestamp_ms <= 0 {
        return String::new();
    }
    let seconds = timestamp_ms / 1000;
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
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
}
