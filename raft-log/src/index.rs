//! From raft index to position and term without reading entries: in memory for the segments being
//! written, in a file of fixed-size records for sealed ones.
//!
//! Invariants: an index file is written only after its segment, and the first entry beyond it, are
//! durable, and is removed durably before anything in its segment is taken back. So its presence is
//! the second witness that every entry it names was there. It is derived: a damaged one is rebuilt
//! from its segment, whose chain then has to be whole.

use std::path::Path;

use crate::disk::{Disk, DiskFile, DiskMap, read_or_lost};
use crate::entry::{be32, be64};
use crate::error::{IoContext, LogError};
use crate::files;

const MAGIC: u32 = 0x524d_5149; // "RMQI"
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 64;
const RECORD_BYTES: usize = 24;
/// Records encoded at a time when the file is written.
const RECORDS_PER_WRITE: usize = 16 * 1024;

/// Where one entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexRecord {
    /// Offset of the entry's header in its segment.
    pub(crate) offset: u32,
    pub(crate) header_crc: u32,
    pub(crate) term: u64,
}

/// What an index file says about its segment as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexHeader {
    /// First position of the segment.
    pub(crate) segment: u64,
    /// Index of the segment's first entry.
    pub(crate) base_index: u64,
    pub(crate) count: u64,
    /// Checksum that the segment's first entry chains to.
    pub(crate) previous_crc: u32,
    /// Offset at which the segment's last entry ends.
    pub(crate) data_end: u32,
}

impl IndexHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..4].copy_from_slice(&MAGIC.to_be_bytes());
        out[4..6].copy_from_slice(&VERSION.to_be_bytes());
        out[8..16].copy_from_slice(&self.segment.to_be_bytes());
        out[16..24].copy_from_slice(&self.base_index.to_be_bytes());
        out[24..32].copy_from_slice(&self.count.to_be_bytes());
        out[32..36].copy_from_slice(&self.previous_crc.to_be_bytes());
        out[36..40].copy_from_slice(&self.data_end.to_be_bytes());
        let crc = crc32fast::hash(&out[..60]);
        out[60..64].copy_from_slice(&crc.to_be_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        if be32(header, 0) != MAGIC || be32(header, 60) != crc32fast::hash(&header[..60]) {
            return None;
        }
        if u16::from_be_bytes([header[4], header[5]]) != VERSION {
            return None;
        }
        Some(Self {
            segment: be64(header, 8),
            base_index: be64(header, 16),
            count: be64(header, 24),
            previous_crc: be32(header, 32),
            data_end: be32(header, 36),
        })
    }
}

/// A record's checksum covers its raft index too, so a record at the wrong place does not match.
fn record_crc(index: u64, fields: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&index.to_be_bytes());
    hasher.update(fields);
    hasher.finalize()
}

pub(crate) fn encode_record(index: u64, record: &IndexRecord) -> [u8; RECORD_BYTES] {
    let mut out = [0; RECORD_BYTES];
    out[0..4].copy_from_slice(&record.offset.to_be_bytes());
    out[4..8].copy_from_slice(&record.header_crc.to_be_bytes());
    out[8..16].copy_from_slice(&record.term.to_be_bytes());
    let crc = record_crc(index, &out[..20]);
    out[20..24].copy_from_slice(&crc.to_be_bytes());
    out
}

fn decode_record(index: u64, bytes: &[u8]) -> Option<IndexRecord> {
    let record: &[u8; RECORD_BYTES] = bytes.first_chunk()?;
    if be32(record, 20) != record_crc(index, &record[..20]) {
        return None;
    }
    Some(IndexRecord {
        offset: be32(record, 0),
        header_crc: be32(record, 4),
        term: be64(record, 8),
    })
}

/// A segment's index.
pub(crate) enum SegmentIndex<D: Disk> {
    /// Of a segment that may still change.
    Memory(Vec<IndexRecord>),
    /// Of a sealed segment.
    Sealed(SealedIndex<D>),
}

pub(crate) struct SealedIndex<D: Disk> {
    pub(crate) header: IndexHeader,
    map: <D::File as DiskFile>::Map,
}

impl<D: Disk> SegmentIndex<D> {
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Memory(records) => records.len() as u64,
            Self::Sealed(sealed) => sealed.header.count,
        }
    }

    pub(crate) fn is_sealed(&self) -> bool {
        matches!(self, Self::Sealed(_))
    }

    /// The `nth` record, none beyond the end or when the stored record does not check.
    pub(crate) fn get(&self, nth: u64) -> Option<IndexRecord> {
        match self {
            Self::Memory(records) => records.get(usize::try_from(nth).ok()?).copied(),
            Self::Sealed(sealed) => sealed.get(nth),
        }
    }

    /// The first `count` records, as a vector to go on with.
    pub(crate) fn to_memory(&self, count: u64) -> Option<Vec<IndexRecord>> {
        (0..count).map(|nth| self.get(nth)).collect()
    }
}

impl<D: Disk> SealedIndex<D> {
    fn get(&self, nth: u64) -> Option<IndexRecord> {
        if nth >= self.header.count {
            return None;
        }
        let at = HEADER_BYTES as u64 + nth * RECORD_BYTES as u64;
        self.map.with(at..at + RECORD_BYTES as u64, |bytes| {
            decode_record(self.header.base_index + nth, bytes)
        })
    }

    /// Writes and opens the index of a segment.
    pub(crate) fn write(
        disk: &D,
        dir: &Path,
        header: IndexHeader,
        records: &[IndexRecord],
    ) -> Result<Self, LogError> {
        let path = files::index_path(dir, header.segment);
        let mut buffer = Vec::new();
        let file = files::replace(disk, dir, &path, |file| {
            file.write_at(&header.encode(), 0)?;
            let (mut at, mut index) = (HEADER_BYTES as u64, header.base_index);
            for group in records.chunks(RECORDS_PER_WRITE) {
                buffer.clear();
                for record in group {
                    buffer.extend_from_slice(&encode_record(index, record));
                    index += 1;
                }
                file.write_at(&buffer, at)?;
                at += buffer.len() as u64;
            }
            Ok(())
        })?;
        let bytes = HEADER_BYTES as u64 + header.count * RECORD_BYTES as u64;
        Ok(Self { header, map: file.map(bytes).during("map", &path)? })
    }

    /// Opens an index file and checks all of it. `None` when it is damaged.
    pub(crate) fn open(disk: &D, dir: &Path, segment: u64) -> Result<Option<Self>, LogError> {
        let path = files::index_path(dir, segment);
        let file = disk.open(&path).during("open", &path)?;
        let bytes = file.len().during("measure", &path)?;
        let mut head = [0; HEADER_BYTES];
        if bytes < HEADER_BYTES as u64
            || !read_or_lost(&file, &mut head, 0).during("read", &path)?
        {
            return Ok(None);
        }
        let Some(header) = IndexHeader::decode(&head) else { return Ok(None) };
        let expected = header
            .count
            .checked_mul(RECORD_BYTES as u64)
            .and_then(|records| records.checked_add(HEADER_BYTES as u64));
        if expected != Some(bytes) || header.segment != segment || header.count == 0 {
            return Ok(None);
        }
        // Through the file first: a bad sector under a map is a signal.
        let mut buffer = vec![0; RECORDS_PER_WRITE * RECORD_BYTES];
        let (mut at, mut index) = (HEADER_BYTES as u64, header.base_index);
        while at < bytes {
            let step = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(buffer.len());
            let records = &mut buffer[..step];
            if !read_or_lost(&file, records, at).during("read", &path)? {
                return Ok(None);
            }
            for record in records.chunks_exact(RECORD_BYTES) {
                if decode_record(index, record).is_none() {
                    return Ok(None);
                }
                index += 1;
            }
            at += step as u64;
        }
        Ok(Some(Self { header, map: file.map(bytes).during("map", &path)? }))
    }
}
