//! Names of the files in a log's directory, and how a small one is replaced.
//!
//! Invariant: a file written by [`replace`] is found either with its old or with its new content,
//! never with a mixture, and with the new one once the call has returned.

use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile, is_unreadable};
use crate::error::{IoContext, LogError};

pub(crate) const IDENTITY: &str = "identity";
pub(crate) const HARD_STATE: &str = "hard-state";
pub(crate) const STANDING: &str = "standing";
pub(crate) const UNSYNCED: &str = "unsynced";
pub(crate) const HEARD: &str = "heard";
pub(crate) const INSTALL: &str = "install";
pub(crate) const LOCK: &str = "lock";
const TEMPORARY: &str = ".tmp";
const INDEX: &str = ".index";
const SNAPSHOT: &str = ".snapshot";

/// What a name in the directory stands for; the number is a segment's first position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    Segment(u64),
    Index(u64),
    Snapshot(u64),
    Temporary,
    Other,
}

impl FileKind {
    pub(crate) fn of(name: &str) -> Self {
        if name.ends_with(TEMPORARY) {
            return Self::Temporary;
        }
        let (number, kind): (&str, fn(u64) -> Self) = if let Some(stem) = name.strip_suffix(INDEX) {
            (stem, Self::Index)
        } else if let Some(stem) = name.strip_suffix(SNAPSHOT) {
            (stem, Self::Snapshot)
        } else {
            (name, Self::Segment)
        };
        if number.len() != 20 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Self::Other;
        }
        number.parse().map_or(Self::Other, kind)
    }
}

pub(crate) fn segment_path(dir: &Path, start: u64) -> PathBuf {
    dir.join(format!("{start:020}"))
}

pub(crate) fn index_path(dir: &Path, start: u64) -> PathBuf {
    dir.join(format!("{start:020}{INDEX}"))
}

pub(crate) fn snapshot_path(dir: &Path, position: u64) -> PathBuf {
    dir.join(format!("{position:020}{SNAPSHOT}"))
}

pub(crate) fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    PathBuf::from(name)
}

/// Creates `path` anew under a temporary name, lets `fill` write it, and renames it into place, all
/// of it durable on return.
pub(crate) fn replace<D: Disk>(
    disk: &D,
    dir: &Path,
    path: &Path,
    fill: impl FnOnce(&D::File) -> std::io::Result<()>,
) -> Result<D::File, LogError> {
    let temporary = temporary_path(path);
    remove_if_exists(disk, &temporary)?;
    let file = disk.create(&temporary).during("create", &temporary)?;
    fill(&file).during("write", &temporary)?;
    file.sync_now().map_err(|source| LogError::sync(&temporary, source))?;
    disk.rename(&temporary, path).during("rename into place", path)?;
    sync_dir(disk, dir)?;
    Ok(file)
}

/// [`replace`] with the content given as parts.
pub(crate) fn replace_with<D: Disk>(
    disk: &D,
    dir: &Path,
    path: &Path,
    parts: &[&[u8]],
) -> Result<D::File, LogError> {
    replace(disk, dir, path, |file| {
        let mut offset = 0;
        for part in parts {
            file.write_at(part, offset)?;
            offset += part.len() as u64;
        }
        Ok(())
    })
}

/// Reads a whole small file.
pub(crate) fn read_all<D: Disk>(disk: &D, path: &Path) -> Result<Vec<u8>, LogError> {
    let file = disk.open(path).during("open", path)?;
    let bytes = file.len().during("measure", path)?;
    let mut content = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    file.read_at(&mut content, 0).during("read", path)?;
    Ok(content)
}

/// [`read_all`] of a file that may be lost; none when the disk cannot read it.
pub(crate) fn read_if_readable<D: Disk>(
    disk: &D,
    path: &Path,
) -> Result<Option<Vec<u8>>, LogError> {
    match read_all(disk, path) {
        Err(LogError::Io { source, .. }) if is_unreadable(&source) => Ok(None),
        read => read.map(Some),
    }
}

pub(crate) fn exists<D: Disk>(disk: &D, path: &Path) -> Result<bool, LogError> {
    disk.exists(path).during("look for", path)
}

pub(crate) fn remove_if_exists<D: Disk>(disk: &D, path: &Path) -> Result<bool, LogError> {
    if !exists(disk, path)? {
        return Ok(false);
    }
    disk.remove(path).during("remove", path)?;
    Ok(true)
}

/// Removes a file, durably, when it exists.
pub(crate) fn remove_durably<D: Disk>(disk: &D, dir: &Path, path: &Path) -> Result<(), LogError> {
    if remove_if_exists(disk, path)? {
        sync_dir(disk, dir)?;
    }
    Ok(())
}

pub(crate) fn sync_dir<D: Disk>(disk: &D, dir: &Path) -> Result<(), LogError> {
    disk.sync_dir(dir).map_err(|source| LogError::sync(dir, source))
}
