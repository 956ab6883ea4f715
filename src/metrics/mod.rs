//! What is counted of a broker's traffic, and how figures are told to those who watch it.
//!
//! Counting is relaxed atomic adds on counters that were looked up before, once for a queue's stretch
//! of an entry and once for a pull; everything else is worked out by whoever asks.
//!
//! Invariant: nothing here knows what a broker is, waits, or allocates where messages pass.

pub mod histogram;
pub mod history;
// A simulation has nobody who watches from outside.
#[cfg(not(madsim))]
pub mod http;
pub mod text;
pub mod traffic;
