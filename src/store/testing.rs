//! A log and a directory in memory, for tests of what is derived from a log.
//!
//! Invariant: entries lie as in the real log: a header before each payload, aligned, none across a
//! segment's end.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use raft_log::{LogIndex, Position, Term};

use super::StoreError;
use super::files::DerivedFiles;
use super::log::{CommittedLog, LogEntry};

const HEADER_BYTES: u64 = 48;

/// A log in memory; clones share it.
#[derive(Clone)]
pub struct TestLog {
    segment_bytes: u64,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    entries: BTreeMap<u64, LogEntry>,
    start: Position,
    tail: Position,
    last_index: LogIndex,
    /// Bytes handed out by `entries_from`.
    scanned_bytes: usize,
}

impl TestLog {
    pub fn new(segment_bytes: u64) -> TestLog {
        TestLog { segment_bytes, inner: Arc::default() }
    }

    /// Position of the payload of an entry appended now.
    pub fn place(&self, payload_bytes: usize) -> Position {
        Position(self.header_position(payload_bytes).0 + HEADER_BYTES)
    }

    fn header_position(&self, payload_bytes: usize) -> Position {
        let tail = self.inner.lock().tail.0;
        let total = HEADER_BYTES + payload_bytes as u64;
        assert!(total <= self.segment_bytes, "the entry fits no segment");
        let end = (tail / self.segment_bytes + 1) * self.segment_bytes;
        Position(if tail + total > end { end } else { tail })
    }

    pub fn append(&self, term: Term, payload: Bytes) -> LogEntry {
        let position = self.header_position(payload.len());
        let mut inner = self.inner.lock();
        inner.last_index.0 += 1;
        let entry = LogEntry {
            index: inner.last_index,
            term,
            position,
            payload_position: Position(position.0 + HEADER_BYTES),
            payload,
        };
        inner.tail = Position(entry.end().0.next_multiple_of(8));
        inner.entries.insert(position.0, entry.clone());
        entry
    }

    /// Drops whole segments below `position`.
    pub fn compact_to(&self, position: Position) {
        let start = Position(position.0 / self.segment_bytes * self.segment_bytes);
        let mut inner = self.inner.lock();
        inner.start = inner.start.max(start);
        inner.entries = inner.entries.split_off(&start.0);
    }

    /// Drops the entries behind `index`.
    pub fn truncate_after(&self, index: LogIndex) {
        let mut inner = self.inner.lock();
        inner.entries.retain(|_, entry| entry.index <= index);
        inner.last_index = index;
        let end = inner.entries.last_key_value().map_or(inner.start, |(_, entry)| entry.end());
        inner.tail = Position(end.0.next_multiple_of(8));
    }

    /// Drops everything; the log goes on after `index` at `start`, as after a snapshot.
    pub fn install(&self, index: LogIndex, start: Position) {
        let mut inner = self.inner.lock();
        *inner = Inner { start, tail: start, last_index: index, ..Inner::default() };
    }

    pub fn entries(&self) -> Vec<LogEntry> {
        self.inner.lock().entries.values().cloned().collect()
    }

    pub fn last_index(&self) -> LogIndex {
        self.inner.lock().last_index
    }

    pub fn tail(&self) -> Position {
        self.inner.lock().tail
    }

    pub fn take_scanned_bytes(&self) -> usize {
        std::mem::take(&mut self.inner.lock().scanned_bytes)
    }
}

impl CommittedLog for TestLog {
    fn read(&self, position: Position, bytes: usize) -> Result<Bytes, StoreError> {
        let inner = self.inner.lock();
        let error = |message: &str| StoreError::Log { position, message: message.to_owned() };
        let (_, entry) =
            inner.entries.range(..=position.0).next_back().ok_or_else(|| error("compacted"))?;
        let from =
            position.0.checked_sub(entry.payload_position.0).ok_or_else(|| error("header"))?;
        let from = usize::try_from(from).expect("small");
        if from + bytes > entry.payload.len() {
            return Err(error("behind the entry"));
        }
        Ok(entry.payload.slice(from..from + bytes))
    }

    /// As of a log of which no memory holds anything.
    fn will_read(&self, _position: Position, _bytes: usize) -> bool {
        true
    }

    fn entries_from(
        &self,
        position: Position,
        limit_bytes: usize,
    ) -> Result<Vec<LogEntry>, StoreError> {
        let mut inner = self.inner.lock();
        if position < inner.start {
            return Err(StoreError::Log { position, message: "compacted".to_owned() });
        }
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for entry in inner.entries.range(position.0..).map(|(_, entry)| entry) {
            bytes += entry.payload.len();
            if bytes > limit_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        inner.scanned_bytes += entries.iter().map(|entry| entry.payload.len()).sum::<usize>();
        Ok(entries)
    }

    fn position_of(&self, index: LogIndex) -> Option<Position> {
        let inner = self.inner.lock();
        inner.entries.values().find(|entry| entry.index == index).map(|entry| entry.position)
    }

    fn first_position(&self) -> Position {
        self.inner.lock().start
    }
}

/// A directory in memory; clones share it.
#[derive(Clone, Default)]
pub struct TestFiles {
    content: Arc<Mutex<BTreeMap<String, Bytes>>>,
}

impl TestFiles {
    pub fn names(&self) -> Vec<String> {
        self.content.lock().keys().cloned().collect()
    }

    /// Changes a file's content.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut content = self.content.lock();
        let file = content.get_mut(name).expect("the file is there");
        let mut bytes = file.to_vec();
        change(&mut bytes);
        *file = bytes.into();
    }

    pub fn get(&self, name: &str) -> Option<Bytes> {
        self.content.lock().get(name).cloned()
    }
}

impl DerivedFiles for TestFiles {
    fn list(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.names())
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        self.content.lock().insert(name.to_owned(), Bytes::copy_from_slice(content));
        Ok(())
    }

    fn open(&self, name: &str) -> Result<Bytes, StoreError> {
        self.get(name).ok_or_else(|| StoreError::File {
            name: name.to_owned(),
            message: "not found".to_owned(),
        })
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.content.lock().remove(name);
        Ok(())
    }
}
