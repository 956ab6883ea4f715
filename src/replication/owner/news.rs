//! How followers hear of a commit: with the next entry, or when none follows soon, by a heartbeat.
//!
//! Raft would tell every commit by messages of their own: under load two more to each follower, and
//! two more answers, for every entry, although the next entry says the same a moment later.
//!
//! Invariant: while this member leads, what it committed is told within [`TOLD_WITHIN`]; nobody waits
//! longer, because no client waits for a follower's state.

use raft::eraftpb::{Message, MessageType};
use tokio::time::{Duration, Instant};

/// How long a commit may wait for an entry to travel with.
const TOLD_WITHIN: Duration = Duration::from_millis(5);

/// What the followers were told.
#[derive(Debug, Default)]
pub(super) struct CommitNews {
    told: u64,
    due: Option<Instant>,
}

impl CommitNews {
    /// A message leaves.
    pub fn sent(&mut self, message: &Message) {
        if message.get_msg_type() == MessageType::MsgAppend {
            self.told = self.told.max(message.commit);
        }
    }

    /// When [`CommitNews::is_overdue`] is to be asked again.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether the followers of a leader that has committed this much must be told now; then they
    /// count as told.
    pub fn is_overdue(&mut self, committed: Option<u64>, now: Instant) -> bool {
        let Some(committed) = committed.filter(|&committed| committed > self.told) else {
            self.due = None;
            return false;
        };
        let due = *self.due.get_or_insert(now + TOLD_WITHIN);
        if now < due {
            return false;
        }
        self.told = committed;
        self.due = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(commit: u64) -> Message {
        let mut message = Message { commit, ..Message::default() };
        message.set_msg_type(MessageType::MsgAppend);
        message
    }

    #[test]
    fn a_commit_that_no_entry_carries_is_told_in_time_and_once() {
        let (mut news, start) = (CommitNews::default(), Instant::now());
        assert!(!news.is_overdue(Some(7), start));
        assert_eq!(news.due(), Some(start + TOLD_WITHIN));
        assert!(!news.is_overdue(Some(8), start + TOLD_WITHIN / 2));
        assert!(news.is_overdue(Some(9), start + TOLD_WITHIN));
        assert!(!news.is_overdue(Some(9), start + 2 * TOLD_WITHIN));
        assert_eq!(news.due(), None);
    }

    #[test]
    fn an_entry_carries_the_news_and_a_follower_has_none() {
        let (mut news, start) = (CommitNews::default(), Instant::now());
        assert!(!news.is_overdue(Some(7), start));
        news.sent(&append(7));
        assert!(!news.is_overdue(Some(7), start + TOLD_WITHIN));
        assert!(!news.is_overdue(Some(8), start));
        assert!(!news.is_overdue(None, start + TOLD_WITHIN));
        assert_eq!(news.due(), None);
    }
}
