//! Taking up the extents' files at a start.
//!
//! Invariant: afterwards every extent up to the last applied entry is indexed, each either by a
//! file that was made of this very log or anew from it. With the files in place that costs a scan
//! of at most one extent.
//!
//! A file is taken only of an extent behind whose end something is applied. What closed another one may
//! have been lost with the end of a log that was not synced, and a shorter entry may come in its place, in
//! the extent. Replay makes those again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use raft_log::{LogIndex, Position};

use super::file::ExtentFile;
use super::open::OpenExtent;
use super::set::{Extents, ExtentsOptions, Kept};
use crate::store::StoreError;
use crate::store::log::CommittedLog;

/// What a recovery found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Files taken up.
    pub files: usize,
    /// Closed extents indexed anew.
    pub rebuilt: usize,
}

impl Extents {
    /// Takes up what files there are and indexes the rest of the log up to entry `applied`.
    ///
    /// # Errors
    /// When the directory or the log cannot be read.
    pub fn recover(
        options: ExtentsOptions,
        applied: LogIndex,
    ) -> Result<(Extents, Recovered), StoreError> {
        let first = options.log.first_position();
        let extents = Extents::new(options, first);
        let mut files = extents.usable_files(first)?;
        let applied_at = extents.last_byte(applied)?.unwrap_or(first);
        extents.indexed.store(applied.0, Ordering::Release);
        let open_number = extents.number_of(applied_at);
        let unfinished = files.split_off(&open_number);
        unfinished.into_keys().for_each(|number| extents.remove_file(number));
        let mut recovered = Recovered { files: files.len(), rebuilt: 0 };
        for number in extents.number_of(first)..open_number {
            if let Some(file) = files.remove(&number) {
                extents.add_closed(number, Kept::File(Arc::new(file)));
            } else {
                let index = Arc::new(extents.index_of_missing(number)?);
                let extent = extents.add_closed(number, Kept::Memory(Arc::clone(&index)));
                extents.seal(extent, index);
                recovered.rebuilt += 1;
            }
        }
        *extents.open.write() = extents.index_stretch(open_number)?;
        Ok((extents, recovered))
    }

    fn index_of_missing(&self, number: u64) -> Result<OpenExtent, StoreError> {
        #[cfg(madsim)]
        if crate::mistake::made(crate::mistake::Mistake::LeavesIndexesEmpty) {
            return Ok(OpenExtent::new(number, self.extent_bytes));
        }
        self.index_stretch(number)
    }

    /// Last byte of an entry; none when the log does not have it, that is, before its start.
    fn last_byte(&self, index: LogIndex) -> Result<Option<Position>, StoreError> {
        let Some(position) = self.log.position_of(index) else { return Ok(None) };
        let entries = self.log.entries_from(position, 1)?;
        Ok(entries.first().map(|entry| Position(entry.end().0 - 1)))
    }

    /// Files by number that are of this log; others are removed.
    fn usable_files(&self, first: Position) -> Result<BTreeMap<u64, ExtentFile>, StoreError> {
        let mut files = BTreeMap::new();
        for name in self.files.list()? {
            let number = name.strip_suffix(".index").and_then(|digits| digits.parse().ok());
            let opened =
                number.filter(|number| *number >= self.number_of(first)).and_then(|number: u64| {
                    let content = self.files.open(&name).ok()?;
                    ExtentFile::open(content, number, self.extent_bytes)
                        .inspect_err(|fault| {
                            tracing::warn!(name, %fault, "an extent's index is made again");
                        })
                        .ok()
                        .map(|file| (number, file))
                });
            match opened {
                Some((number, file)) => drop(files.insert(number, file)),
                None => self.files.remove(&name)?,
            }
        }
        // A log that lost its unsynced tail may have grown again: files of that tail are not its
        // own. Entries are chained, so if a file's last entry is the log's, so are those before.
        while let Some(last) = files.last_entry() {
            if is_of_log(last.get(), &*self.log) {
                break;
            }
            let (number, _) = last.remove_entry();
            tracing::warn!(number, "an extent's index is not of this log and is removed");
            self.remove_file(number);
        }
        Ok(files)
    }
}

fn is_of_log(file: &ExtentFile, log: &dyn CommittedLog) -> bool {
    let mark = file.last_entry();
    if mark.index == LogIndex(0) {
        return false;
    }
    log.position_of(mark.index) == Some(mark.position)
        && log
            .entries_from(mark.position, 1)
            .is_ok_and(|entries| entries.first().is_some_and(|entry| entry.term == mark.term))
}
