//! A broker group's replicated state, seen from its broker: propose here, read there.
//!
//! Processors hand [`Proposal`]s to the replica and read through a [`GroupView`]. Between the two
//! are the [`GroupSequencer`], which gives messages their places in the log, and the
//! [`GroupMachine`], which makes committed entries visible.
//!
//! Invariant: a reader sees committed and applied messages only, on each member the same ones under
//! the same offsets.

mod checkpointer;
mod delivery;
mod effects;
mod fetch;
mod lease_clock;
mod lookup;
mod machine;
mod open;
mod overlay;
mod proposal;
mod retention;
mod sequencer;
mod shared;
mod view;

#[cfg(test)]
mod tests;

pub use self::delivery::{DeliveryOutcome, DeliveryProposal, DeliveryReply, DueMessages};
pub use self::effects::{Arrival, EffectsSink};
pub use self::fetch::{FetchLimits, FetchResult, FetchStatus};
pub use self::lookup::{Boundary, KeyQuery, KeyQueryResult};
pub use self::machine::GroupMachine;
pub use self::open::{Group, GroupOptions, StateSnapshot, newest_snapshot, open};
pub use self::proposal::{
    CommandOutcome, CommandReply, GroupPending, MessagesProposal, NewMessage, Proposal,
    SendOutcome, SendReply, Stored,
};
pub use self::retention::{DiskUse, RetentionSettings, SegmentAge, retain_position};
pub use self::sequencer::GroupSequencer;
pub use self::shared::TopicRef;
pub use self::view::{GroupView, QueueBounds};
