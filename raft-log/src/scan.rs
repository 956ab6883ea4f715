//! Reading a segment entry by entry along the chain of checksums.
//!
//! Invariant: it stops at the first byte that does not continue the chain, and reads through the
//! file, never through a map, so that a bad sector is an error and not a signal. A page that cannot be
//! read does not continue the chain either, and is told apart from one that was never written.

use std::collections::BTreeSet;

use crate::disk::{Disk, PAGE_BYTES, read_or_lost};
use crate::entry::{
    ENTRY_HEADER_BYTES, EntryDamage, EntryHeader, EntryKind, HEADER, decode_entry, stored_bytes,
};
use crate::error::{IoContext, LogError};
use crate::index::IndexRecord;
use crate::segment::Segment;
use crate::table::Boundary;
use crate::types::{LogIndex, Position, Term};

const WINDOW_BYTES: usize = 1 << 20;

/// What a segment holds.
pub(crate) struct Scan {
    pub(crate) records: Vec<IndexRecord>,
    /// The log up to the last valid entry.
    pub(crate) end: Boundary,
    /// Why it ends there; `None` when the segment is full and the next one continues.
    pub(crate) rest: Option<EntryDamage>,
}

/// A part of the file in memory.
pub(crate) struct Window<'a, D: Disk> {
    segment: &'a Segment<D>,
    bytes: Vec<u8>,
    at: u64,
    /// Offsets of pages that cannot be read.
    unreadable: BTreeSet<u64>,
}

impl<'a, D: Disk> Window<'a, D> {
    pub(crate) fn new(segment: &'a Segment<D>) -> Self {
        Self { segment, bytes: Vec::new(), at: 0, unreadable: BTreeSet::new() }
    }

    /// At least `bytes` bytes from `offset` on, or as many as the segment has. Pages that cannot be read
    /// are zeros.
    pub(crate) fn get(&mut self, offset: u64, bytes: usize) -> Result<&[u8], LogError> {
        let wanted = (bytes as u64).min(self.segment.bytes - offset);
        if offset < self.at || offset + wanted > self.at + self.bytes.len() as u64 {
            let length = (WINDOW_BYTES as u64).max(wanted).min(self.segment.bytes - offset);
            self.bytes.resize(usize::try_from(length).expect("segments fit in memory"), 0);
            self.at = offset;
            let (file, path) = (&self.segment.file, &self.segment.path);
            if !read_or_lost(file, &mut self.bytes, offset).during("read", path)? {
                self.read_pages()?;
            }
        }
        let begin = usize::try_from(offset - self.at).expect("inside the window");
        Ok(&self.bytes[begin..])
    }

    /// Fills the window with what can be read.
    fn read_pages(&mut self) -> Result<(), LogError> {
        let mut rest = &mut self.bytes[..];
        let mut offset = self.at;
        while !rest.is_empty() {
            let left = usize::try_from(PAGE_BYTES - offset % PAGE_BYTES).expect("a page is small");
            let (page, behind) = rest.split_at_mut(left.min(rest.len()));
            let file = &self.segment.file;
            if !read_or_lost(file, page, offset).during("read", &self.segment.path)? {
                page.fill(0);
                self.unreadable.insert(offset - offset % PAGE_BYTES);
            }
            offset += page.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    /// Whether some of these bytes, which were asked for before, cannot be read.
    fn lacks(&self, offset: u64, bytes: u64) -> bool {
        let first = offset - offset % PAGE_BYTES;
        self.unreadable.range(first..offset + bytes).next().is_some()
    }
}

/// Reads the entries of `segment`, the first of which continues `before`.
pub(crate) fn scan<D: Disk>(segment: &Segment<D>, before: Boundary) -> Result<Scan, LogError> {
    let mut window = Window::new(segment);
    let mut scan = Scan { records: Vec::new(), end: before, rest: None };
    let mut offset = 0;
    while segment.bytes - offset >= HEADER as u64 {
        match next(&mut window, offset, scan.end) {
            Ok(Some((record, end))) => {
                scan.records.push(record);
                scan.end = end;
                offset = end.position.0 - segment.start;
            }
            Ok(None) => return Ok(scan),
            // Whole, and not for us: neither torn nor damaged.
            Err(Problem::Damage(EntryDamage::Version(version), _)) => {
                let file = segment.path.clone();
                return Err(LogError::NewerFormat { file, version: version.into() });
            }
            Err(Problem::Damage(damage, bytes)) => {
                let lost = window.lacks(offset, bytes);
                scan.rest = Some(if lost { EntryDamage::Unreadable } else { damage });
                return Ok(scan);
            }
            Err(Problem::Disk(error)) => return Err(error),
        }
    }
    Ok(scan)
}

enum Problem {
    /// Seen in so many bytes.
    Damage(EntryDamage, u64),
    Disk(LogError),
}

/// The entry at `offset`; `None` for padding.
fn next<D: Disk>(
    window: &mut Window<'_, D>,
    offset: u64,
    before: Boundary,
) -> Result<Option<(IndexRecord, Boundary)>, Problem> {
    let position = window.segment.start + offset;
    let left = window.segment.bytes - offset;
    let head = window.get(offset, HEADER).map_err(Problem::Disk)?;
    let in_header = |damage| Problem::Damage(damage, ENTRY_HEADER_BYTES);
    let (header, _) = EntryHeader::decode(head).map_err(in_header)?;
    if header.position != position {
        return Err(in_header(EntryDamage::Position));
    }
    if header.previous_crc != before.chain_crc {
        return Err(in_header(EntryDamage::Chain));
    }
    let stored = stored_bytes(u64::from(header.payload_bytes));
    if stored > left {
        return Err(in_header(EntryDamage::Short));
    }
    if header.kind == EntryKind::Padding {
        // Alone in its segment it would stand for an entry that fits nowhere.
        let fills = stored == left && offset > 0;
        return if fills { Ok(None) } else { Err(in_header(EntryDamage::Chain)) };
    }
    if header.index != before.index.0 + 1 || header.term < before.term.0 {
        return Err(in_header(EntryDamage::Chain));
    }
    let length = usize::try_from(stored).expect("smaller than a segment");
    let bytes = window.get(offset, length).map_err(Problem::Disk)?;
    let (_, crc, _) =
        decode_entry(&bytes[..length]).map_err(|damage| Problem::Damage(damage, stored))?;
    let record = IndexRecord {
        offset: u32::try_from(offset).expect("offsets in a segment fit 32 bits"),
        header_crc: crc,
        term: header.term,
    };
    let end = Boundary {
        index: LogIndex(header.index),
        term: Term(header.term),
        position: Position(position + stored),
        chain_crc: crc,
    };
    Ok(Some((record, end)))
}
