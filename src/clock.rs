//! Wall-clock time for everything that stamps or shows it.
//!
//! Invariant: this is the only place that reads the system's wall clock, so that a simulation can
//! give each node its own. Nothing that must be monotonic uses it: timers use
//! `tokio::time::Instant`, and store timestamps are clamped by the sequencer so that they never go
//! backwards in the log.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch. A clock set before 1970 reads as zero.
pub fn now_ms() -> i64 {
    // The one sanctioned reader of the wall clock.
    #[allow(clippy::disallowed_methods)]
    let now = SystemTime::now();
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
