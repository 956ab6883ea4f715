//! Waiting for something that another process brings about and nobody announces.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(5);

/// Asks until there is an answer; panics, naming what was waited for, when the limit has passed.
pub fn until<T>(what: &str, limit: Duration, ask: impl FnMut() -> Option<T>) -> T {
    until_or_none(limit, ask).unwrap_or_else(|| panic!("after {limit:?} still not: {what}"))
}

/// The same for a caller that has something to say or to clean up when there is no answer.
pub fn until_or_none<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let answer = ask();
        if answer.is_some() || start.elapsed() >= limit {
            return answer;
        }
        std::thread::sleep(PAUSE);
    }
}
