//! Noticing that this member runs on an older copy of its own directory.
//!
//! What a member holds durably it claims to all others, and they remember it. At a start they say what
//! they heard of its earlier processes, each in the handshake of the first connection to it; until all
//! have, or a majority for a while, the member takes no part. If anybody heard of more than the directory
//! holds, then or later, it is an older copy, and the member counts as lost.
//!
//! Invariants: a claim is durable before it is told, and no crash takes it back: a newer term is durable
//! before entries of an older one are; a member whose directory is its own is never taken for lost.

use std::collections::BTreeMap;

use raft::Ready;
use raft::eraftpb::{Entry, Message};
use raft_log::{Claim, Disk, LogError, Standing};
use tokio::time::{Duration, Instant};

use super::Owner;
use super::standing::Saying;
use crate::replication::fatal::MemberError;
use crate::replication::machine::Sequencer;

/// What this member claims, and what the others heard of it.
pub(super) struct Claims {
    /// What the directory held at the start, or was made up for since.
    floor: Claim,
    /// What is durable.
    own: Claim,
    /// What will be, when the sync under way is done.
    under_way: Claim,
    /// What all that could be reached were told.
    told: Claim,
    tell_at: Instant,
    /// By peer: the greatest claim of this member's earlier processes.
    remembered: BTreeMap<u64, Claim>,
    /// A leader counts on this, and it is not there.
    missed: Option<(u64, Claim)>,
    /// A majority has been heard since.
    since: Option<Instant>,
    /// The directory is not known to be an older copy, and may be used.
    settled: bool,
}

/// What follows from the claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nothing yet.
    Wait,
    /// The directory is taken for the newest one.
    Newest,
    /// It is not: this peer heard of this claim.
    Older { peer: u64, heard: Claim },
}

impl Claims {
    pub fn new(standing: Standing, held: Claim, now: Instant) -> Self {
        let made_up = match standing {
            Standing::Recovering(past) => past.into(),
            _ => Claim::default(),
        };
        Claims {
            floor: held.max(made_up),
            own: Claim::default(),
            under_way: Claim::default(),
            told: Claim::default(),
            tell_at: now,
            remembered: BTreeMap::new(),
            missed: None,
            since: None,
            // Who knows that it lost everything has nothing to ask.
            settled: matches!(standing, Standing::New | Standing::Lost),
        }
    }

    /// Whether the directory may be used.
    pub fn are_settled(&self) -> bool {
        self.settled
    }

    /// The greatest that was heard of this member's earlier processes.
    pub fn remembered(&self) -> Claim {
        self.remembered.values().copied().max().unwrap_or_default()
    }

    /// The member, which was lost, knows now what it has to make up for.
    pub fn make_up(&mut self, to: Claim) {
        self.floor = self.floor.max(to);
    }

    /// What is durable.
    pub fn own(&self) -> Claim {
        self.own
    }

    /// A sync began that covers this.
    pub fn sync_began(&mut self, covers: Claim) {
        self.under_way = covers;
    }

    /// It is done.
    pub fn synced(&mut self) {
        self.own = self.own.max(self.under_way);
    }

    fn judge(&mut self, members: usize, patience: Duration, now: Instant) -> Verdict {
        let mut heard = self.remembered.iter().map(|(&peer, &heard)| (peer, heard));
        let older = heard.find(|(_, heard)| *heard > self.floor).or(self.missed.take());
        if let Some((peer, heard)) = older {
            return Verdict::Older { peer, heard };
        }
        let asked = self.remembered.len() + 1;
        if asked * 2 > members {
            let since = *self.since.get_or_insert(now);
            if asked == members || now - since >= patience {
                return Verdict::Newest;
            }
        }
        Verdict::Wait
    }

    /// Whether the others are to be told now; then they count as told.
    fn is_due(&mut self, now: Instant, interval: Duration) -> bool {
        let waits = now < self.tell_at && self.own.term == self.told.term;
        if self.own == self.told || waits {
            return false;
        }
        self.told = self.own;
        self.tell_at = now + interval;
        true
    }
}

impl<D: Disk, S: Sequencer> Owner<D, S> {
    /// A peer was reached, and said what it heard of this member's earlier processes.
    pub(super) fn hear_claim(&mut self, peer: u64) {
        let Some(heard) = self.peers.table().get(&peer).map(|peer| peer.remembers()) else {
            return;
        };
        #[cfg(madsim)]
        let heard = match crate::mistake::made(crate::mistake::Mistake::BelievesOlderCopies) {
            true => Claim::default(),
            false => heard,
        };
        self.memory.claims.remembered.insert(peer, heard);
    }

    /// Whether a leader goes by entries that this member has acknowledged, and they are not there. It may
    /// be heard before its handshake is, and raft takes for granted that this cannot be.
    pub(super) fn misses_entries(&mut self, heartbeat: &Message) -> bool {
        let raft = &self.raft.raft;
        if heartbeat.term < raft.term || heartbeat.commit <= raft.raft_log.last_index() {
            return false;
        }
        #[cfg(madsim)]
        if crate::mistake::made(crate::mistake::Mistake::BelievesOlderCopies) {
            return false;
        }
        let acknowledged = Claim { term: heartbeat.term, index: heartbeat.commit };
        self.memory.claims.missed = Some((heartbeat.from, acknowledged));
        true
    }

    /// Takes the directory for the newest one, or the member for lost, when the others said enough.
    pub(super) fn judge_claims(&mut self) -> Result<(), MemberError> {
        let standing = self.memory.standing();
        if matches!(standing, Standing::New | Standing::Lost) {
            return Ok(());
        }
        let members = self.options.peers.len() + 1;
        let patience = Duration::from_millis(self.options.election_timeout_ms);
        let claims = &mut self.memory.claims;
        match claims.judge(members, patience, Instant::now()) {
            Verdict::Older { peer, heard } => self.give_up_directory(peer, heard),
            Verdict::Newest if !claims.settled => {
                claims.settled = true;
                tracing::debug!(
                    group = %self.options.group, asked = ?claims.remembered.keys(), ?standing,
                    "nobody heard of more than this member's directory holds"
                );
                self.say_that_it_asks();
                Ok(())
            }
            Verdict::Newest | Verdict::Wait => Ok(()),
        }
    }

    /// From here on the member says nothing that rests on its directory, until it has made up for what
    /// that lacks.
    fn give_up_directory(&mut self, peer: u64, heard: Claim) -> Result<(), MemberError> {
        let held = self.memory.claims.floor;
        tracing::error!(
            group = %self.options.group, member = self.options.member, peer,
            held_term = held.term, held_index = held.index,
            heard_term = heard.term, heard_index = heard.index,
            "this member was started on an older copy of its directory: a peer heard of more than it \
             holds. It takes no part until every other member has said what it knows, and then fetches \
             what is missing"
        );
        self.memory.claims.settled = true;
        let raft = &mut self.raft.raft;
        let term = raft.term;
        raft.become_follower(term, raft::INVALID_ID);
        raft.msgs.clear();
        self.persist.hush();
        self.observe_role();
        self.change_standing(Standing::Lost)
    }

    /// Tells the others how far the directory reaches by now: a new term at once, new entries now and then.
    pub(super) fn tell_claim(&mut self, now: Instant) {
        let interval = Duration::from_millis(self.options.heartbeat_interval_ms);
        if self.memory.claims.is_due(now, interval) {
            self.report_to_all(Saying::News);
        }
    }

    /// Entries are about to be taken back for a newer leader's. Its term has to be durable before: after a
    /// crash in between, the directory would hold less in the older term than was claimed.
    pub(super) async fn keep_claim(&mut self, ready: &Ready) -> Result<(), LogError> {
        // An earlier ready may have had it, and its sync be under way.
        let hard_state = ready.hs().unwrap_or(&self.hard_state);
        if hard_state.term <= self.durable_term {
            return Ok(());
        }
        let log = self.raft.mut_store();
        let last = log.last_index().0;
        let takes_back = |entry: &Entry| entry.index <= last;
        if ready.entries().first().is_some_and(takes_back) || !ready.snapshot().is_empty() {
            log.set_hard_state(hard_state.clone());
            log.begin_sync().await?;
            self.durable_term = hard_state.term;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft_log::Past;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn claim(term: u64, index: u64) -> Claim {
        Claim { term, index }
    }

    #[test]
    fn all_others_or_a_majority_for_a_while_settle_it() {
        let now = Instant::now();
        let mut claims = Claims::new(Standing::Voter, claim(3, 9), now);
        assert!(!claims.are_settled());
        assert_eq!(claims.judge(1, PATIENCE, now), Verdict::Newest, "alone");
        let mut claims = Claims::new(Standing::Voter, claim(3, 9), now);
        assert_eq!(claims.judge(3, PATIENCE, now + 9 * PATIENCE), Verdict::Wait);
        claims.remembered.insert(2, claim(3, 9));
        assert_eq!(claims.judge(3, PATIENCE, now), Verdict::Wait);
        assert_eq!(claims.judge(5, PATIENCE, now), Verdict::Wait);
        assert_eq!(claims.judge(3, PATIENCE, now + PATIENCE), Verdict::Newest);
        claims.remembered.insert(3, claim(3, 8));
        assert_eq!(claims.judge(3, PATIENCE, now), Verdict::Newest);
    }

    #[test]
    fn one_who_heard_of_more_is_enough_at_any_time() {
        let now = Instant::now();
        let mut claims = Claims::new(Standing::Voter, claim(3, 9), now);
        claims.remembered.insert(2, claim(3, 9));
        assert_eq!(claims.judge(3, Duration::ZERO, now), Verdict::Newest);
        // What it did meanwhile does not make up for what the copy lacks.
        claims.sync_began(claim(5, 20));
        claims.synced();
        claims.remembered.insert(3, claim(4, 0));
        let older = Verdict::Older { peer: 3, heard: claim(4, 0) };
        assert_eq!(claims.judge(3, PATIENCE, now), older);
        claims.make_up(claim(5, 0));
        assert_eq!(claims.judge(3, PATIENCE, now), Verdict::Newest);
        // Whoever was on the way there holds less than it once claimed.
        let past = Past { term: 4, last_term: 4, last_index: 70 };
        let mut claims = Claims::new(Standing::Recovering(past), claim(3, 9), now);
        claims.remembered.insert(2, claim(4, 70));
        assert_eq!(claims.judge(3, PATIENCE, now), Verdict::Wait);
    }

    #[test]
    fn only_what_is_durable_is_told_a_new_term_at_once_and_entries_now_and_then() {
        let now = Instant::now();
        let mut claims = Claims::new(Standing::Voter, claim(3, 9), now);
        claims.sync_began(claim(3, 10));
        assert!(!claims.is_due(now, PATIENCE));
        claims.synced();
        assert!(claims.is_due(now, PATIENCE) && !claims.is_due(now, PATIENCE));
        claims.sync_began(claim(3, 11));
        claims.synced();
        assert!(!claims.is_due(now, PATIENCE) && claims.is_due(now + PATIENCE, PATIENCE));
        claims.sync_began(claim(4, 0));
        claims.synced();
        assert!(claims.is_due(now + PATIENCE, PATIENCE));
    }
}
