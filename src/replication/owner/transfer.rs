//! Handing leadership to another member, so that a planned stop costs no election timeout.
//!
//! Invariant: a transfer ends, one way or the other, within [`handover_limit`].

use raft::ProgressTracker;
use raft_log::Disk;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Owner;
use crate::replication::handover_limit;
use crate::replication::machine::{Refusal, Sequencer};

/// A handover under way.
pub(super) struct Transfer {
    to: u64,
    reply: Option<oneshot::Sender<Result<u64, Refusal>>>,
    deadline: Instant,
}

impl Transfer {
    /// It did not come about.
    pub fn fail(self, refusal: Refusal) {
        if let Some(reply) = self.reply {
            let _ = reply.send(Err(refusal));
        }
    }
}

/// The connected member with most of the log.
fn most_caught_up(progress: &ProgressTracker, connected: impl Iterator<Item = u64>) -> Option<u64> {
    connected
        .filter_map(|id| progress.get(id).map(|progress| (progress.matched, id)))
        .max()
        .map(|(_, id)| id)
}

impl<D: Disk, S: Sequencer> Owner<D, S> {
    /// Begins to hand over to `to`, or to whoever has most of the log.
    pub(super) fn start_transfer(
        &mut self,
        to: Option<u64>,
        reply: Option<oneshot::Sender<Result<u64, Refusal>>>,
    ) {
        let connected = |id: &u64| self.peers.table().get(id).is_some_and(|peer| peer.connected());
        let to = to.filter(connected).or_else(|| {
            if to.is_some() {
                return None;
            }
            let candidates = self.peers.table().keys().copied().filter(connected);
            let candidates = candidates.filter(|&id| self.memory.may_lead(id));
            most_caught_up(self.raft.raft.prs(), candidates)
        });
        let refusal = match (self.leading, &self.transfer, to) {
            (None, ..) => Some(self.not_leader()),
            (Some(_), None, Some(_)) => None,
            _ => Some(Refusal::Overloaded),
        };
        let deadline = Instant::now() + handover_limit(self.options.election_timeout_ms);
        let transfer = Transfer { to: to.unwrap_or_default(), reply, deadline };
        if let Some(refusal) = refusal {
            transfer.fail(refusal);
            return;
        }
        tracing::info!(group = %self.options.group, to = transfer.to, "handing leadership over");
        self.raft.transfer_leader(transfer.to);
        self.transfer = Some(transfer);
    }

    /// Leader or leadership changed: that may be what a transfer waits for.
    pub(super) fn observe_transfer(&mut self) {
        let (None, Some(leader)) = (self.leading, self.known_leader()) else { return };
        if let Some(reply) = self.transfer.take().and_then(|transfer| transfer.reply) {
            let _ = reply.send(Ok(leader));
        }
    }

    /// Gives up on a transfer whose target did not catch up in time.
    pub(super) fn expire_transfer(&mut self) {
        if self.transfer.as_ref().is_some_and(|transfer| Instant::now() >= transfer.deadline)
            && let Some(transfer) = self.transfer.take()
        {
            tracing::warn!(
                group = %self.options.group, to = transfer.to, "leadership was not taken over in time"
            );
            let refusal =
                if self.leading.is_some() { Refusal::Overloaded } else { self.not_leader() };
            self.raft.raft.abort_leader_transfer();
            transfer.fail(refusal);
        }
    }
}
