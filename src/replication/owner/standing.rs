//! Finding out whether this member's memory is whole, and keeping it from promising anything before.
//!
//! Reports go to every peer on every new connection and whenever the standing changes; a member that is
//! not sure of itself also asks for them again and again. What they mean is decided in
//! [`crate::replication::standing`]; here it is carried out.
//!
//! Invariants: a standing is durable before anything rests on it; before a bound on the past is known,
//! raft hears nothing and says nothing; a leader forgets what it believed of a member that forgot, before
//! it answers that member.

use raft::eraftpb::{Message, MessageType};
use raft_log::{Disk, Log, Past, Standing, Term};
use tokio::time::{Duration, Instant};

use super::Owner;
use super::claims::Claims;
use super::hint::Hint;
use crate::replication::fatal::MemberError;
use crate::replication::machine::Sequencer;
use crate::replication::options::FlushMode;
use crate::replication::standing::{self, NOBODY, Own, Patience, Reports};
use crate::replication::wire::{Parcel, StandingReport};

/// How often a member that is not sure of itself asks again.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// A group is founded without those who have not answered this long after a majority has.
const ANSWER_PATIENCE: Duration = Duration::from_millis(250);
/// A founded group begins without those who are there but have not founded it this long after.
const FOUNDING_PATIENCE: Duration = Duration::from_secs(1);
/// The operator reads who is missing when it takes longer than this, and again now and then.
const FIRST_WARNING: Duration = Duration::from_secs(3);
const NEXT_WARNING: Duration = Duration::from_secs(60);

/// Why a report is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Saying {
    News,
    Question,
    Answer,
}

/// What this member knows of its own past and of the others'.
pub(super) struct Memory {
    standing: Standing,
    /// The last of each peer.
    reports: Reports,
    /// Those of them that were given because this member asked, each since it started.
    answers: Reports,
    /// A majority has reported, or is founding the group, since.
    since: Option<Instant>,
    ask_at: Instant,
    warn_at: Instant,
    /// There is something new to judge by.
    news: bool,
    pub claims: Claims,
    /// This member has a reason not to lead.
    pub yields: bool,
}

impl Memory {
    pub fn new<D: Disk>(log: &Log<D>, now: Instant) -> Self {
        let standing = log.standing();
        Memory {
            standing,
            claims: Claims::new(standing, log.claim(), now),
            reports: Reports::new(),
            answers: Reports::new(),
            since: None,
            ask_at: now,
            warn_at: now + FIRST_WARNING,
            news: true,
            yields: false,
        }
    }

    /// Whether this member is one like any other.
    pub fn is_whole(&self) -> bool {
        self.standing == Standing::Voter && self.claims.are_settled()
    }

    /// How much of its past it knows, if the directory is the newest one.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether the others are to be asked how they stand.
    pub fn asks(&self) -> bool {
        !self.is_whole() && self.claims.are_settled()
    }

    /// Whether it knows that it lost what it knew.
    pub fn is_lost(&self) -> bool {
        matches!(self.standing, Standing::Lost | Standing::Doubtful | Standing::Recovering(_))
    }

    /// Whether a report waits to be judged before anything else is heard.
    pub fn has_news(&self) -> bool {
        self.news && !self.is_whole()
    }

    /// What is judged by. Whoever lost of its memory goes by answers alone: who answers has forgotten what
    /// it believed of this member before.
    fn heard(&self) -> &Reports {
        match self.standing {
            Standing::Lost | Standing::Doubtful => &self.answers,
            _ => &self.reports,
        }
    }

    /// Whether leadership may be handed to this peer, as far as it has said.
    pub fn may_lead(&self, peer: u64) -> bool {
        self.reports.get(&peer).is_none_or(StandingReport::may_lead)
    }

    /// Whether raft may hear the message. Of those who stand for election it hears only members that
    /// have all that this one can have acknowledged.
    fn admits(&self, message: &Message) -> bool {
        if !self.claims.are_settled() {
            return false;
        }
        match self.standing {
            Standing::Voter => true,
            Standing::New | Standing::Founding | Standing::Lost | Standing::Doubtful => false,
            Standing::Recovering(past) => match message.get_msg_type() {
                MessageType::MsgTimeoutNow => false,
                MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
                    past.is_within(message.log_term, message.index)
                }
                _ => true,
            },
        }
    }
}

impl<D: Disk, S: Sequencer> Owner<D, S> {
    /// Whether raft may hear the message. What may mislead a member that lost its log is taken out of
    /// one of the time before: a leader may say that more is committed than is there.
    pub(super) fn admit(&self, message: &mut Message) -> bool {
        if message.get_msg_type() == MessageType::MsgHeartbeat {
            message.commit = message.commit.min(self.raft.raft.raft_log.last_index());
        }
        self.memory.admits(message)
    }

    /// Before anything else is done.
    pub(super) async fn take_up_standing(&mut self) -> Result<(), MemberError> {
        if let Standing::Recovering(past) = self.memory.standing {
            self.bind(past);
        }
        self.raft.mut_store().answer_unsynced(self.options.flush_mode == FlushMode::Async)?;
        // What is there is synced once more before it is claimed.
        self.persist.mark_dirty();
        self.say_that_it_asks();
        self.judge_standing().await
    }

    pub(super) fn say_that_it_asks(&self) {
        if self.memory.asks() {
            tracing::info!(
                group = %self.options.group, standing = ?self.memory.standing,
                "asking the other members whether this one's memory is whole"
            );
        }
    }

    /// Goes over to another standing when what was heard, or what the log holds by now, allows it.
    pub(super) async fn judge_standing(&mut self) -> Result<(), MemberError> {
        self.judge_claims()?;
        if self.memory.is_whole() {
            return Ok(());
        }
        while self.memory.claims.are_settled()
            && let Some(next) = self.next_standing().await?
        {
            self.change_standing(next)?;
        }
        self.memory.news = false;
        Ok(())
    }

    async fn next_standing(&mut self) -> Result<Option<Standing>, MemberError> {
        let members = self.options.peers.len() + 1;
        let standing = self.memory.standing;
        if let Standing::Recovering(past) = standing {
            return Ok(self.holds_durably(past).await?.then_some(Standing::Voter));
        }
        #[cfg(madsim)]
        if crate::mistake::made(crate::mistake::Mistake::LostDiskVotesAtOnce)
            && standing == Standing::Lost
        {
            return Ok(Some(Standing::Voter));
        }
        let now = Instant::now();
        let reports = self.memory.heard();
        let since = match (reports.len() + 1) * 2 > members {
            true => self.memory.since.or(Some(now)),
            false => None,
        };
        let patience = self.patience(since.map_or(Duration::ZERO, |since| now - since));
        let own = Own { term: self.raft.raft.term, claimed: self.memory.claims.remembered() };
        let next = standing::next(standing, reports, members, patience, own);
        if standing == Standing::Doubtful && next.is_some() && reports.len() + 1 < members {
            tracing::error!(
                group = %self.options.group, heard = ?reports.keys().collect::<Vec<_>>(),
                "going on without having heard every member: what was acknowledged right before the \
                 power went, and only the missing ones have, is lost"
            );
        }
        self.memory.since = since;
        Ok(next)
    }

    /// How long a majority has been heard, in the words of this member's standing.
    fn patience(&self, heard_for: Duration) -> Patience {
        let enough = match self.memory.standing {
            Standing::Founding => FOUNDING_PATIENCE,
            _ => ANSWER_PATIENCE,
        };
        let most = self.options.doubt_wait_ms;
        if most > 0 && heard_for >= Duration::from_millis(most).max(enough) {
            Patience::Spent
        } else if heard_for >= enough {
            Patience::Waited
        } else {
            Patience::Fresh
        }
    }

    /// Whether the log reaches the bound and no vote before it can be given any more, and all of that
    /// is on the medium.
    async fn holds_durably(&mut self, past: Past) -> Result<bool, MemberError> {
        let bound = self.hard_state.term > past.term
            || (self.hard_state.term == past.term && self.hard_state.vote != raft::INVALID_ID);
        let log = self.raft.mut_store();
        let last = log.last_index();
        let Term(last_term) = log.last_term();
        if !bound || !past.is_within(last_term, last.0) {
            return Ok(false);
        }
        log.begin_sync().await?;
        Ok(true)
    }

    pub(super) fn change_standing(&mut self, next: Standing) -> Result<(), MemberError> {
        let former = std::mem::replace(&mut self.memory.standing, next);
        self.memory.since = None;
        self.raft.mut_store().set_standing(next)?;
        match next {
            Standing::Lost if former != Standing::New => {
                // Who answered before did not know yet.
                self.memory.answers.clear();
                self.memory.ask_at = Instant::now();
            }
            Standing::Lost => tracing::warn!(
                group = %self.options.group, member = self.options.member,
                "this member's directory is new and its group is not: whatever it promised before is \
                 forgotten, so it takes no part until every other member has said what it knows"
            ),
            Standing::Doubtful => unreachable!("only the log raises the doubt"),
            Standing::Recovering(past) => {
                tracing::warn!(
                    group = %self.options.group, ?past,
                    "the other members were heard; until this member's log reaches theirs it stands \
                     for no election"
                );
                self.memory.claims.make_up(past.into());
                self.bind(past);
            }
            Standing::Voter => {
                tracing::info!(group = %self.options.group, ?former, "this member's memory is whole");
                if former == Standing::Founding {
                    self.hint = Some(Hint::leader_gone(Instant::now(), self.rank_without(0)));
                }
            }
            Standing::New | Standing::Founding => {
                tracing::info!(group = %self.options.group, "the group is new");
            }
        }
        self.report_to_all(Saying::News);
        Ok(())
    }

    /// Raft starts where the past can have ended: the vote in that term counts as given.
    fn bind(&mut self, past: Past) {
        let raft = &mut self.raft.raft;
        if raft.term < past.term {
            raft.become_follower(past.term, raft::INVALID_ID);
        }
        if raft.term == past.term && raft.vote == raft::INVALID_ID {
            raft.vote = NOBODY;
        }
    }

    /// A peer says how it stands.
    pub(super) fn take_report(&mut self, from: u64, report: StandingReport) {
        if self.leading.is_some() && report.forgot() {
            self.forget_progress(from);
        }
        if report.asks {
            self.report_to(from, Saying::Answer);
        }
        if report.answers {
            self.memory.answers.insert(from, report.clone());
        }
        self.memory.reports.insert(from, report);
        self.memory.news = true;
    }

    /// What the peer acknowledged it does not have any more.
    fn forget_progress(&mut self, peer: u64) {
        let last = self.raft.raft.raft_log.last_index();
        let Some(progress) = self.raft.raft.mut_prs().get_mut(peer) else { return };
        if progress.matched > 0 {
            tracing::warn!(
                group = %self.options.group, peer, acknowledged = progress.matched,
                "a member lost what it had acknowledged, and is given it again"
            );
        }
        progress.matched = 0;
        progress.committed_index = 0;
        progress.pending_request_snapshot = raft::INVALID_INDEX;
        progress.become_probe();
        progress.next_idx = last + 1;
    }

    /// While this member is not sure of itself: asks, and tells the operator whom it waits for.
    pub(super) fn pursue_standing(&mut self) {
        if !self.memory.asks() {
            return;
        }
        if let Standing::Recovering(_) = self.memory.standing {
            // Raft's clock would have it stand for election; only that it hears no leader matters.
            self.raft.raft.election_elapsed += 1;
            return;
        }
        self.memory.news = true;
        let now = Instant::now();
        if now >= self.memory.ask_at {
            self.memory.ask_at = now + ASK_EVERY;
            self.report_to_all(Saying::Question);
        }
        if now >= self.memory.warn_at {
            self.memory.warn_at = now + NEXT_WARNING;
            self.warn_of_waiting();
        }
    }

    /// In words an operator can act on.
    fn warn_of_waiting(&self) {
        let heard = |id: &&u64| self.memory.heard().contains_key(id);
        let missing: Vec<u64> =
            self.peers.table().keys().filter(|id| !heard(id)).copied().collect();
        let what = if self.memory.standing == Standing::Doubtful {
            "its machine lost power, and the members named may have what it acknowledged last; start \
             them (raftDoubtWaitMs says how long it waits for them)"
        } else if missing.is_empty() {
            "too many members have lost their directories at the same time; put the last known \
             directory of one of them back"
        } else {
            "it waits for the members named to say what they know; start them"
        };
        tracing::warn!(
            group = %self.options.group, member = self.options.member, ?missing,
            standing = ?self.memory.standing, "this member's memory is not whole and it takes no part: {what}"
        );
    }

    /// Tells a peer how this member stands.
    pub(super) fn report_to(&mut self, peer: u64, saying: Saying) {
        let raft = &self.raft.raft;
        let mut end = (raft.raft_log.last_term(), raft.raft_log.last_index());
        if let Standing::Recovering(past) = self.memory.standing {
            end = end.max((past.last_term, past.last_index));
        }
        let claim = self.memory.claims.own();
        let report = StandingReport {
            standing: standing::kind(self.memory.standing) as i32,
            term: raft.term,
            last_term: end.0,
            last_index: end.1,
            yields: self.memory.yields,
            asks: saying == Saying::Question,
            answers: saying == Saying::Answer,
            claim_term: claim.term,
            claim_index: claim.index,
        };
        let parcel = Parcel::Standing { from: self.options.member, to: peer, report };
        if !self.peers.send(parcel) {
            // It is told when it can be reached again.
            tracing::debug!(group = %self.options.group, peer, "report not sent");
        }
    }

    pub(super) fn report_to_all(&mut self, saying: Saying) {
        let peers: Vec<u64> = self.peers.table().keys().copied().collect();
        for peer in peers {
            self.report_to(peer, saying);
        }
    }
}
