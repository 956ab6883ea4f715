//! A consumer's progress never goes back once it was acknowledged or read (S9), whoever leads, but by an
//! operator's reset; and a reset that was acknowledged stands until the group pulls from there.
//!
//! One client is the only one to report progress for its group, and reports more each time; it also resets
//! the group, each time to another offset, and pulls from there. So whatever is read must be at least what
//! was acknowledged or read last, or a report of which nobody knows what came of it: that one may still
//! arrive. While a reset stands it must be that, or a reset of which nobody knows.

use std::collections::BTreeSet;

use super::Findings;

const INVARIANT: &str = "consumer progress never goes back";
const STANDS: &str = "a reset stands until the group pulls from there";

/// What is known of an operator's reset.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Reset {
    /// There is none, or the group has gone on from there.
    #[default]
    None,
    /// The group has not pulled from there.
    Stands(i64),
    /// It has, and may have been heard: then what was acknowledged since counts.
    MaybeTaken { at: i64, since: Option<i64> },
}

/// What one queue's progress may be.
#[derive(Debug, Default)]
pub struct KeptProgress {
    /// Acknowledged or read last.
    known: i64,
    /// Reported, whatever came of it.
    highest: i64,
    /// Reports without an answer.
    unknown: BTreeSet<i64>,
    reset: Reset,
    /// Offsets that were reset to before.
    resets: BTreeSet<i64>,
    /// Resets without an answer.
    unknown_resets: BTreeSet<i64>,
}

impl KeptProgress {
    /// The next progress to report.
    pub fn report(&mut self) -> i64 {
        self.highest += 1;
        self.unknown.insert(self.highest);
        self.highest
    }

    /// A report was acknowledged.
    pub fn acknowledged(&mut self, progress: i64) {
        self.unknown.remove(&progress);
        match &mut self.reset {
            Reset::None => self.known = progress,
            Reset::Stands(_) => {}
            Reset::MaybeTaken { since, .. } => *since = Some(progress),
        }
    }

    /// An offset to which the group may be set back, if it never was before.
    pub fn asks_reset(&mut self, wanted: i64) -> Option<i64> {
        if self.known < 2 {
            return None;
        }
        let to = 1 + wanted % (self.known - 1);
        let is_new = !self.unknown.contains(&to) && self.resets.insert(to);
        is_new.then(|| {
            self.unknown_resets.insert(to);
            to
        })
    }

    /// A reset was acknowledged.
    pub fn was_reset(&mut self, to: i64) {
        self.unknown_resets.remove(&to);
        self.reset = Reset::Stands(to);
        self.known = to;
    }

    /// Where the group shall pull from: there a reset stands, or may stand.
    pub fn stands_at(&self) -> Option<i64> {
        match self.reset {
            Reset::None => None,
            Reset::Stands(at) | Reset::MaybeTaken { at, .. } => Some(at),
        }
    }

    /// The group pulls from there.
    pub fn pulls(&mut self, from: i64) {
        if self.reset == Reset::Stands(from) {
            self.reset = Reset::MaybeTaken { at: from, since: None };
        }
    }

    /// Progress was read.
    pub fn read(&mut self, progress: i64, findings: &Findings) {
        if self.unknown_resets.contains(&progress) {
            // No report of it is on its way, and nobody has pulled from there.
            self.was_reset(progress);
            return;
        }
        if !self.may_be(progress) {
            let invariant = match self.reset {
                Reset::Stands(_) => STANDS,
                _ => INVARIANT,
            };
            findings.report(invariant, format!("{progress} was read: {self:?}"));
        }
        match &mut self.reset {
            Reset::Stands(_) => {}
            Reset::MaybeTaken { at, since } if *at == progress => *since = None,
            Reset::MaybeTaken { .. } | Reset::None => {
                self.reset = Reset::None;
                self.known = progress;
            }
        }
    }

    /// Whether it may be what is read, if no reset that nobody knows of has come.
    fn may_be(&self, progress: i64) -> bool {
        let may_come = self.unknown.contains(&progress);
        match self.reset {
            Reset::None => may_come || (self.known..=self.highest).contains(&progress),
            Reset::Stands(at) => progress == at,
            Reset::MaybeTaken { at, since } => {
                may_come || progress == at || since == Some(progress)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_that_goes_back_or_was_never_made_is_found() {
        let (findings, mut check) = (Findings::default(), KeptProgress::default());
        let (one, two) = (check.report(), check.report());
        check.acknowledged(one);
        check.read(one, &findings);
        check.acknowledged(two);
        check.read(two, &findings);
        assert!(findings.is_empty());
        check.read(one, &findings);
        check.read(3, &findings);
        assert_eq!(findings.all().len(), 2);
    }

    #[test]
    fn a_report_without_an_answer_may_come_late() {
        let (findings, mut check) = (Findings::default(), KeptProgress::default());
        let (one, two) = (check.report(), check.report());
        check.acknowledged(two);
        check.read(one, &findings);
        assert!(findings.is_empty());
    }

    /// Reported up to five, and reset to that offset with this outcome.
    fn reset(to: i64, is_known: bool) -> KeptProgress {
        let mut check = KeptProgress::default();
        for _ in 0..5 {
            let next = check.report();
            check.acknowledged(next);
        }
        assert_eq!(check.asks_reset(to - 1), Some(to));
        assert_eq!(check.asks_reset(to - 1), None, "never to the same again");
        if is_known {
            check.was_reset(to);
        }
        check
    }

    #[test]
    fn a_reset_that_does_not_stand_is_found() {
        let (findings, mut check) = (Findings::default(), reset(2, true));
        check.read(2, &findings);
        let six = check.report();
        check.acknowledged(six);
        check.read(2, &findings);
        assert!(findings.is_empty(), "nobody has pulled from there");
        check.read(six, &findings);
        assert_eq!(findings.all().len(), 1);
        check.pulls(2);
        check.read(2, &findings);
        let seven = check.report();
        check.acknowledged(seven);
        check.read(seven, &findings);
        assert_eq!(findings.all().len(), 1, "the pull was heard");
        check.read(2, &findings);
        assert_eq!(findings.all().len(), 2);
    }

    #[test]
    fn a_reset_without_an_answer_may_come_late_and_stands_then() {
        let (findings, mut check) = (Findings::default(), reset(2, false));
        check.read(5, &findings);
        check.read(2, &findings);
        assert!(findings.is_empty());
        check.read(5, &findings);
        assert_eq!(findings.all().len(), 1);
    }
}
