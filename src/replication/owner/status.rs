//! Publishing what the member is, without building it anew at every turn.
//!
//! Invariant: a change of role, term, leader, service or connection is published in the turn that saw
//! it; indices and positions at most one tick late.

use raft::{ProgressState, RawNode, StateRole, Storage as _};
use raft_log::{Disk, Log, LogIndex, Term};
use tokio::sync::watch;

use super::Owner;
use super::lead::Leading;
use crate::replication::handle::{PeerState, PeerStatus, ReplicaStatus, Role};
use crate::replication::machine::Sequencer;
use crate::replication::peers::Peers;

/// What is published at once; connections as a bit each, in order of their ids.
#[derive(PartialEq, Eq, Default, Clone, Copy)]
struct Urgent {
    role: Role,
    term: u64,
    leader: u64,
    serving: bool,
    connected: u64,
    lost: bool,
}

/// The publishing end.
pub(super) struct StatusPublisher {
    sender: watch::Sender<ReplicaStatus>,
    member: u64,
    last: Urgent,
    tick: bool,
}

fn role(state: StateRole) -> Role {
    match state {
        StateRole::Leader => Role::Leader,
        StateRole::Follower => Role::Follower,
        StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
    }
}

fn peer_state(state: ProgressState) -> PeerState {
    match state {
        ProgressState::Probe => PeerState::Probe,
        ProgressState::Replicate => PeerState::Replicate,
        ProgressState::Snapshot => PeerState::Snapshot,
    }
}

impl StatusPublisher {
    pub fn new(sender: watch::Sender<ReplicaStatus>, member: u64) -> Self {
        StatusPublisher { sender, member, last: Urgent::default(), tick: true }
    }

    /// The numbers are due.
    pub fn tick(&mut self) {
        self.tick = true;
    }

    /// Whether something is to be published now.
    pub fn is_due<D: Disk>(
        &mut self,
        node: &RawNode<Log<D>>,
        leading: Option<Leading>,
        peers: &Peers,
        lost: bool,
    ) -> bool {
        let connected = peers
            .table()
            .values()
            .fold(0, |bits: u64, peer| bits.rotate_left(1) | u64::from(peer.connected()));
        let now = Urgent {
            role: role(node.raft.state),
            term: node.raft.term,
            leader: node.raft.leader_id,
            serving: leading.is_some_and(|leading| leading.serving),
            connected,
            lost,
        };
        let due = self.tick || now != self.last;
        self.last = now;
        self.tick = false;
        due
    }
}

impl<D: Disk, S: Sequencer> Owner<D, S> {
    /// Shows a simulation what this member holds in memory.
    #[cfg(madsim)]
    fn show_held(&self) {
        let peers = self.peers.table().values();
        let held = crate::observe::Held {
            waiting: self.queue.held_bytes(),
            uncommitted: self.raft.raft.uncommitted_size(),
            unapplied: self.applier.backlog_bytes(),
            tail: self.raft.store().tail_bytes(),
            peer_queue: peers.map(|peer| peer.queued_bytes()).max().unwrap_or(0),
        };
        crate::observe::held(&self.options.group, held);
    }

    pub(super) fn publish_status(&mut self) {
        #[cfg(madsim)]
        self.show_held();
        let raft = &self.raft.raft;
        let log = self.raft.store();
        let leads = raft.state == StateRole::Leader;
        let peer_status = |peer: &std::sync::Arc<crate::replication::peers::Peer>| {
            let progress = raft.prs().get(peer.id).filter(|_| leads);
            PeerStatus {
                id: peer.id,
                matched: LogIndex(progress.map_or(0, |progress| progress.matched)),
                state: progress.map_or(PeerState::Unknown, |progress| peer_state(progress.state)),
                connected: peer.connected(),
                may_lead: self.memory.may_lead(peer.id),
                client_addr: peer.client_addr(),
            }
        };
        let status = ReplicaStatus {
            member: self.status.member,
            role: if self.memory.is_lost() { Role::Recovering } else { role(raft.state) },
            term: Term(raft.term),
            leader: (raft.leader_id != raft::INVALID_ID).then_some(raft.leader_id),
            serving: self.leading.is_some_and(|leading| leading.serving),
            commit: LogIndex(raft.raft_log.committed),
            applied: self.applier.applied(),
            first_index: LogIndex(log.first_index().unwrap_or_default()),
            last_index: log.last_index(),
            first_position: log.first_position(),
            last_position: log.tail(),
            peers: self.peers.table().values().map(peer_status).collect(),
        };
        let stands = raft.state == StateRole::Candidate;
        self.figures.observe(raft.term, stands, leads, raft.leader_id);
        self.status.sender.send_if_modified(|published| {
            let changed = *published != status;
            *published = status;
            changed
        });
    }
}
