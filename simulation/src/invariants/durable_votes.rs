//! Whoever leads was voted for by a majority, and those votes are on disks: not in caches.
//!
//! Looked up when a leader is first seen and now and again, in what each simulated disk would keep if
//! power went right then. A voter may have moved on to a later term since, but never back: else it could
//! vote twice. Of one that lost its disk, or the votes on it, what it had given before counts.

use std::collections::BTreeMap;
use std::path::Path;

use raft_log::fault::SimDisk;
use raftmq::replication::{ReplicaStatus, Role};

use super::Findings;
use crate::machine::Machine;

const INVARIANT: &str = "a leader's votes are durable on a majority";
const FILE: &str = "hard-state";
const FILE_BYTES: u64 = 8192;
/// The vote of a member that lost its disk, in a term in which it may have given one.
const NOBODY: u64 = u64::MAX;

/// A leader is looked at again after it was seen so often.
const AGAIN_AFTER: u32 = 16;

/// Whose votes were looked for.
#[derive(Default)]
pub struct DurableVotes {
    /// How often a leader of a term was seen, by leader and term.
    seen: BTreeMap<(u64, u64), u32>,
}

impl DurableVotes {
    /// The status of a group's member, and the disks of all its members with the directories of their
    /// logs.
    pub fn seen<'a>(
        &mut self,
        status: &ReplicaStatus,
        disks: impl ExactSizeIterator<Item = (&'a Machine, &'a Path)>,
        findings: &Findings,
    ) {
        if status.role != Role::Leader {
            return;
        }
        let count = self.seen.entry((status.member, status.term.0)).or_default();
        if count.is_multiple_of(AGAIN_AFTER) {
            check(status, disks, findings);
        }
        *count += 1;
    }
}

/// Looks at the disks of all members for the votes that made one of them leader.
fn check<'a>(
    status: &ReplicaStatus,
    disks: impl ExactSizeIterator<Item = (&'a Machine, &'a Path)>,
    findings: &Findings,
) {
    let quorum = disks.len() / 2 + 1;
    let promised: Vec<Vec<(u64, u64)>> =
        disks.map(|(machine, dir)| promised(machine, dir)).collect();
    let (leader, term) = (status.member, status.term.0);
    let bound = promised.iter().filter(|promised| is_bound(promised, leader, term)).count();
    if bound < quorum {
        let what = format!(
            "{leader} leads in term {term}, and {bound} of {quorum} are bound by it; (term, vote) on \
             disks: {promised:?}"
        );
        findings.report(INVARIANT, what);
    }
}

/// Term and vote on a machine's disk, and on what it was before it lost them.
fn promised(machine: &Machine, dir: &Path) -> Vec<(u64, u64)> {
    machine.disks().iter().filter_map(|disk| durable(disk, dir)).collect()
}

/// Whether a member that promised this voted for the leader of a term, or can vote in it no more. What it
/// forgot counts before what it may not promise any more because it forgot.
fn is_bound(promised: &[(u64, u64)], leader: u64, term: u64) -> bool {
    let mut given =
        promised.iter().filter(|(at, vote)| *at == term && *vote != 0 && *vote != NOBODY);
    if let Some((_, vote)) = given.next() {
        return *vote == leader;
    }
    promised.iter().any(|(at, vote)| *at > term || (*at == term && *vote == NOBODY))
}

/// Term and vote that a disk would keep.
fn durable(disk: &SimDisk, dir: &Path) -> Option<(u64, u64)> {
    let found = disk.durable(&dir.join(FILE), 0..FILE_BYTES, raft_log::term_and_vote);
    let (term, vote) = found??;
    Some((term.0, vote))
}
