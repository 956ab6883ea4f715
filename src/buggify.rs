//! Places where a simulation makes the broker take its time.
//!
//! Invariant: this module and the lines that ask it are compiled for simulations only, and a pause may
//! come at those places in production too: there it comes from the scheduler.

use std::cell::Cell;

use madsim::rand::{Rng as _, thread_rng};
use tokio::time::{Duration, sleep};

/// One batch in so many waits before it is applied.
const ONE_IN: u32 = 8;

thread_local! {
    /// A simulation lives on one thread.
    static APPLY_LAG_MS: Cell<u64> = const { Cell::new(0) };
}

/// How long applying a batch may wait from now on.
pub fn set_apply_lag_ms(longest_ms: u64) {
    APPLY_LAG_MS.set(longest_ms);
}

/// Before a batch is applied.
pub(crate) async fn apply_lag() {
    let longest_ms = APPLY_LAG_MS.get();
    if longest_ms > 0 && thread_rng().gen_ratio(1, ONE_IN) {
        sleep(Duration::from_millis(thread_rng().gen_range(0..=longest_ms))).await;
    }
}
