//! What is said about missing entries and snapshots: a question and an answer, each a frame.
//!
//! Invariant: what is given arrives as it was sent, or as an error; whether it is right is for the
//! asking member's log to find out.

use bytes::Bytes;
use raft::eraftpb::Entry;
use raft_log::{Fetched, LogIndex, Position};

use crate::replication::wire::{PeerEntry, WireError};

/// Asks for entries, or for a snapshot.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(in crate::replication) struct FetchRequest {
    /// Index of the first one.
    #[prost(uint64, tag = "1")]
    pub first: u64,
    /// Index of the last one that may be given.
    #[prost(uint64, tag = "2")]
    pub last: u64,
    /// Position of the snapshot that is asked for instead; zero for none: no snapshot is there.
    #[prost(uint64, tag = "3")]
    pub snapshot: u64,
}

impl FetchRequest {
    /// Asks for entries `first..=last`.
    pub fn entries(first: LogIndex, last: LogIndex) -> FetchRequest {
        FetchRequest { first: first.0, last: last.0, snapshot: 0 }
    }

    /// Asks for the snapshot at a position.
    pub fn snapshot(at: Position) -> FetchRequest {
        FetchRequest { first: 0, last: 0, snapshot: at.0 }
    }
}

/// Gives some of them, or none.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::replication) struct FetchAnswer {
    /// Index of the first entry that the answering log still has.
    #[prost(uint64, tag = "1")]
    pub first_index: u64,
    /// Everything up to this index is known to be committed.
    #[prost(uint64, tag = "2")]
    pub commit: u64,
    /// Header checksum of the entry before the first one given.
    #[prost(fixed32, tag = "3")]
    pub previous_crc: u32,
    #[prost(message, repeated, tag = "4")]
    entries: Vec<PeerEntry>,
    /// The stored form of the snapshot that was asked for.
    #[prost(bytes = "bytes", tag = "5")]
    pub snapshot: Bytes,
    /// The answering log is whole and has no such snapshot.
    #[prost(bool, tag = "6")]
    pub lacks_snapshot: bool,
}

impl FetchAnswer {
    /// An answer with a snapshot.
    pub fn with_snapshot(snapshot: Bytes) -> FetchAnswer {
        FetchAnswer { snapshot, ..FetchAnswer::default() }
    }

    /// An answer that there is no such snapshot.
    pub fn without_snapshot() -> FetchAnswer {
        FetchAnswer { lacks_snapshot: true, ..FetchAnswer::default() }
    }

    /// An answer with what was found.
    pub fn of(first_index: LogIndex, commit: LogIndex, found: Option<Fetched>) -> FetchAnswer {
        let (first_index, commit) = (first_index.0, commit.0);
        let mut answer = FetchAnswer { first_index, commit, ..FetchAnswer::default() };
        if let Some(found) = found {
            answer.previous_crc = found.previous_crc;
            answer.entries =
                found.entries.into_iter().map(|entry| PeerEntry::of(Entry::from(entry))).collect();
        }
        answer
    }

    /// The entries, as raft knows them.
    pub fn entries(self) -> Result<Vec<Entry>, WireError> {
        self.entries.into_iter().map(PeerEntry::into_raft).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use prost::Message as _;
    use raft_log::{EntryKind, Position, StoredEntry, Term};

    #[test]
    fn an_answer_survives_the_wire() {
        let stored = StoredEntry {
            index: LogIndex(7),
            term: Term(3),
            kind: EntryKind::ConfChangeV2,
            position: Position(800),
            payload_position: Position(848),
            payload: Bytes::from_static(b"payload"),
        };
        let found = Fetched { previous_crc: 0xdead_beef, entries: vec![stored.clone()] };
        let answer = FetchAnswer::of(LogIndex(2), LogIndex(9), Some(found));
        let read = FetchAnswer::decode(&*answer.encode_to_vec()).unwrap();
        assert_eq!(read, answer);
        assert_eq!((read.first_index, read.commit, read.previous_crc), (2, 9, 0xdead_beef));
        assert_eq!(read.entries().unwrap(), vec![Entry::from(stored)]);
        let nothing = FetchAnswer::of(LogIndex(2), LogIndex(9), None);
        assert!(nothing.entries().unwrap().is_empty());
    }
}
