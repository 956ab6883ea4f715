//! Lines for the operator about something that goes on failing.
//!
//! Invariant: the same line does not come twice within [`REPEAT_LOG`].

use tokio::time::{Duration, Instant};

/// The same complaint is made again after this long.
const REPEAT_LOG: Duration = Duration::from_secs(60);

/// What was complained of last, and when.
#[derive(Default)]
pub(super) struct Complaint(Option<(String, Instant)>);

impl Complaint {
    /// Whether this is to be said now; then it counts as said.
    pub fn is_due(&mut self, text: String) -> bool {
        if self.0.as_ref().is_some_and(|(said, at)| *said == text && at.elapsed() < REPEAT_LOG) {
            return false;
        }
        self.0 = Some((text, Instant::now()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_is_said_again_only_after_a_while() {
        let mut complaint = Complaint::default();
        assert!(complaint.is_due("a".to_owned()));
        assert!(!complaint.is_due("a".to_owned()));
        assert!(complaint.is_due("b".to_owned()));
        tokio::time::advance(REPEAT_LOG).await;
        assert!(complaint.is_due("b".to_owned()));
    }
}
