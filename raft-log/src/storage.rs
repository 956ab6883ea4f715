//! The log as raft's `Storage`.
//!
//! Invariant: what raft reads here is verified against its checksums. What does not check raft may
//! wait for while it is mended, or, where raft cannot wait, is an error that the log's owner is told
//! of before raft is.

use raft::eraftpb::{Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::disk::Disk;
use crate::error::LogError;
use crate::log::Log;

impl<D: Disk> Log<D> {
    /// Holds no lock, because the handler may end the process.
    fn for_raft(&self, error: LogError) -> raft::Error {
        match error {
            LogError::Compacted { .. } => raft::Error::Store(StorageError::Compacted),
            LogError::Unavailable { .. } => raft::Error::Store(StorageError::Unavailable),
            other => {
                tracing::error!(error = %other, "the log cannot be read");
                if let Some(handler) = &self.on_read_failure {
                    handler(&other);
                }
                raft::Error::Store(StorageError::Other(Box::new(other)))
            }
        }
    }
}

impl<D: Disk> Storage for Log<D> {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let hard_state = HardState {
            term: self.hard_state.term,
            vote: self.hard_state.vote,
            commit: self.hard_state.commit,
            ..HardState::default()
        };
        Ok(RaftState { hard_state, conf_state: self.conf_state.clone() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let max_bytes = max_size.into().unwrap_or(u64::MAX);
        // Not with the table locked: asking takes a while, and writers wait for it.
        let in_files = {
            let table = self.shared.table();
            (low < table.tail.first_index()).then(|| table.locate(low).ok()).flatten()
        };
        if let Some(located) = in_files {
            self.shared.will_read(located.position, max_bytes);
        }
        let read = {
            let table = self.shared.table();
            assert!(high <= table.end.index.0 + 1, "entries up to {high} of {}", table.end.index);
            table.entries(low, high, max_bytes)
        };
        read.map_err(|error| {
            if let LogError::Corrupt { position, reason, .. } = &error {
                self.shared.note_damage(position.0, reason);
                // Entries for a follower, asked for again with its next heartbeat.
                if context.can_async() {
                    return raft::Error::Store(StorageError::LogTemporarilyUnavailable);
                }
            }
            self.for_raft(error)
        })
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let read = self.shared.table().term(index);
        read.map_err(|error| self.for_raft(error))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.shared.table().start.index.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.shared.table().end.index.0)
    }

    /// The snapshot at the log's start: who gets it then receives the whole retained log, so that
    /// the oldest readable offsets are equal on all members.
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let unavailable = raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable);
        let start = self.shared.table().start;
        if start.index.0 == 0 || start.index.0 < request_index {
            return Err(unavailable);
        }
        match self.snapshots.at(start.position) {
            Ok(Some(snapshot)) => Ok(snapshot.to_raft()),
            Ok(None) | Err(LogError::Corrupt { .. }) => {
                self.shared.note_lost_snapshot(start.position);
                Err(unavailable)
            }
            // Nothing that was promised depends on it: the follower asks again, or another leader.
            Err(error @ LogError::Io { .. }) => {
                tracing::error!(%error, "a snapshot cannot be sent");
                Err(unavailable)
            }
            Err(error) => Err(self.for_raft(error)),
        }
    }
}
