//! The state's checkpoint: its pieces with the index up to which they are true.
//!
//! Invariant: pieces and index change in one step, and only what can be made again is here. A
//! checkpoint that does not open or is ahead of the log is wiped; the state then comes from a
//! snapshot at a segment's boundary and the log behind it.

mod memory;
mod sled_store;

use raft_log::LogIndex;

pub use self::memory::MemoryCheckpoint;
pub use self::sled_store::SledCheckpoint;

use super::StoreError;
use crate::state::Change;

/// Pieces of the state as of an index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// Last entry whose effect is in them.
    pub applied: LogIndex,
    /// Keys and values.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Keeps the pieces of the state.
pub trait CheckpointStore: Send {
    /// What was saved last, none when nothing usable is there.
    fn load(&mut self) -> Option<Checkpoint>;

    /// Replaces the changed pieces and the index in one step.
    ///
    /// # Errors
    /// When the store refuses; what was saved before stays.
    fn save(&mut self, changes: &[Change], applied: LogIndex) -> Result<(), StoreError>;

    /// Forgets everything.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn wipe(&mut self) -> Result<(), StoreError>;
}
