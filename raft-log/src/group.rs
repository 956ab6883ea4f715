//! What was appended and lies in no file yet, and writing it: whole pages, past the page cache.
//!
//! The page in which the log ends is written again with every group, each time with the same bytes
//! before the new ones, so that a torn write of it changes no byte that was durable.
//!
//! Invariants: pieces are written in the order in which they were appended; when a durable write
//! returns, they and all that was written before are durable.

use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{Disk, DiskFile, PAGE_BYTES};
use crate::entry::HEADER;
use crate::error::{IoContext, LogError};
use crate::segment::Segment;

/// Bytes gathered for one write; few in a simulation, whose groups are small.
const BUFFER_BYTES: usize = if cfg!(madsim) { 16 << 10 } else { 1 << 20 };
const PAGE: usize = PAGE_BYTES as usize;

/// One entry on its way into its segment, or the header that says that the segment's rest is empty.
pub(crate) struct Piece<D: Disk> {
    pub(crate) segment: Arc<Segment<D>>,
    pub(crate) offset: u64,
    pub(crate) header: [u8; HEADER],
    pub(crate) payload: Bytes,
    /// Length with alignment.
    pub(crate) stored_bytes: u64,
}

impl<D: Disk> Piece<D> {
    /// Position of its first byte.
    pub(crate) fn position(&self) -> u64 {
        self.segment.start + self.offset
    }

    /// Position behind it.
    pub(crate) fn end(&self) -> u64 {
        self.position() + self.stored_bytes
    }
}

/// Memory at an address that writes past the page cache accept.
struct PageBuffer {
    memory: Vec<u8>,
    begin: usize,
    filled: usize,
}

impl PageBuffer {
    fn new() -> Self {
        let memory = vec![0; BUFFER_BYTES + PAGE];
        let begin = memory.as_ptr().align_offset(PAGE);
        assert!(begin < PAGE, "byte pointers can be aligned");
        Self { memory, begin, filled: 0 }
    }

    /// The first `bytes` bytes.
    fn bytes(&mut self, bytes: usize) -> &mut [u8] {
        &mut self.memory[self.begin..self.begin + bytes]
    }

    /// Takes as much as fits; returns the rest.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let count = bytes.len().min(BUFFER_BYTES - self.filled);
        let (now, rest) = bytes.split_at(count);
        let begin = self.begin + self.filled;
        self.memory[begin..begin + count].copy_from_slice(now);
        self.filled += count;
        rest
    }

    fn pad_page(&mut self) {
        let padded = self.filled.next_multiple_of(PAGE);
        let (begin, end) = (self.begin + self.filled, self.begin + padded);
        self.memory[begin..end].fill(0);
        self.filled = padded;
    }
}

/// Where the next byte goes.
struct Place<D: Disk> {
    segment: Arc<Segment<D>>,
    /// Offset in the segment of the buffer's first byte, the beginning of a page.
    page_offset: u64,
}

/// Writes groups. It remembers the page in which the log ends.
pub(crate) struct GroupWriter<D: Disk> {
    buffer: PageBuffer,
    place: Option<Place<D>>,
    /// Segments with bytes that are written and not durable.
    unsynced: Vec<Arc<Segment<D>>>,
}

impl<D: Disk> GroupWriter<D> {
    pub(crate) fn new() -> Self {
        Self { buffer: PageBuffer::new(), place: None, unsynced: Vec::new() }
    }

    /// The log was cut: what is remembered of its end is void.
    pub(crate) fn forget(&mut self) {
        self.place = None;
        self.unsynced.clear();
    }

    /// Something else was written to a segment that the next durable write is to cover.
    pub(crate) fn covers(&mut self, segment: &Arc<Segment<D>>) {
        if !self.unsynced.iter().any(|known| Arc::ptr_eq(known, segment)) {
            self.unsynced.push(segment.clone());
        }
    }

    /// Writes pieces; durable on return when told so.
    pub(crate) fn write(&mut self, pieces: &[Piece<D>], durable: bool) -> Result<(), LogError> {
        let mut pieces = pieces.iter().peekable();
        while let Some(piece) = pieces.next() {
            self.seek(piece)?;
            self.put(&piece.segment, &piece.header)?;
            self.put(&piece.segment, &piece.payload)?;
            let alignment = piece.stored_bytes as usize - HEADER - piece.payload.len();
            self.put(&piece.segment, &[0; 8][..alignment])?;
            let goes_on = pieces.peek().is_some_and(|next| next.position() == piece.end());
            if !goes_on || pieces.peek().is_some_and(|next| next.offset == 0) {
                self.end_run(durable)?;
            }
        }
        if durable {
            for segment in self.unsynced.drain(..) {
                segment.sync()?;
            }
        }
        Ok(())
    }

    /// Makes the buffer continue where the piece begins.
    fn seek(&mut self, piece: &Piece<D>) -> Result<(), LogError> {
        if let Some(place) = &self.place
            && Arc::ptr_eq(&place.segment, &piece.segment)
            && place.page_offset + self.buffer.filled as u64 == piece.offset
        {
            return Ok(());
        }
        let page_offset = piece.offset - piece.offset % PAGE_BYTES;
        let kept = (piece.offset - page_offset) as usize;
        let segment = piece.segment.clone();
        let page = self.buffer.bytes(kept);
        segment.file.read_at(page, page_offset).during("read", &segment.path)?;
        self.buffer.filled = kept;
        self.place = Some(Place { segment, page_offset });
        Ok(())
    }

    fn put(&mut self, segment: &Arc<Segment<D>>, mut bytes: &[u8]) -> Result<(), LogError> {
        while !bytes.is_empty() {
            bytes = self.buffer.take(bytes);
            if self.buffer.filled == BUFFER_BYTES {
                self.covers(segment);
                self.write_buffer(false)?;
                if let Some(place) = &mut self.place {
                    place.page_offset += BUFFER_BYTES as u64;
                }
                self.buffer.filled = 0;
            }
        }
        Ok(())
    }

    /// Writes what the buffer holds, and keeps the last page if it is not full.
    fn end_run(&mut self, durable: bool) -> Result<(), LogError> {
        let filled = self.buffer.filled;
        if filled == 0 {
            return Ok(());
        }
        let Some(segment) = self.place.as_ref().map(|place| place.segment.clone()) else {
            return Ok(());
        };
        // A segment with earlier bytes to sync is synced as a whole afterwards.
        let at_once = durable && !self.unsynced.iter().any(|known| Arc::ptr_eq(known, &segment));
        if !at_once {
            self.covers(&segment);
        }
        self.buffer.pad_page();
        self.write_buffer(at_once)?;
        let full = filled - filled % PAGE;
        let begin = self.buffer.begin;
        self.buffer.memory.copy_within(begin + full..begin + filled, begin);
        self.buffer.filled = filled - full;
        if let Some(place) = &mut self.place {
            place.page_offset += full as u64;
        }
        Ok(())
    }

    fn write_buffer(&mut self, durable: bool) -> Result<(), LogError> {
        let Some(place) = &self.place else { return Ok(()) };
        let (segment, offset) = (place.segment.clone(), place.page_offset);
        let filled = self.buffer.filled;
        segment.write(self.buffer.bytes(filled), offset, durable)
    }
}
