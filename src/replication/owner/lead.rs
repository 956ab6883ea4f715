//! Leading: when to serve, and how proposals become entries.
//!
//! An idle leader proposes at once; while a sync is under way proposals gather, so that many share
//! the next entry, its sync and its messages.
//!
//! Invariant: the sequencer is called only between `begin_term` and `end_term`, when every entry
//! before the next lies in the log, and the index it was told is the one raft assigns.

use bytes::BytesMut;
use raft::StateRole;
use raft::eraftpb::{Entry, Message, MessageType};
use raft_log::{Disk, ENTRY_HEADER_BYTES, LogIndex, Position, Term};
use tokio::time::{Duration, Instant};

use super::{InFlight, Owner};
use crate::clock;
use crate::replication::fatal::MemberError;
use crate::replication::machine::{Refusal, Sequencer, Slot};
use crate::replication::queue::Gate;

/// Entries on their way to a quorum before proposals gather into a full one.
const UNCOMMITTED_ENTRIES: u64 = 2;
/// What an entry's payload may need beyond the weight of its proposals.
const PAYLOAD_SLACK_BYTES: usize = 4096;

/// A term in which this member leads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leading {
    pub term: u64,
    /// Index of the empty entry that opens the term.
    pub first_index: u64,
    /// That entry is applied and the sequencer has begun.
    pub serving: bool,
}

impl<D: Disk, S: Sequencer> Owner<D, S> {
    /// Notices that leadership began or ended; called after everything that may change it.
    pub(super) fn observe_role(&mut self) {
        let raft = &self.raft.raft;
        let leads_in = (raft.state == StateRole::Leader).then_some(raft.term);
        if self.leading.map(|leading| leading.term) != leads_in {
            let first_index = raft.raft_log.last_index();
            self.end_leading();
            if let Some(term) = leads_in {
                tracing::info!(group = %self.options.group, term, "elected leader");
                self.hint = None;
                self.leading = Some(Leading { term, first_index, serving: false });
            }
        }
        let gate = if self.leading.is_some() {
            Gate::Leading
        } else {
            Gate::Following { leader: self.known_leader() }
        };
        if gate != self.gate {
            self.gate = gate;
            self.queue.set_gate(gate);
            self.observe_transfer();
        }
    }

    /// Takes up service once the term's first entry is applied.
    pub(super) fn begin_serving(&mut self) {
        let applied = self.applier.applied();
        #[cfg(madsim)]
        let applied = match crate::mistake::made(crate::mistake::Mistake::ServesTooEarly) {
            true => LogIndex(u64::MAX),
            false => applied,
        };
        if let Some(leading) = &mut self.leading
            && !leading.serving
            && applied.0 >= leading.first_index
        {
            leading.serving = true;
            tracing::info!(
                group = %self.options.group, term = leading.term, applied = applied.0,
                "serving as leader"
            );
            self.sequencer.begin_term(Term(leading.term));
        }
    }

    /// Leadership is over: what is in flight may or may not commit, and nobody will tell us.
    pub(super) fn end_leading(&mut self) {
        let Some(ended) = self.leading.take() else { return };
        self.pace.left();
        tracing::warn!(
            group = %self.options.group, term = ended.term, in_flight = self.pendings.len(),
            "no longer leader"
        );
        if ended.serving {
            self.sequencer.end_term();
        }
        #[cfg(madsim)]
        if crate::mistake::made(crate::mistake::Mistake::AnswersForAnother) {
            return;
        }
        for in_flight in self.pendings.drain(..) {
            S::abandon(in_flight.pending, Refusal::Unknown);
        }
        self.hold_until = Instant::now() + Duration::from_millis(self.options.election_timeout_ms);
        let refusal = self.not_leader();
        self.reads.fail(&refusal);
    }

    /// Proposals that a former leader never sequenced are refused as soon as it can say who leads.
    pub(super) fn settle_waiting(&mut self) {
        if self.leading.is_some() {
            return;
        }
        self.take_waiting(1);
        let leader = self.known_leader();
        let hopeless = self.stopping.is_some() || Instant::now() >= self.hold_until;
        if !self.waiting.is_empty() && (leader.is_some() || hopeless) {
            self.refuse_waiting(&Refusal::NotLeader { leader });
        }
    }

    /// Refuses every proposal that waits to be sequenced.
    pub(super) fn refuse_waiting(&mut self, refusal: &Refusal) {
        self.take_waiting(1);
        self.queue.release(self.waiting.len(), self.waiting_bytes);
        for proposal in self.waiting.drain(..) {
            S::refuse(proposal, refusal.clone());
        }
        self.weights.clear();
        self.waiting_bytes = 0;
    }

    fn take_waiting(&mut self, at_least_bytes: usize) {
        self.waiting_bytes += self.queue.take(&mut self.waiting, &mut self.weights, at_least_bytes);
    }

    /// Turns waiting proposals into entries; `true` when more could follow at once.
    pub(super) async fn propose(&mut self) -> Result<bool, MemberError> {
        if self.leading.is_some() && self.raft.store().check_space().is_err() {
            // The log said why. Followers would take it, but this member could not keep it.
            self.refuse_waiting(&Refusal::Overloaded);
        }
        for _ in 0..self.options.entries_per_turn_max {
            let Some(leading) = self.leading.filter(|leading| leading.serving) else {
                return Ok(false);
            };
            if !self.may_propose() {
                return Ok(false);
            }
            // While something is on its way, only what fills an entry goes after it.
            let raft_log = &self.raft.raft.raft_log;
            let in_flight = raft_log.last_index() - raft_log.committed;
            let gathering = self.persist.is_syncing() || in_flight >= UNCOMMITTED_ENTRIES;
            let wanted = if gathering { self.options.entry_bytes_target } else { 1 };
            #[cfg(madsim)]
            let wanted = crate::buggify::gathered_bytes(wanted);
            self.take_waiting(wanted.saturating_sub(self.waiting_bytes));
            if self.waiting.is_empty() || (gathering && self.waiting_bytes < wanted) {
                return Ok(false);
            }
            self.propose_entry(leading);
            self.ready().await?;
        }
        Ok(true)
    }

    /// Whether raft would take an entry of any allowed size now.
    fn may_propose(&self) -> bool {
        let raft = &self.raft.raft;
        let uncommitted = raft.uncommitted_size();
        let room = uncommitted == 0
            || uncommitted + self.options.entry_bytes_limit <= self.options.uncommitted_bytes_max;
        let applier_keeps_up = self.applier.backlog_bytes() <= self.options.unapplied_bytes_max;
        room && applier_keeps_up && raft.lead_transferee.is_none()
    }

    /// Sequences one entry and proposes it.
    fn propose_entry(&mut self, leading: Leading) {
        let target = self.options.entry_bytes_target;
        #[cfg(madsim)]
        let target = crate::buggify::entry_bytes(target);
        let mut payload =
            BytesMut::with_capacity(self.waiting_bytes.min(target) + PAYLOAD_SLACK_BYTES);
        let index = self.raft.raft.raft_log.last_index() + 1;
        let waited = self.waiting.len();
        let log = self.raft.store();
        assert_eq!(log.last_index().0 + 1, index, "every earlier entry lies in the log");
        let tail = log.tail();
        let place = |payload_bytes| Position(log.place(tail, payload_bytes).0 + ENTRY_HEADER_BYTES);
        let slot = Slot {
            index: LogIndex(index),
            term: Term(leading.term),
            payload_bytes_target: target,
            payload_bytes_limit: self.options.entry_bytes_limit,
            now_ms: clock::now_ms(),
            place: &place,
        };
        let pending = self.sequencer.sequence(&mut self.waiting, &slot, &mut payload);
        let taken = waited - self.waiting.len();
        assert!(taken > 0, "a sequencer takes at least one proposal");
        let bytes = self.weights.drain(..taken).sum();
        self.waiting_bytes -= bytes;
        self.queue.release(taken, bytes);
        let Some(pending) = pending else { return };
        assert!(payload.len() <= self.options.entry_bytes_limit, "payload within its limit");
        self.figures.entry_proposals.observe(taken as u64);
        self.figures.entry_bytes.observe(payload.len() as u64);
        let entry = Entry { data: payload.freeze(), ..Entry::default() };
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.options.member;
        message.set_entries(vec![entry].into());
        self.raft.step(message).expect("a leader with room, not handing over, takes a proposal");
        assert_eq!(self.raft.raft.raft_log.last_index(), index, "the index the sequencer was told");
        let since = Instant::now();
        self.pendings.push_back(InFlight { index, term: leading.term, since, pending });
    }
}
