//! Has the C library's allocator keep what it got from the kernel.
//!
//! A run lives on a thread of its own, whose heap the allocator grows and shrinks in small steps, a call
//! of the kernel each; those calls were a tenth of a run's time.
//!
//! Invariant: nothing that a run does depends on it.

use std::ffi::c_int;

const M_TRIM_THRESHOLD: c_int = -1;
const M_TOP_PAD: c_int = -2;
const M_MMAP_THRESHOLD: c_int = -3;
const M_ARENA_MAX: c_int = -8;
/// A gigabyte: more than a run ever has.
const NEVER_BYTES: c_int = 1 << 30;
const STEP_BYTES: c_int = 32 << 20;

unsafe extern "C" {
    fn mallopt(parameter: c_int, value: c_int) -> c_int;
}

/// To be called before the first thread is started.
pub fn keep() {
    let wanted = [
        (M_ARENA_MAX, 1),
        (M_TOP_PAD, STEP_BYTES),
        (M_TRIM_THRESHOLD, NEVER_BYTES),
        (M_MMAP_THRESHOLD, NEVER_BYTES),
    ];
    for (parameter, value) in wanted {
        // SAFETY: it takes two numbers, and refuses those that it does not know.
        let _ = unsafe { mallopt(parameter, value) };
    }
}
