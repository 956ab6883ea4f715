//! What is derived from the log cannot be read any more: indexes of extents, the checkpoint, and the snapshot at
//! a log's start.
//!
//! Invariant, the atlas: indexes and checkpoints are made again from the log, so any of them may be hit at any
//! time. Without the snapshot at its start a log is worth nothing if no peer has that any more; so, as when a
//! disk is lost, no other member lacks anything then.

use std::path::PathBuf;

use raft_log::{Disk, Fatal, PAGE_BYTES};

use super::Kind;
use super::nemesis::Nemesis;
use crate::cluster::Cluster;
use crate::dice::Dice;

/// Of so many hits one is the checkpoint's.
const CHECKPOINT_ONE_IN: u64 = 3;

impl Cluster {
    /// A page of an extent's index, or all of the checkpoint, cannot be read any more. False when there is
    /// neither.
    pub fn lose_derived(&self, number: usize, group: usize, dice: &mut Dice) -> bool {
        let member = &self.members[number];
        let (machine, root) = (&member.machine, &member.root_dirs[group]);
        let name = &machine.name;
        if dice.one_in(CHECKPOINT_ONE_IN) && machine.lose_checkpoint(root) {
            self.trace.tell(format_args!("{name}'s disk cannot read its checkpoint any more"));
            return true;
        }
        let dir = root.join("extents");
        let mut files = machine.disk.list(&dir).unwrap_or_default();
        files.retain(|file| file.ends_with(".index"));
        if files.is_empty() {
            return false;
        }
        let file = dice.pick(&files);
        let path = dir.join(&file);
        let pages = machine.disk.content(&path).unwrap_or_default().len() as u64 / PAGE_BYTES;
        let page = dice.between(0, pages);
        if !machine.disk.lose_page(&path, page * PAGE_BYTES) {
            return false;
        }
        member.excuse(&[Fatal::PageUnreadable.exit_code()]);
        self.trace.tell(format_args!("{name}'s disk cannot read page {page} of {file} any more"));
        true
    }

    /// A page of the snapshot at which a member's log begins cannot be read any more. False when somebody is
    /// without memory, or the log begins at nothing.
    pub fn lose_head(&self, number: usize, group: usize, dice: &mut Dice) -> bool {
        if !self.members.iter().all(|member| member.machine.remembers_all()) {
            return false;
        }
        let member = &self.members[number];
        let machine = &member.machine;
        let Some(path) = self.head_of(number, group) else { return false };
        let pages = machine.disk.content(&path).unwrap_or_default().len() as u64 / PAGE_BYTES;
        if !machine.disk.lose_page(&path, dice.between(0, pages) * PAGE_BYTES) {
            return false;
        }
        let name = &machine.name;
        self.trace.tell(format_args!(
            "{name}'s disk cannot read the snapshot any more at which its log begins: {}",
            path.display()
        ));
        machine.forgot(group);
        true
    }

    /// The snapshot at which the log of a machine's member begins.
    fn head_of(&self, number: usize, group: usize) -> Option<PathBuf> {
        let member = &self.members[number];
        let (disk, dir) = (&member.machine.disk, &member.log_dirs[group]);
        let names = disk.list(dir).unwrap_or_default();
        let first = names.iter().filter_map(|name| name.parse::<u64>().ok()).min()?;
        let snapshot = format!("{first:020}.snapshot");
        names.contains(&snapshot).then(|| dir.join(snapshot))
    }

    /// Whether a machine's disk cannot read a snapshot of its member's log, or could not if power went now.
    pub fn lacks_head(&self, number: usize, group: usize) -> bool {
        let member = &self.members[number];
        let lost = member.machine.disk.files_with_lost_pages();
        let is_snapshot = |path: &PathBuf| path.extension().is_some_and(|end| end == "snapshot");
        lost.iter().any(|path| path.starts_with(&member.log_dirs[group]) && is_snapshot(path))
    }
}

impl Nemesis {
    /// Under a process, or while there is none; then others may have given up what it will need.
    pub(super) async fn lose_derived(&mut self, kind: Kind, dice: &mut Dice, long_ms: u64) {
        let (victim, group) = (self.any(dice), self.any_group(dice));
        let at_rest = dice.one_in(2);
        if at_rest {
            self.cluster.kill(victim);
        }
        let struck = match kind {
            Kind::UnreadableSnapshot => self.cluster.lose_head(victim, group, dice),
            _ => self.cluster.lose_derived(victim, group, dice),
        };
        if struck {
            self.counts.struck(kind);
            self.wait_ms(long_ms).await;
        }
        if at_rest {
            self.cluster.start_again(victim);
        }
    }
}
