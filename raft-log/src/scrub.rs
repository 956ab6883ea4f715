//! Checking entries of a log in use against its index.
//!
//! While a log is in use its index is known to be whole: it holds the header checksum of every entry,
//! which vouches for the entry's every byte. So a damaged entry is known by its index number alone. Of
//! a page that cannot be read every entry is damaged that has a byte in it.
//!
//! Invariant: an entry that is known to be damaged is read by nobody.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::disk::{Disk, Lane};
use crate::entry::decode_entry;
use crate::error::LogError;
use crate::pages;
use crate::reader::LogReader;
use crate::segment::Segment;
use crate::shared::Shared;
use crate::table::Table;
use crate::types::{LogIndex, Position};

/// Entries that are known to be damaged, by position.
#[derive(Default)]
pub(crate) struct DamagedEntries(BTreeMap<u64, Extent>);

struct Extent {
    end: u64,
    index: u64,
    /// What it stores, proved, until the pages that it shares with others can be written.
    held: Option<Bytes>,
}

impl DamagedEntries {
    /// Whether one of them has bytes in `from..to`. Asked by every read of a file.
    pub(crate) fn touch(&self, from: u64, to: u64) -> bool {
        let before = self.0.range(..to).next_back();
        before.is_some_and(|(_, extent)| extent.end > from)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where the first of them begins that ends behind `position`.
    pub(crate) fn first_behind(&self, position: u64) -> Option<u64> {
        let around = self.0.range(..=position).next_back();
        let around = around.filter(|(_, extent)| extent.end > position).map(|(&begin, _)| begin);
        around.or_else(|| self.0.range(position..).next().map(|(&begin, _)| begin))
    }

    /// Keeps what the one at `position` stores until its pages can be written.
    pub(crate) fn hold(&mut self, position: u64, bytes: Bytes) {
        if let Some(extent) = self.0.get_mut(&position) {
            extent.held = Some(bytes);
        }
    }

    /// What the one at `position` stores, if it waits to be written.
    pub(crate) fn held(&self, position: u64) -> Option<&Bytes> {
        self.0.get(&position)?.held.as_ref()
    }

    /// Positions of those that wait to be written and have bytes in `from..to`.
    pub(crate) fn waiting(&self, from: u64, to: u64) -> Vec<u64> {
        let within = self.0.range(..to).rev().take_while(|(_, extent)| extent.end > from);
        within.filter(|(_, extent)| extent.held.is_some()).map(|(&begin, _)| begin).collect()
    }

    /// False when it is known already.
    fn insert(&mut self, position: u64, end: u64, index: u64) -> bool {
        let vacant = !self.0.contains_key(&position);
        if vacant {
            self.0.insert(position, Extent { end, index, held: None });
        }
        vacant
    }

    /// It is whole again.
    pub(crate) fn remove(&mut self, position: u64) {
        self.0.remove(&position);
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

/// An entry to be checked, by its offsets in the segment.
pub(crate) struct Suspect {
    pub(crate) offset: u64,
    /// Where it ends at the latest.
    pub(crate) end: u64,
    pub(crate) header_crc: u32,
}

/// Entries of one segment to be checked, one after the other.
type Suspects<D> = (Arc<Segment<D>>, Vec<Suspect>);

impl<D: Disk> Table<D> {
    /// Index of the entry whose header is at `position`.
    fn index_at(&self, position: u64) -> Option<u64> {
        let index = self.index_around(position)?;
        (self.locate(index).ok()?.position == position).then_some(index)
    }

    /// Index of the entry, padding behind it included, in which `position` lies.
    pub(crate) fn index_around(&self, position: u64) -> Option<u64> {
        let held = self.segment_at(position)?;
        let offset = u32::try_from(position - held.segment.start).ok()?;
        // The number of entries that begin there or before.
        let (mut low, mut high) = (0, held.index.count());
        while low < high {
            let middle = low + (high - low) / 2;
            if held.index.get(middle)?.offset <= offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Some(held.base_index + low.checked_sub(1)?)
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
    pub(crate) fn judge(&self, bytes: &[u8]) -> Result<(), String> {
        match decode_entry(bytes) {
            Ok((_, crc, _)) if crc == self.header_crc => Ok(()),
            Ok(_) => Err("it is not the entry that the index knows".to_owned()),
            Err(damage) => Err(damage.to_string()),
        }
    }
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
            if !table.damaged.insert(position, end, index) {
                return;
            }
            (file, index)
        };
        let (file, index) = damaged;
        tracing::error!(
            file = %file.display(), position, index, reason,
            "an entry of the log is damaged; nobody reads it until it is mended"
        );
        self.tell_damage();
    }

    /// Wakes whoever mends.
    pub(crate) fn tell_damage(&self) {
        if let Some(tell) = self.on_damage.get() {
            tell();
        }
    }

    pub(crate) fn scrub_now(
        &self,
        from: u64,
        to: u64,
        limit_bytes: u64,
    ) -> Result<Scrubbed, LogError> {
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
        let bytes = pages::read(&segment, first, last);
        for suspect in &suspects {
            let verdict = match &bytes {
                Ok(bytes) => {
                    suspect.judge(&bytes[(suspect.offset - first) as usize..][..suspect.bytes()])
                }
                // Which of them it is that cannot be read.
                Err(_) => match pages::read(&segment, suspect.offset, suspect.end) {
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
        self.damaged_that(|_| true)
    }

    /// Those of them that nobody has given yet. The others wait for these.
    pub fn missing(&self) -> Vec<DamagedEntry> {
        self.damaged_that(|extent| extent.held.is_none())
    }

    fn damaged_that(&self, counts: impl Fn(&Extent) -> bool) -> Vec<DamagedEntry> {
        let table = self.shared.table();
        let entry = |(&position, extent): (&u64, &Extent)| DamagedEntry {
            index: LogIndex(extent.index),
            position: Position(position),
            file: table
                .segment_at(position)
                .map(|held| held.segment.path.clone())
                .unwrap_or_default(),
        };
        table.damaged.0.iter().filter(|(_, extent)| counts(extent)).map(entry).collect()
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
}
