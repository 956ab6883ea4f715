//! A member whose disk holds all that it ever promised never takes itself for one that forgot.
//!
//! It would wait for every other member then, and one more that is away would stop its group. A machine
//! is known to have forgotten from the fault that struck it on.

use raftmq::replication::{ReplicaStatus, Role};

use super::Findings;
use crate::machine::Machine;

const INVARIANT: &str = "a member that has forgotten nothing takes part";

/// The status of a machine's member of a group.
pub fn seen(machine: &Machine, group: usize, status: &ReplicaStatus, findings: &Findings) {
    if status.role == Role::Recovering && machine.remembers(group) {
        let what = format!("{} counts as lost in term {}", machine.name, status.term);
        findings.report(INVARIANT, what);
    }
}
