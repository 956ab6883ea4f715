//! Repairing a member's log with what its peers have.
//!
//! A member whose log is damaged asks its peers for the missing entries, by index, on connections of
//! their own. Who is asked reads them from its log, verifying them, and says up to where it knows the
//! log to be committed. What proves itself (see [`raft_log::Patch`]) is written in place.
//!
//! Invariant: a member with a damage that raft could meet neither votes nor acknowledges: its raft
//! node does not run. It answers peers meanwhile, so that members with different damages heal each
//! other.

mod ask;
mod source;
mod stage;
mod wire;

pub use stage::open_log;

pub(super) use source::{EntrySource, LiveLog, serve};
