//! Judges what clients were told against what the log holds, queue by queue.
//!
//! Given the history and the final log it finds: a message lost (acknowledged, and not where it was
//! said to be), duplicated (more often than it can have been sent), reordered (called after another had
//! returned, and stored before it), a gap, a phantom (stored or delivered, and never sent, or refused),
//! an offset assigned twice (told to a client for one message, holding another), and a message never
//! delivered, unless retention gave it up first.
//!
//! Invariant: what it calls broken cannot have happened in a correct broker, whatever the unknown sends
//! did. It takes time n log n.

mod total_order;

use crate::history::Queue;

pub use total_order::judge;

/// A message where the final log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The message's number; none when no message has this body.
    pub message: Option<u64>,
    /// Queue.
    pub queue: Queue,
    /// Place in it.
    pub offset: i64,
    /// Place in the group's log.
    pub position: i64,
}
