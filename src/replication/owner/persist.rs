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

/// How far what a ready wrote must get before its messages leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// It wrote nothing.
    Nothing,
    /// Into a file: entries of a group that flushes in the background.
    Written,
    /// Onto the medium.
    Durable,
}

/// One ready's messages.
struct Waiting {
    number: u64,
    need: Need,
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
    /// Something was appended that no sync covers, not even the one under way.
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

    /// What must be started, if anything.
    pub fn wanted(&self) -> Need {
        let needs = self.waiting.iter().map(|waiting| waiting.need);
        needs.max().filter(|_| self.syncing.is_none()).unwrap_or(Need::Nothing)
    }

    /// Whether anything was appended since the last sync began.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Something was appended.
    pub fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    /// Queues a ready's messages behind those before.
    pub fn push(&mut self, number: u64, need: Need, messages: Vec<eraftpb::Message>) {
        self.waiting.push_back(Waiting { number, need, messages });
    }

    /// A sync, or only a write, began that covers everything appended so far. `term` is what is durable
    /// when it is done.
    pub fn begin(&mut self, sync: Sync, kind: Need, term: u64) {
        assert!(self.syncing.is_none(), "one sync at a time");
        let covered = self.waiting.back().map_or(0, |last| last.number);
        self.syncing = Some((sync, covered, term));
        self.dirty &= kind != Need::Durable;
    }

    /// Of all that waits nothing is to be said any more.
    pub fn hush(&mut self) {
        self.waiting.iter_mut().for_each(|waiting| waiting.messages.clear());
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
            if next.number > covered && next.need != Need::Nothing {
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
        persist.push(1, Need::Durable, message(1));
        persist.mark_dirty();
        assert_eq!(persist.wanted(), Need::Durable);
        persist.begin(Box::pin(async { Ok(()) }), Need::Durable, 7);
        assert_eq!((persist.wanted(), persist.is_dirty()), (Need::Nothing, false));
        persist.push(2, Need::Nothing, message(2));
        persist.push(3, Need::Written, message(3));
        persist.push(4, Need::Nothing, message(4));
        persist.mark_dirty();
        let released = persist.finished().await.unwrap();
        let indices: Vec<u64> = released.messages.iter().map(|message| message.index).collect();
        assert_eq!((released.term, released.number, indices), (7, 2, vec![1, 2]));
        assert!(persist.wanted() == Need::Written && !persist.is_clear());
        persist.begin(Box::pin(async { Ok(()) }), Need::Written, 7);
        assert_eq!(persist.finished().await.unwrap().number, 4);
        assert!(persist.is_clear() && persist.wanted() == Need::Nothing);
        assert!(persist.is_dirty(), "what is only written is still to be synced");
    }
}
