//! A consumer's progress never goes back once it was acknowledged or read (S9), whoever leads.
//!
//! One client is the only one to report progress for its group, and reports more each time. So whatever is
//! read must be at least what was acknowledged or read last, or a report of which nobody knows what came
//! of it: that one may still arrive.

use std::collections::BTreeSet;

use super::Findings;

const INVARIANT: &str = "consumer progress never goes back";

/// What one queue's progress may be.
#[derive(Debug, Default)]
pub struct KeptProgress {
    /// Acknowledged or read last.
    known: i64,
    /// Reported, whatever came of it.
    highest: i64,
    /// Reports without an answer.
    unknown: BTreeSet<i64>,
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
        self.known = progress;
    }

    /// Progress was read.
    pub fn read(&mut self, progress: i64, findings: &Findings) {
        let goes_on = (self.known..=self.highest).contains(&progress);
        if !goes_on && !self.unknown.contains(&progress) {
            let Self { known, highest, unknown } = &self;
            let what = format!(
                "{progress} was read: {known} was known, {highest} was reported, {unknown:?} may come"
            );
            findings.report(INVARIANT, what);
        }
        self.known = progress;
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
}
