//! From commit to the applier: what is committed faster than it is applied waits in the log.
//!
//! A member that replays after a start, or catches up, learns of commits much faster than it applies
//! them. The entries that the applier has no room for are forgotten here, and read from the log again
//! when it has.
//!
//! Invariants: the applier is handed every committed entry once, in order, each with who waits for it;
//! what it has not applied is at most the bound of the options and one batch.

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType};
use raft_log::{
    Disk, ENTRY_HEADER_BYTES, EntryKind, LogError, LogIndex, Position, StoredEntry, Term,
};
use tokio::time::Instant;

use super::{InFlight, Owner};
use crate::replication::applier::Work;
use crate::replication::figures::microseconds;
use crate::replication::machine::{Committed, Refusal, Sequencer};

/// Committed entries that were not handed on.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    /// First and last of them.
    range: Option<(LogIndex, LogIndex)>,
}

impl Deferred {
    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.range.is_none()
    }

    /// A snapshot takes their place.
    pub fn clear(&mut self) {
        self.range = None;
    }

    fn extend(&mut self, first: LogIndex, last: LogIndex) {
        let first = self.range.map_or(first, |(earlier, _)| earlier);
        self.range = Some((first, last));
    }

    fn handed(&mut self, upto: LogIndex) {
        let rest = self.range.filter(|(_, last)| upto < *last);
        self.range = rest.map(|(_, last)| (LogIndex(upto.0 + 1), last));
    }
}

impl<D: Disk, S: Sequencer> Owner<D, S> {
    /// Hands committed entries to the applier, or defers them while it has enough to do.
    pub(super) fn hand_committed(&mut self, entries: Vec<Entry>) -> Result<(), LogError> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
        if !self.deferred.is_empty() || !self.applier_has_room() {
            self.deferred.extend(LogIndex(first.index), LogIndex(last.index));
            return Ok(());
        }
        let mut batch = Vec::with_capacity(entries.len());
        let now = Instant::now();
        for entry in entries {
            let position = self.position_of(LogIndex(entry.index))?;
            let payload = match entry.get_entry_type() {
                EntryType::EntryNormal => entry.data,
                _ => without_effect(entry.index),
            };
            let committed = Committed {
                index: LogIndex(entry.index),
                term: Term(entry.term),
                position,
                payload_position: Position(position.0 + ENTRY_HEADER_BYTES),
                payload,
            };
            let pending = self.take_pending(committed.index, committed.term, now);
            batch.push((committed, pending));
        }
        self.applier.hand(Work::Entries(batch));
        Ok(())
    }

    /// Hands on what was deferred, as far as the applier has room by now.
    pub(super) fn hand_deferred(&mut self) -> Result<(), LogError> {
        while let Some((first, last)) = self.deferred.range
            && self.applier_has_room()
        {
            let position = self.position_of(first)?;
            let stored = self.reader.entries_from(position, self.options.unapplied_bytes_max)?;
            let now = Instant::now();
            let mut batch = Vec::with_capacity(stored.len());
            for entry in stored.into_iter().take_while(|entry| entry.index <= last) {
                let pending = self.take_pending(entry.index, entry.term, now);
                batch.push((committed(entry), pending));
            }
            let upto = batch.last().map(|(entry, _)| entry.index);
            let upto = upto.ok_or(LogError::Unavailable { what: "index", number: first.0 })?;
            self.deferred.handed(upto);
            self.applier.hand(Work::Entries(batch));
        }
        Ok(())
    }

    fn applier_has_room(&self) -> bool {
        self.applier.backlog_bytes() <= self.options.unapplied_bytes_max
    }

    fn position_of(&self, index: LogIndex) -> Result<Position, LogError> {
        let position = self.reader.position_of(index);
        position.ok_or(LogError::Unavailable { what: "index", number: index.0 })
    }

    /// Who waits for the entry, if it is the very one that we proposed.
    fn take_pending(&mut self, index: LogIndex, term: Term, now: Instant) -> Option<S::Pending> {
        let (index, term) = (index.0, term.0);
        while self.pendings.front().is_some_and(|first| first.index <= index) {
            let InFlight { index: at, term: proposed_in, since, pending } =
                self.pendings.pop_front()?;
            #[cfg(madsim)]
            let proposed_in = match crate::mistake::made(crate::mistake::Mistake::AnswersForAnother)
            {
                true => term,
                false => proposed_in,
            };
            if at == index && proposed_in == term {
                self.figures.commit_us.observe(microseconds(now - since));
                return Some(pending);
            }
            S::abandon(pending, Refusal::Unknown);
        }
        None
    }
}

fn committed(entry: StoredEntry) -> Committed {
    let payload = match entry.kind {
        EntryKind::Normal => entry.payload,
        _ => without_effect(entry.index.0),
    };
    Committed {
        index: entry.index,
        term: entry.term,
        position: entry.position,
        payload_position: entry.payload_position,
        payload,
    }
}

fn without_effect(index: u64) -> Bytes {
    tracing::error!(index, "membership changes are not supported");
    Bytes::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deferred_is_one_stretch_handed_on_from_its_front() {
        let mut deferred = Deferred::default();
        assert!(deferred.is_empty());
        deferred.extend(LogIndex(5), LogIndex(9));
        deferred.extend(LogIndex(10), LogIndex(12));
        assert_eq!(deferred.range, Some((LogIndex(5), LogIndex(12))));
        deferred.handed(LogIndex(11));
        assert_eq!(deferred.range, Some((LogIndex(12), LogIndex(12))));
        deferred.handed(LogIndex(12));
        assert!(deferred.is_empty());
        deferred.extend(LogIndex(13), LogIndex(13));
        deferred.clear();
        assert!(deferred.is_empty());
    }
}
