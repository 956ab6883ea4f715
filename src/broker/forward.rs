//! Handing to the leader what only the leader may do, over one hop.
//!
//! Clients learn who leads only every thirty seconds, so a request often reaches a member that does
//! not lead. It is passed on unchanged but for a mark, and the leader's response is passed back. A
//! marked request is never passed on again. While nobody leads, the request waits for an election,
//! bounded well below the time a client gives it.
//!
//! Invariant: a request is tried a second time only when the first try certainly had no effect: the
//! connection could not be made, or the addressed member said that it does not lead; and none is tried
//! after its client has given it up.

use std::future::Future;
use std::net::SocketAddr;

use tokio::time::{Duration, Instant, timeout};

use super::answer::{Failure, Outcome};
use super::core::Core;
use crate::protocol::code::response;
use crate::remoting::{InvokeError, RemotingCommand};

/// How long a request waits at most before it looks for a leader again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Marks a request that already took its hop.
pub const HOP: &str = "raftHop";
/// Address of the client that a forwarded request came from.
pub const BORN_HOST: &str = "raftBornHost";
/// In a response to a forwarded request: nothing was done, because the addressed member does not lead.
pub const NOT_LEADER: &str = "raftNotLeader";

/// How long a request waits for somebody to lead.
const ELECTION_WAIT: Duration = Duration::from_millis(1500);
/// The same for one that another member sent here: that one knows better soon, and tries again.
const FORWARDED_WAIT: Duration = Duration::from_millis(200);
/// All waiting and forwarding of one request together: clients give up after three seconds.
const TOTAL: Duration = Duration::from_millis(2600);
/// Longer than the longest hold of a long poll.
const FORWARD_PULL_TIMEOUT: Duration = Duration::from_secs(25);

/// Whether a request came from another member.
pub fn is_forwarded(command: &RemotingCommand) -> bool {
    command.ext_fields.get(HOP).is_some()
}

/// The client's address: the connection's, or what a forwarding member noted.
pub fn born_host(command: &RemotingCommand, peer: SocketAddr) -> SocketAddr {
    if !is_forwarded(command) {
        return peer;
    }
    command.ext_fields.get(BORN_HOST).and_then(|text| text.parse().ok()).unwrap_or(peer)
}

/// Carries a request out here if this member leads, else lets the leader do it. `run` may be called
/// again after it failed with [`Failure::not_leader`], which promises that it had no effect.
///
/// `began` is when the request came: once its client has given up, and perhaps sent something newer to
/// the next leader, it must not have an effect any more.
pub async fn lead_or_forward<F, R>(
    core: &Core,
    command: &RemotingCommand,
    peer: SocketAddr,
    began: Instant,
    run: F,
) -> Outcome
where
    F: Fn() -> R,
    R: Future<Output = Outcome>,
{
    let wait = if is_forwarded(command) { FORWARDED_WAIT } else { ELECTION_WAIT };
    let deadline = began + wait;
    let mut status = core.status.clone();
    loop {
        status.mark_unchanged();
        let left = TOTAL.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(no_leader());
        }
        if core.serving() {
            match run().await {
                Err(failure) if failure.not_leader => {}
                outcome => return outcome,
            }
        } else if !is_forwarded(command)
            && let Some(leader) = core.leader_elsewhere()
            && let Some(outcome) = forward_once(core, command, peer, &leader, left).await
        {
            return outcome;
        }
        if !changed_before(&mut status, deadline).await {
            return Err(no_leader());
        }
    }
}

/// Lets the leader answer a pull that this member cannot judge. `None` when this member leads by now
/// and can judge it.
pub async fn forward_pull(
    core: &Core,
    command: &RemotingCommand,
    peer: SocketAddr,
) -> Option<Outcome> {
    let deadline = Instant::now() + ELECTION_WAIT;
    let mut status = core.status.clone();
    loop {
        status.mark_unchanged();
        if core.serving() {
            return None;
        }
        if let Some(leader) = core.leader_elsewhere()
            && let Some(outcome) =
                forward_once(core, command, peer, &leader, FORWARD_PULL_TIMEOUT).await
        {
            return Some(outcome);
        }
        if !changed_before(&mut status, deadline).await {
            return Some(Err(no_leader()));
        }
    }
}

/// A failure for a request that found no leader in time.
pub fn no_leader() -> Failure {
    Failure {
        not_leader: true,
        ..Failure::unavailable("the group has no leader at the moment; send it again")
    }
}

async fn changed_before<T>(
    status: &mut tokio::sync::watch::Receiver<T>,
    deadline: Instant,
) -> bool {
    // A short look in between covers what the status does not show: the leader's address arrives
    // with its connection, and a leader just named may not have noticed yet.
    let left = deadline.saturating_duration_since(Instant::now());
    match timeout(left.min(LOOK_AGAIN), status.changed()).await {
        Ok(Ok(())) => true,
        Ok(Err(_)) => false,
        Err(_) => left > LOOK_AGAIN,
    }
}

/// `None` if the try certainly had no effect.
async fn forward_once(
    core: &Core,
    command: &RemotingCommand,
    peer: SocketAddr,
    leader: &str,
    timeout: Duration,
) -> Option<Outcome> {
    core.stats.forwarded.add(1);
    let mut forwarded = command.clone();
    forwarded.ext_fields.insert(HOP, 1);
    forwarded.ext_fields.insert(BORN_HOST, peer.to_string());
    if command.is_oneway() {
        core.client.invoke_oneway(leader, forwarded);
        return Some(Ok(super::answer::success()));
    }
    match core.client.invoke(leader, forwarded, timeout).await {
        Ok(answer)
            if answer.code == response::SERVICE_NOT_AVAILABLE
                && answer.ext_fields.get(NOT_LEADER).is_some() =>
        {
            None
        }
        Ok(answer) => Some(Ok(answer)),
        Err(InvokeError::Connect { .. } | InvokeError::Overloaded) => None,
        Err(error) => {
            let remark = format!("the leader at {leader} did not answer: {error}; send it again");
            Some(Err(Failure::unavailable(remark)))
        }
    }
}
