//! Damage that lies further on than a peer's log.
//!
//! Such a peer gives nothing. But when the last entry that it knows to be committed is of another term than the
//! one that this log has there, the two went different ways before the damage: ours at that index and all behind
//! it, damaged or not, was given up. When it is the last before the damage, is the same here, and is newer than
//! what is intact behind the damage, that does not belong to it: a repair was cut short. Without this, a member
//! would wait for a group at rest to come as far as it was itself.
//!
//! Invariant: nothing that this member knew to be committed is given up, and nothing but what stands where the
//! group has committed another entry, or behind that. An entry of the same term is the same one.

use std::future::Future;

use raft::eraftpb::Entry;

use crate::damage::DamagedLog;
use crate::disk::{Disk, Lane};
use crate::reader::LogReader;
use crate::repair::{Patch, is_given_up};
use crate::table::Table;
use crate::types::{LogIndex, Term};

impl<D: Disk> Table<D> {
    /// Whether the group has committed `entry` in the place of another one here.
    fn went_another_way(
        &self,
        entry: &Entry,
        known_committed: LogIndex,
        committed: LogIndex,
    ) -> bool {
        let index = LogIndex(entry.index);
        index > self.start.index
            && is_given_up(index, known_committed, committed)
            && self.term(entry.index).is_ok_and(|term| term != entry.term)
    }
}

impl<D: Disk> DamagedLog<D> {
    /// A patch that takes back the damage and all behind it, if a peer that knows everything up to `committed` to
    /// be committed shows with its `entry`, which is not behind the damage, that the group gave that up.
    pub fn patch_without(&self, entry: &Entry, committed: LogIndex) -> Option<Patch> {
        if self.table.went_another_way(entry, self.commit, committed) {
            let end = self.table.boundary_at(entry.index - 1).ok()?;
            return Some(Patch::ending_with(self, end, entry));
        }
        let before = self.damage.before;
        let is_last = (before.index, before.term) == (LogIndex(entry.index), Term(entry.term));
        let is_committed = self.commit <= before.index && before.index <= committed;
        let newer = self.term_behind().is_some_and(|behind| before.term > behind);
        (is_last && is_committed && newer).then(|| Patch::ending_with(self, before, entry))
    }
}

impl<D: Disk> LogReader<D> {
    /// Whether a peer that knows everything up to `committed` to be committed shows with its `entry` that the
    /// group gave up the one that is here, and so all behind it.
    pub fn was_given_up(
        &self,
        entry: Entry,
        committed: LogIndex,
    ) -> impl Future<Output = bool> + Send + 'static {
        let shared = self.shared.clone();
        // Away from the caller: a sync may be under way.
        let asked = self.shared.disk.offload(Lane::Prepare, move || {
            let known_committed = shared.known_committed();
            shared.table().went_another_way(&entry, known_committed, committed)
        });
        async move { asked.await.unwrap_or(false) }
    }
}
