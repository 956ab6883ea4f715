//! Mistakes that a simulation has the broker make, to show that its checks would find them.
//!
//! Invariant: this module and the few lines that ask it are compiled for simulations only; while no
//! mistake is chosen they change nothing there either.

use std::cell::Cell;

/// What can be done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// A member reports entries as stored before it synced them.
    ReportsBeforeSync,
    /// A member's vote leaves before it is durable.
    VotesBeforeSync,
    /// A leader answers a send when an entry of another leader took its index.
    AnswersForAnother,
    /// A leader gives out offsets before it has applied what earlier terms left.
    ServesTooEarly,
    /// A leader goes on with the offsets of its earlier term.
    KeepsOldOffsets,
    /// Applying an entry reads the clock.
    AppliesWithClock,
    /// A checkpoint is used whatever the log holds.
    TrustsCheckpoint,
    /// A member that lost its disk takes part as if nothing had happened.
    LostDiskVotesAtOnce,
    /// A member takes an older copy of its directory for the newest one.
    BelievesOlderCopies,
    /// A member takes an end of its log that its disk cannot read for a torn one, cuts it and goes on voting.
    CutsUnreadableTail,
    /// A member ends that cannot read the snapshot at which its log begins.
    EndsWithoutSnapshot,
    /// Indexes that are missing at a start are begun with nothing in them.
    LeavesIndexesEmpty,
    /// What an earlier process ended by, because it could not be read, is passed over in derived files.
    PassesOverNotes,
    /// A checkpoint or snapshot comes back without the consumers' offsets.
    RestoresHalf,
    /// Now and then a record does not get into the consume queue.
    LosesUnits,
    /// The name server takes any registration, whatever its term.
    RegistersWithoutTerm,
    /// A leader stamps messages by its clock even when that went back.
    TimeGoesBack,
    /// A consumer's progress is answered before it is in the log.
    AnswersCommitEarly,
    /// Delayed messages are delivered, and their level moves on in a later entry.
    DeliversBeforeAdvance,
    /// Delayed messages are due when half their delay has passed.
    DeliversEarly,
    /// A message that was sent back counts as taken although nobody knows whether it was stored.
    TakesBackUnknown,
    /// A queue's lock goes to whoever asks.
    LocksHeldQueues,
    /// Leases of queues' locks are measured by wall clocks.
    LeasesByWallClock,
    /// A leader takes a holder that it has not heard of for gone.
    FreesUnseenHolders,
    /// What a group commits undoes a reset that stands.
    CommitsUndoResets,
    /// A message wanted later is passed over where messages are consumed in order.
    PassesOverWaiting,
    /// What was fetched counts as consumed before it is polled.
    CountsUnpolled,
    /// The newest entries stay in memory, however many they are.
    KeepsWholeTail,
}

thread_local! {
    /// A simulation lives on one thread.
    static MADE: Cell<Option<Mistake>> = const { Cell::new(None) };
}

/// Has this mistake made from now on, or none.
pub fn make(mistake: Option<Mistake>) {
    MADE.set(mistake);
}

/// Whether this mistake is to be made.
pub fn made(mistake: Mistake) -> bool {
    MADE.get() == Some(mistake)
}
