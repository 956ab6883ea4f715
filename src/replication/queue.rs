//! Proposals between the threads that make them and the task that sequences them.
//!
//! A plain queue under a lock, emptied wholesale by the owner: cheaper per proposal than a channel,
//! and the owner is woken only when the queue was empty or has filled an entry.
//!
//! Invariant: what waits here and what the owner has taken but not yet sequenced is bounded together,
//! by count and by weight.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::machine::Refusal;

/// Who may propose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// This member leads, or is about to serve.
    Leading,
    /// Another member leads, or nobody does.
    Following { leader: Option<u64> },
    /// The member is stopping.
    Stopped,
}

/// Bounds of the queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueBounds {
    pub proposals_max: usize,
    pub bytes_max: usize,
    /// The owner is woken again when this much has gathered.
    pub wake_bytes: usize,
}

struct Inner<P> {
    gate: Gate,
    waiting: VecDeque<P>,
    weights: VecDeque<usize>,
    /// Weight of `waiting`.
    waiting_bytes: usize,
    /// Taken by the owner, not yet sequenced.
    taken: usize,
    taken_bytes: usize,
}

/// The queue; shared by every handle and the owner.
pub(super) struct ProposalQueue<P> {
    inner: Mutex<Inner<P>>,
    bounds: QueueBounds,
    wake: Arc<Notify>,
}

impl<P> ProposalQueue<P> {
    /// An empty queue; `wake` is the owner's.
    pub fn new(bounds: QueueBounds, wake: Arc<Notify>) -> Self {
        let inner = Inner {
            gate: Gate::Following { leader: None },
            waiting: VecDeque::new(),
            weights: VecDeque::new(),
            waiting_bytes: 0,
            taken: 0,
            taken_bytes: 0,
        };
        ProposalQueue { inner: Mutex::new(inner), bounds, wake }
    }

    /// Adds a proposal, or hands it back with the reason.
    pub fn push(&self, proposal: P, weight: usize) -> Result<(), (P, Refusal)> {
        let mut inner = self.inner.lock();
        match inner.gate {
            Gate::Leading => {}
            Gate::Following { leader } => return Err((proposal, Refusal::NotLeader { leader })),
            Gate::Stopped => return Err((proposal, Refusal::ShuttingDown)),
        }
        let count = inner.waiting.len() + inner.taken;
        let bytes = inner.waiting_bytes + inner.taken_bytes;
        let crowded = count > 0 && bytes + weight > self.bounds.bytes_max;
        if count >= self.bounds.proposals_max || crowded {
            return Err((proposal, Refusal::Overloaded));
        }
        let before = inner.waiting_bytes;
        let was_empty = inner.waiting.is_empty();
        inner.waiting.push_back(proposal);
        inner.weights.push_back(weight);
        inner.waiting_bytes += weight;
        let filled =
            before < self.bounds.wake_bytes && inner.waiting_bytes >= self.bounds.wake_bytes;
        drop(inner);
        if was_empty || filled {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Moves everything behind what the owner already has, when at least `at_least_bytes` wait;
    /// returns the weight of what was moved.
    pub fn take(
        &self,
        proposals: &mut VecDeque<P>,
        weights: &mut VecDeque<usize>,
        at_least_bytes: usize,
    ) -> usize {
        let mut inner = self.inner.lock();
        if inner.waiting.is_empty() || inner.waiting_bytes < at_least_bytes {
            return 0;
        }
        let moved_bytes = std::mem::take(&mut inner.waiting_bytes);
        inner.taken += inner.waiting.len();
        inner.taken_bytes += moved_bytes;
        if proposals.is_empty() {
            std::mem::swap(proposals, &mut inner.waiting);
            std::mem::swap(weights, &mut inner.weights);
        } else {
            proposals.append(&mut inner.waiting);
            weights.append(&mut inner.weights);
        }
        moved_bytes
    }

    /// How many are in it, or were taken and are not released.
    pub fn waiting(&self) -> usize {
        let inner = self.inner.lock();
        inner.waiting.len() + inner.taken
    }

    /// Weight of all that is in it, or was taken and is not released.
    #[cfg(madsim)]
    pub fn held_bytes(&self) -> usize {
        let inner = self.inner.lock();
        inner.waiting_bytes + inner.taken_bytes
    }

    /// The owner has sequenced or refused this many of those it took.
    pub fn release(&self, count: usize, bytes: usize) {
        let mut inner = self.inner.lock();
        assert!(inner.taken >= count && inner.taken_bytes >= bytes, "released more than taken");
        inner.taken -= count;
        inner.taken_bytes -= bytes;
    }

    /// Opens or shuts the queue. Proposals that wait stay until the owner takes them.
    pub fn set_gate(&self, gate: Gate) {
        let mut inner = self.inner.lock();
        if inner.gate != Gate::Stopped {
            inner.gate = gate;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn queue(proposals_max: usize, bytes_max: usize) -> ProposalQueue<u32> {
        let bounds = QueueBounds { proposals_max, bytes_max, wake_bytes: 100 };
        ProposalQueue::new(bounds, Arc::new(Notify::new()))
    }

    #[test]
    fn the_gate_decides_who_gets_in() {
        let queue = queue(10, 100);
        let refused = queue.push(1, 1).unwrap_err();
        assert_eq!(refused, (1, Refusal::NotLeader { leader: None }));
        queue.set_gate(Gate::Following { leader: Some(3) });
        assert_eq!(queue.push(1, 1).unwrap_err().1, Refusal::NotLeader { leader: Some(3) });
        queue.set_gate(Gate::Leading);
        queue.push(1, 1).unwrap();
        queue.set_gate(Gate::Stopped);
        queue.set_gate(Gate::Leading);
        assert_eq!(queue.push(2, 1).unwrap_err().1, Refusal::ShuttingDown);
    }

    #[test]
    fn what_the_owner_took_still_counts_until_it_is_released() {
        let queue = queue(3, 100);
        queue.set_gate(Gate::Leading);
        queue.push(1, 60).unwrap();
        assert_eq!(queue.push(2, 41).unwrap_err().1, Refusal::Overloaded);
        queue.push(2, 40).unwrap();
        let (mut taken, mut weights) = (VecDeque::new(), VecDeque::new());
        assert_eq!(queue.take(&mut taken, &mut weights, 101), 0);
        assert!(taken.is_empty(), "less than asked for is left to gather");
        assert_eq!(queue.take(&mut taken, &mut weights, 1), 100);
        assert_eq!((taken.len(), weights.iter().sum::<usize>()), (2, 100));
        assert_eq!(queue.push(3, 1).unwrap_err().1, Refusal::Overloaded);
        queue.release(1, 60);
        queue.push(3, 60).unwrap();
        queue.push(4, 0).unwrap();
        assert_eq!(queue.push(5, 0).unwrap_err().1, Refusal::Overloaded, "bounded by count");
    }

    #[test]
    fn one_proposal_larger_than_the_bound_passes_when_nothing_waits() {
        let queue = queue(3, 100);
        queue.set_gate(Gate::Leading);
        queue.push(1, 1000).unwrap();
        assert_eq!(queue.push(2, 1).unwrap_err().1, Refusal::Overloaded);
    }
}
