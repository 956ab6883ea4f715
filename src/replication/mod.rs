//! Drives raft: proposals in, committed entries out.

pub mod machine;
