//! Indexes of closed extents are, byte for byte, what their stretch of the log gives (S16).
//!
//! Looked at when members have come to rest: each index is made again and compared.

use raftmq::broker::group::GroupView;
use raftmq::store::StoreError;

use super::Findings;

const INVARIANT: &str = "derived files follow from the log";

/// Whether the log below cannot be read in whole, because some of it is being mended. Asking is what finds
/// damage that nobody has met yet; a process that meets a page which its disk cannot read is about to end then.
pub fn is_being_mended(view: &GroupView) -> bool {
    matches!(view.derived_differences(), Err(StoreError::Damaged { .. }))
}

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
