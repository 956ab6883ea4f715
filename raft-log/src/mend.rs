//! Mending single entries of a log in use.
//!
//! What a peer gives in the place of a damaged entry is the same entry if, and only if, its header comes out
//! with the checksum that the index holds. It is written in whole pages, because a page with a bad sector
//! takes nothing less. What else stands in such a page cannot be read either: it belongs to neighbours,
//! which are in memory, or are damaged too and fetched in their turn. Until they are there the entry waits
//! in memory.
//!
//! When the group has committed another entry in that place, nobody will ever give this one: the group gave it
//! up, and raft has it taken back when it has learned so. At a start raft cannot wait for that. Then the log is
//! opened again with its segment doubted, and found damaged: `repair` knows how to take entries back.
//!
//! Invariants: what is written over a damaged entry is what was there before the damage, in pages that the
//! log's writer is done with; an entry is whole again only when it was read again and checked.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use raft::eraftpb::Entry;

use crate::disk::{Disk, Lane, PAGE_BYTES};
use crate::entry::{EntryDamage, EntryHeader, stored_form};
use crate::error::LogError;
use crate::pages::{self, Patchwork};
use crate::reader::LogReader;
use crate::repair::{is_given_up, padding};
use crate::scrub::Suspect;
use crate::segment::Segment;
use crate::shared::Shared;
use crate::table::{Boundary, Table};
use crate::types::{LogIndex, Position, Term};

/// What became of an entry that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mended {
    /// It is whole again.
    Whole,
    /// It is taken, and written when the entries are there with which it shares a page.
    Waits,
}

/// Why an entry was not mended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MendError {
    /// It is another entry than the one that was there.
    #[error("that is not the entry {0} which was there")]
    OtherEntry(LogIndex),
    /// The group has committed another entry in its place.
    #[error("the group has given up the entry {0} which was there")]
    GivenUp(LogIndex),
    /// The log's writer is not done with its pages yet.
    #[error("entry {0} lies where the log is being written")]
    TooNew(LogIndex),
    /// The log or its disk refused.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// An entry that was there, and where.
struct Proved<D: Disk> {
    segment: Arc<Segment<D>>,
    position: u64,
    /// As it is stored, with the padding behind it.
    bytes: Bytes,
}

impl<D: Disk> Table<D> {
    /// Entry `index` as it stands in its segment, up to the next one.
    fn suspect(&self, index: u64) -> Result<(Arc<Segment<D>>, Suspect), LogError> {
        let located = self.locate(index)?;
        let held = self.segment_at(located.position).expect("a located entry has a segment");
        let start = held.segment.start;
        let next = self.locate(index + 1).map_or(self.end.position.0, |next| next.position);
        let suspect = Suspect {
            offset: located.position - start,
            end: next.min(held.segment.end()) - start,
            header_crc: located.record.header_crc,
        };
        Ok((held.segment.clone(), suspect))
    }

    /// Shows that `entry` is the one that the index knows.
    fn prove(&self, entry: &Entry) -> Result<Proved<D>, MendError> {
        let index = LogIndex(entry.index);
        let (segment, suspect) = self.suspect(entry.index)?;
        let position = segment.start + suspect.offset;
        let held = self.segment_at(position).expect("a located entry has a segment");
        let previous_crc = if entry.index == held.base_index {
            held.previous_crc
        } else {
            self.locate(entry.index - 1)?.record.header_crc
        };
        if u32::try_from(entry.data.len()).is_err() {
            return Err(MendError::OtherEntry(index));
        }
        let (header, crc) = EntryHeader::of(entry, position, previous_crc).encode();
        if crc != suspect.header_crc {
            return Err(MendError::OtherEntry(index));
        }
        let mut bytes = stored_form(&header, &entry.data);
        let (end, next) = (position + bytes.len() as u64, segment.start + suspect.end);
        if end < next {
            let (term, position) = (Term(entry.term), Position(end));
            let padding = padding(Boundary { index, term, position, chain_crc: crc }, next);
            let mut padded = BytesMut::from(&bytes[..]);
            padded.extend_from_slice(&padding);
            bytes = padded.freeze();
        }
        Ok(Proved { segment, position, bytes })
    }

    /// The stored bytes `from..to`, if all of them are in memory; otherwise where the entries of theirs
    /// begin that are not.
    fn known(&self, from: u64, to: u64) -> Result<Bytes, Vec<u64>> {
        let (mut found, mut unknown) = (BytesMut::new(), Vec::new());
        let mut index = self.index_around(from);
        let mut at = from;
        while at < to {
            let suspect = index.and_then(|index| self.suspect(index).ok());
            let Some((segment, suspect)) = suspect else { return Err(unknown) };
            let (begin, end) = (segment.start + suspect.offset, segment.start + suspect.end);
            if at < begin || at >= end {
                return Err(unknown);
            }
            let stop = end.min(to);
            if let Some(held) = self.damaged.held(begin) {
                found.extend_from_slice(&held[(at - begin) as usize..(stop - begin) as usize]);
            } else if at >= self.tail.first_position()
                && let Some(bytes) = self.tail.bytes(at, stop)
            {
                found.extend_from_slice(&bytes);
            } else {
                unknown.push(begin);
            }
            at = stop;
            index = index.map(|index| index + 1);
        }
        if unknown.is_empty() { Ok(found.freeze()) } else { Err(unknown) }
    }
}

impl<D: Disk> Shared<D> {
    /// What another entry than the one that was there says.
    fn judge_other(&self, error: MendError, committed: LogIndex) -> MendError {
        match error {
            MendError::OtherEntry(index)
                if is_given_up(index, self.known_committed(), committed) =>
            {
                MendError::GivenUp(index)
            }
            error => error,
        }
    }

    /// Everything up to here is known to be committed, and will be after any crash.
    pub(crate) fn known_committed(&self) -> LogIndex {
        LogIndex(self.persist().hard_state.durable().commit)
    }

    fn mend_now(&self, entry: &Entry, committed: LogIndex) -> Result<Mended, MendError> {
        // Nothing is cut, compacted or installed meanwhile.
        let _background = self.background();
        if self.closed.load(Ordering::Acquire) {
            return Err(LogError::Closed.into());
        }
        self.check_writable()?;
        let proved = self.table().prove(entry);
        let Proved { segment, position, bytes } =
            proved.map_err(|error| self.judge_other(error, committed))?;
        let end = position + bytes.len() as u64;
        // The page in which the log ends is written again, past the page cache.
        let written_to = self.written_position.load(Ordering::Acquire);
        if end.next_multiple_of(PAGE_BYTES) > pages::page_begin(written_to) {
            return Err(MendError::TooNew(LogIndex(entry.index)));
        }
        let mut patchwork = Patchwork::around(&segment, position - segment.start, &bytes)?;
        let (first, last) = (pages::page_begin(position), end.next_multiple_of(PAGE_BYTES));
        // In the order of the log, so that what is behind is known from the same walk.
        if patchwork.lost_before {
            match self.known(first, position) {
                Some(known) => patchwork.put_before(&known),
                None => patchwork.drop_first_page(),
            }
        }
        if patchwork.lost_behind {
            match self.known(end, last.min(segment.end())) {
                Some(known) => patchwork.put_behind(&known),
                None => patchwork.drop_last_page(),
            }
        }
        patchwork.write(&segment)?;
        self.latch(segment.sync())?;
        self.table_mut().damaged.hold(position, bytes);
        let waiting = self.table().damaged.waiting(first, last);
        for other in waiting {
            self.check_again(other)?;
        }
        self.forget_note();
        match self.is_whole(entry.index)? {
            true => Ok(Mended::Whole),
            false => Ok(Mended::Waits),
        }
    }

    /// What stands in `from..to`, if that is in memory. Entries there that are not are damaged, all of
    /// them: the page cannot be read.
    fn known(&self, from: u64, to: u64) -> Option<Bytes> {
        // Not in the match: noting damage takes the table's lock.
        let known = self.table().known(from, to);
        match known {
            Ok(bytes) => Some(bytes),
            Err(unknown) => {
                for position in unknown {
                    self.note_damage(position, &EntryDamage::Unreadable.to_string());
                }
                None
            }
        }
    }

    /// Takes the entry at `position` for whole if it is.
    fn check_again(&self, position: u64) -> Result<(), LogError> {
        let index = self.table().index_around(position);
        if let Some(index) = index
            && self.is_whole(index)?
        {
            self.table_mut().damaged.remove(position);
        }
        Ok(())
    }

    /// Reads an entry from the medium and checks it.
    fn is_whole(&self, index: u64) -> Result<bool, LogError> {
        let (segment, suspect) = self.table().suspect(index)?;
        let bytes = pages::read(&segment, suspect.offset, suspect.end);
        Ok(bytes.is_ok_and(|bytes| suspect.judge(&bytes).is_ok()))
    }
}

impl<D: Disk> LogReader<D> {
    /// Writes an entry over a damaged one, if it is the same. A peer gave it that knows everything up to
    /// `committed` to be committed. What is whole on return is durable.
    ///
    /// # Errors
    /// See [`MendError`].
    pub fn mend(
        &self,
        entry: Entry,
        committed: LogIndex,
    ) -> impl Future<Output = Result<Mended, MendError>> + Send + 'static {
        let shared = self.shared.clone();
        let work =
            self.shared.disk.offload(Lane::Prepare, move || shared.mend_now(&entry, committed));
        async move { work.await.unwrap_or(Err(MendError::Log(LogError::Closed))) }
    }
}
