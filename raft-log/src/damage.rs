//! What is damaged in a log that was found shorter than it was durable, and what of it is intact.
//!
//! The chain was followed up to an entry whose successor does not check. Somewhere behind there is,
//! most often, another header that does: it names its own index and position, and the header checksum
//! of the entry before it. So what a repair must end with is known before anybody is asked.
//!
//! Invariant: nothing is written here, and nothing is believed of a header but what its checksum
//! covers: a header counts only where it says that it stands.

use std::collections::BTreeMap;
use std::collections::btree_set::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft::eraftpb::ConfState;

use crate::disk::{Disk, DiskFile, read_or_lost};
use crate::entry::{
    ENTRY_HEADER_BYTES, EntryDamage, EntryHeader, EntryKind, HEADER, StoredEntry, decode_entry,
};
use crate::error::{IoContext, LogError};
use crate::files;
use crate::options::LogOptions;
use crate::scan::Window;
use crate::segment::{Segment, TRAILER_BYTES};
use crate::snapshot::SnapshotStore;
use crate::table::{Boundary, Table};
use crate::types::{LogIndex, Position, Term};

/// Durable entries that are damaged or gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where they begin.
    pub file: PathBuf,
    /// What was found there.
    pub reason: String,
    /// The log before them.
    pub before: Boundary,
    /// What closes the gap.
    pub end: DamageEnd,
}

/// How a repair knows that it is complete and right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageEnd {
    /// The checksums tell: the last missing entry has this index and this header checksum.
    Chain {
        /// Index of the last missing entry; that before the gap when only padding is damaged.
        index: LogIndex,
        /// The checksum of its header.
        crc: u32,
        /// Where the entry behind it begins, unless it is the damaged entry whose header is whole.
        next: Option<Position>,
    },
    /// Nothing behind is intact, or it contradicts itself. The log was durable up to this index at least;
    /// what a peer gives has to be committed.
    Open(LogIndex),
}

impl Damage {
    pub(crate) fn of<D: Disk>(
        file: PathBuf,
        reason: String,
        before: Boundary,
        durable_to: LogIndex,
        survey: &Survey<D>,
    ) -> Self {
        let up_to = |index: u64, found: &Found<D>| DamageEnd::Chain {
            index: LogIndex(index - 1),
            crc: found.previous_crc,
            next: Some(Position(found.segment.start + found.offset)),
        };
        let end = match survey.headers.first_key_value() {
            None => DamageEnd::Open(durable_to),
            // One of them may be what somebody put into a message.
            Some(_) if !survey.is_one_chain() => DamageEnd::Open(durable_to),
            Some((&index, found)) if index == before.index.0 + 1 && found.damage.is_some() => {
                let lost = found.damage == Some(EntryDamage::Unreadable);
                // Entries that share a page with it are lost too.
                match survey.headers.range(index + 1..).next().filter(|_| lost) {
                    Some((&index, behind)) => up_to(index, behind),
                    None => DamageEnd::Chain { index: LogIndex(index), crc: found.crc, next: None },
                }
            }
            Some((&index, found)) => up_to(index, found),
        };
        Self { file, reason, before, end }
    }

    /// Index of the last missing entry, as far as it is known.
    pub fn last(&self) -> LogIndex {
        match self.end {
            DamageEnd::Chain { index, .. } | DamageEnd::Open(index) => index,
        }
    }

    /// The same as an error, for who cannot repair it.
    pub fn error(&self) -> LogError {
        LogError::corrupt(&self.file, self.before.position.0, self.reason.clone())
    }
}

/// A header behind the damage.
pub(crate) struct Found<D: Disk> {
    pub(crate) segment: Arc<Segment<D>>,
    pub(crate) offset: u64,
    previous_crc: u32,
    crc: u32,
    term: Term,
    /// What is wrong with its payload. Asked only of the first one.
    damage: Option<EntryDamage>,
}

/// What is intact behind the end of the chain.
pub(crate) struct Survey<D: Disk> {
    /// Segments from the one in which the chain ends on.
    pub(crate) segments: BTreeMap<u64, Arc<Segment<D>>>,
    /// Headers by their index.
    pub(crate) headers: BTreeMap<u64, Found<D>>,
}

impl<D: Disk> Survey<D> {
    /// Whether every header repeats the checksum of the one before it, where that is there.
    pub(crate) fn is_one_chain(&self) -> bool {
        let behind = self.headers.iter().skip(1);
        self.headers.iter().zip(behind).all(|((&index, found), (&next, behind))| {
            next != index + 1 || behind.previous_crc == found.crc
        })
    }
}

/// Looks for headers in the segments that begin at `starts`, behind what ends with `before`.
pub(crate) fn survey<D: Disk>(
    disk: &D,
    dir: &Path,
    segment_bytes: u64,
    starts: Range<'_, u64>,
    before: Boundary,
) -> Result<Survey<D>, LogError> {
    let mut survey = Survey { segments: BTreeMap::new(), headers: BTreeMap::new() };
    for &start in starts {
        let path = files::segment_path(dir, start);
        let file = disk.open(&path).during("open", &path)?;
        if file.len().during("measure", &path)? != segment_bytes + TRAILER_BYTES {
            // Its creation was cut short; any other wrong length was an error before.
            continue;
        }
        let segment = Arc::new(Segment::open(disk, dir, start, segment_bytes)?);
        let from = before.position.0.saturating_sub(start).min(segment_bytes);
        headers_of(&segment, from, |offset, header, crc| {
            let follows = header.index == before.index.0 + 1;
            // What claims to be next but does not chain contradicts everything before it.
            if header.kind == EntryKind::Padding
                || header.index <= before.index.0
                || (follows && header.previous_crc != before.chain_crc)
            {
                return;
            }
            survey.headers.entry(header.index).or_insert(Found {
                segment: segment.clone(),
                offset,
                previous_crc: header.previous_crc,
                crc,
                term: Term(header.term),
                damage: None,
            });
        })?;
        survey.segments.insert(start, segment);
    }
    if let Some(mut first) = survey.headers.first_entry() {
        let found = first.get_mut();
        found.damage = read_entry(&found.segment, found.offset)?.err();
    }
    Ok(survey)
}

/// Calls `found` for each header in the segment that stands where it says, from `from` on.
fn headers_of<D: Disk>(
    segment: &Segment<D>,
    from: u64,
    mut found: impl FnMut(u64, EntryHeader, u32),
) -> Result<(), LogError> {
    let mut window = Window::new(segment);
    let mut offset = from;
    while segment.bytes - offset >= ENTRY_HEADER_BYTES {
        let bytes = window.get(offset, HEADER)?;
        match EntryHeader::decode(bytes) {
            Ok((header, crc))
                if header.position == segment.start + offset
                    && header.stored_bytes() <= segment.bytes - offset =>
            {
                found(offset, header, crc);
                offset += header.stored_bytes();
            }
            _ => {
                let places = bytes.chunks_exact(8).skip(1);
                let ahead = places.take_while(|place| !EntryHeader::may_begin(place)).count();
                offset += 8 * (1 + ahead as u64);
            }
        }
    }
    Ok(())
}

/// The entry at `offset`, read through the file: what is wrong with it, or the entry and the header
/// checksum that it repeats.
pub(crate) fn read_entry<D: Disk>(
    segment: &Segment<D>,
    offset: u64,
) -> Result<Result<(StoredEntry, EntryHeader), EntryDamage>, LogError> {
    let mut bytes = vec![0; HEADER];
    if !read_or_lost(&segment.file, &mut bytes, offset).during("read", &segment.path)? {
        return Ok(Err(EntryDamage::Unreadable));
    }
    let header = match EntryHeader::decode(&bytes) {
        Ok((header, _)) => header,
        Err(damage) => return Ok(Err(damage)),
    };
    if header.position != segment.start + offset {
        return Ok(Err(EntryDamage::Position));
    }
    let payload_bytes = u64::from(header.payload_bytes);
    if ENTRY_HEADER_BYTES + payload_bytes > segment.bytes - offset {
        return Ok(Err(EntryDamage::Short));
    }
    let whole = HEADER + header.payload_bytes as usize;
    bytes.resize(whole, 0);
    let payload = &mut bytes[HEADER..];
    let payload_offset = offset + ENTRY_HEADER_BYTES;
    if !read_or_lost(&segment.file, payload, payload_offset).during("read", &segment.path)? {
        return Ok(Err(EntryDamage::Unreadable));
    }
    if let Err(damage) = decode_entry(&bytes) {
        return Ok(Err(damage));
    }
    let entry = StoredEntry::new(&header, bytes::Bytes::from(bytes).slice(HEADER..));
    Ok(Ok((entry, header)))
}

/// A log of which something durable is damaged. It can be read where it is intact, so that it helps
/// others, and repaired; it cannot be appended to, and no vote is given from it.
pub struct DamagedLog<D: Disk> {
    pub(crate) disk: D,
    pub(crate) dir: PathBuf,
    pub(crate) options: LogOptions,
    /// The log up to the damage.
    pub(crate) table: Table<D>,
    pub(crate) survey: Survey<D>,
    pub(crate) damage: Damage,
    /// The log was durable up to this index at least.
    pub(crate) durable_to: LogIndex,
    pub(crate) commit: LogIndex,
    pub(crate) lock: Arc<D::Lock>,
}

impl<D: Disk> DamagedLog<D> {
    /// The first damage; there may be more behind it.
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    /// Everything up to this index was committed when the log was last used.
    pub fn commit(&self) -> LogIndex {
        self.commit
    }

    /// Everything that is known of the log, intact or not, lies up to here.
    pub fn reach(&self) -> LogIndex {
        let intact = self.survey.headers.last_key_value().map_or(0, |(&index, _)| index);
        self.durable_to.max(self.damage.last()).max(LogIndex(intact))
    }

    /// The newest term that a missing entry can be of, if what is intact behind the gap tells: the terms of a
    /// log never go down.
    pub(crate) fn term_behind(&self) -> Option<Term> {
        let DamageEnd::Chain { index: LogIndex(last), .. } = self.damage.end else { return None };
        self.survey.headers.range(last..).next().map(|(_, found)| found.term)
    }

    /// The snapshots beside the log, for peers that lack one.
    pub fn snapshots(&self) -> SnapshotStore<D> {
        SnapshotStore::new(self.disk.clone(), self.dir.clone(), ConfState::default())
    }

    /// Index of the first entry that may be there.
    pub fn first_index(&self) -> LogIndex {
        LogIndex(self.table.start.index.0 + 1)
    }

    /// Segment and offset of entry `index`, if it may be intact.
    pub(crate) fn place_of(&self, index: u64) -> Option<(&Arc<Segment<D>>, u64)> {
        if index <= self.table.end.index.0 {
            let position = self.table.locate(index).ok()?.position;
            let segment = &self.table.segment_at(position)?.segment;
            return Some((segment, position - segment.start));
        }
        let found = self.survey.headers.get(&index)?;
        Some((&found.segment, found.offset))
    }
}
