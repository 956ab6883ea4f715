//! Bringing log and state machine together before raft starts.
//!
//! Invariant: afterwards the machine's applied index lies in the log (or at its start), the commit
//! index is neither below it nor beyond the log, and raft may start. The log decides: a machine that
//! does not fit it is put back to a snapshot of the log's.

use bytes::Bytes;
use raft::Storage as _;
use raft_log::{Disk, Log, LogError, LogIndex, Term};

use super::machine::Machine;
use super::options::StartError;

/// Where the state stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aligned {
    pub applied: LogIndex,
    pub term: Term,
}

/// Aligns the two; the machine may be restored from a snapshot.
pub(super) fn align<D: Disk, M: Machine>(
    log: &mut Log<D>,
    machine: &mut M,
) -> Result<Aligned, StartError> {
    let first = log.first_index()?;
    let last = log.last_index().0;
    let stands_at = machine.applied().0;
    if stands_at > last || stands_at + 1 < first {
        restore(log, machine, stands_at)?;
    }
    let applied = machine.applied().0;
    let mut hard_state = log.initial_state()?.hard_state;
    let commit = hard_state.commit.max(applied).min(last);
    if commit != hard_state.commit {
        hard_state.commit = commit;
        log.set_hard_state(hard_state);
    }
    Ok(Aligned { applied: LogIndex(applied), term: Term(log.term(applied)?) })
}

/// The newest snapshot of a state that the log can be replayed upon; the empty one of the very start
/// when there is none.
fn newest_snapshot<D: Disk>(log: &Log<D>) -> Result<(LogIndex, Bytes), LogError> {
    let (snapshots, last) = (log.snapshots(), log.last_index());
    for position in snapshots.positions()?.into_iter().rev() {
        match snapshots.at(position) {
            // Without syncs the log's tail may be lost although a snapshot beyond it is not.
            Ok(Some(found)) if found.boundary.index <= last => {
                return Ok((found.boundary.index, found.state));
            }
            Ok(_) => {}
            Err(error @ LogError::Corrupt { .. }) => tracing::warn!(%error, "passed over"),
            Err(error) => return Err(error),
        }
    }
    Ok((LogIndex(0), Bytes::new()))
}

/// Puts the machine back to the newest snapshot that the log holds; to nothing when it holds none
/// and begins at its very start.
fn restore<D: Disk, M: Machine>(
    log: &Log<D>,
    machine: &mut M,
    stands_at: u64,
) -> Result<(), StartError> {
    let (index, state) = newest_snapshot(log)?;
    tracing::warn!(
        applied = stands_at,
        last_index = log.last_index().0,
        snapshot_index = index.0,
        "the state does not fit the log and is rebuilt from a snapshot"
    );
    machine
        .restore(index, log.first_position(), &state)
        .map_err(|reason| StartError::Restore { index: index.0, reason })?;
    assert_eq!(machine.applied(), index, "a restored machine stands where its snapshot does");
    Ok(())
}
