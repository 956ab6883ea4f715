//! Reading and writing a segment by whole pages, past the page cache.
//!
//! A page of which a sector is bad cannot be read, and so no part of it can be written: the rest would have
//! to be read first. Written whole, it is sound again.
//!
//! Invariant: a page is written with what is there around the new bytes; where that cannot be read, the
//! caller has said what stands there, or knows that it does not.

use crate::disk::{Disk, DiskFile, PAGE_BYTES, read_or_lost};
use crate::error::{IoContext, LogError};
use crate::segment::Segment;

/// Memory at an address that access past the page cache accepts.
struct Pages {
    memory: Vec<u8>,
    shift: usize,
    bytes: usize,
}

impl Pages {
    fn zeroed(bytes: usize) -> Self {
        let memory = vec![0; bytes + PAGE_BYTES as usize];
        let shift = memory.as_ptr().align_offset(PAGE_BYTES as usize);
        Self { memory, shift, bytes }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.shift..self.shift + self.bytes]
    }
}

/// The first byte of the page of `offset`.
pub(crate) fn page_begin(offset: u64) -> u64 {
    offset - offset % PAGE_BYTES
}

/// Bytes `from..to` as the medium has them.
pub(crate) fn read<D: Disk>(segment: &Segment<D>, from: u64, to: u64) -> std::io::Result<Vec<u8>> {
    let (begin, end) = (page_begin(from), to.next_multiple_of(PAGE_BYTES));
    let mut pages = Pages::zeroed(usize::try_from(end - begin).map_err(std::io::Error::other)?);
    segment.file.read_pages(pages.bytes(), begin)?;
    let Pages { mut memory, shift, .. } = pages;
    memory.truncate(shift + (to - begin) as usize);
    memory.drain(..shift + (from - begin) as usize);
    Ok(memory)
}

/// Bytes of a segment on their way to it, with what its first and its last page hold around them.
pub(crate) struct Patchwork {
    begin: u64,
    pages: Pages,
    /// What precedes the bytes in their first page cannot be read, and is zeros now.
    pub(crate) lost_before: bool,
    /// What follows them in their last page cannot be read, and is zeros now.
    pub(crate) lost_behind: bool,
}

impl Patchwork {
    /// For bytes at an offset of a segment.
    pub(crate) fn around<D: Disk>(
        segment: &Segment<D>,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Self, LogError> {
        let (begin, to) = (page_begin(offset), offset + bytes.len() as u64);
        let end = to.next_multiple_of(PAGE_BYTES);
        let mut pages =
            Pages::zeroed(usize::try_from(end - begin).expect("smaller than a segment"));
        let mut edge = |page: u64| {
            let at = usize::try_from(page - begin).expect("smaller than a segment");
            let held = &mut pages.bytes()[at..at + PAGE_BYTES as usize];
            let there = read_or_lost(&segment.file, held, page).during("read", &segment.path);
            there.inspect(|there| {
                if !there {
                    held.fill(0);
                }
            })
        };
        let lost_before = offset > begin && !edge(begin)?;
        let lost_behind = to < end && !edge(end - PAGE_BYTES)?;
        let at = usize::try_from(offset - begin).expect("within a page");
        pages.bytes()[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(Self { begin, pages, lost_before, lost_behind })
    }

    /// What precedes the bytes in their first page is this.
    pub(crate) fn put_before(&mut self, bytes: &[u8]) {
        self.pages.bytes()[..bytes.len()].copy_from_slice(bytes);
    }

    /// What follows them in their last page is this.
    pub(crate) fn put_behind(&mut self, bytes: &[u8]) {
        // Of a page that was dropped nothing follows.
        let Some(begin) = self.pages.bytes.checked_sub(bytes.len()) else { return };
        self.pages.bytes()[begin..].copy_from_slice(bytes);
    }

    /// The first page is not written.
    pub(crate) fn drop_first_page(&mut self) {
        self.begin += PAGE_BYTES;
        self.pages.shift += PAGE_BYTES as usize;
        self.pages.bytes -= PAGE_BYTES as usize;
    }

    /// The last page is not written.
    pub(crate) fn drop_last_page(&mut self) {
        self.pages.bytes = self.pages.bytes.saturating_sub(PAGE_BYTES as usize);
    }

    /// Not durable before the segment is synced.
    pub(crate) fn write<D: Disk>(mut self, segment: &Segment<D>) -> Result<(), LogError> {
        if self.pages.bytes == 0 {
            return Ok(());
        }
        let written = segment.file.write_pages(self.pages.bytes(), self.begin, false);
        written.during("repair", &segment.path)
    }
}
