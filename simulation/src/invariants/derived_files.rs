//! Indexes of closed extents are, byte for byte, what their stretch of the log gives (S16).
//!
//! Looked at when members have come to rest: each index is made again and compared.

use raftmq::broker::group::GroupView;

use super::Findings;

const INVARIANT: &str = "derived files follow from the log";

/// Makes a member's indexes again.
pub fn check(member: &str, view: &GroupView, findings: &Findings) {
    match view.derived_differences() {
        Ok(differences) if differences.is_empty() => {}
        Ok(differences) => {
            let what = format!("{member}: the indexes of extents {differences:?} differ");
            findings.report(INVARIANT, what);
        }
        Err(error) => findings.report(INVARIANT, format!("{member}: {error}")),
    }
}
