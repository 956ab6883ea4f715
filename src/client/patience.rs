//! How long one command of an operator waits for those who do not answer.
//!
//! Invariant: who did not answer in time is not asked again; all waits in vain together take no longer
//! than the patience, and a moment more for each further one who is silent. So a command on a cluster
//! with paused members takes a few seconds, however many of its questions would go to them.

use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::Mutex;

use super::error::ClientError;

/// What even the last of many silent ones is given.
const MOMENT: Duration = Duration::from_millis(300);

/// Of one command.
#[derive(Debug)]
pub(super) struct Patience {
    total: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    left: Duration,
    silent: BTreeSet<String>,
}

impl Patience {
    pub(super) fn new(total: Duration) -> Patience {
        Patience { total, state: Mutex::new(State { left: total, silent: BTreeSet::new() }) }
    }

    /// How long an answer from this address may take.
    pub(super) fn with(&self, address: &str, usual: Duration) -> Result<Duration, ClientError> {
        let state = self.state.lock();
        if state.silent.contains(address) {
            let (address, reason) = (address.to_owned(), "did not answer before".to_owned());
            return Err(ClientError::Unreachable { address, reason });
        }
        Ok(usual.min(state.left.max(MOMENT)))
    }

    /// This address did not answer for so long.
    pub(super) fn in_vain(&self, address: &str, waited: Duration) {
        let mut state = self.state.lock();
        state.left = state.left.saturating_sub(waited);
        state.silent.insert(address.to_owned());
    }

    /// As before the first question.
    pub(super) fn renew(&self) {
        *self.state.lock() = State { left: self.total, silent: BTreeSet::new() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: Duration = Duration::from_secs(3);
    const USUAL: Duration = Duration::from_secs(5);

    #[test]
    fn who_is_silent_is_asked_once_and_costs_the_others_nothing_but_patience() {
        let patience = Patience::new(TOTAL);
        assert_eq!(patience.with("a", USUAL).unwrap(), TOTAL);
        assert_eq!(patience.with("a", MOMENT / 2).unwrap(), MOMENT / 2, "never longer than usual");
        patience.in_vain("a", TOTAL);
        assert!(patience.with("a", USUAL).unwrap_err().is_transport());
        assert_eq!(patience.with("b", USUAL).unwrap(), MOMENT);
        patience.in_vain("b", MOMENT);
        assert_eq!(patience.with("c", USUAL).unwrap(), MOMENT);
    }

    #[test]
    fn the_next_round_asks_all_again() {
        let patience = Patience::new(TOTAL);
        patience.in_vain("a", TOTAL);
        patience.renew();
        assert_eq!(patience.with("a", USUAL).unwrap(), TOTAL);
    }
}
