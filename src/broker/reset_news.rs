//! Who has heard of an operator's reset.
//!
//! While a group shares its queues out anew, a queue may have two consumers for a moment. A reset stands in
//! the log until one of them pulls from there; the other would go on from where it was, and its commits would
//! undo the reset, though nobody has consumed what it was for. So the leader remembers who has heard of a
//! reset to an earlier place: who was told, who pulled from there, and who asked for the group's offset since.
//!
//! Invariant: as long as others of a group may not have heard of a reset, no commit of theirs takes the group
//! on, and they are sent back to where the group is before they are given anything. That is over when the
//! group has committed all that the queue had at the reset, and when [`REMEMBERED`] has gone by. It is not in
//! the log: a new leader knows only of resets that stand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use super::commits::OffsetKey;

/// A client that says nothing for so long is taken to be gone.
const REMEMBERED: Duration = Duration::from_secs(120);

/// A queue has one consumer, or two for a moment. Of one that so many pull from, as those of a group that
/// broadcasts do, nobody takes over from another.
const CONNECTIONS_MAX: usize = 256;

struct News {
    /// Connections that have heard of it.
    heard: BTreeSet<u64>,
    /// The queue's end when it was reset: nobody had come further.
    end: i64,
    until: Instant,
}

/// Who has heard of which reset, of those that this leader remembers.
#[derive(Default)]
pub struct ResetNews {
    queues: Mutex<BTreeMap<OffsetKey, News>>,
    /// How many queues there are, to be asked without a lock by each pull.
    count: AtomicUsize,
}

impl ResetNews {
    /// Whether no reset is remembered: then nobody has missed one.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Queues were reset, each before its end: nobody has heard of it.
    pub fn begin(&self, resets: Vec<(OffsetKey, i64)>, now: Instant) {
        let mut queues = self.queues.lock();
        queues.retain(|_, news| now < news.until);
        for (key, end) in resets {
            queues.insert(key, News { heard: BTreeSet::new(), end, until: now + REMEMBERED });
        }
        self.count.store(queues.len(), Ordering::Release);
    }

    /// Somebody has heard of the reset of a queue, if there was one: it was told, or asked.
    pub fn heard(&self, key: &OffsetKey, connection: u64) {
        if self.is_empty() {
            return;
        }
        let mut queues = self.queues.lock();
        let Some(news) = queues.get_mut(key) else { return };
        news.heard.insert(connection);
        if news.heard.len() > CONNECTIONS_MAX {
            queues.remove(key);
            self.count.store(queues.len(), Ordering::Release);
        }
    }

    /// Whether somebody may be at `offset` because it has not heard of a reset that its group, which has come to
    /// `committed` since, has taken.
    pub fn has_missed(
        &self,
        key: &OffsetKey,
        connection: u64,
        offset: i64,
        committed: i64,
        now: Instant,
    ) -> bool {
        let mut queues = self.queues.lock();
        let Some(news) = queues.get(key) else { return false };
        if news.end <= committed || news.until <= now {
            queues.remove(key);
            self.count.store(queues.len(), Ordering::Release);
            return false;
        }
        committed < offset && !news.heard.contains(&connection)
    }

    /// Forgets everything: another member leads.
    pub fn clear(&self) {
        self.queues.lock().clear();
        self.count.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(queue_id: i32) -> OffsetKey {
        OffsetKey { group: "g".into(), topic: "t".into(), queue_id }
    }

    #[test]
    fn who_has_not_heard_has_missed_it() {
        let (news, now) = (ResetNews::default(), Instant::now());
        assert!(news.is_empty() && !news.has_missed(&key(0), 1, 60, 20, now));
        news.heard(&key(0), 1);
        assert!(news.is_empty(), "without a reset there is nothing to hear of");
        news.begin(vec![(key(0), 100)], now);
        assert!(!news.is_empty() && news.has_missed(&key(0), 1, 60, 20, now));
        news.heard(&key(0), 1);
        for (connection, missed) in [(1, false), (2, true)] {
            assert_eq!(news.has_missed(&key(0), connection, 60, 20, now), missed, "{connection}");
        }
        assert!(!news.has_missed(&key(0), 2, 20, 20, now), "there it is right");
        assert!(!news.has_missed(&key(1), 2, 60, 20, now), "another queue was not reset");
        news.begin(vec![(key(0), 120)], now);
        assert!(news.has_missed(&key(0), 1, 60, 20, now), "that is another reset");
        news.clear();
        assert!(news.is_empty() && !news.has_missed(&key(0), 3, 60, 20, now));
    }

    #[test]
    fn it_is_over_when_all_pull_from_the_queue() {
        let (news, now) = (ResetNews::default(), Instant::now());
        news.begin(vec![(key(0), 100)], now);
        (1..=CONNECTIONS_MAX as u64).for_each(|connection| news.heard(&key(0), connection));
        assert!(news.has_missed(&key(0), 0, 60, 20, now));
        news.heard(&key(0), 0);
        assert!(news.is_empty());
    }

    #[test]
    fn it_is_over_when_the_group_is_past_it_and_in_the_end() {
        let (news, now) = (ResetNews::default(), Instant::now());
        news.begin(vec![(key(0), 100), (key(1), 100)], now);
        assert!(news.has_missed(&key(0), 3, 100, 99, now));
        assert!(!news.has_missed(&key(0), 3, 101, 100, now));
        assert!(!news.has_missed(&key(0), 3, 60, 20, now), "it is over for good");
        let last = now + REMEMBERED - Duration::from_millis(1);
        assert!(news.has_missed(&key(1), 3, 60, 20, last));
        assert!(!news.has_missed(&key(1), 3, 60, 20, now + REMEMBERED));
        assert!(news.is_empty());
    }
}
