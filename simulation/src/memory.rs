//! The allocator of a run: it allocates and frees small pieces all the time, on one thread.
//!
//! Invariant: nothing that a run does depends on it.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;
