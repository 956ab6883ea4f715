//! The stored form of one log entry: a 48-byte header, then the payload exactly as raft knows it.
//!
//! Invariant: the header's checksum covers the payload's checksum, and every header carries the
//! header checksum of the entry before it. So the checksum of one header vouches for the whole log
//! up to it, a stale record left behind by a truncation does not chain, and one that was written to
//! the wrong place does not match its own position.

use bytes::{BufMut, Bytes, BytesMut};
use raft::eraftpb::{Entry, EntryType};

use crate::types::{LogIndex, Position, Term};

/// Bytes of an entry's header.
pub const ENTRY_HEADER_BYTES: u64 = 48;
/// The header's length for slicing.
pub(crate) const HEADER: usize = ENTRY_HEADER_BYTES as usize;
/// Entries begin at multiples of this many bytes.
pub const ENTRY_ALIGNMENT: u64 = 8;

const MAGIC: u32 = 0x524d_5145; // "RMQE"
const VERSION: u16 = 1;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// Application data, or empty at the start of a term.
    Normal = 1,
    /// A membership change of one member.
    ConfChange = 2,
    /// A membership change of any shape.
    ConfChangeV2 = 3,
    /// The unused rest of a segment; not an entry of raft's.
    Padding = 9,
}

impl EntryKind {
    fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Normal),
            2 => Some(Self::ConfChange),
            3 => Some(Self::ConfChangeV2),
            9 => Some(Self::Padding),
            _ => None,
        }
    }

    pub(crate) fn from_raft(kind: EntryType) -> Self {
        match kind {
            EntryType::EntryNormal => Self::Normal,
            EntryType::EntryConfChange => Self::ConfChange,
            EntryType::EntryConfChangeV2 => Self::ConfChangeV2,
        }
    }

    /// Raft's name for it; padding has none.
    pub(crate) fn to_raft(self) -> Option<EntryType> {
        match self {
            Self::Normal => Some(EntryType::EntryNormal),
            Self::ConfChange => Some(EntryType::EntryConfChange),
            Self::ConfChangeV2 => Some(EntryType::EntryConfChangeV2),
            Self::Padding => None,
        }
    }
}

/// The fields of an entry's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryHeader {
    /// What follows.
    pub kind: EntryKind,
    /// Length of the payload; for padding, of the rest of the segment.
    pub payload_bytes: u32,
    /// Raft term; zero for padding.
    pub term: u64,
    /// Raft index; zero for padding.
    pub index: u64,
    /// Where this header begins in the log.
    pub position: u64,
    /// Header checksum of the entry before; zero for the first entry ever.
    pub previous_crc: u32,
    /// CRC-32 of the payload; zero for padding.
    pub payload_crc: u32,
}

impl EntryHeader {
    /// The header of raft's entry at `position`, behind the entry with that header checksum.
    ///
    /// # Panics
    /// When the payload's length does not fit its field; callers bound it by the segment size.
    pub(crate) fn of(entry: &Entry, position: u64, previous_crc: u32) -> Self {
        Self {
            kind: EntryKind::from_raft(entry.get_entry_type()),
            payload_bytes: u32::try_from(entry.data.len()).expect("bounded by the segment size"),
            term: entry.term,
            index: entry.index,
            position,
            previous_crc,
            payload_crc: crc32fast::hash(&entry.data),
        }
    }

    /// The stored bytes and their checksum, which the next entry repeats.
    pub fn encode(&self) -> ([u8; HEADER], u32) {
        let mut out = [0; HEADER];
        out[0..4].copy_from_slice(&MAGIC.to_be_bytes());
        out[4..6].copy_from_slice(&VERSION.to_be_bytes());
        out[6] = self.kind as u8;
        out[8..12].copy_from_slice(&self.payload_bytes.to_be_bytes());
        out[12..20].copy_from_slice(&self.term.to_be_bytes());
        out[20..28].copy_from_slice(&self.index.to_be_bytes());
        out[28..36].copy_from_slice(&self.position.to_be_bytes());
        out[36..40].copy_from_slice(&self.previous_crc.to_be_bytes());
        out[40..44].copy_from_slice(&self.payload_crc.to_be_bytes());
        let crc = crc32fast::hash(&out[..44]);
        out[44..48].copy_from_slice(&crc.to_be_bytes());
        (out, crc)
    }

    /// Reads a header; the second value is its checksum.
    ///
    /// # Errors
    /// Says what is wrong with the bytes. Any input is safe.
    pub fn decode(bytes: &[u8]) -> Result<(Self, u32), EntryDamage> {
        let header: &[u8; HEADER] = bytes.first_chunk().ok_or(EntryDamage::Short)?;
        if header.iter().all(|&byte| byte == 0) {
            return Err(EntryDamage::Absent);
        }
        if be32(header, 0) != MAGIC {
            return Err(EntryDamage::Magic);
        }
        let crc = crc32fast::hash(&header[..44]);
        if be32(header, 44) != crc {
            return Err(EntryDamage::HeaderChecksum);
        }
        // From here on the bytes are what somebody wrote.
        let version = u16::from_be_bytes([header[4], header[5]]);
        if version != VERSION {
            return Err(EntryDamage::Version(version));
        }
        let kind = EntryKind::from_code(header[6]).ok_or(EntryDamage::Kind(header[6]))?;
        let decoded = Self {
            kind,
            payload_bytes: be32(header, 8),
            term: be64(header, 12),
            index: be64(header, 20),
            position: be64(header, 28),
            previous_crc: be32(header, 36),
            payload_crc: be32(header, 40),
        };
        if (kind == EntryKind::Padding) != (decoded.index == 0) {
            return Err(EntryDamage::Kind(header[6]));
        }
        Ok((decoded, crc))
    }

    /// Whether the bytes may be the beginning of a header: where looking closer is worth it.
    pub(crate) fn may_begin(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC.to_be_bytes())
    }

    /// The header that says that the `left` bytes from `position` to the segment's end are unused.
    pub(crate) fn padding(position: u64, left: u64, previous_crc: u32) -> Self {
        Self {
            kind: EntryKind::Padding,
            payload_bytes: u32::try_from(left).expect("offsets fit 32 bits") - HEADER as u32,
            term: 0,
            index: 0,
            position,
            previous_crc,
            payload_crc: 0,
        }
    }

    /// Bytes from this header to where the next one may begin.
    pub fn stored_bytes(&self) -> u64 {
        stored_bytes(u64::from(self.payload_bytes))
    }
}

/// Why bytes are not an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryDamage {
    /// Fewer bytes than a header, or than the payload the header announces.
    #[error("the bytes end inside the entry")]
    Short,
    /// All zeros: nothing was written here.
    #[error("there is no entry")]
    Absent,
    /// The first four bytes are not an entry's.
    #[error("no entry begins here")]
    Magic,
    /// The header's checksum does not match.
    #[error("the header's checksum does not match")]
    HeaderChecksum,
    /// A format this program does not know.
    #[error("the entry has format version {0}, which this program does not know")]
    Version(u16),
    /// A kind this program does not know, or padding with an index.
    #[error("the entry's kind {0} is not valid")]
    Kind(u8),
    /// The payload's checksum does not match.
    #[error("the payload's checksum does not match")]
    PayloadChecksum,
    /// The entry was written for another place.
    #[error("the entry belongs to another position")]
    Position,
    /// The entry does not continue the one before.
    #[error("the entry does not chain to the one before")]
    Chain,
    /// The disk does not give its bytes.
    #[error("the disk cannot read it")]
    Unreadable,
}

/// Checks one whole entry at the start of `bytes`: header and payload, not its place in the log.
/// Returns the header, its checksum and the payload. Any input is safe.
///
/// # Errors
/// Says what is wrong with the bytes.
pub fn decode_entry(bytes: &[u8]) -> Result<(EntryHeader, u32, &[u8]), EntryDamage> {
    let (header, crc) = EntryHeader::decode(bytes)?;
    if header.kind == EntryKind::Padding {
        return Ok((header, crc, &[]));
    }
    let payload_bytes = usize::try_from(header.payload_bytes).map_err(|_| EntryDamage::Short)?;
    let payload = bytes[HEADER..].get(..payload_bytes).ok_or(EntryDamage::Short)?;
    if crc32fast::hash(payload) != header.payload_crc {
        return Err(EntryDamage::PayloadChecksum);
    }
    Ok((header, crc, payload))
}

/// One verified entry, its payload a slice of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Raft index.
    pub index: LogIndex,
    /// Raft term.
    pub term: Term,
    /// What it is; never padding.
    pub kind: EntryKind,
    /// Where its header begins.
    pub position: Position,
    /// Where its payload begins.
    pub payload_position: Position,
    /// The payload.
    pub payload: Bytes,
}

impl StoredEntry {
    /// The entry with a verified header that stands where it says, and with its payload.
    pub(crate) fn new(header: &EntryHeader, payload: Bytes) -> Self {
        Self {
            index: LogIndex(header.index),
            term: Term(header.term),
            kind: header.kind,
            position: Position(header.position),
            payload_position: Position(header.position + ENTRY_HEADER_BYTES),
            payload,
        }
    }

    /// Where the following entry begins, before placement.
    pub fn end(&self) -> Position {
        Position(self.position.0 + stored_bytes(self.payload.len() as u64))
    }
}

impl From<StoredEntry> for Entry {
    fn from(stored: StoredEntry) -> Entry {
        let mut entry = Entry::default();
        entry.set_entry_type(stored.kind.to_raft().expect("a stored entry is never padding"));
        entry.term = stored.term.0;
        entry.index = stored.index.0;
        entry.data = stored.payload;
        entry
    }
}

/// An entry as a segment holds it: header, payload, alignment.
pub(crate) fn stored_form(header: &[u8; HEADER], payload: &[u8]) -> Bytes {
    let stored = usize::try_from(stored_bytes(payload.len() as u64)).expect("it is in memory");
    let mut bytes = BytesMut::with_capacity(stored);
    bytes.put_slice(header);
    bytes.put_slice(payload);
    bytes.resize(stored, 0);
    bytes.freeze()
}

/// Header, payload and alignment of an entry.
pub(crate) fn stored_bytes(payload_bytes: u64) -> u64 {
    (ENTRY_HEADER_BYTES + payload_bytes).next_multiple_of(ENTRY_ALIGNMENT)
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(*bytes[at..].first_chunk().expect("callers pass whole fields"))
}

pub(crate) fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(*bytes[at..].first_chunk().expect("callers pass whole fields"))
}
