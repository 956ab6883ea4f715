//! What happens when a page under a map cannot be read: the kernel raises SIGBUS in whoever touched it.
//!
//! The bytes asked for do not exist, so the process cannot go on; but which ones they are is known here
//! and nowhere else. So a line of a file beside the one that was read says so, durably, before the process ends
//! with an exit code of its own: the next start looks at that page before anybody asks a map for it (see
//! `noted`). What is no view of our files gets what it would have got without us.
//!
//! Invariant: whatever runs in the handler neither allocates nor locks, and calls nothing but what a
//! handler of signals may call.

use std::io;
use std::os::fd::RawFd;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use libc::{c_int, c_void, siginfo_t};

use super::watched::{self, Found, PATH_BYTES_MAX};
use crate::fatal::Fatal;
use crate::noted::{LINE_TITLE, NOTE};

/// The kernel reads under maps by whole pages of this size.
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4096);

/// Takes over what this process does at a bus error.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: no memory is passed.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        if let Ok(bytes @ 1..) = usize::try_from(page_bytes) {
            PAGE_BYTES.store(bytes, Ordering::Relaxed);
        }
        let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_bus_error;
        if set_action(handler as usize, libc::SA_SIGINFO | libc::SA_ONSTACK) != 0 {
            let error = io::Error::last_os_error();
            tracing::warn!(%error, "pages that cannot be read under a map will not be noted");
        }
    });
}

fn set_action(handler: usize, flags: c_int) -> c_int {
    // SAFETY: all zeros is an action, the default one; it outlives the call, which only reads it. The
    // handler has the signature that the flags say.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut())
    }
}

/// To be told when the kernel refused bytes that it was to take from this process, as a socket's write does.
/// Where they are views of a file it could not read them, and raises no signal for it: whoever touches them
/// here meets one, and the process ends as it does for every other reader.
pub fn touch_what_the_kernel_could_not_read<'a>(
    error: &io::Error,
    refused: impl IntoIterator<Item = &'a [u8]>,
) {
    if error.raw_os_error() != Some(libc::EFAULT) {
        return;
    }
    for bytes in refused {
        // The least that a page has.
        let each = bytes.chunks(super::PAGE_BYTES as usize);
        each.for_each(|page| {
            std::hint::black_box((page[0], page[page.len() - 1]));
        });
    }
}

extern "C" fn on_bus_error(signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    // SAFETY: a handler that asked for it is given what happened.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let of_the_kernel = code > 0;
    if of_the_kernel && let Some(found) = watched::find(address) {
        end(&found);
    }
    // Not ours. Who touched it touches it again on return, and meets this; a signal that was only sent
    // is sent again.
    set_action(libc::SIG_DFL, 0);
    if !of_the_kernel {
        // SAFETY: no memory is passed.
        unsafe { libc::raise(signal) };
    }
}

/// Leaves the note, says so, and ends the process.
fn end(found: &Found) -> ! {
    static ENDING: AtomicBool = AtomicBool::new(false);
    while ENDING.swap(true, Ordering::Relaxed) {
        // Another thread is at it.
        // SAFETY: no memory is passed.
        unsafe { libc::pause() };
    }
    let page_bytes = PAGE_BYTES.load(Ordering::Relaxed);
    let offset = found.offset - found.offset % page_bytes;
    let noted = leave_note(found, offset, page_bytes);
    // A disk that does not take a line either is not helped by another start.
    let fatal = if noted { Fatal::PageUnreadable } else { Fatal::DiskFailed };
    let mut line = Line::new();
    line.push(b"raftmq: the disk cannot read ").number(page_bytes).push(b" bytes at byte ");
    line.number(offset).push(b" of ").push(found.path());
    line.push(if noted { b"; noted beside it. " } else { b", nor note that beside it. " });
    line.push(b"Exit code ").number(fatal.exit_code().unsigned_abs() as usize).push(b": ");
    line.push(fatal.advice().as_bytes()).push(b"\n");
    write(libc::STDERR_FILENO, line.bytes());
    // SAFETY: it does not return, and runs nothing of this process.
    unsafe { libc::_exit(fatal.exit_code()) }
}

/// Whether the note is durable.
fn leave_note(found: &Found, offset: usize, bytes: usize) -> bool {
    let mut line = Line::new();
    // An older line may have been cut short.
    line.push(b"\n").push(LINE_TITLE.as_bytes()).push(b" ").number(offset).push(b" ");
    line.number(bytes).push(b" ").push(found.name()).push(b"\n");
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
    // SAFETY: the name ends with a zero and is static.
    let note = unsafe { libc::openat(found.dir, NOTE.as_ptr(), flags, 0o644) };
    // Not closed: the process ends.
    note >= 0 && write(note, line.bytes()) && sync(note) && sync(found.dir)
}

fn sync(file: RawFd) -> bool {
    // SAFETY: no memory is passed.
    unsafe { libc::fsync(file) == 0 }
}

fn write(file: RawFd, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        // SAFETY: address and length are those of a slice.
        let written = unsafe { libc::write(file, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(written) {
            Ok(written @ 1..) => bytes = bytes.get(written..).unwrap_or_default(),
            _ => return false,
        }
    }
    true
}

/// A line of text on the stack. What does not fit is left out.
struct Line {
    bytes: [u8; Line::BYTES_MAX],
    used: usize,
}

impl Line {
    const BYTES_MAX: usize = PATH_BYTES_MAX + 512;

    fn new() -> Line {
        Line { bytes: [0; Line::BYTES_MAX], used: 0 }
    }

    fn push(&mut self, text: &[u8]) -> &mut Line {
        let room = &mut self.bytes[self.used..];
        let taken = text.len().min(room.len());
        room[..taken].copy_from_slice(&text[..taken]);
        self.used += taken;
        self
    }

    fn number(&mut self, number: usize) -> &mut Line {
        let mut digits = [0; 20];
        let (mut at, mut left) = (digits.len(), number);
        loop {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.push(&digits[at..])
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hold_numbers_and_what_fits() {
        let mut line = Line::new();
        line.push(b"a ").number(0).push(b" ").number(usize::MAX);
        assert_eq!(line.bytes(), format!("a 0 {}", usize::MAX).as_bytes());
        line.push(&[b'x'; 2 * Line::BYTES_MAX]).number(7);
        assert_eq!(line.bytes().len(), Line::BYTES_MAX);
    }
}
