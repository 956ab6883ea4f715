//! Files derived from the log: the extents' indexes and the checkpoint of the state.
//!
//! Invariant: nothing here is the truth. Each file can be deleted while the broker is down and is
//! then made again from the log, with the same content.

pub mod checkpoint;
pub mod extent;
pub mod files;
pub mod hash;
pub mod log;
#[cfg(test)]
pub mod testing;
pub mod worker;

/// Why derived data could not be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The log refused; what is missing there is gone or damaged.
    #[error("reading the log at {position}: {message}")]
    Log {
        /// Where.
        position: raft_log::Position,
        /// What it said.
        message: String,
    },
    /// The log is damaged there, and being mended.
    #[error("the log at {position} is damaged and being mended; ask again")]
    Damaged {
        /// Where.
        position: raft_log::Position,
    },
    /// A derived file could not be read or written; deleting it is safe.
    #[error("derived file {name}: {message}; it can be deleted, the log holds what it says")]
    File {
        /// Its name.
        name: String,
        /// What the system said.
        message: String,
    },
    /// A newer program wrote the state. Replayed by this one, the log might give another.
    #[error("{name}: {message}; start the version that ran here last, or a newer one")]
    NewerFormat {
        /// What holds the state.
        name: String,
        /// Which format, and which one is known.
        message: String,
    },
    /// The log holds a record that does not parse.
    #[error("the record at {position} does not parse: {message}")]
    Record {
        /// Where.
        position: raft_log::Position,
        /// Why.
        message: String,
    },
}
