//! What waits for the disk: the messages that may leave only after their promise is stored.
//!
//! Invariant: messages leave in the order of the readies that produced them, each after a sync that
//! began when its ready had been written; a term or a vote is never spoken of before it is durable.

use std::collections::VecDeque;
use std::pin::Pin;

use futures_util::Future;
use raft::eraftpb;
use raft_log::LogError;

/// A sync under way.
pub(super) type Sync = Pin<Box<dyn Future<Output = Result<(), LogError>> + Send>>;

/// One ready's messages.
struct Waiting {
    number: u64,
    /// Whether something of this ready itself must reach the disk.
    needs_sync: bool,
    messages: Vec<eraftpb::Message>,
}

/// What a finished sync lets go.
pub(super) struct Released {
    /// The term that is durable now.
    pub term: u64,
    /// Every ready up to this number is stored.
    pub number: u64,
    /// To be sent now.
    pub messages: Vec<eraftpb::Message>,
}

/// Readies between being written and being durable.
#[derive(Default)]
pub(super) struct Persist {
    waiting: VecDeque<Waiting>,
    /// The sync under way, the last ready and the term that it covers.
    syncing: Option<(Sync, u64, u64)>,
    /// Something was written that the sync under way does not cover.
    dirty: bool,
}

impl Persist {
    /// Whether nothing waits, so that a ready without need of a sync may go at once.
    pub fn is_clear(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a sync is under way.
    pub fn is_syncing(&self) -> bool {
        self.syncing.is_some()
    }

    /// Whether a sync must be started.
    pub fn wants_sync(&self) -> bool {
        self.syncing.is_none() && self.waiting.iter().any(|waiting| waiting.needs_sync)
    }

    /// Whether anything was written since the last sync began.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Something was written.
    pub fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    /// Queues a ready's messages behind those before.
    pub fn push(&mut self, number: u64, needs_sync: bool, messages: Vec<eraftpb::Message>) {
        self.waiting.push_back(Waiting { number, needs_sync, messages });
    }

    /// A sync began that covers everything written so far, `term` included.
    pub fn begin(&mut self, sync: Sync, term: u64) {
        assert!(self.syncing.is_none(), "one sync at a time");
        let covered = self.waiting.back().map_or(0, |last| last.number);
        self.syncing = Some((sync, covered, term));
        self.dirty = false;
    }

    /// Completes when the sync under way does; never when there is none. Safe to drop and call again.
    pub async fn finished(&mut self) -> Result<Released, LogError> {
        let Some((sync, covered, term)) = &mut self.syncing else {
            return std::future::pending().await;
        };
        let (covered, term) = (*covered, *term);
        let result = sync.as_mut().await;
        self.syncing = None;
        result?;
        let mut released = Released { term, number: 0, messages: Vec::new() };
        while let Some(next) = self.waiting.front() {
            if next.number > covered && next.needs_sync {
                break;
            }
            if let Some(next) = self.waiting.pop_front() {
                released.number = next.number;
                released.messages.extend(next.messages);
            }
        }
        Ok(released)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn message(index: u64) -> Vec<eraftpb::Message> {
        vec![eraftpb::Message { index, ..eraftpb::Message::default() }]
    }

    #[tokio::test]
    async fn a_sync_releases_what_was_written_before_it_began_and_what_needs_none() {
        let mut persist = Persist::default();
        persist.push(1, true, message(1));
        persist.mark_dirty();
        assert!(persist.wants_sync());
        persist.begin(Box::pin(async { Ok(()) }), 7);
        persist.push(2, false, message(2));
        persist.push(3, true, message(3));
        persist.push(4, false, message(4));
        let released = persist.finished().await.unwrap();
        let indices: Vec<u64> = released.messages.iter().map(|message| message.index).collect();
        assert_eq!((released.term, released.number, indices), (7, 2, vec![1, 2]));
        assert!(persist.wants_sync() && !persist.is_clear());
        persist.begin(Box::pin(async { Ok(()) }), 7);
        assert_eq!(persist.finished().await.unwrap().number, 4);
        assert!(persist.is_clear() && !persist.wants_sync());
    }
}
