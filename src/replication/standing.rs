//! Telling a new group from a lost disk, and what a member that lost its memory may do when.
//!
//! A member whose directory is new asks all others how they stand, and says nothing else. If a majority,
//! itself included, is as new as it is, the group is being founded. If anybody is not, this member lost
//! what it promised, and has to hear **every** other member before it takes part again: its vote may be
//! known to the candidate alone, and an entry it acknowledged held by the former leader alone. The
//! highest term it hears bounds the terms in which it can have voted, and the furthest log end bounds
//! what it can have acknowledged: a leader has an entry before it sends it. From then on it votes in
//! later terms only, for members whose log reaches that bound, and stands for election only when its own
//! log does.
//!
//! A member that answers for entries before they are synced, and whose machine lost power, remembers its
//! votes and all but the end of its log. It hears every other member too, but may make do with others
//! that are no better off: what none of them has any more was acknowledged on the promise that a majority
//! does not lose power at once. When somebody stays away it goes on with a majority after a while.
//!
//! Invariant: everything here follows from the reports alone; no clock, no I/O. As long as fewer than a
//! majority of the members are without memory at a time, no group is founded twice, nobody votes twice in
//! a term, and nobody is elected without what was acknowledged.

use std::collections::BTreeMap;

use raft_log::{Claim, Past, Standing};

use super::wire::{StandingKind, StandingReport};

/// Stored as the vote of a member that has none to give in a term: no member has this id.
pub(super) const NOBODY: u64 = u64::MAX;

/// How long the others have been waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Patience {
    /// Those who are behind had no time yet.
    Fresh,
    /// They had the time not to be.
    Waited,
    /// Who has not answered by now is taken for gone.
    Spent,
}

/// What the others said of themselves since this member started.
pub(super) type Reports = BTreeMap<u64, StandingReport>;

impl StandingReport {
    fn kind(&self) -> StandingKind {
        // A word that we do not know is a memory that we do not know.
        StandingKind::try_from(self.standing).unwrap_or(StandingKind::Lost)
    }

    /// Whether it has never been part of a group.
    fn is_new(&self) -> bool {
        matches!(self.kind(), StandingKind::New | StandingKind::Founding)
    }

    /// Whether it will take part, or does so already.
    fn founds(&self) -> bool {
        matches!(self.kind(), StandingKind::Founding | StandingKind::Voter)
    }

    /// Whether its term and log end bound all that it ever promised.
    fn knows(&self) -> bool {
        matches!(self.kind(), StandingKind::Voter | StandingKind::Recovering)
    }

    /// Whether it may lack what it acknowledged last, and no more.
    fn doubts(&self) -> bool {
        self.kind() == StandingKind::Doubtful
    }

    /// Whether it forgot what its raft peers believe of it.
    pub fn forgot(&self) -> bool {
        !self.knows()
    }

    /// Whether it is a member to whom leadership may be handed.
    pub fn may_lead(&self) -> bool {
        self.kind() == StandingKind::Voter && !self.yields
    }
}

/// How a standing is put on the wire.
pub(super) fn kind(standing: Standing) -> StandingKind {
    match standing {
        Standing::New => StandingKind::New,
        Standing::Founding => StandingKind::Founding,
        Standing::Lost => StandingKind::Lost,
        Standing::Doubtful => StandingKind::Doubtful,
        Standing::Recovering(_) => StandingKind::Recovering,
        Standing::Voter => StandingKind::Voter,
    }
}

/// What a member knows of itself that had a memory.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Own {
    /// Its term.
    pub term: u64,
    /// The greatest claim that the others heard of its earlier processes.
    pub claimed: Claim,
}

/// The standing to go over to, when the others' reports allow or demand one.
pub(super) fn next(
    standing: Standing,
    reports: &Reports,
    members: usize,
    patience: Patience,
    own: Own,
) -> Option<Standing> {
    let waited = patience >= Patience::Waited;
    let everybody = reports.len() + 1 == members;
    let quorum = members / 2 + 1;
    let count = |is: fn(&StandingReport) -> bool| reports.values().filter(|r| is(r)).count();
    match standing {
        // Whoever is alone decides alone.
        _ if members == 1 && standing != Standing::Voter => Some(Standing::Voter),
        Standing::New if count(|report| !report.is_new()) > 0 => Some(Standing::Lost),
        Standing::New => {
            let new = 1 + count(StandingReport::is_new);
            let founds = new == members || (new >= quorum && waited);
            founds.then_some(Standing::Founding)
        }
        Standing::Founding => {
            // Once a majority will take part, nobody needs the others' consent any more. Who is there
            // is waited for all the same: left behind, it would count as one that lost its memory.
            let founds = 1 + count(StandingReport::founds);
            let nobody_is_left = founds == 1 + reports.len();
            (founds >= quorum && (nobody_is_left || waited)).then_some(Standing::Voter)
        }
        Standing::Lost => {
            // Those who know must meet every majority that can have elected or committed anything.
            let enough = count(StandingReport::knows) + quorum > members;
            (everybody && enough)
                .then(|| Standing::Recovering(beyond(past(reports, own.term), own)))
        }
        Standing::Doubtful => {
            let remember = 1 + count(StandingReport::knows) + count(StandingReport::doubts);
            let heard = everybody || patience == Patience::Spent;
            (heard && remember >= quorum).then(|| Standing::Recovering(past(reports, own.term)))
        }
        Standing::Recovering(_) | Standing::Voter => None,
    }
}

fn past(reports: &Reports, own_term: u64) -> Past {
    let term = reports.values().map(|report| report.term).max().unwrap_or(0).max(own_term);
    let ends = reports.values().map(|report| (report.last_term, report.last_index));
    let (last_term, last_index) = ends.max().unwrap_or_default();
    Past { term, last_term, last_index }
}

/// A past that leads to greater claims than any that was made. What nobody else has of it need not be
/// found again, but would later be missed.
fn beyond(past: Past, own: Own) -> Past {
    let claimed = own.claimed;
    let term = if claimed > past.into() { claimed.term + 1 } else { past.term };
    Past { term, ..past }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(kind: StandingKind, term: u64, last_term: u64, last_index: u64) -> StandingReport {
        StandingReport { standing: kind as i32, term, last_term, last_index, ..Default::default() }
    }

    fn reports(all: &[(u64, StandingReport)]) -> Reports {
        all.iter().cloned().collect()
    }

    fn new() -> StandingReport {
        report(StandingKind::New, 0, 0, 0)
    }

    #[test]
    fn a_group_is_founded_by_all_at_once_or_by_a_majority_that_waited() {
        let next = |standing, heard: &[(u64, StandingReport)], waited: bool| {
            let patience = if waited { Patience::Waited } else { Patience::Fresh };
            super::next(standing, &reports(heard), 3, patience, Own::default())
        };
        assert_eq!(next(Standing::New, &[], true), None);
        assert_eq!(next(Standing::New, &[(2, new())], false), None, "the third may know more");
        assert_eq!(next(Standing::New, &[(2, new())], true), Some(Standing::Founding));
        assert_eq!(next(Standing::New, &[(2, new()), (3, new())], false), Some(Standing::Founding));
        let founding = report(StandingKind::Founding, 0, 0, 0);
        assert_eq!(next(Standing::New, &[(2, founding.clone())], true), Some(Standing::Founding));
        assert_eq!(next(Standing::Founding, &[(2, new()), (3, new())], true), None);
        assert_eq!(
            next(Standing::Founding, &[(2, founding.clone())], false),
            Some(Standing::Voter)
        );
        let third_is_behind = [(2, founding), (3, new())];
        assert_eq!(next(Standing::Founding, &third_is_behind, false), None);
        assert_eq!(next(Standing::Founding, &third_is_behind, true), Some(Standing::Voter));
        let voter = report(StandingKind::Voter, 4, 4, 9);
        assert_eq!(
            next(Standing::Founding, &[(2, voter)], false),
            Some(Standing::Voter),
            "the others went on without it"
        );
        assert_eq!(
            super::next(Standing::New, &Reports::new(), 1, Patience::Fresh, Own::default()),
            Some(Standing::Voter)
        );
    }

    #[test]
    fn one_word_of_an_older_group_means_that_memory_is_lost() {
        for kind in [StandingKind::Voter, StandingKind::Recovering, StandingKind::Lost] {
            let heard = reports(&[(2, new()), (3, report(kind, 0, 0, 0))]);
            assert_eq!(
                next(Standing::New, &heard, 3, Patience::Spent, Own::default()),
                Some(Standing::Lost),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn who_lost_its_memory_hears_everybody_and_takes_the_furthest() {
        let voter = |term, last_term, last| report(StandingKind::Voter, term, last_term, last);
        let one = reports(&[(2, voter(7, 7, 50))]);
        assert_eq!(
            next(Standing::Lost, &one, 3, Patience::Spent, Own::default()),
            None,
            "the third may know more"
        );
        let both = reports(&[(2, voter(7, 7, 50)), (3, voter(9, 6, 80))]);
        let past = Past { term: 9, last_term: 7, last_index: 50 };
        assert_eq!(
            next(Standing::Lost, &both, 3, Patience::Fresh, Own::default()),
            Some(Standing::Recovering(past))
        );
        let own = Past { term: 12, ..past };
        assert_eq!(
            next(Standing::Lost, &both, 3, Patience::Fresh, Own { term: 12, ..Own::default() }),
            Some(Standing::Recovering(own))
        );
    }

    #[test]
    fn who_claimed_more_than_anybody_has_begins_in_a_later_term() {
        let voter = || report(StandingKind::Voter, 7, 7, 50);
        let heard = reports(&[(2, voter()), (3, voter())]);
        let term_after = |term, index| {
            let own = Own { term: 3, claimed: Claim { term, index } };
            match next(Standing::Lost, &heard, 3, Patience::Fresh, own) {
                Some(Standing::Recovering(past)) => past.term,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((term_after(6, 90), term_after(7, 50)), (7, 7), "the others have all that");
        assert_eq!((term_after(7, 51), term_after(9, 0)), (8, 10));
    }

    #[test]
    fn too_many_without_memory_wait_for_ever() {
        let lost = || report(StandingKind::Lost, 0, 0, 0);
        let voter = || report(StandingKind::Voter, 3, 3, 3);
        let two_of_three = reports(&[(2, voter()), (3, lost())]);
        assert_eq!(next(Standing::Lost, &two_of_three, 3, Patience::Spent, Own::default()), None);
        let two_of_five = reports(&[(2, voter()), (3, voter()), (4, voter()), (5, lost())]);
        assert!(next(Standing::Lost, &two_of_five, 5, Patience::Spent, Own::default()).is_some());
        let three_of_five = reports(&[(2, voter()), (3, voter()), (4, new()), (5, lost())]);
        assert_eq!(next(Standing::Lost, &three_of_five, 5, Patience::Spent, Own::default()), None);
        let other_of_two = reports(&[(2, voter())]);
        assert!(next(Standing::Lost, &other_of_two, 2, Patience::Spent, Own::default()).is_some());
    }

    #[test]
    fn who_doubts_hears_everybody_or_loses_patience() {
        let voter = || report(StandingKind::Voter, 7, 7, 50);
        let doubtful = || report(StandingKind::Doubtful, 7, 7, 40);
        let next = |heard: &[(u64, StandingReport)], patience| {
            super::next(
                Standing::Doubtful,
                &reports(heard),
                3,
                patience,
                Own { term: 7, ..Own::default() },
            )
        };
        let past =
            |last_index| Some(Standing::Recovering(Past { term: 7, last_term: 7, last_index }));
        assert_eq!(next(&[(2, voter())], Patience::Waited), None, "the third may know more");
        assert_eq!(next(&[(2, voter()), (3, doubtful())], Patience::Fresh), past(50));
        assert_eq!(next(&[(2, voter())], Patience::Spent), past(50), "the third stays away");
        assert_eq!(next(&[], Patience::Spent), None, "alone it is no majority");
        let all = [(2, doubtful()), (3, doubtful())];
        assert_eq!(next(&all, Patience::Fresh), past(40), "the power went everywhere");
        let lost = report(StandingKind::Lost, 0, 0, 0);
        assert_eq!(next(&[(2, lost.clone()), (3, lost)], Patience::Spent), None);
        let heard = reports(&[(2, new()), (3, doubtful())]);
        let told = super::next(Standing::New, &heard, 3, Patience::Fresh, Own::default());
        assert_eq!(told, Some(Standing::Lost), "the group is not new");
    }
}
