//! Repairing a member's log with what its peers have.
//!
//! A member whose log is damaged asks its peers for the missing entries, by index, on connections of
//! their own. Who is asked reads them from its log, verifying them, and says up to where it knows the
//! log to be committed. What proves itself (see [`raft_log::Patch`]) is written in place.
//!
//! Before a start that is the stage's work, with the log as a whole: what the group gave up is taken
//! back then. In a running member a scrub reads the full segments again and again, and whatever it or anybody
//! else finds damaged is mended entry by entry; until then readers of that entry wait, and nothing else does.
//!
//! The snapshot at a log's start is asked for in the same way, by its position: before a start, without it there
//! is no state to apply entries to; in a running member, followers that need it wait.
//!
//! Invariant: a member with a damage that raft could not wait for neither votes nor acknowledges: its
//! raft node does not run. It answers peers meanwhile, so that members with different damages heal
//! each other.

mod ask;
mod mend;
mod source;
mod stage;
mod wire;

pub use stage::{MendedLog, mend_log, open_log};

pub(super) use mend::{Mender, scrub};
pub(super) use source::{EntrySource, LiveLog, serve};
