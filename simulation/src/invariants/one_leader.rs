//! In a term at most one member leads.

use std::collections::BTreeMap;

use raftmq::replication::{ReplicaStatus, Role};

use super::Findings;

const INVARIANT: &str = "one leader in a term";

/// Who led in which term.
#[derive(Default)]
pub struct OneLeader {
    leaders: BTreeMap<u64, u64>,
}

impl OneLeader {
    /// A member's status.
    pub fn seen(&mut self, status: &ReplicaStatus, findings: &Findings) {
        if status.role != Role::Leader {
            return;
        }
        let leader = *self.leaders.entry(status.term.0).or_insert(status.member);
        if leader != status.member {
            let (term, member) = (status.term, status.member);
            findings.report(INVARIANT, format!("{leader} and {member} both lead in term {term}"));
        }
    }

    /// In how many terms somebody led.
    pub fn terms(&self) -> usize {
        self.leaders.len()
    }
}

#[cfg(test)]
mod tests {
    use raft_log::Term;

    use super::*;

    fn leads(member: u64, term: u64) -> ReplicaStatus {
        ReplicaStatus { member, term: Term(term), role: Role::Leader, ..Default::default() }
    }

    #[test]
    fn a_second_leader_of_a_term_is_found() {
        let (findings, mut check) = (Findings::default(), OneLeader::default());
        check.seen(&leads(1, 1), &findings);
        check.seen(&leads(1, 1), &findings);
        check.seen(&leads(2, 2), &findings);
        assert!(findings.is_empty());
        check.seen(&leads(3, 2), &findings);
        assert_eq!(findings.all().len(), 1);
    }
}
