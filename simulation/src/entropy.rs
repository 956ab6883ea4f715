//! Closes the one way past the simulator's randomness.
//!
//! `rand` 0.8, from which raft draws its election timeouts, asks the kernel through libc's `syscall`,
//! which the simulator does not intercept as it does `getrandom`. This definition of `syscall` takes
//! the place of libc's in the simulation's binaries, hands that one request to `getrandom`, and all
//! others to the kernel.
//!
//! Invariant: inside a run no random byte comes from the machine.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("the simulation closes the kernel's randomness on x86_64 Linux only");

use std::arch::asm;
use std::ffi::{c_int, c_long};

const SYS_GETRANDOM: c_long = 318;
/// The kernel returns errors as the negative numbers down to this one.
const ERRNO_MAX: c_long = 4095;

unsafe extern "C" {
    fn getrandom(buffer: *mut u8, bytes: usize, flags: u32) -> isize;
    fn __errno_location() -> *mut c_int;
}

/// Stands in for libc's.
///
/// # Safety
/// As for libc's: the arguments must be what the call of that number takes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    if number == SYS_GETRANDOM {
        // SAFETY: the caller promised a buffer `a` of `b` bytes, which is what getrandom asks for.
        return unsafe { getrandom(a as *mut u8, b as usize, c as u32) } as c_long;
    }
    let result: c_long;
    // SAFETY: the kernel's calling convention on x86_64; it clobbers rcx and r11 besides rax, and
    // what it does to memory is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    if (-ERRNO_MAX..0).contains(&result) {
        // SAFETY: libc gives each thread a valid place for its error number.
        unsafe { *__errno_location() = -result as c_int };
        return -1;
    }
    result
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use madsim::runtime::Runtime;

    /// What `rand` 0.8 draws, from which raft takes its election timeouts.
    fn draws(seed: u64) -> Vec<u64> {
        let draw = move || {
            let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
            runtime.block_on(async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                (0..3).map(|_| rand::random()).collect()
            })
        };
        #[allow(clippy::disallowed_methods, reason = "each runtime wants a thread of its own")]
        std::thread::spawn(draw).join().unwrap()
    }

    #[test]
    fn rafts_randomness_follows_from_the_seed() {
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }
}
