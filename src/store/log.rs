//! The committed log as the store reads it.
//!
//! Invariant: read only. The store holds positions, the log holds bytes; a position that the log no
//! longer has is an error, never another record's bytes.

use bytes::Bytes;
use raft_log::{Disk, EntryKind, LogError, LogIndex, LogReader, Position, Term};

use super::StoreError;

/// One entry of the log.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// Raft index.
    pub index: LogIndex,
    /// Term.
    pub term: Term,
    /// Position of its header.
    pub position: Position,
    /// Position of its payload's first byte.
    pub payload_position: Position,
    /// The payload; empty for entries of raft's own.
    pub payload: Bytes,
}

impl LogEntry {
    /// Position behind the payload.
    pub fn end(&self) -> Position {
        Position(self.payload_position.0 + self.payload.len() as u64)
    }
}

/// What the store asks of the log. Not generic over the disk, so that those who query need not be.
pub trait CommittedLog: Send + Sync {
    /// `bytes` bytes from `position`, without a copy where the log is mapped.
    ///
    /// # Errors
    /// When the log does not hold them.
    fn read(&self, position: Position, bytes: usize) -> Result<Bytes, StoreError>;

    /// Says that about `bytes` bytes from `position` on are read next, by somebody who goes on from there.
    /// False when memory holds them.
    fn will_read(&self, position: Position, bytes: usize) -> bool;

    /// Verified entries from the one whose header is at `position` on, about `limit_bytes` of them
    /// but at least one unless the log ends there.
    ///
    /// # Errors
    /// When the log does not hold them or they are damaged.
    fn entries_from(
        &self,
        position: Position,
        limit_bytes: usize,
    ) -> Result<Vec<LogEntry>, StoreError>;

    /// Position of an entry's header.
    fn position_of(&self, index: LogIndex) -> Option<Position>;

    /// Where the log begins.
    fn first_position(&self) -> Position;
}

impl<D: Disk> CommittedLog for LogReader<D> {
    fn read(&self, position: Position, bytes: usize) -> Result<Bytes, StoreError> {
        LogReader::read(self, position, bytes).map_err(|error| log_error(position, &error))
    }

    fn will_read(&self, position: Position, bytes: usize) -> bool {
        LogReader::will_read(self, position, bytes)
    }

    fn entries_from(
        &self,
        position: Position,
        limit_bytes: usize,
    ) -> Result<Vec<LogEntry>, StoreError> {
        let entries = LogReader::entries_from(self, position, limit_bytes)
            .map_err(|error| log_error(position, &error))?;
        let entry = |entry: raft_log::StoredEntry| LogEntry {
            index: entry.index,
            term: entry.term,
            position: entry.position,
            payload_position: entry.payload_position,
            // Changes of the membership are raft's own.
            payload: if entry.kind == EntryKind::Normal { entry.payload } else { Bytes::new() },
        };
        Ok(entries.into_iter().map(entry).collect())
    }

    fn position_of(&self, index: LogIndex) -> Option<Position> {
        LogReader::position_of(self, index)
    }

    fn first_position(&self) -> Position {
        LogReader::first_position(self)
    }
}

fn log_error(position: Position, error: &LogError) -> StoreError {
    match error {
        LogError::Corrupt { position, .. } => StoreError::Damaged { position: *position },
        _ => StoreError::Log { position, message: error.to_string() },
    }
}

/// Header position of the last entry, up to index `last`, that begins at or below `position`.
pub fn entry_at_or_below(
    log: &dyn CommittedLog,
    position: Position,
    last: LogIndex,
) -> Option<Position> {
    let (mut low, mut high) = (0, last.0 + 1);
    let mut found = None;
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        match log.position_of(LogIndex(middle)) {
            Some(at) if at > position => high = middle,
            Some(at) => {
                found = Some(at);
                low = middle;
            }
            // Compacted: below everything the log has.
            None => low = middle,
        }
    }
    found
}
