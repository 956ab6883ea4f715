//! Settings under which a group keeps its leader on a busy machine.

/// Nobody is deposed because a busy machine let it wait, for the processor or for the disk that all
/// members share; a death is noticed by closed connections.
pub const STEADY: &str = "raftElectionTimeoutMs=5000\nraftSlowSyncMs=0\n";
