//! How fast consumers that are far behind are served while messages are sent.
//!
//! What such a consumer wants is no longer in memory. Served as fast as it asks, it takes the disk and the
//! cores that sends need, which then wait several times as long. So, while messages are sent, there is a
//! bound on what is read for all of them together; it grows with what is sent, so that they do catch up.
//!
//! Invariant: nobody waits longer than [`WAIT_MAX`], and nobody at all when nothing is sent.

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use crate::metrics::history::Totals;

/// Whether messages are sent is looked at this often.
const WINDOW: Duration = Duration::from_millis(100);
/// Shorter than any client waits for an answer.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// What is read may be as many times what is sent, whatever the bound.
const TIMES_SENT: u64 = 4;

/// See the module.
pub struct CatchUp {
    bytes_per_second: u64,
    turns: Mutex<Turns>,
}

struct Turns {
    window_began: Instant,
    sent_before: Totals,
    /// The bound now; none while nothing is sent.
    bytes_per_second: Option<u64>,
    /// When the next one may read.
    next: Instant,
}

impl CatchUp {
    /// With that bound on what is read in a second.
    pub fn new(bytes_per_second: u64, now: Instant) -> CatchUp {
        let turns = Turns {
            window_began: now,
            sent_before: Totals::default(),
            bytes_per_second: None,
            next: now,
        };
        CatchUp { bytes_per_second, turns: Mutex::new(turns) }
    }

    /// When somebody may read so many bytes; none if at once.
    pub fn turn(&self, now: Instant, sent: Totals, bytes: usize) -> Option<Instant> {
        let mut turns = self.turns.lock();
        let passed = now.saturating_duration_since(turns.window_began);
        if passed >= WINDOW {
            turns.bytes_per_second = self.bound(turns.sent_before, sent, passed);
            (turns.window_began, turns.sent_before) = (now, sent);
        }
        let Some(bytes_per_second) = turns.bytes_per_second else {
            turns.next = now;
            return None;
        };
        let turn = turns.next.clamp(now, now + WAIT_MAX);
        #[allow(clippy::cast_precision_loss)] // of far more bytes than one answer has
        let takes = Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64);
        turns.next = turn + takes;
        (turn > now).then_some(turn)
    }

    fn bound(&self, before: Totals, sent: Totals, passed: Duration) -> Option<u64> {
        if sent.messages == before.messages {
            return None;
        }
        let bytes = u128::from(sent.bytes.saturating_sub(before.bytes));
        let sent_per_second = bytes * 1_000 / passed.as_millis().max(1);
        let sent_per_second = u64::try_from(sent_per_second).unwrap_or(u64::MAX);
        Some(self.bytes_per_second.max(sent_per_second.saturating_mul(TIMES_SENT)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const ANSWER_BYTES: usize = 256 << 10;

    /// Bytes that readers who always want more get in the second second of sending so much in each.
    fn read_beside(catch_up: &CatchUp, began: Instant, sent_per_second: Totals) -> u64 {
        let (mut passed, mut bytes) = (Duration::ZERO, 0);
        while passed < Duration::from_secs(2) {
            if passed >= Duration::from_secs(1) {
                bytes += ANSWER_BYTES as u64;
            }
            let so_far = |count: u64| count * passed.as_millis() as u64 / 1_000;
            let Totals { messages, bytes, times } = sent_per_second;
            let sent =
                Totals { messages: so_far(messages), bytes: so_far(bytes), times: so_far(times) };
            let turn = catch_up.turn(began + passed, sent, ANSWER_BYTES);
            passed = turn.map_or(passed + Duration::from_micros(200), |turn| turn - began);
        }
        bytes
    }

    fn catch_up(bytes_per_second: u64) -> (CatchUp, Instant) {
        let now = Instant::now();
        (CatchUp::new(bytes_per_second, now), now)
    }

    #[test]
    fn nobody_waits_while_nothing_is_sent() {
        let (catch_up, now) = catch_up(MIB);
        assert!(read_beside(&catch_up, now, Totals::default()) > 1_000 * MIB);
    }

    #[test]
    fn while_messages_are_sent_all_together_keep_to_the_bound() {
        let (catch_up, now) = catch_up(80 * MIB);
        let read =
            read_beside(&catch_up, now, Totals { messages: 1_000, bytes: MIB, times: 1_000 });
        assert!((75 * MIB..=85 * MIB).contains(&read), "{} MiB", read / MIB);
    }

    #[test]
    fn who_reads_gains_on_who_sends() {
        let (catch_up, now) = catch_up(80 * MIB);
        let much = Totals { messages: 200_000, bytes: 200 * MIB, times: 10_000 };
        let read = read_beside(&catch_up, now, much);
        assert!(read > 600 * MIB, "{} MiB", read / MIB);
    }

    #[test]
    fn nobody_waits_for_ever() {
        let now = Instant::now();
        let catch_up = CatchUp::new(1, now);
        let later = now + WINDOW;
        for messages in 1..100 {
            let turn = catch_up.turn(later, Totals { messages, ..Totals::default() }, ANSWER_BYTES);
            assert!(turn.is_none_or(|turn| turn <= later + WAIT_MAX), "{turn:?}");
        }
    }
}
