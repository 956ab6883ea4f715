//! All extents of a log: one open, the others closed.
//!
//! Invariant: an extent is closed once and its index never changes afterwards; only where it is
//! kept does, from memory to a file. It is put among the closed before the next one opens, so a
//! reader that looks at the open one first and at the closed ones then misses nothing.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use raft_log::{LogIndex, Position};

use super::file::{ExtentFile, encode};
use super::open::{EntryMark, OpenExtent};
use super::record::RecordFacts;
use super::search::Caches;
use super::unit::Run;
use crate::state::payload;
use crate::store::StoreError;
use crate::store::files::DerivedFiles;
use crate::store::log::{CommittedLog, LogEntry, entry_at_or_below};
use crate::store::worker::Worker;

/// Bytes of the log read at once when an index is made again.
const SCAN_BYTES: usize = 4 << 20;

/// What the extents are kept in.
pub struct ExtentsOptions {
    /// Length of an extent in bytes, at most 4 GiB.
    pub extent_bytes: u64,
    /// The log.
    pub log: Arc<dyn CommittedLog>,
    /// Where closed extents' files go.
    pub files: Arc<dyn DerivedFiles>,
    /// Who writes them.
    pub worker: Arc<Worker>,
}

/// All extents.
pub struct Extents {
    pub(super) extent_bytes: u64,
    pub(super) log: Arc<dyn CommittedLog>,
    pub(super) files: Arc<dyn DerivedFiles>,
    worker: Arc<Worker>,
    pub(super) open: RwLock<OpenExtent>,
    pub(super) closed: RwLock<Arc<Vec<Arc<Extent>>>>,
    /// Index of the last entry taken in.
    pub(super) indexed: AtomicU64,
    pub(super) caches: Mutex<Caches>,
}

/// A closed extent.
pub(super) struct Extent {
    pub(super) number: u64,
    kept: RwLock<Kept>,
}

/// Where a closed extent's index is.
#[derive(Clone)]
pub(super) enum Kept {
    Memory(Arc<OpenExtent>),
    File(Arc<ExtentFile>),
}

/// Hears of every record of an entry, in log order.
pub trait RecordSink {
    /// The next record.
    fn record(&mut self, record: &RecordFacts<'_>);
}

impl Extents {
    /// Extents of a log that begins at `start`; see [`Extents::recover`] for what files hold.
    pub fn new(options: ExtentsOptions, start: Position) -> Extents {
        let ExtentsOptions { extent_bytes, log, files, worker } = options;
        assert!((1..=1 << 32).contains(&extent_bytes), "distances in an extent take 32 bits");
        Extents {
            extent_bytes,
            log,
            files,
            worker,
            open: RwLock::new(OpenExtent::new(start.0 / extent_bytes, extent_bytes)),
            closed: RwLock::default(),
            indexed: AtomicU64::new(0),
            caches: Mutex::default(),
        }
    }

    /// Indexes one committed entry. Records in extents that are closed already, which a replay
    /// meets, are only shown to `sink`.
    ///
    /// # Errors
    /// When a record does not parse.
    pub fn index_entry(
        &self,
        entry: &LogEntry,
        sink: &mut dyn RecordSink,
    ) -> Result<(), StoreError> {
        let mut open = self.open.write();
        self.close_below(&mut open, self.number_of(entry.position));
        if self.number_of(entry.position) == open.number {
            open.entry(mark_of(entry));
        }
        each_record(entry, |record| {
            let number = self.number_of(record.position);
            if number > open.number {
                self.close_below(&mut open, number);
            }
            #[cfg(madsim)]
            if record.queue_offset % 64 == 63
                && crate::mistake::made(crate::mistake::Mistake::LosesUnits)
            {
                sink.record(record);
                return true;
            }
            if number == open.number {
                open.insert(record);
            }
            sink.record(record);
            true
        })?;
        self.indexed.store(entry.index.0, Ordering::Release);
        Ok(())
    }

    /// Forgets extents that end at or below `position`, files included.
    pub fn drop_below(&self, position: Position) {
        let dropped = {
            let mut closed = self.closed.write();
            let kept = |extent: &Extent| (extent.number + 1) * self.extent_bytes > position.0;
            let (stay, go): (Vec<_>, Vec<_>) =
                closed.iter().cloned().partition(|extent| kept(extent));
            *closed = Arc::new(stay);
            go
        };
        for extent in dropped {
            self.remove_file(extent.number);
        }
        self.caches.lock().clear();
    }

    /// Forgets everything; the log now begins at `start`.
    pub fn reset(&self, start: Position, indexed: LogIndex) {
        let dropped = {
            let mut open = self.open.write();
            *open = OpenExtent::new(self.number_of(start), self.extent_bytes);
            self.indexed.store(indexed.0, Ordering::Release);
            std::mem::take(&mut *self.closed.write())
        };
        for extent in dropped.iter() {
            self.remove_file(extent.number);
        }
        self.caches.lock().clear();
    }

    /// Number of the extent that is being written.
    pub fn open_number(&self) -> u64 {
        self.open.read().number
    }

    /// Number of the extent a position is in.
    pub(super) fn number_of(&self, position: Position) -> u64 {
        position.0 / self.extent_bytes
    }

    /// An extent's index, made again when its file turns out damaged.
    pub(super) fn index_of(&self, extent: &Arc<Extent>) -> Result<Kept, StoreError> {
        let kept = extent.kept.read().clone();
        let Kept::File(file) = &kept else { return Ok(kept) };
        if file.intact() {
            return Ok(kept);
        }
        tracing::warn!(
            file = file_name(extent.number),
            "an extent's index is damaged and is made again from the log"
        );
        let again = Arc::new(self.index_stretch(extent.number)?);
        *extent.kept.write() = Kept::Memory(Arc::clone(&again));
        self.seal(Arc::clone(extent), Arc::clone(&again));
        Ok(Kept::Memory(again))
    }

    /// Makes an extent's index from its stretch of the log.
    pub(super) fn index_stretch(&self, number: u64) -> Result<OpenExtent, StoreError> {
        let last = LogIndex(self.indexed.load(Ordering::Acquire));
        let mut extent = OpenExtent::new(number, self.extent_bytes);
        let end = Position((number + 1) * self.extent_bytes);
        let start = Position(number * self.extent_bytes);
        scan(&*self.log, start..end, last, |entry| {
            if entry.position >= end {
                return Ok(false);
            }
            if entry.position >= start {
                extent.entry(mark_of(entry));
            }
            each_record(entry, |record| {
                if self.number_of(record.position) == number {
                    extent.insert(record);
                }
                record.position < end
            })?;
            Ok(true)
        })?;
        Ok(extent)
    }

    /// Puts extents below `number` among the closed ones and opens that one.
    fn close_below(&self, open: &mut OpenExtent, number: u64) {
        while open.number < number {
            let full = Arc::new(std::mem::take(open));
            let extent = self.add_closed(full.number, Kept::Memory(Arc::clone(&full)));
            *open = full.next(self.extent_bytes);
            self.seal(extent, full);
        }
    }

    /// The closed extents, wholly in the log, whose index is not what their stretch of it gives.
    ///
    /// # Errors
    /// When the log cannot be read.
    #[cfg(madsim)]
    pub fn differences(&self) -> Result<Vec<u64>, StoreError> {
        let first = self.log.first_position();
        let mut differences = Vec::new();
        let closed = self.closed.read().clone();
        for extent in closed.iter() {
            if extent.number * self.extent_bytes < first.0 {
                continue;
            }
            let again = encode(&self.index_stretch(extent.number)?, self.extent_bytes);
            // A file that a loss of power tore is made again when it is first asked, as here.
            let equal = match self.index_of(extent)? {
                Kept::Memory(index) => encode(&index, self.extent_bytes)[..] == again[..],
                Kept::File(file) => file.content()[..] == again[..],
            };
            if !equal {
                differences.push(extent.number);
            }
        }
        Ok(differences)
    }

    /// Adds a closed extent in its place.
    pub(super) fn add_closed(&self, number: u64, kept: Kept) -> Arc<Extent> {
        let extent = Arc::new(Extent { number, kept: RwLock::new(kept) });
        let mut closed = self.closed.write();
        let mut extents = Vec::clone(&closed);
        let at = extents.partition_point(|other| other.number < number);
        extents.insert(at, Arc::clone(&extent));
        *closed = Arc::new(extents);
        extent
    }

    /// Has a closed extent's file written; until then, or if that fails, its index stays in memory.
    pub(super) fn seal(&self, extent: Arc<Extent>, index: Arc<OpenExtent>) {
        let (files, extent_bytes) = (Arc::clone(&self.files), self.extent_bytes);
        self.worker.submit(move || {
            let name = file_name(extent.number);
            let sealed = files
                .write(&name, &encode(&index, extent_bytes))
                .and_then(|()| files.open(&name))
                .and_then(|content| {
                    ExtentFile::open(content, extent.number, extent_bytes).map_err(|fault| {
                        StoreError::File { name: name.clone(), message: fault.to_string() }
                    })
                });
            match sealed {
                Ok(file) => *extent.kept.write() = Kept::File(Arc::new(file)),
                Err(error) => tracing::warn!(%error, "an extent's index stays in memory"),
            }
        });
    }

    pub(super) fn remove_file(&self, number: u64) {
        let files = Arc::clone(&self.files);
        self.worker.submit(move || {
            // One that was never written is gone as well.
            if let Err(error) = files.remove(&file_name(number)) {
                tracing::debug!(%error, "an extent's file is not removed");
            }
        });
    }
}

impl Kept {
    /// The run of the queue's present life, if the extent has one: always its last.
    pub(super) fn run(&self, topic: &str, queue_id: i32, created: Position) -> Option<Run<'_>> {
        let run = match self {
            Kept::Memory(index) => index.runs(topic, queue_id).next_back(),
            Kept::File(file) => file.runs(topic, queue_id).next_back(),
        };
        run.filter(|run| run.visible_from(created))
    }

    pub(super) fn find_key(&self, hash: u32) -> Vec<Position> {
        match self {
            Kept::Memory(index) => index.find_key(hash),
            Kept::File(file) => file.find_key(hash),
        }
    }
}

impl Extent {
    /// Store times of its first and last record; touches no page of its file but the first.
    pub(super) fn store_times_ms(&self) -> Option<(i64, i64)> {
        match &*self.kept.read() {
            Kept::Memory(index) => index.store_times_ms,
            Kept::File(file) => file.store_times_ms(),
        }
    }
}

/// Name of an extent's file.
pub(super) fn file_name(number: u64) -> String {
    format!("{number:020}.index")
}

fn mark_of(entry: &LogEntry) -> EntryMark {
    EntryMark { index: entry.index, term: entry.term, position: entry.position }
}

/// Shows the entries of a stretch, from the one that covers its start on and at most to the one of index
/// `last`, until told to stop.
pub(super) fn scan(
    log: &dyn CommittedLog,
    stretch: Range<Position>,
    last: LogIndex,
    mut take: impl FnMut(&LogEntry) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let first = log.first_position();
    let mut next = entry_at_or_below(log, stretch.start, last).unwrap_or(first).max(first);
    loop {
        // Small extents would else be read many times over.
        let left = stretch.end.0.saturating_sub(next.0).max(1);
        let bytes = usize::try_from(left).map_or(SCAN_BYTES, |left| left.min(SCAN_BYTES));
        let entries = log.entries_from(next, bytes)?;
        let Some(end) = entries.last().map(LogEntry::end) else { return Ok(()) };
        for entry in &entries {
            if entry.index > last || !take(entry)? {
                return Ok(());
            }
        }
        let Some(index) = entries.last().map(|entry| LogIndex(entry.index.0 + 1)) else {
            return Ok(());
        };
        if index > last {
            return Ok(());
        }
        // The next header is aligned, or at the next segment's start.
        next = log.position_of(index).ok_or_else(|| StoreError::Log {
            position: end,
            message: format!("entry {index} is missing"),
        })?;
    }
}

/// Shows the records of an entry until told to stop.
fn each_record(
    entry: &LogEntry,
    mut take: impl FnMut(&RecordFacts<'_>) -> bool,
) -> Result<(), StoreError> {
    if entry.payload.is_empty() {
        return Ok(());
    }
    let bad = |position, message| StoreError::Record { position, message };
    let (count, mut at) = payload::prefix(&entry.payload)
        .map_err(|error| bad(entry.payload_position, error.to_string()))?;
    for _ in 0..count {
        let position = Position(entry.payload_position.0 + at as u64);
        let record = RecordFacts::parse(&entry.payload[at..], position)?;
        if !take(&record) {
            return Ok(());
        }
        at += record.size as usize;
    }
    if at != entry.payload.len() {
        return Err(bad(entry.payload_position, "bytes behind its last record".to_owned()));
    }
    Ok(())
}
