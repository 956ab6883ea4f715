//! Which process of its host this is.
//!
//! Invariant: this is the only place that asks the system, so that in a simulation, where all processes
//! are one, the answer follows from the seed.

/// A number that differs from those of other processes of this host.
#[cfg(not(madsim))]
pub fn number() -> u32 {
    std::process::id()
}

/// A number that differs from those of other simulated processes, as good as surely.
#[cfg(madsim)]
pub fn number() -> u32 {
    use std::hash::{BuildHasher as _, Hasher as _};
    // Seeded from the simulation's randomness.
    (std::hash::RandomState::new().build_hasher().finish() >> 32) as u32
}
