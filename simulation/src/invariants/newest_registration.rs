//! At a name server a registration never takes the place of one of a later term (S21): whoever is told to be
//! the leader was elected last, as far as that name server has heard.
//!
//! Its own life is all that it knows: one that comes back empty begins anew.

use std::collections::BTreeMap;

use raftmq::observe::Mastery;

use super::Findings;

const INVARIANT: &str = "a deposed leader's registration never replaces a newer one";

/// The newest registration in each life of a name server.
#[derive(Default)]
pub struct NewestRegistration {
    newest: BTreeMap<(u64, String), Mastery>,
}

impl NewestRegistration {
    /// One was taken in.
    pub fn seen(&mut self, mastery: Mastery, findings: &Findings) {
        let key = (mastery.life, mastery.broker_name.clone());
        if let Some(newest) = self.newest.get(&key) {
            let other_of_same_term =
                mastery.term == newest.term && mastery.address != newest.address;
            if mastery.term < newest.term || other_of_same_term {
                findings.report(INVARIANT, format!("{mastery:?} after {newest:?}"));
            }
        }
        self.newest.insert(key, mastery);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mastery(life: u64, term: i64, address: &str) -> Mastery {
        let (broker_name, address) = ("group-a".to_owned(), address.to_owned());
        Mastery { life, broker_name, term: Some(term), address }
    }

    #[test]
    fn an_older_term_and_a_second_leader_of_a_term_are_found() {
        let (findings, mut check) = (Findings::default(), NewestRegistration::default());
        check.seen(mastery(1, 2, "a"), &findings);
        check.seen(mastery(1, 2, "a"), &findings);
        check.seen(mastery(1, 3, "b"), &findings);
        check.seen(mastery(2, 1, "a"), &findings);
        assert!(findings.is_empty());
        check.seen(mastery(1, 2, "a"), &findings);
        check.seen(mastery(2, 1, "b"), &findings);
        assert_eq!(findings.all().len(), 2);
    }
}
