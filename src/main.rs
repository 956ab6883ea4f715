//! The `raftmq` program.
fn main() {}
