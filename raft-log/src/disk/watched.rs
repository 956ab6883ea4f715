//! Which addresses are views of which files, for who may neither lock nor allocate: the handler of bus errors.
//!
//! Invariant: a place of the table speaks of a view only while that is mapped. It is filled after the
//! mapping is there and emptied before that goes, so whoever touches an address of a view and fails finds
//! the file that he was reading, and nobody's else.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Views of files that are watched at the same time. Who reads a lost page of one more meets what the
/// system does by itself: the process ends by a signal and leaves no note.
pub const WATCHED_MAPS_MAX: usize = 4096;

const PATH_WORDS: usize = 32;
/// What is kept of a path is its end; names alone are shorter in every directory of ours.
pub(super) const PATH_BYTES_MAX: usize = PATH_WORDS * 8;

/// A view, or room for one.
struct Place {
    taken: AtomicBool,
    /// Its first address; 0 for none.
    begin: AtomicUsize,
    bytes: AtomicUsize,
    /// Descriptor of the directory in which the file is.
    dir: AtomicI32,
    path_bytes: AtomicUsize,
    path: [AtomicU64; PATH_WORDS],
}

impl Place {
    const fn empty() -> Place {
        Place {
            taken: AtomicBool::new(false),
            begin: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            dir: AtomicI32::new(-1),
            path_bytes: AtomicUsize::new(0),
            path: [const { AtomicU64::new(0) }; PATH_WORDS],
        }
    }
}

static PLACES: [Place; WATCHED_MAPS_MAX] = [const { Place::empty() }; WATCHED_MAPS_MAX];

/// Open directories with views in them: one descriptor each, however many views there are.
static DIRECTORIES: Mutex<BTreeMap<PathBuf, Weak<File>>> = Mutex::new(BTreeMap::new());

fn directory(path: &Path) -> io::Result<Arc<File>> {
    let mut open = DIRECTORIES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(directory) = open.get(path).and_then(Weak::upgrade) {
        return Ok(directory);
    }
    open.retain(|_, directory| directory.strong_count() > 0);
    let directory = Arc::new(OpenOptions::new().read(true).open(path)?);
    open.insert(path.to_path_buf(), Arc::downgrade(&directory));
    Ok(directory)
}

/// Keeps a view in the table. To be dropped before the view goes.
pub(super) struct Watched {
    place: &'static Place,
    _directory: Arc<File>,
}

impl Watched {
    /// A view of a file's first `bytes` bytes at `address`. None when it finds no room.
    pub(super) fn new(address: usize, bytes: usize, path: &Path) -> Option<Watched> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory(parent.unwrap_or(Path::new("."))).ok()?;
        let text = path.as_os_str().as_bytes();
        let text = &text[text.len().saturating_sub(PATH_BYTES_MAX)..];
        if path.file_name()?.len() >= PATH_BYTES_MAX {
            return None;
        }
        let place = PLACES.iter().find(|place| !place.taken.swap(true, Ordering::Acquire))?;
        for (word, bytes) in place.path.iter().zip(text.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
        }
        place.path_bytes.store(text.len(), Ordering::Relaxed);
        place.dir.store(directory.as_raw_fd(), Ordering::Relaxed);
        place.bytes.store(bytes, Ordering::Relaxed);
        place.begin.store(address, Ordering::Release);
        Some(Watched { place, _directory: directory })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.place.begin.store(0, Ordering::Release);
        self.place.taken.store(false, Ordering::Release);
    }
}

/// What an address is a view of.
pub(super) struct Found {
    /// The directory's descriptor.
    pub(super) dir: RawFd,
    /// Of the address, in the file.
    pub(super) offset: usize,
    path: [u8; PATH_BYTES_MAX],
    path_bytes: usize,
}

impl Found {
    /// The end of the file's path.
    pub(super) fn path(&self) -> &[u8] {
        &self.path[..self.path_bytes]
    }

    /// The file's name.
    pub(super) fn name(&self) -> &[u8] {
        let path = self.path();
        let slash = path.iter().rposition(|byte| *byte == b'/');
        &path[slash.map_or(0, |slash| slash + 1)..]
    }
}

/// The file that an address is a view of. Neither locks nor allocates.
pub(super) fn find(address: usize) -> Option<Found> {
    for place in &PLACES {
        let begin = place.begin.load(Ordering::Acquire);
        let bytes = place.bytes.load(Ordering::Relaxed);
        let within = begin != 0 && (begin..begin.saturating_add(bytes)).contains(&address);
        if !within {
            continue;
        }
        let mut found = Found {
            dir: place.dir.load(Ordering::Relaxed),
            offset: address - begin,
            path: [0; PATH_BYTES_MAX],
            path_bytes: place.path_bytes.load(Ordering::Relaxed).min(PATH_BYTES_MAX),
        };
        for (bytes, word) in found.path.chunks_mut(8).zip(&place.path) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        // What was read together may be of two views, if it was not that of the one who failed.
        fence(Ordering::Acquire);
        if place.begin.load(Ordering::Relaxed) == begin {
            return Some(found);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_while_it_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("00000000000000065536");
        // No page is mapped there.
        let begin = 0x1000;
        let watched = Watched::new(begin, 100, &path).unwrap();
        let found = find(begin + 99).unwrap();
        assert_eq!(found.offset, 99);
        assert_eq!(found.name(), b"00000000000000065536");
        assert!(path.as_os_str().as_bytes().ends_with(found.path()));
        assert!(find(begin + 100).is_none());
        assert!(find(begin - 1).is_none());
        drop(watched);
        assert!(find(begin).is_none());
    }

    #[test]
    fn of_a_long_path_the_end_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(200)).join("e".repeat(200));
        std::fs::create_dir_all(&deep).unwrap();
        let begin = 0x2000;
        let watched = Watched::new(begin, 1, &deep.join("name")).unwrap();
        let found = find(begin).unwrap();
        assert_eq!((found.name(), found.path().len()), (&b"name"[..], PATH_BYTES_MAX));
        drop(watched);
        let too_long = deep.join("n".repeat(PATH_BYTES_MAX));
        assert!(Watched::new(begin, 1, &too_long).is_none());
    }
}
