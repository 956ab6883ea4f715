//! Offset commits on their way into the log.
//!
//! Consumers commit every queue every few seconds and mostly do not wait for an answer. The commits
//! gather here, the last one per group and queue wins, and a flush proposes them together: after the
//! flush period, or at once when somebody waits for the answer, reads the offset, or the broker hands
//! over leadership.
//!
//! Invariant: an answer to a commit is given only after the commit is applied, and a reader that asks
//! [`OffsetCommits::settled`] first sees every commit that this broker accepted before the question. A
//! commit that came by a detour or with a pull takes no newer one back.

use std::collections::BTreeMap;
use std::future::Future;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Duration, Instant, timeout};

use crate::replication::machine::Refusal;
use crate::state::CommittedOffset;

/// Which offset a commit sets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetKey {
    /// Consumer group.
    pub group: String,
    /// Topic.
    pub topic: String,
    /// Queue in the topic.
    pub queue_id: i32,
}

impl From<&CommittedOffset> for OffsetKey {
    fn from(offset: &CommittedOffset) -> OffsetKey {
        let CommittedOffset { group, topic, queue_id, .. } = offset.clone();
        OffsetKey { group, topic, queue_id }
    }
}

/// Told once what became of a commit.
pub type CommitReply = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

#[derive(Default)]
struct Gathering {
    commits: BTreeMap<OffsetKey, i64>,
    replies: Vec<CommitReply>,
    first_at: Option<Instant>,
    urgent: bool,
    /// The flush that is under way, by key.
    flushing: Vec<(OffsetKey, i64)>,
    /// Number of the flush that will take what is gathered now.
    next_flush: u64,
}

/// One batch for the log.
pub struct Flush {
    /// The commits.
    pub commits: Vec<(OffsetKey, i64)>,
    replies: Vec<CommitReply>,
    number: u64,
}

/// Commits that wait for the next flush.
pub struct OffsetCommits {
    gathering: Mutex<Gathering>,
    wake: Notify,
    /// Number of the last flush whose outcome is known.
    flushed: watch::Sender<u64>,
    period: Duration,
    commits_max: usize,
}

impl OffsetCommits {
    /// Flushes at most every `period` on its own; holds at most `commits_max` commits.
    pub fn new(period: Duration, commits_max: usize) -> Self {
        let gathering = Gathering { next_flush: 1, ..Gathering::default() };
        OffsetCommits {
            gathering: Mutex::new(gathering),
            wake: Notify::new(),
            flushed: watch::channel(0).0,
            period,
            commits_max,
        }
    }

    /// Takes a commit. With a reply the flush happens at once and the reply comes after it.
    pub fn commit(&self, key: OffsetKey, offset: i64, reply: Option<CommitReply>) {
        #[cfg(madsim)]
        let reply = match crate::mistake::made(crate::mistake::Mistake::AnswersCommitEarly) {
            true => reply.and_then(|reply| {
                reply(Ok(()));
                None
            }),
            false => reply,
        };
        let refused = self.gather(&mut self.gathering.lock(), key, offset, reply);
        if let Some(reply) = refused {
            reply(Err(Refusal::Overloaded));
        }
    }

    /// Takes a commit that may be older than what is known by now: then it is answered, and takes nothing
    /// back. `known` is what is applied. The reply comes back while another commit for the key is under way.
    pub fn commit_late(
        &self,
        key: OffsetKey,
        offset: i64,
        reply: CommitReply,
        known: impl FnOnce() -> Option<i64>,
    ) -> Result<(), CommitReply> {
        let (reply, answer) = {
            let mut gathering = self.gathering.lock();
            if gathering.has(&key) {
                return Err(reply);
            }
            if known().is_none_or(|known| known < offset) {
                (self.gather(&mut gathering, key, offset, Some(reply)), Err(Refusal::Overloaded))
            } else {
                (Some(reply), Ok(()))
            }
        };
        if let Some(reply) = reply {
            reply(answer);
        }
        Ok(())
    }

    /// Takes a commit that a pull carries, for which nobody waits. A client fills the pull in and then may
    /// have to wait for a route or a connection, while a commit of its own overtakes it: so it takes
    /// nothing back. `known` is what is applied.
    pub fn commit_by_pull(
        &self,
        key: OffsetKey,
        offset: i64,
        known: impl FnOnce(&OffsetKey) -> Option<i64>,
    ) {
        let mut gathering = self.gathering.lock();
        let newest = gathering.newest(&key).or_else(|| known(&key));
        if newest.is_none_or(|newest| newest < offset) {
            self.gather(&mut gathering, key, offset, None);
        }
    }

    /// Gives the reply back when there is no room.
    fn gather(
        &self,
        gathering: &mut Gathering,
        key: OffsetKey,
        offset: i64,
        reply: Option<CommitReply>,
    ) -> Option<CommitReply> {
        let full = gathering.commits.len() >= self.commits_max;
        if full && !gathering.commits.contains_key(&key) {
            return reply;
        }
        let first = gathering.first_at.is_none();
        gathering.first_at.get_or_insert_with(Instant::now);
        gathering.commits.insert(key, offset);
        let urgent = reply.is_some();
        gathering.replies.extend(reply);
        gathering.urgent |= urgent;
        if first || urgent {
            self.wake.notify_one();
        }
        None
    }

    /// Whether a commit for `key` is not applied yet.
    pub fn unsettled(&self, key: &OffsetKey) -> bool {
        self.gathering.lock().has(key)
    }

    /// The last commit for `key` that is not known to be applied.
    pub fn newest(&self, key: &OffsetKey) -> Option<i64> {
        self.gathering.lock().newest(key)
    }

    /// Flushes what concerns `key` (all commits if `None`) and waits for the outcome.
    pub fn settled(&self, key: Option<&OffsetKey>) -> impl Future<Output = ()> + Send + 'static {
        let mut flushed = self.flushed.subscribe();
        let number = {
            let mut gathering = self.gathering.lock();
            let gathered = match key {
                Some(key) => gathering.commits.contains_key(key),
                None => !gathering.commits.is_empty(),
            };
            let flushing = match key {
                Some(key) => gathering.flushed(key).is_some(),
                None => !gathering.flushing.is_empty(),
            };
            if gathered {
                gathering.urgent = true;
                self.wake.notify_one();
                gathering.next_flush
            } else if flushing {
                gathering.next_flush - 1
            } else {
                0
            }
        };
        async move {
            // An error means the broker is gone, and with it everything to wait for.
            let _ = flushed.wait_for(|flushed| *flushed >= number).await;
        }
    }

    /// Waits until a flush is due and takes it. The caller must give it to
    /// [`OffsetCommits::done`] before it asks for the next.
    pub async fn next_flush(&self) -> Flush {
        loop {
            let wait_until = {
                let mut gathering = self.gathering.lock();
                match gathering.first_at {
                    Some(first_at) => {
                        let due = first_at + self.period;
                        if gathering.urgent || due <= Instant::now() {
                            let flush = gathering.take();
                            gathering.flushing.clone_from(&flush.commits);
                            return flush;
                        }
                        Some(due)
                    }
                    None => None,
                }
            };
            match wait_until {
                // Either outcome means looking again.
                Some(due) => drop(
                    timeout(due.saturating_duration_since(Instant::now()), self.wake.notified())
                        .await,
                ),
                None => self.wake.notified().await,
            }
        }
    }

    /// The outcome of a flush.
    pub fn done(&self, flush: Flush, outcome: &Result<(), Refusal>) {
        self.gathering.lock().flushing.clear();
        self.flushed.send_modify(|flushed| *flushed = flush.number.max(*flushed));
        for reply in flush.replies {
            reply(outcome.clone());
        }
    }

    /// Gives up what is gathered; who waits is told why. A flush under way keeps its own outcome.
    pub fn abandon(&self, refusal: &Refusal) {
        let given_up = self.gathering.lock().take();
        self.flushed.send_modify(|flushed| *flushed = given_up.number.max(*flushed));
        for reply in given_up.replies {
            reply(Err(refusal.clone()));
        }
    }
}

impl Gathering {
    /// Whether a commit for `key` waits or is being flushed.
    fn has(&self, key: &OffsetKey) -> bool {
        self.newest(key).is_some()
    }

    /// The last commit for `key` that is not known to be applied.
    fn newest(&self, key: &OffsetKey) -> Option<i64> {
        self.commits.get(key).copied().or_else(|| self.flushed(key))
    }

    /// What is being flushed for `key`.
    fn flushed(&self, key: &OffsetKey) -> Option<i64> {
        let found = self.flushing.binary_search_by(|(flushing, _)| flushing.cmp(key));
        found.ok().map(|at| self.flushing[at].1)
    }

    fn take(&mut self) -> Flush {
        let commits: Vec<_> = std::mem::take(&mut self.commits).into_iter().collect();
        self.first_at = None;
        self.urgent = false;
        let number = self.next_flush;
        self.next_flush += 1;
        Flush { commits, replies: std::mem::take(&mut self.replies), number }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::*;

    fn key(queue_id: i32) -> OffsetKey {
        OffsetKey { group: "g".into(), topic: "t".into(), queue_id }
    }

    #[tokio::test(start_paused = true)]
    async fn one_flush_per_period_with_the_last_offset_of_each_queue() {
        let commits = OffsetCommits::new(Duration::from_millis(200), 100);
        let begin = Instant::now();
        commits.commit(key(0), 1, None);
        commits.commit(key(0), 5, None);
        commits.commit(key(1), 3, None);
        let flush = commits.next_flush().await;
        assert_eq!(begin.elapsed(), Duration::from_millis(200));
        assert_eq!(flush.commits, vec![(key(0), 5), (key(1), 3)]);
        assert!(commits.unsettled(&key(0)), "until the outcome is known");
        commits.done(flush, &Ok(()));
        assert!(!commits.unsettled(&key(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_an_answer_makes_the_flush_urgent() {
        let commits = OffsetCommits::new(Duration::from_secs(3600), 100);
        let (tell, told) = oneshot::channel();
        commits.commit(key(0), 1, Some(Box::new(move |outcome| tell.send(outcome).unwrap())));
        let begin = Instant::now();
        let flush = commits.next_flush().await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        commits.done(flush, &Err(Refusal::Unknown));
        assert_eq!(told.await.unwrap(), Err(Refusal::Unknown));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_commit_takes_nothing_back() {
        let commits = OffsetCommits::new(Duration::from_secs(3600), 100);
        let late = |offset, known| {
            let (tell, told) = oneshot::channel();
            let reply: CommitReply = Box::new(move |outcome| drop(tell.send(outcome)));
            (commits.commit_late(key(0), offset, reply, || known).is_ok(), told)
        };
        let (taken, told) = late(5, Some(7));
        assert!(taken && !commits.unsettled(&key(0)), "answered, and nothing is to be done");
        assert_eq!(told.await.unwrap(), Ok(()));
        assert!(late(8, Some(7)).0);
        assert!(!late(9, Some(7)).0, "what is under way may be newer");
        let flush = commits.next_flush().await;
        assert_eq!(flush.commits, vec![(key(0), 8)]);
        assert!(!late(9, Some(7)).0);
        commits.done(flush, &Ok(()));
        assert!(late(9, None).0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_pull_carries_takes_nothing_back() {
        let commits = OffsetCommits::new(Duration::from_millis(200), 100);
        let by_pull = |offset, known| commits.commit_by_pull(key(0), offset, |_| known);
        by_pull(66, Some(67));
        by_pull(67, Some(67));
        assert!(!commits.unsettled(&key(0)), "nothing is to be done");
        commits.commit(key(0), 70, None);
        by_pull(69, Some(67));
        let flush = commits.next_flush().await;
        assert_eq!(flush.commits, vec![(key(0), 70)]);
        by_pull(69, Some(67));
        by_pull(71, Some(67));
        commits.done(flush, &Ok(()));
        assert_eq!(commits.next_flush().await.commits, vec![(key(0), 71)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_waits_for_gathered_and_flushing_commits_of_its_key_only() {
        let commits = Arc::new(OffsetCommits::new(Duration::from_secs(3600), 100));
        commits.commit(key(0), 1, None);
        commits.settled(Some(&key(9))).await;
        let mut settled = Box::pin(commits.settled(Some(&key(0))));
        let flush = commits.next_flush().await;
        assert!(futures_util::poll!(&mut settled).is_pending());
        let mut during = Box::pin(commits.settled(Some(&key(0))));
        assert!(futures_util::poll!(&mut during).is_pending());
        commits.done(flush, &Ok(()));
        settled.await;
        during.await;
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_the_bound_is_refused_and_abandoned_waiters_are_told() {
        let commits = OffsetCommits::new(Duration::from_secs(3600), 1);
        let answer = |tell: oneshot::Sender<_>| -> CommitReply {
            Box::new(move |outcome| tell.send(outcome).unwrap())
        };
        let (tell, first) = oneshot::channel();
        commits.commit(key(0), 1, Some(answer(tell)));
        let (tell, second) = oneshot::channel();
        commits.commit(key(1), 1, Some(answer(tell)));
        assert_eq!(second.await.unwrap(), Err(Refusal::Overloaded));
        commits.abandon(&Refusal::NotLeader { leader: None });
        assert_eq!(first.await.unwrap(), Err(Refusal::NotLeader { leader: None }));
        commits.settled(None).await;
    }
}
