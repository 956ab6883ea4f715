//! Store timestamps never go back in the log, whatever leaders' clocks do.

use super::Findings;

const INVARIANT: &str = "store timestamps never go back";

/// The newest timestamp so far.
#[derive(Debug, Default)]
pub struct OrderedTime {
    newest_ms: i64,
}

impl OrderedTime {
    /// The next entry's.
    pub fn seen(&mut self, index: u64, store_timestamp_ms: i64, findings: &Findings) {
        if store_timestamp_ms < self.newest_ms {
            let newest = self.newest_ms;
            let what = format!("entry {index} has {store_timestamp_ms} after {newest}");
            findings.report(INVARIANT, what);
        }
        self.newest_ms = store_timestamp_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_back_is_found() {
        let (findings, mut check) = (Findings::default(), OrderedTime::default());
        check.seen(1, 5, &findings);
        check.seen(2, 5, &findings);
        assert!(findings.is_empty());
        check.seen(3, 4, &findings);
        assert_eq!(findings.all().len(), 1);
    }
}
