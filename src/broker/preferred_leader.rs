//! Hands leadership to the member that `preferredLeaderId` names, so that the groups of several
//! nodes stay spread over them.
//!
//! Invariant: only a serving leader acts, and only towards a member that has been connected with the
//! whole log for a while: a member that comes and goes, or is on its way out, does not get it.

use std::sync::Arc;

use tokio::time::{Duration, interval};

use super::core::Core;
use crate::replication::ReplicaStatus;

const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// So many looks in a row must find the same member fit: longer than an orderly stop takes.
const FIT_LOOKS: u32 = 5;
/// How many entries under way do not count as lag.
const LAG_ENTRIES_MAX: u64 = 256;

/// Looks once a second for as long as the broker runs. Without preferences it ends at once.
pub async fn keep_preferred(core: Arc<Core>) {
    let preferred = core.config.preferred_raft_ids();
    if preferred.is_empty() {
        return;
    }
    let mut looks = interval(LOOK_PERIOD);
    let mut fit = (None, 0);
    loop {
        looks.tick().await;
        let candidate = {
            let status = core.status.borrow();
            if core.is_stopping() { None } else { better_leader(&status, &preferred) }
        };
        fit = if candidate == fit.0 { (candidate, fit.1 + 1) } else { (candidate, 1) };
        let (Some(member), FIT_LOOKS..) = fit else { continue };
        fit = (None, 0);
        match core.replica.transfer_leader(Some(member)).await {
            Ok(leader) => {
                tracing::info!(broker = core.config.broker_name, leader, "preferred leader leads");
            }
            Err(refusal) => {
                tracing::info!(
                    broker = core.config.broker_name, member, %refusal,
                    "preferred leader does not lead yet"
                );
            }
        }
    }
}

/// The member that should lead instead of this one: the first of `preferred` that is fit, unless
/// this member comes before.
fn better_leader(status: &ReplicaStatus, preferred: &[u64]) -> Option<u64> {
    let before = preferred.iter().take_while(|id| **id != status.member);
    let fit = |id: &&u64| {
        status.peers.iter().any(|peer| {
            peer.id == **id
                && peer.may_lead
                && status.reaches(peer)
                && peer.matched.0 + LAG_ENTRIES_MAX >= status.last_index.0
        })
    };
    let found = before.copied().find(|id| fit(&id));
    found.filter(|_| status.serving)
}

#[cfg(test)]
mod tests {
    use raft_log::LogIndex;

    use super::*;
    use crate::replication::{PeerState, PeerStatus};

    fn status(serving: bool, peers: &[(u64, bool, PeerState, u64)]) -> ReplicaStatus {
        let peers = peers.iter().map(|(id, connected, state, matched)| PeerStatus {
            id: *id,
            connected: *connected,
            may_lead: true,
            state: *state,
            matched: LogIndex(*matched),
            client_addr: None,
        });
        ReplicaStatus {
            member: 1,
            serving,
            last_index: LogIndex(1_000),
            peers: peers.collect(),
            ..ReplicaStatus::default()
        }
    }

    #[test]
    fn only_a_fit_member_that_is_preferred_to_this_one_is_better() {
        use PeerState::{Probe, Replicate};
        let two_fit = status(true, &[(2, true, Replicate, 1_000), (3, true, Replicate, 990)]);
        for (preferred, expected) in [
            (&[] as &[u64], None),
            (&[1], None),
            (&[1, 2], None),
            (&[2], Some(2)),
            (&[3, 2], Some(3)),
            (&[3, 1], Some(3)),
            (&[4], None),
        ] {
            assert_eq!(better_leader(&two_fit, preferred), expected, "{preferred:?}");
        }
        // Nobody has appended since its connection broke and came back.
        let at_rest = status(true, &[(2, true, Probe, 1_000)]);
        assert_eq!(better_leader(&at_rest, &[2]), Some(2));
        for unfit in
            [(2, false, Replicate, 1_000), (2, true, Probe, 990), (2, true, Replicate, 700)]
        {
            assert_eq!(better_leader(&status(true, &[unfit]), &[2]), None, "{unfit:?}");
            let next = status(true, &[unfit, (3, true, Replicate, 1_000)]);
            assert_eq!(better_leader(&next, &[2, 3]), Some(3), "the next one is taken: {unfit:?}");
        }
        let deposed = ReplicaStatus { serving: false, ..two_fit };
        assert_eq!(better_leader(&deposed, &[2]), None);
    }
}
