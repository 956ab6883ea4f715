//! The real disk: direct writes, syncs on a thread of their own, read-only maps.
//!
//! The log itself is written past the page cache: a page that only passes through it on its way to
//! the disk has to be allocated, copied to, tracked and written back, which costs more than the write,
//! and after a failed write-back it would pretend to be clean. Maps stay coherent: the kernel drops
//! a page from the cache when it is written directly, and nobody reads a range before its write has
//! returned.
//!
//! Invariant: bytes reach a file only through write calls, so errors come back as [`io::Error`];
//! the maps are for reading (storing through a map dirties whole folios and reports errors as a
//! signal). A page that cannot be read under a map ends the process (see `bus_error`). Each
//! [`RealDisk::new`] owns its two helper threads: give every log its own disk, so that
//! one log's preparation never delays another's sync.

use std::fs::{File, OpenOptions, TryLockError};
use std::future::Future;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};

use bytes::Bytes;
use futures_channel::oneshot;
use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::{OFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};

use super::watched::Watched;
use super::{Disk, DiskFile, DiskMap, Lane, PAGE_BYTES, bus_error, is_unreadable};

type Work = Box<dyn FnOnce() + Send>;

/// Files of the operating system.
#[derive(Clone, Default)]
pub struct RealDisk {
    helpers: Arc<Helpers>,
}

#[derive(Default)]
struct Helpers {
    sync: OnceLock<mpsc::Sender<Work>>,
    prepare: OnceLock<mpsc::Sender<Work>>,
}

impl Helpers {
    /// The queue is unbounded by type; its bound is that a log has at most a few group syncs and one
    /// preparation outstanding.
    fn submit(&self, lane: Lane, work: Work) {
        let (cell, name) = match lane {
            Lane::Sync => (&self.sync, "log-sync"),
            Lane::Prepare => (&self.prepare, "log-prepare"),
        };
        let queue = cell.get_or_init(|| {
            let (sender, receiver) = mpsc::channel::<Work>();
            let run = move || {
                while let Ok(work) = receiver.recv() {
                    work();
                }
            };
            // Without the thread the receiver is dropped, and every work handed in reports that it
            // was never done.
            if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(run) {
                tracing::error!(%error, thread = name, "cannot start a thread of the log");
            }
            sender
        });
        // A failed send drops the work and with it the sender of its result: the future says so.
        let _ = queue.send(work);
    }

    fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = io::Result<T>> + Send + 'static {
        let (done, result) = oneshot::channel();
        self.submit(
            lane,
            Box::new(move || {
                // Nobody has to wait for the result.
                let _ = done.send(work());
            }),
        );
        async move { result.await.map_err(|_| io::Error::other("the disk's helper thread is gone")) }
    }
}

impl RealDisk {
    /// A disk with helper threads of its own, started when first needed.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Holds a lock file until dropped.
pub struct RealLock {
    _file: File,
}

impl Disk for RealDisk {
    type File = RealFile;
    type Lock = RealLock;

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<RealFile> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(RealFile::new(file, path))
    }

    fn open(&self, path: &Path) -> io::Result<RealFile> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(RealFile::new(file, path))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OpenOptions::new().read(true).open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<RealLock> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(RealLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn offload<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = io::Result<T>> + Send + 'static {
        self.helpers.run(lane, work)
    }
}

/// A file of the operating system.
pub struct RealFile {
    file: File,
    path: PathBuf,
    /// The same file, opened past the page cache when first needed; none where the file system
    /// cannot.
    direct: OnceLock<Option<File>>,
}

const ZEROS_BYTES: usize = 256 * 1024;

/// Zeros at an address that writes past the page cache accept.
#[repr(align(4096))]
struct Zeros([u8; ZEROS_BYTES]);
static ZEROS: Zeros = Zeros([0; ZEROS_BYTES]);

impl RealFile {
    fn new(file: File, path: &Path) -> Self {
        RealFile { file, path: path.to_owned(), direct: OnceLock::new() }
    }

    /// Where the file is by now: it may have been renamed since it was opened.
    fn name_now(&self) -> PathBuf {
        let link = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        std::fs::read_link(link).unwrap_or_else(|_| self.path.clone())
    }

    /// Zeros that went through the page cache would have to be copied there, would push out what
    /// consumers read, and would make every sync of the tail wait for them.
    fn direct(&self) -> Option<&File> {
        self.direct.get_or_init(|| open_direct(&self.file, &self.path)).as_ref()
    }
}

/// Opens the same file past the page cache: by its descriptor, because its name may stand for
/// another one by now. Where there is no `/proc` the name has to do, if it is still this file's.
fn open_direct(file: &File, path: &Path) -> Option<File> {
    let direct = i32::try_from(OFlags::DIRECT.bits()).ok()?;
    let open =
        |path: &Path| OpenOptions::new().read(true).write(true).custom_flags(direct).open(path);
    let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let opened = open(&by_descriptor).or_else(|_| open(path)).ok()?;
    let (own, found) = (file.metadata().ok()?, opened.metadata().ok()?);
    ((own.dev(), own.ino()) == (found.dev(), found.ino())).then_some(opened)
}

fn write_directly(
    file: &File,
    mut pages: &[u8],
    mut offset: u64,
    durable: bool,
) -> Result<(), Errno> {
    // One call instead of a write and a sync, and on disks that can, no flush of the whole cache.
    let flags = if durable { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
    while !pages.is_empty() {
        match rustix::io::pwritev2(file, &[IoSlice::new(pages)], offset, flags) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                pages = &pages[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl DiskFile for RealFile {
    type Map = RealMap;

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn read_pages(&self, pages: &mut [u8], offset: u64) -> io::Result<()> {
        match self.direct().map(|direct| direct.read_exact_at(pages, offset)) {
            Some(Ok(())) => Ok(()),
            // The cache may still have it, but nothing else has.
            Some(Err(error)) if is_unreadable(&error) => Err(error),
            // A file system may refuse what it let us open the file for.
            Some(Err(_)) | None => self.file.read_exact_at(pages, offset),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn write_pages(&self, pages: &[u8], offset: u64, durable: bool) -> io::Result<()> {
        if let Some(direct) = self.direct() {
            match write_directly(direct, pages, offset, durable) {
                // A file system may refuse what it let us open the file for.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => {}
                written => return Ok(written?),
            }
        }
        self.file.write_all_at(pages, offset)?;
        if durable { self.file.sync_data() } else { Ok(()) }
    }

    fn write_zeros(&self, range: Range<u64>) -> io::Result<()> {
        let aligned = range.start.next_multiple_of(PAGE_BYTES).min(range.end);
        let mut at = range.start;
        while at < range.end {
            let stop = if at < aligned { aligned } else { range.end };
            let step = (stop - at).min(ZEROS_BYTES as u64);
            let zeros = &ZEROS.0[..step as usize];
            let whole = at >= aligned && step.is_multiple_of(PAGE_BYTES);
            // A file system may refuse a direct write that it let us open the file for.
            let done =
                whole && self.direct().is_some_and(|file| file.write_all_at(zeros, at).is_ok());
            if !done {
                self.file.write_all_at(zeros, at)?;
            }
            at += step;
        }
        Ok(())
    }

    fn map(&self, bytes: u64) -> io::Result<RealMap> {
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        bus_error::install();
        let map = MmapOptions::new().len(bytes).map_raw_read_only(&self.file)?;
        // Only advice; see `read_ahead`.
        let _ = map.advise(Advice::Random);
        let watched = Watched::new(map.as_ptr() as usize, map.len(), &self.name_now());
        Ok(RealMap { mapping: Arc::new(Mapping { _watched: watched, map }) })
    }

    fn sync_now(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn next_data(&self, from: u64) -> io::Result<Option<u64>> {
        match rustix::fs::seek(&self.file, SeekFrom::Data(from)) {
            Ok(offset) => Ok(Some(offset)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            // A file system that knows no holes: everything may be data.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => Ok(Some(from)),
            Err(error) => Err(error.into()),
        }
    }
}

/// A shared mapping of a file's first bytes.
pub struct RealMap {
    mapping: Arc<Mapping>,
}

/// A mapping that whoever fails to read it finds.
struct Mapping {
    /// Goes first.
    _watched: Option<Watched>,
    map: MmapRaw,
}

/// A part of a mapping that keeps the mapping alive.
struct MapSlice {
    mapping: Arc<Mapping>,
    range: Range<usize>,
}

/// Borrows a range of a mapping.
fn look<'a>(map: &'a MmapRaw, range: &Range<usize>) -> &'a [u8] {
    assert!(range.start <= range.end && range.end <= map.len(), "slice outside of the mapping");
    // SAFETY: the range lies inside the mapping, which lives as long as the borrow, and mapped files
    // are never shrunk. Nobody writes to the range meanwhile: the log hands out published bytes
    // only, and replaces a published suffix in place only when no slice of the mapping is alive.
    unsafe { std::slice::from_raw_parts(map.as_ptr().add(range.start), range.len()) }
}

impl AsRef<[u8]> for MapSlice {
    fn as_ref(&self) -> &[u8] {
        look(&self.mapping.map, &self.range)
    }
}

fn in_memory(range: Range<u64>) -> Range<usize> {
    let start = usize::try_from(range.start).expect("a mapping is smaller than the address space");
    let end = usize::try_from(range.end).expect("a mapping is smaller than the address space");
    start..end
}

impl DiskMap for RealMap {
    fn slice(&self, range: Range<u64>) -> Bytes {
        if range.is_empty() {
            return Bytes::new();
        }
        Bytes::from_owner(MapSlice { mapping: self.mapping.clone(), range: in_memory(range) })
    }

    fn with<R>(&self, range: Range<u64>, inspect: impl FnOnce(&[u8]) -> R) -> R {
        inspect(look(&self.mapping.map, &in_memory(range)))
    }

    fn will_need(&self, range: Range<u64>) {
        let range = in_memory(range);
        // Only advice: what it does not fetch is fetched when it is read.
        let _ = self.mapping.map.advise_range(Advice::WillNeed, range.start, range.len());
    }

    fn has_slices(&self) -> bool {
        Arc::strong_count(&self.mapping) > 1
    }
}
