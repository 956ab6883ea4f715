//! Standing for election at once when there is good reason to believe that the leader is dead.
//!
//! A process that dies closes its connections, and the survivors see that long before an election
//! timeout passes. Each forgets the leader, so that it will grant a pre-vote although it heard from
//! the leader a moment ago, and asks for pre-votes itself after a short pause that differs from
//! member to member.
//!
//! Invariant: a leader that a majority still hears is not disturbed. One member's broken connection
//! earns it no pre-vote from the others, and a message from the leader withdraws the hint.

use std::time::Duration;

use tokio::time::Instant;

/// The others notice the closed connection within this.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Nobody leads after a start: a live leader would have spoken within this.
const START_PAUSE: Duration = Duration::from_millis(120);
/// Distance between members.
const RANK_PAUSE: Duration = Duration::from_millis(25);
/// A vote under way takes a few round trips and syncs.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// After that the ordinary election timeout takes over.
const ATTEMPTS_MAX: u32 = 5;

/// A reason to stand for election, and when.
#[derive(Debug)]
pub(super) struct Hint {
    at: Instant,
    rank: u32,
    attempts: u32,
}

impl Hint {
    /// The leader's connection closed. `rank` is this member's place among the survivors.
    pub fn leader_gone(now: Instant, rank: u32) -> Self {
        Hint { at: now + FIRST_PAUSE + RANK_PAUSE * rank, rank, attempts: 0 }
    }

    /// A majority can be reached for the first time.
    pub fn group_assembled(now: Instant, rank: u32) -> Self {
        Hint { at: now + START_PAUSE + RANK_PAUSE * rank, rank, attempts: 0 }
    }

    /// When to look again.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// Whether to stand for election now.
    pub fn due(&mut self, now: Instant) -> bool {
        if now < self.at {
            return false;
        }
        self.attempts += 1;
        self.postpone(now);
        true
    }

    /// Another member may be about to win: leave it the time.
    pub fn postpone(&mut self, now: Instant) {
        self.at = now + RETRY_PAUSE + RANK_PAUSE * self.rank;
    }

    /// Whether it is no longer worth trying ahead of the election timeout.
    pub fn exhausted(&self) -> bool {
        self.attempts >= ATTEMPTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_different_rank_do_not_stand_together() {
        let now = Instant::now();
        let mut first = Hint::leader_gone(now, 0);
        let mut second = Hint::leader_gone(now, 1);
        assert!(!first.due(now));
        let later = first.at();
        assert!(first.due(later) && !second.due(later));
        second.postpone(later);
        assert!(!second.due(later + RETRY_PAUSE) && second.due(later + 2 * RETRY_PAUSE));
    }

    #[test]
    fn it_gives_up_after_a_few_attempts() {
        let mut hint = Hint::group_assembled(Instant::now(), 1);
        for _ in 0..ATTEMPTS_MAX {
            assert!(!hint.exhausted());
            let at = hint.at();
            assert!(hint.due(at));
        }
        assert!(hint.exhausted());
    }
}
