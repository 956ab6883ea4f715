//! The time by which a leader measures the leases of queue locks.
//!
//! Wall clocks jump, and those of two leaders differ; a lease that they measure would end under a client
//! that is there, or last for days after one that is gone. So a leader goes on from the lease time at which
//! the log stands when its term begins, as fast as its monotonic clock goes.
//!
//! Invariant: between two grants in the log lease time moves on by no more than what passed between
//! them, whoever leads, so no lease ends early. While nobody leads it stands, and a leader that leads for
//! as long as a lease lasts has seen the end of every one that was not renewed.

use parking_lot::Mutex;
use tokio::time::Instant;

/// See the module; runs during a leader's term only.
#[derive(Debug, Default)]
pub(super) struct LeaseClock {
    term: Mutex<Option<Term>>,
}

#[derive(Debug, Clone, Copy)]
struct Term {
    began_at: Instant,
    /// Lease time at that moment.
    from_ms: i64,
}

impl LeaseClock {
    /// A term begins, in which the log stands at this lease time.
    pub(super) fn begin(&self, log_ms: i64) {
        // Later than every grant before, and never zero, which entries of older versions have.
        let term = Term { began_at: Instant::now(), from_ms: log_ms.saturating_add(1) };
        *self.term.lock() = Some(term);
    }

    /// The term is over.
    pub(super) fn end(&self) {
        *self.term.lock() = None;
    }

    /// Lease time by this leader; none where nobody leads.
    pub(super) fn now_ms(&self) -> Option<i64> {
        #[cfg(madsim)]
        if crate::mistake::made(crate::mistake::Mistake::LeasesByWallClock) {
            return Some(crate::clock::now_ms());
        }
        let Term { began_at, from_ms } = (*self.term.lock())?;
        let passed_ms = i64::try_from(began_at.elapsed().as_millis()).unwrap_or(i64::MAX);
        Some(from_ms.saturating_add(passed_ms))
    }
}
