//! Members that applied the same entries hold the same state.

use std::collections::BTreeMap;

use super::Findings;

const INVARIANT: &str = "equal state at equal index";

/// The digest of the state at each index at which some member was looked at.
#[derive(Default)]
pub struct EqualState {
    digests: BTreeMap<u64, (String, u32)>,
}

impl EqualState {
    /// A member's state.
    pub fn seen(&mut self, member: &str, applied: u64, digest: u32, findings: &Findings) {
        let (first, known) =
            self.digests.entry(applied).or_insert_with(|| (member.to_owned(), digest));
        if *known != digest {
            findings.report(
                INVARIANT,
                format!("at {applied} {first} has {known:08x} and {member} has {digest:08x}"),
            );
        }
    }

    /// What is behind an index was given up, and may come to be another state.
    pub fn give_up_behind(&mut self, index: u64) {
        self.digests.retain(|applied, _| *applied <= index);
    }

    /// What members had at an index, if one was looked at there.
    pub fn digest(&self, applied: u64) -> Option<u32> {
        self.digests.get(&applied).map(|(_, digest)| *digest)
    }

    /// How many indexes were looked at.
    pub fn indexes(&self) -> usize {
        self.digests.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_different_state_is_found_where_the_index_is_the_same() {
        let (findings, mut check) = (Findings::default(), EqualState::default());
        check.seen("n0", 5, 1, &findings);
        check.seen("n1", 5, 1, &findings);
        check.seen("n1", 6, 2, &findings);
        assert!(findings.is_empty());
        check.seen("n2", 6, 3, &findings);
        assert_eq!(findings.all().len(), 1);
    }
}
