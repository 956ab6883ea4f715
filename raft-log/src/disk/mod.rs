//! What the log asks of a disk: two narrow traits with one real and one hostile implementation.
//!
//! Contract every implementation keeps: written bytes are visible to `read_at` and to maps at once
//! and durable after a sync of the file; a name created, renamed or removed is durable after a sync
//! of its directory. A file that was mapped is never shrunk. After a failed sync the caller must
//! stop: what the disk holds is then unknown.

mod bus_error;
pub mod fault;
mod real;
mod watched;

use std::future::Future;
use std::io;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use rustix::io::Errno;

pub use bus_error::touch_what_the_kernel_could_not_read;
pub use real::{RealDisk, RealFile};
pub use watched::WATCHED_MAPS_MAX;

/// Whether the disk said that it cannot give some bytes back: a bad sector, or a checksum of the device or
/// file system that does not match. The bytes are lost, and what is written in their place is kept.
pub fn is_unreadable(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    // A medium error is one of the first two, depending on who read.
    let said = [Errno::IO, Errno::NODATA, Errno::ILSEQ, Errno::BADMSG, Errno::UCLEAN];
    code.is_some_and(|code| said.iter().any(|said| said.raw_os_error() == code))
}

/// Reads as [`DiskFile::read_at`]; false when the disk does not have the bytes any more.
pub(crate) fn read_or_lost<F: DiskFile>(
    file: &F,
    bytes: &mut [u8],
    offset: u64,
) -> io::Result<bool> {
    match file.read_at(bytes, offset) {
        Err(error) if is_unreadable(&error) => Ok(false),
        read => read.map(|()| true),
    }
}

/// Files are written past the cache in pages of this size.
pub const PAGE_BYTES: u64 = 4096;

/// Which of the log's two helpers does a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Group syncs: what acknowledgements wait for.
    Sync,
    /// Preparation ahead of the tail and other work nobody waits for.
    Prepare,
}

/// A place for files. Cheap to clone; clones share the same helpers.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;
    /// Keeps a directory to one owner until dropped.
    type Lock: Send + Sync + 'static;

    /// Creates a directory and its parents; succeeds when it exists.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Creates a file for reading and writing; fails when the name exists.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Whether the name exists.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// The names of the files in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Removes a name. Open files and maps stay readable.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Renames within a directory, replacing `to` when it exists.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the lock file at `path`; [`io::ErrorKind::WouldBlock`] when another owner has it.
    fn lock(&self, path: &Path) -> io::Result<Self::Lock>;
    /// Runs blocking work away from the caller. Work of one lane runs in the order it was handed in.
    /// An error means that the work was not, and never will be, done.
    fn offload<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = io::Result<T>> + Send + 'static;
}

/// An open file, shared by one writer and many readers.
pub trait DiskFile: Send + Sync + 'static {
    /// A read-only view.
    type Map: DiskMap;

    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Extends the file with a hole that reads as zeros.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Fills `buffer` from `offset` on; fails when the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Reads whole pages as the medium has them and leaves nothing in a cache, where that is possible:
    /// offset, length and address of `pages` are multiples of [`PAGE_BYTES`].
    fn read_pages(&self, pages: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_at(pages, offset)
    }
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Writes whole pages that nobody reads soon, past the cache where that is possible: offset, length
    /// and address of `pages` are multiples of [`PAGE_BYTES`]. When `durable`, they are on return,
    /// and so is what was written past the cache before.
    fn write_pages(&self, pages: &[u8], offset: u64, durable: bool) -> io::Result<()>;
    /// Overwrites a range with zeros; for large ranges that nobody reads soon, so that an
    /// implementation may go past its cache. Nobody else writes to the range meanwhile.
    fn write_zeros(&self, range: Range<u64>) -> io::Result<()>;
    /// A read-only view of the first `bytes` bytes; later writes show through.
    fn map(&self, bytes: u64) -> io::Result<Self::Map>;
    /// Makes everything written so far durable, blocking the caller.
    fn sync_now(&self) -> io::Result<()>;
    /// The first offset at or after `from` that may hold anything but zeros; none when the rest is a hole.
    fn next_data(&self, from: u64) -> io::Result<Option<u64>>;
}

/// A shared read-only view of a file.
pub trait DiskMap: Send + Sync + 'static {
    /// Bytes that stay readable after the file is closed and removed. The caller asks only for ranges
    /// that nobody writes to as long as the slice lives.
    fn slice(&self, range: Range<u64>) -> Bytes;
    /// Lends a range. Same condition as for [`DiskMap::slice`].
    fn with<R>(&self, range: Range<u64>, look: impl FnOnce(&[u8]) -> R) -> R;
    /// The range will be read soon: an implementation may begin to fetch it.
    fn will_need(&self, range: Range<u64>);
    /// Whether slices of this view are still alive somewhere.
    fn has_slices(&self) -> bool;
}
