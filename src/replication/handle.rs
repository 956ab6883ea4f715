//! What the rest of the broker holds of its member of the group.
//!
//! Invariant: nothing here blocks or touches raft; every call is a message to the owner, or a look at
//! what it last published.

use std::sync::Arc;

use raft_log::{LogIndex, Position, Term};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use super::figures::ReplicaFigures;
use super::machine::Refusal;
use super::peers::PeerTable;
use super::queue::ProposalQueue;

/// What this member is in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// It follows, or waits for a leader.
    #[default]
    Follower,
    /// It stands for election, or asks whether it should.
    Candidate,
    /// It leads.
    Leader,
    /// It lost its memory, and does not stand for election until it has everything again.
    Recovering,
}

/// How the leader replicates to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PeerState {
    /// This member does not lead, so it does not know.
    #[default]
    Unknown,
    /// Looking for where the logs agree.
    Probe,
    /// Entries flow.
    Replicate,
    /// A snapshot is on its way.
    Snapshot,
}

/// A peer as this member sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its raft id.
    pub id: u64,
    /// Highest index known to be stored there; zero when this member does not lead.
    pub matched: LogIndex,
    /// How entries reach it.
    pub state: PeerState,
    /// Whether our connection to it stands.
    pub connected: bool,
    /// Whether it has no reason not to lead, as far as it has said.
    pub may_lead: bool,
    /// Where clients reach it, once it has said so.
    pub client_addr: Option<String>,
}

/// What a member tells about itself. Role, term, leader, `serving` and connections are published at
/// once, the numbers at every tick.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplicaStatus {
    /// Its raft id.
    pub member: u64,
    /// What it is.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader it knows of, itself included.
    pub leader: Option<u64>,
    /// It leads and has applied everything up to its own term's first entry.
    pub serving: bool,
    /// Highest committed index.
    pub commit: LogIndex,
    /// Highest applied index.
    pub applied: LogIndex,
    /// First index kept in the log.
    pub first_index: LogIndex,
    /// Last index in the log.
    pub last_index: LogIndex,
    /// Where the log begins.
    pub first_position: Position,
    /// Where it ends.
    pub last_position: Position,
    /// The other members.
    pub peers: Vec<PeerStatus>,
}

impl ReplicaStatus {
    /// Whether what this leader appends reaches a peer at once: it is connected, and raft need not find
    /// out first where its log ends.
    ///
    /// Raft keeps a peer whose connection broke in its probing state until it answers an append, and
    /// appends nothing to who has everything: while nobody writes, that state says nothing of such a peer.
    pub fn reaches(&self, peer: &PeerStatus) -> bool {
        peer.connected && (peer.state == PeerState::Replicate || peer.matched >= self.last_index)
    }
}

/// What a handle asks of the owner.
pub(super) enum Command {
    ReadIndex(oneshot::Sender<Result<LogIndex, Refusal>>),
    TransferLeader { to: Option<u64>, reply: oneshot::Sender<Result<u64, Refusal>> },
    Shutdown(oneshot::Sender<()>),
}

/// A member of a group, cheap to clone. The member stops when the last handle is dropped.
pub struct ReplicaHandle<P> {
    inner: Arc<Inner<P>>,
}

struct Inner<P> {
    queue: Arc<ProposalQueue<P>>,
    weight: fn(&P) -> usize,
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<ReplicaStatus>,
    peers: PeerTable,
    client_addr: String,
    figures: Arc<ReplicaFigures>,
    owning: AbortHandle,
    applying: AbortHandle,
}

impl<P> Clone for ReplicaHandle<P> {
    fn clone(&self) -> Self {
        ReplicaHandle { inner: Arc::clone(&self.inner) }
    }
}

/// The pieces of a handle.
pub(super) struct HandleParts<P> {
    pub queue: Arc<ProposalQueue<P>>,
    pub weight: fn(&P) -> usize,
    pub commands: mpsc::Sender<Command>,
    pub status: watch::Receiver<ReplicaStatus>,
    pub peers: PeerTable,
    pub client_addr: String,
    pub figures: Arc<ReplicaFigures>,
    pub owning: AbortHandle,
    pub applying: AbortHandle,
}

impl<P> ReplicaHandle<P> {
    pub(super) fn new(parts: HandleParts<P>) -> Self {
        let inner = Inner {
            queue: parts.queue,
            weight: parts.weight,
            commands: parts.commands,
            status: parts.status,
            peers: parts.peers,
            client_addr: parts.client_addr,
            figures: parts.figures,
            owning: parts.owning,
            applying: parts.applying,
        };
        ReplicaHandle { inner: Arc::new(inner) }
    }

    /// What a peer claimed of itself.
    #[cfg(test)]
    pub(super) fn heard_of(&self, peer: u64) -> raft_log::Heard {
        self.inner.peers[&peer].heard()
    }

    /// Hands in a proposal, from any thread, without waiting. The outcome comes by the proposal's own
    /// means, from the machine or as a refusal from the sequencer.
    ///
    /// # Errors
    /// The proposal back, when this member does not lead ([`Refusal::NotLeader`]), too much waits
    /// ([`Refusal::Overloaded`]), or it is stopping ([`Refusal::ShuttingDown`]).
    pub fn propose(&self, proposal: P) -> Result<(), (P, Refusal)> {
        let weight = (self.inner.weight)(&proposal);
        self.inner.queue.push(proposal, weight)
    }

    /// What the member says about itself, now and whenever it changes.
    pub fn status(&self) -> watch::Receiver<ReplicaStatus> {
        self.inner.status.clone()
    }

    /// What the member counts of its work.
    pub fn figures(&self) -> &ReplicaFigures {
        &self.inner.figures
    }

    /// Proposals that wait to become entries.
    pub fn waiting(&self) -> usize {
        self.inner.queue.waiting()
    }

    /// Where clients reach the leader, if it is known and has said so.
    pub fn leader_client_addr(&self) -> Option<String> {
        let (leader, own) = {
            let status = self.inner.status.borrow();
            (status.leader?, status.member)
        };
        if leader == own {
            return Some(self.inner.client_addr.clone());
        }
        self.inner.peers.get(&leader)?.client_addr()
    }

    /// Waits until this member's state contains everything acknowledged before the call.
    ///
    /// # Errors
    /// [`Refusal::NotLeader`] when this member does not lead, or stops leading meanwhile.
    pub async fn read_index(&self) -> Result<LogIndex, Refusal> {
        self.ask(Command::ReadIndex).await
    }

    /// Hands leadership to `to`, or to the connected member that has most of the log; returns which
    /// one leads now.
    ///
    /// # Errors
    /// [`Refusal::NotLeader`] when this member does not lead; [`Refusal::Overloaded`] when no such
    /// member took over within [`handover_limit`](super::handover_limit): this member leads on, and serves.
    pub async fn transfer_leader(&self, to: Option<u64>) -> Result<u64, Refusal> {
        self.ask(|reply| Command::TransferLeader { to, reply }).await
    }

    /// Stops the member in order: no more proposals, leadership handed over if there is someone to
    /// take it, everything synced. Returns when its tasks have ended.
    pub async fn shutdown(&self) {
        let (reply, done) = oneshot::channel();
        if self.inner.commands.send(Command::Shutdown(reply)).await.is_ok() {
            // An error means that the owner is gone: that is what was asked for.
            let _ = done.await;
        }
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Command,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        if self.inner.commands.send(command(reply)).await.is_err() {
            return Err(Refusal::ShuttingDown);
        }
        answer.await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Ends the member as a kill would: nothing more is written, synced or said. For tests and for a
    /// process that is about to end anyway.
    pub fn abort(&self) {
        self.inner.owning.abort();
        self.inner.applying.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_everything_is_reached_in_any_state() {
        let status = ReplicaStatus { last_index: LogIndex(10), ..ReplicaStatus::default() };
        let peer = |connected, state, matched| PeerStatus {
            id: 2,
            matched: LogIndex(matched),
            state,
            connected,
            may_lead: true,
            client_addr: None,
        };
        assert!(status.reaches(&peer(true, PeerState::Replicate, 3)));
        assert!(status.reaches(&peer(true, PeerState::Probe, 10)));
        assert!(!status.reaches(&peer(true, PeerState::Probe, 9)));
        assert!(!status.reaches(&peer(false, PeerState::Replicate, 10)));
    }
}
