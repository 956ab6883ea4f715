//! Telling files of a newer program from damaged ones.
//!
//! Invariant: a directory in which a newer program wrote something that this one cannot read is
//! refused before anything in it is changed. Taken for damage, its votes would count as lost and its
//! snapshots would be removed. For this to hold, magic, version and the place of the first checksum
//! stay where they are in every later format.

use std::path::Path;

use crate::disk::{Disk, DiskFile, read_or_lost};
use crate::entry::be32;
use crate::error::{IoContext, LogError};
use crate::files::{self, FileKind};
use crate::segment::{TRAILER_BYTES, WITNESS_OFFSETS};
use crate::{hard_state, identity, install, sealed_text, segment, snapshot, standing, unsynced};

/// How a stored header or slot begins, and what it is protected by.
pub(crate) struct Format {
    /// The first four bytes.
    pub(crate) magic: u32,
    /// The next two: the newest version that this program reads.
    pub(crate) version: u16,
    /// So many bytes are covered by the checksum that follows them.
    pub(crate) checked_bytes: usize,
}

impl Format {
    /// The version of a whole header that a newer program wrote.
    pub(crate) fn newer(&self, bytes: &[u8]) -> Option<u32> {
        let header = bytes.get(..self.checked_bytes + 4)?;
        let whole = be32(header, 0) == self.magic
            && be32(header, self.checked_bytes) == crc32fast::hash(&header[..self.checked_bytes]);
        let version = u16::from_be_bytes([header[4], header[5]]);
        (whole && version > self.version).then_some(u32::from(version))
    }
}

/// Refuses a directory that a newer program wrote. Entries are looked at when they are read.
pub(crate) fn check<D: Disk>(disk: &D, dir: &Path) -> Result<(), LogError> {
    for name in disk.list(dir).during("list", dir)? {
        let path = dir.join(&name);
        let newer = match FileKind::of(&name) {
            FileKind::Segment(_) => in_trailer(disk, &path)?,
            FileKind::Snapshot(_) => in_header(disk, &path, &snapshot::FORMAT, &[0])?,
            // Written again from the entries.
            FileKind::Index(_) | FileKind::Temporary => None,
            FileKind::Other => in_named(disk, &path, &name)?,
        };
        if let Some(version) = newer {
            return Err(LogError::NewerFormat { file: path, version });
        }
    }
    Ok(())
}

fn in_named<D: Disk>(disk: &D, path: &Path, name: &str) -> Result<Option<u32>, LogError> {
    let title = match name {
        files::HARD_STATE => {
            return in_header(disk, path, &hard_state::FORMAT, &hard_state::SLOT_OFFSETS);
        }
        files::INSTALL => return in_header(disk, path, &install::FORMAT, &[0]),
        files::IDENTITY => identity::TITLE,
        files::STANDING => standing::TITLE,
        files::UNSYNCED => unsynced::TITLE,
        _ => return Ok(None),
    };
    let content = files::read_if_readable(disk, path)?.unwrap_or_default();
    Ok(std::str::from_utf8(&content).ok().and_then(|text| sealed_text::newer(title, text)))
}

fn in_trailer<D: Disk>(disk: &D, path: &Path) -> Result<Option<u32>, LogError> {
    let file = disk.open(path).during("open", path)?;
    let bytes = file.len().during("measure", path)?;
    let Some(trailer) = bytes.checked_sub(TRAILER_BYTES) else { return Ok(None) };
    newest(&file, path, &segment::FORMAT, WITNESS_OFFSETS.map(|offset| trailer + offset))
}

fn in_header<D: Disk>(
    disk: &D,
    path: &Path,
    format: &Format,
    offsets: &[u64],
) -> Result<Option<u32>, LogError> {
    let file = disk.open(path).during("open", path)?;
    newest(&file, path, format, offsets.iter().copied())
}

fn newest<F: DiskFile>(
    file: &F,
    path: &Path,
    format: &Format,
    offsets: impl IntoIterator<Item = u64>,
) -> Result<Option<u32>, LogError> {
    let bytes = file.len().during("measure", path)?;
    let mut newest = None;
    let mut header = vec![0; format.checked_bytes + 4];
    for offset in offsets {
        if offset + header.len() as u64 > bytes {
            continue;
        }
        // What cannot be read is damaged, whoever wrote it.
        if read_or_lost(file, &mut header, offset).during("read", path)? {
            newest = newest.max(format.newer(&header));
        }
    }
    Ok(newest)
}
