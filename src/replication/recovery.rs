//! Bringing log and state machine together before raft starts.
//!
//! Invariant: afterwards the machine's applied index lies in the log (or at its start), the commit
//! index is neither below it nor beyond the log, and raft may start. The log decides: a machine that
//! does not fit it is put back to the log's start.

use bytes::Bytes;
use raft::Storage as _;
use raft_log::{Disk, Log, LogIndex, Term};

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
    let fits = (first..=last + 1).contains(&(stands_at + 1));
    #[cfg(madsim)]
    let fits = fits || crate::mistake::made(crate::mistake::Mistake::TrustsCheckpoint);
    if !fits {
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

/// Puts the machine back to the log's start, so that replay rebuilds everything derived from the
/// log: to the snapshot there, or to nothing when the log still has its first entry.
fn restore<D: Disk, M: Machine>(
    log: &Log<D>,
    machine: &mut M,
    stands_at: u64,
) -> Result<(), StartError> {
    let start = log.reader().start();
    let state = match log.snapshots().at(start.position)? {
        Some(snapshot) => snapshot.state,
        None if start.index == LogIndex(0) => Bytes::new(),
        None => {
            let reason = "the log begins there and the snapshot is missing".to_owned();
            return Err(StartError::Restore { index: start.index.0, reason });
        }
    };
    tracing::warn!(
        applied = stands_at,
        last_index = log.last_index().0,
        restored_to = start.index.0,
        "the state does not fit the log and is rebuilt from the log's start"
    );
    machine
        .restore(start.index, start.position, &state)
        .map_err(|reason| StartError::Restore { index: start.index.0, reason })?;
    assert_eq!(machine.applied(), start.index, "a restored machine stands where its snapshot does");
    Ok(())
}
