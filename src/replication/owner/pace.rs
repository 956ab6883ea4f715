//! A leader whose own disk is what is slow lets another lead.
//!
//! The others' acknowledgements carry a group past one slow disk, but not past the leader's: proposals
//! wait for its syncs, and so does whoever reads what it applied. So a leader compares: how long its
//! syncs take, and after how much of that time the fastest follower had the same entries on its disk.
//!
//! Invariants: nothing is given away while all disks are slow alike, and not twice within
//! [`AGAIN_AFTER`]; what is measured costs two looks at the clock a sync, and the followers are looked
//! at only while a sync takes longer than a tick.

use raft_log::Disk;
use tokio::time::{Duration, Instant};

use super::Owner;
use super::standing::Saying;
use crate::replication::machine::Sequencer;
use crate::replication::options::FlushMode;

/// A disk is slow when its syncs take this many times what the fastest follower needs in all.
const TIMES_SLOWER: u64 = 4;
/// It must have been slow for so long ...
const WINDOW: Duration = Duration::from_secs(2);
/// ... in so many syncs, or in one that takes longer than all of that.
const SYNCS_MIN: u32 = 4;
/// A member that gave leadership away is not given it back, nor gives it away again, for this long.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// When nobody took it, it is offered again.
const OFFER_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The sync under way.
struct Syncing {
    began: Instant,
    /// It covers entries up to this one.
    upto: u64,
    /// The fastest follower had them after this.
    followed_us: Option<u64>,
}

/// What is known of a leader's disk.
pub(super) struct Pace {
    /// Syncs faster than this are never slow; zero switches all of it off.
    floor_us: u64,
    own_us: u64,
    follower_us: u64,
    syncing: Option<Syncing>,
    slow_since: Option<Instant>,
    slow_syncs: u32,
    /// A sync ended since this was judged last.
    news: bool,
    /// Leadership was given away and nobody has taken it yet.
    gave: bool,
    not_before: Option<Instant>,
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn average(average_us: u64, sample_us: u64) -> u64 {
    (average_us.saturating_mul(3).saturating_add(sample_us)) / 4
}

impl Pace {
    /// `slow_sync_ms` of zero switches it off.
    pub fn new(slow_sync_ms: u64) -> Self {
        Pace {
            floor_us: slow_sync_ms.saturating_mul(1000),
            own_us: 0,
            follower_us: 0,
            syncing: None,
            slow_since: None,
            slow_syncs: 0,
            news: false,
            gave: false,
            not_before: None,
        }
    }

    /// A leader's sync began.
    pub fn began(&mut self, now: Instant, upto: u64) {
        self.syncing = Some(Syncing { began: now, upto, followed_us: None });
    }

    /// Whether the sync that ends is one to be measured.
    pub fn measures(&self) -> bool {
        self.syncing.is_some()
    }

    /// Whether to look how far the followers are.
    pub fn is_curious(&self) -> bool {
        self.floor_us > 0
            && self.syncing.as_ref().is_some_and(|syncing| syncing.followed_us.is_none())
    }

    /// The furthest follower has this on its disk.
    pub fn followed(&mut self, now: Instant, matched: u64) {
        if let Some(syncing) = &mut self.syncing
            && matched >= syncing.upto
            && syncing.followed_us.is_none()
        {
            syncing.followed_us = Some(micros(now - syncing.began));
        }
    }

    /// The sync ended. Nothing is known of a follower that had the entries later.
    pub fn ended(&mut self, now: Instant) {
        let Some(syncing) = self.syncing.take() else { return };
        let took_us = micros(now - syncing.began);
        self.own_us = average(self.own_us, took_us);
        if took_us >= self.floor_us {
            self.follower_us = average(self.follower_us, syncing.followed_us.unwrap_or(took_us));
        }
        self.news = true;
        if self.is_slow(self.own_us, self.follower_us) {
            self.slow_since.get_or_insert(syncing.began);
            self.slow_syncs += 1;
        } else {
            self.slow_since = None;
            self.slow_syncs = 0;
        }
    }

    fn is_slow(&self, own_us: u64, follower_us: u64) -> bool {
        self.floor_us > 0
            && own_us >= self.floor_us
            && own_us >= follower_us.saturating_mul(TIMES_SLOWER)
    }

    /// Whether another should lead, judged by a sync that ended just now or takes too long.
    pub fn gives_up(&mut self, now: Instant) -> bool {
        let mut news = std::mem::take(&mut self.news);
        let mut lasting = self.slow_syncs >= SYNCS_MIN;
        if let Some(Syncing { began, followed_us: Some(followed_us), .. }) = self.syncing
            && self.is_slow(micros(now - began), followed_us)
        {
            self.slow_since.get_or_insert(began);
            news = true;
            lasting |= now - began >= WINDOW;
        }
        let allowed = self.not_before.is_none_or(|at| now >= at);
        let sustained = self.slow_since.is_some_and(|since| now - since >= WINDOW);
        news && lasting && sustained && allowed
    }

    /// Leadership is on its way to another member.
    pub fn gave(&mut self, now: Instant) {
        self.gave = true;
        self.not_before = Some(now + AGAIN_AFTER);
    }

    /// This member does not lead any more, and what was measured says nothing about the next time.
    pub fn left(&mut self) {
        *self = Pace { not_before: self.not_before, ..Pace::new(self.floor_us / 1000) };
    }

    /// Nobody took it after all.
    fn kept(&mut self, now: Instant) -> bool {
        let kept = std::mem::take(&mut self.gave);
        if kept {
            self.not_before = Some(now + OFFER_AGAIN_AFTER);
        }
        kept
    }

    fn may_lead_again(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| now >= at)
    }
}

impl<D: Disk, S: Sequencer> Owner<D, S> {
    /// A sync that is to be durable begins.
    pub(super) fn pace_sync(&mut self, now: Instant) {
        if self.leading.is_some() && self.options.flush_mode == FlushMode::Sync {
            self.pace.began(now, self.raft.store().last_index().0);
        }
    }

    /// At every tick: gives leadership away when this member's disk has been the slow one for a while.
    pub(super) fn judge_pace(&mut self, now: Instant) {
        if self.leading.is_some() {
            if self.pace.is_curious() {
                let own = self.options.member;
                let others = self.raft.raft.prs().iter().filter(|(id, _)| **id != own);
                let matched = others.map(|(_, progress)| progress.matched).max().unwrap_or(0);
                self.pace.followed(now, matched);
            }
            let under_way = self.transfer.is_some() || self.stopping.is_some();
            if !under_way && self.pace.kept(now) {
                self.set_yields(false);
            }
            if !under_way && self.pace.gives_up(now) {
                self.give_away(now);
            }
        } else if self.memory.yields && self.pace.may_lead_again(now) {
            self.set_yields(false);
        }
    }

    fn give_away(&mut self, now: Instant) {
        tracing::warn!(
            group = %self.options.group, sync_ms = self.pace.own_us / 1000,
            follower_ms = self.pace.follower_us / 1000,
            "this leader's disk is slow and a follower's is not: letting another member lead"
        );
        self.pace.gave(now);
        self.start_transfer(None, None);
        self.set_yields(self.transfer.is_some());
    }

    fn set_yields(&mut self, yields: bool) {
        if std::mem::replace(&mut self.memory.yields, yields) != yields {
            self.report_to_all(Saying::News);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Syncs that take this long, of which a follower has the entries after `followed`, for a while;
    /// after how long leadership is given up.
    fn run(
        pace: &mut Pace,
        took: Duration,
        followed: Duration,
        lasts: Duration,
    ) -> Option<Duration> {
        let start = Instant::now();
        let mut now = start;
        while now - start < lasts {
            pace.began(now, 7);
            pace.followed(now + followed / 2, 6);
            pace.followed(now + followed, 7);
            if pace.gives_up(now + took / 2) {
                return Some(now + took / 2 - start);
            }
            now += took;
            pace.ended(now);
            if pace.gives_up(now) {
                return Some(now - start);
            }
        }
        None
    }

    #[test]
    fn a_slow_disk_among_fast_ones_is_given_up_after_the_window_and_within_three_seconds() {
        let mut pace = Pace::new(100);
        let gave_up = run(&mut pace, 200 * MS, 5 * MS, Duration::from_secs(20));
        let after = gave_up.expect("it is slow");
        assert!((WINDOW..Duration::from_secs(3)).contains(&after), "{after:?}");
    }

    #[test]
    fn fast_syncs_short_spells_and_disks_that_are_all_slow_are_no_reason() {
        let long = Duration::from_secs(20);
        assert_eq!(run(&mut Pace::new(100), 40 * MS, 5 * MS, long), None, "below the floor");
        assert_eq!(run(&mut Pace::new(100), 400 * MS, 300 * MS, long), None, "all are slow");
        assert_eq!(run(&mut Pace::new(0), 400 * MS, 5 * MS, long), None, "switched off");
        let mut pace = Pace::new(100);
        for _ in 0..10 {
            assert_eq!(run(&mut pace, 300 * MS, 5 * MS, Duration::from_secs(1)), None, "a spell");
            assert_eq!(run(&mut pace, MS, MS, 50 * MS), None);
        }
    }

    #[test]
    fn a_sync_that_never_ends_is_reason_enough() {
        let (mut pace, start) = (Pace::new(100), Instant::now());
        pace.began(start, 7);
        pace.followed(start + 20 * MS, 7);
        assert!(!pace.gives_up(start + 1_900 * MS));
        assert!(pace.gives_up(start + WINDOW));
    }

    #[test]
    fn rest_is_no_evidence_and_it_is_not_given_away_twice() {
        let (mut pace, start) = (Pace::new(100), Instant::now());
        for at in 0..4 {
            pace.began(start + at * 300 * MS, 7);
            pace.followed(start + at * 300 * MS + MS, 7);
            pace.ended(start + (at + 1) * 300 * MS);
            assert!(!pace.gives_up(start + (at + 1) * 300 * MS));
        }
        assert!(!pace.gives_up(start + Duration::from_secs(60)), "nothing has happened since");
        pace.gave(start);
        pace.left();
        assert!(!pace.may_lead_again(start + AGAIN_AFTER / 2));
        assert!(pace.may_lead_again(start + AGAIN_AFTER));
        let again = run(&mut pace, 300 * MS, 5 * MS, Duration::from_secs(20));
        assert_eq!(again, None, "not within the interval");
    }
}
