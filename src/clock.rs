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
    let now_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
    #[cfg(madsim)]
    let now_ms = now_ms.saturating_add(skew::offset_ms());
    now_ms
}

#[cfg(madsim)]
pub use skew::set_offset_ms;

/// Each simulated node's wall clock.
#[cfg(madsim)]
mod skew {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use madsim::task::NodeId;

    thread_local! {
        /// A simulation lives on one thread.
        static OFFSETS_MS: RefCell<BTreeMap<NodeId, i64>> = const { RefCell::new(BTreeMap::new()) };
    }

    /// Sets how far a node's clock is off from now on.
    pub fn set_offset_ms(node: NodeId, offset_ms: i64) {
        OFFSETS_MS.with_borrow_mut(|offsets| offsets.insert(node, offset_ms));
    }

    pub(super) fn offset_ms() -> i64 {
        let node = madsim::plugin::node();
        OFFSETS_MS.with_borrow(|offsets| offsets.get(&node).copied().unwrap_or(0))
    }
}
