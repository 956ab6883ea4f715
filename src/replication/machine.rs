//! What replication asks of the application it replicates.
//!
//! Two halves, because they run on two tasks. The [`Sequencer`] sits beside the `RawNode` and turns
//! proposals into the payload of one log entry, assigning offsets as it goes; only a leader that has
//! applied its own term's first entry calls it. The [`Machine`] receives committed entries, in order,
//! each exactly once per process life, and is the only one that makes them visible.
//!
//! Invariant: a payload is a pure function of the proposals and of what was sequenced before it; the
//! machine's state is a pure function of the committed payloads.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use raft_log::{LogIndex, Position, Term};

/// Why a proposal was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// This member does not lead; ask the leader, if it is known (a raft id).
    #[error("not the leader of the group, which is {leader:?}")]
    NotLeader {
        /// The leader's raft id as far as this member knows.
        leader: Option<u64>,
    },
    /// Too much is in flight; try again later. Nothing was written.
    #[error("too many proposals in flight")]
    Overloaded,
    /// The proposal alone exceeds what an entry may hold. Nothing was written.
    #[error("the proposal is larger than an entry may be")]
    TooLarge,
    /// Leadership was lost while the proposal was in flight: it may or may not commit.
    #[error("leadership was lost while the proposal was in flight: its outcome is unknown")]
    Unknown,
    /// The member is stopping. Nothing was written.
    #[error("the member is shutting down")]
    ShuttingDown,
}

/// Where the payload under construction will live in the log.
pub struct Slot<'a> {
    /// Raft index of the entry.
    pub index: LogIndex,
    /// Term of the entry.
    pub term: Term,
    /// Upper bound on the payload's length in bytes; one proposal may exceed it up to
    /// `payload_bytes_limit`.
    pub payload_bytes_target: usize,
    /// Hard upper bound on the payload's length in bytes.
    pub payload_bytes_limit: usize,
    /// Wall clock in milliseconds, read by the runtime.
    pub now_ms: i64,
    /// Position of the payload's first byte, given its length in bytes.
    pub place: &'a dyn Fn(usize) -> Position,
}

/// Turns proposals into entry payloads; lives beside the `RawNode`.
pub trait Sequencer: Send + 'static {
    /// What callers hand in.
    type Proposal: Send + 'static;
    /// Who waits for one entry; travels to [`Machine::apply`] on the member that proposed it.
    type Pending: Send + 'static;

    /// Bytes that a proposal counts against the bound on proposals in flight.
    fn weight(proposal: &Self::Proposal) -> usize;

    /// This member leads, and every entry up to and including its own first one is applied.
    fn begin_term(&mut self, term: Term);

    /// Leadership ended. Whatever was assigned beyond the applied state is void.
    fn end_term(&mut self);

    /// Takes proposals from the front of `queue` into one payload. `None` when every proposal it
    /// took was refused and there is nothing to write.
    fn sequence(
        &mut self,
        queue: &mut VecDeque<Self::Proposal>,
        slot: &Slot<'_>,
        payload: &mut BytesMut,
    ) -> Option<Self::Pending>;

    /// Tells a proposal's owner that it was not taken.
    fn refuse(proposal: Self::Proposal, refusal: Refusal);

    /// Tells all who wait for an entry that it will not be answered (usually [`Refusal::Unknown`]).
    fn abandon(pending: Self::Pending, refusal: Refusal);
}

/// One committed entry, ready to be applied.
pub struct Committed {
    /// Raft index.
    pub index: LogIndex,
    /// Term in which it was proposed.
    pub term: Term,
    /// Position of the entry's header in the log.
    pub position: Position,
    /// Position of the payload's first byte.
    pub payload_position: Position,
    /// The payload; empty for entries of raft's own.
    pub payload: Bytes,
}

/// What applying an entry asks of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ApplyOutcome {
    /// Entries below this position are no longer needed.
    pub compact_to: Option<Position>,
}

/// The replicated state machine and everything derived from the log.
pub trait Machine: Send + 'static {
    /// Same as the sequencer's.
    type Pending: Send + 'static;

    /// Index of the last entry whose effect is in the state, zero for none. Called at start to
    /// decide where replay begins.
    fn applied(&self) -> LogIndex;

    /// Applies the next entry. `pending` is present when this process proposed it.
    fn apply(&mut self, entry: Committed, pending: Option<Self::Pending>) -> ApplyOutcome;

    /// Called after each batch of entries: publish effects, wake waiters once.
    fn batch_applied(&mut self);

    /// The whole state as bytes, identical on every member at the same index.
    fn snapshot(&mut self) -> Vec<u8>;

    /// Replaces everything by a snapshot taken after `index`; the log now begins at `log_start`.
    /// Index zero comes with an empty snapshot: back to the initial state.
    ///
    /// # Errors
    /// A text for the operator when the snapshot cannot be read. The state is then unchanged.
    fn restore(
        &mut self,
        index: LogIndex,
        log_start: Position,
        snapshot: &[u8],
    ) -> Result<(), String>;
}
