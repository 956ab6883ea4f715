//! The replicated CommitLog: a segmented, checksummed, crash-safe log that is raft's `Storage`.

mod types;

pub use types::{LogIndex, Position, Term};
