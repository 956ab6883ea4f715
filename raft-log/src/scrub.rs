//! Checking entries of a log in use against its index, and mending single ones.
//!
//! While a log is in use its index is known to be whole: it holds the header checksum of every entry,
//! which vouches for the entry's every byte. So a damaged entry is known by its index number alone,
//! and what a peer gives in its place is the same entry if, and only if, its header comes out with
//! the checksum that the index holds.
//!
//! Invariants: an entry that is known to be damaged is read by nobody; what is written over it is
//! what was there before the damage, in pages that the log's writer is done with.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use raft::eraftpb::Entry;

use crate::disk::{Disk, DiskFile, Lane, PAGE_BYTES};
use crate::entry::{EntryHeader, decode_entry, stored_form};
use crate::error::{IoContext, LogError};
use crate::reader::LogReader;
use crate::segment::Segment;
use crate::shared::Shared;
use crate::table::Table;
use crate::types::{LogIndex, Position};

/// Entries that are known to be damaged, by position.
#[derive(Default)]
pub(crate) struct DamagedEntries(BTreeMap<u64, Extent>);

#[derive(Clone, Copy)]
struct Extent {
    end: u64,
    index: u64,
}

impl DamagedEntries {
    /// Whether one of them has bytes in `from..to`. Asked by every read of a file.
    pub(crate) fn touch(&self, from: u64, to: u64) -> bool {
        let before = self.0.range(..to).next_back();
        before.is_some_and(|(_, extent)| extent.end > from)
    }

    /// The log was cut: entries from `index` on are no more.
    pub(crate) fn cut(&mut self, index: u64) {
        self.0.retain(|_, extent| extent.index < index);
    }

    /// The log begins at `position` now.
    pub(crate) fn compact(&mut self, position: u64) {
        self.0 = self.0.split_off(&position);
    }
}

/// An entry that does not check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedEntry {
    /// Its index.
    pub index: LogIndex,
    /// Where it begins.
    pub position: Position,
    /// The file that holds it.
    pub file: PathBuf,
}

/// How far a scrub came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scrubbed {
    /// The entry to go on with.
    pub next: LogIndex,
    /// Bytes that were read.
    pub bytes: u64,
}

/// Why an entry was not mended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MendError {
    /// It is another entry than the one that was there.
    #[error("that is not the entry {0} which was there")]
    OtherEntry(LogIndex),
    /// The log's writer is not done with its pages yet.
    #[error("entry {0} lies where the log is being written")]
    TooNew(LogIndex),
    /// The log or its disk refused.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// An entry to be checked, by its offsets in the segment.
struct Suspect {
    offset: u64,
    /// Where it ends at the latest.
    end: u64,
    header_crc: u32,
}

/// Entries of one segment to be checked, one after the other.
type Suspects<D> = (Arc<Segment<D>>, Vec<Suspect>);

impl<D: Disk> Table<D> {
    /// Index of the entry whose header is at `position`.
    fn index_at(&self, position: u64) -> Option<u64> {
        let held = self.segment_at(position)?;
        let offset = u32::try_from(position - held.segment.start).ok()?;
        let (mut low, mut high) = (0, held.index.count());
        while low < high {
            let middle = low + (high - low) / 2;
            let found = held.index.get(middle)?.offset;
            match found.cmp(&offset) {
                std::cmp::Ordering::Equal => return Some(held.base_index + middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Entries from `from` on: up to `to`, in one segment, at least one and about `limit_bytes`, and
    /// none that is not in the file yet.
    fn suspects(
        &self,
        from: u64,
        to: u64,
        limit_bytes: u64,
        written_to: u64,
    ) -> Result<Option<Suspects<D>>, LogError> {
        let mut suspects: Vec<Suspect> = Vec::new();
        let mut segment: Option<Arc<Segment<D>>> = None;
        for index in from..=to.min(self.end.index.0) {
            let located = self.locate(index)?;
            let held = self.segment_at(located.position).expect("a located entry has a segment");
            let start = held.segment.start;
            let segment = segment.get_or_insert_with(|| held.segment.clone());
            if segment.start != start {
                break;
            }
            let next = if index == self.end.index.0 {
                self.end.position.0
            } else {
                self.locate(index + 1)?.position
            };
            let end = next.min(held.segment.end());
            let first = suspects.first().map_or(located.position - start, |first| first.offset);
            if end > written_to || (!suspects.is_empty() && end - start - first > limit_bytes) {
                break;
            }
            let (offset, header_crc) = (located.position - start, located.record.header_crc);
            suspects.push(Suspect { offset, end: end - start, header_crc });
        }
        Ok(segment.filter(|_| !suspects.is_empty()).map(|segment| (segment, suspects)))
    }
}

impl Suspect {
    /// What is wrong with the entry, whose bytes these are.
    fn judge(&self, bytes: &[u8]) -> Result<(), String> {
        match decode_entry(bytes) {
            Ok((_, crc, _)) if crc == self.header_crc => Ok(()),
            Ok(_) => Err("it is not the entry that the index knows".to_owned()),
            Err(damage) => Err(damage.to_string()),
        }
    }
}

/// Memory at an address that reads past the page cache accept.
fn read_pages<D: Disk>(segment: &Segment<D>, from: u64, to: u64) -> std::io::Result<Vec<u8>> {
    let (begin, end) = (from - from % PAGE_BYTES, to.next_multiple_of(PAGE_BYTES));
    let bytes = usize::try_from(end - begin).map_err(std::io::Error::other)?;
    let mut memory = vec![0; bytes + PAGE_BYTES as usize];
    let shift = memory.as_ptr().align_offset(PAGE_BYTES as usize);
    segment.file.read_pages(&mut memory[shift..shift + bytes], begin)?;
    memory.truncate(shift + (to - begin) as usize);
    memory.drain(..shift + (from - begin) as usize);
    Ok(memory)
}

impl<D: Disk> Shared<D> {
    /// Somebody read the entry at `position` and it did not check.
    pub(crate) fn note_damage(&self, position: u64, reason: &str) {
        let damaged = {
            let mut table = self.table_mut();
            let Some(index) = table.index_at(position) else { return };
            let Some(held) = table.segment_at(position) else { return };
            let file = held.segment.path.clone();
            let next = table.locate(index + 1).map_or(table.end.position.0, |next| next.position);
            let end = next.min(held.segment.end());
            if table.damaged.0.insert(position, Extent { end, index }).is_some() {
                return;
            }
            (file, index)
        };
        let (file, index) = damaged;
        tracing::error!(
            file = %file.display(), position, index, reason,
            "an entry of the log is damaged; nobody reads it until it is mended"
        );
        if let Some(tell) = self.on_damage.get() {
            tell();
        }
    }

    fn scrub_now(&self, from: u64, to: u64, limit_bytes: u64) -> Result<Scrubbed, LogError> {
        // Nothing is cut, compacted or installed meanwhile.
        let _background = self.background();
        if self.closed.load(Ordering::Acquire) {
            return Err(LogError::Closed);
        }
        let (from, suspects) = {
            let table = self.table();
            let from = from.max(table.start.index.0 + 1);
            let written_to = self.written_position.load(Ordering::Acquire);
            (from, table.suspects(from, to, limit_bytes, written_to)?)
        };
        let Some((segment, suspects)) = suspects else {
            return Ok(Scrubbed { next: LogIndex(to.max(from) + 1), bytes: 0 });
        };
        let (first, last) = (suspects[0].offset, suspects[suspects.len() - 1].end);
        let bytes = read_pages(&segment, first, last);
        for suspect in &suspects {
            let verdict = match &bytes {
                Ok(bytes) => {
                    suspect.judge(&bytes[(suspect.offset - first) as usize..][..suspect.bytes()])
                }
                // Which of them it is that cannot be read.
                Err(_) => match read_pages(&segment, suspect.offset, suspect.end) {
                    Ok(bytes) => suspect.judge(&bytes),
                    Err(error) => Err(error.to_string()),
                },
            };
            if let Err(reason) = verdict {
                self.note_damage(segment.start + suspect.offset, &reason);
            }
        }
        let next = LogIndex(from + suspects.len() as u64);
        Ok(Scrubbed { next, bytes: last - first })
    }

    fn mend_now(&self, entry: &Entry) -> Result<(), MendError> {
        // Nothing is cut, compacted or installed meanwhile.
        let _background = self.background();
        if self.closed.load(Ordering::Acquire) {
            return Err(LogError::Closed.into());
        }
        self.check_writable()?;
        let (segment, position, header_crc, previous_crc) = {
            let table = self.table();
            let located = table.locate(entry.index)?;
            let held = table.segment_at(located.position).expect("a located entry has a segment");
            let previous_crc = if entry.index == held.base_index {
                held.previous_crc
            } else {
                table.locate(entry.index - 1)?.record.header_crc
            };
            let crc = located.record.header_crc;
            (held.segment.clone(), located.position, crc, previous_crc)
        };
        let index = LogIndex(entry.index);
        if u32::try_from(entry.data.len()).is_err() {
            return Err(MendError::OtherEntry(index));
        }
        let (header, crc) = EntryHeader::of(entry, position, previous_crc).encode();
        if crc != header_crc {
            return Err(MendError::OtherEntry(index));
        }
        let bytes = stored_form(&header, &entry.data);
        let end = position + bytes.len() as u64;
        // The page in which the log ends is written again, past the page cache.
        let written_to = self.written_position.load(Ordering::Acquire);
        if end.next_multiple_of(PAGE_BYTES) > written_to - written_to % PAGE_BYTES {
            return Err(MendError::TooNew(index));
        }
        segment.file.write_at(&bytes, position - segment.start).during("repair", &segment.path)?;
        self.latch(segment.sync())?;
        self.table_mut().damaged.0.remove(&position);
        Ok(())
    }
}

impl Suspect {
    fn bytes(&self) -> usize {
        usize::try_from(self.end - self.offset).expect("an entry fits in memory")
    }
}

impl<D: Disk> LogReader<D> {
    /// Sets who is told, once, that an entry was found damaged: the log's owner, when it starts.
    pub fn on_damage(&self, tell: impl Fn() + Send + Sync + 'static) {
        // The first owner stays.
        let _ = self.shared.on_damage.set(Box::new(tell));
    }

    /// The entries that are known to be damaged.
    pub fn damaged(&self) -> Vec<DamagedEntry> {
        let table = self.shared.table();
        let entry = |(&position, extent): (&u64, &Extent)| DamagedEntry {
            index: LogIndex(extent.index),
            position: Position(position),
            file: table
                .segment_at(position)
                .map(|held| held.segment.path.clone())
                .unwrap_or_default(),
        };
        table.damaged.0.iter().map(entry).collect()
    }

    /// The last entry of the segments that are full and durable; before the first one if none is.
    pub fn sealed_to(&self) -> LogIndex {
        let table = self.shared.table();
        let durable = self.shared.durable_position.load(Ordering::Acquire);
        let mut full = table.segments.iter().rev().skip(1);
        let last = full.find(|held| held.segment.end() <= durable);
        LogIndex(last.map_or(table.start.index.0, |held| held.base_index + held.index.count() - 1))
    }

    /// Checks entries from `from` on, up to `to`: at least one, then about as many as `limit_bytes`
    /// hold. Those that do not check are known as damaged afterwards. What is read does not stay
    /// in memory, and is read away from the caller.
    ///
    /// # Errors
    /// When the index of the entries cannot be read.
    pub fn scrub(
        &self,
        from: LogIndex,
        to: LogIndex,
        limit_bytes: u64,
    ) -> impl Future<Output = Result<Scrubbed, LogError>> + Send + 'static {
        let shared = self.shared.clone();
        let work = self
            .shared
            .disk
            .offload(Lane::Prepare, move || shared.scrub_now(from.0, to.0, limit_bytes));
        async move { work.await.unwrap_or(Err(LogError::Closed)) }
    }

    /// Writes an entry that a peer gave over a damaged one, if it is the same. Durable on return.
    ///
    /// # Errors
    /// See [`MendError`].
    pub fn mend(
        &self,
        entry: Entry,
    ) -> impl Future<Output = Result<(), MendError>> + Send + 'static {
        let shared = self.shared.clone();
        let work = self.shared.disk.offload(Lane::Prepare, move || shared.mend_now(&entry));
        async move { work.await.unwrap_or(Err(MendError::Log(LogError::Closed))) }
    }
}
