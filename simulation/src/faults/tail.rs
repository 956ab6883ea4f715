//! The end of a member's log cannot be read any more: what it acknowledged last, and nobody can say how much.
//!
//! Invariant, the atlas: as when a disk is lost, no other member lacks anything then; and as for all pages,
//! of each segment only one member's is ever hit, the one that its number names.

use std::path::Path;
use std::time::Duration;

use raft_log::fault::SimDisk;
use raft_log::{Disk, Fatal, PAGE_BYTES};
use tokio::time::{Instant, sleep};

use super::Kind;
use super::nemesis::Nemesis;
use super::rot::{Entries, entries};
use crate::cluster::Cluster;
use crate::dice::Dice;

/// One of the last so many entries is hit.
const LAST_ENTRIES: u64 = 6;
/// The longest wait for a log to end in a segment of its member's.
const ENDS_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Cluster {
    /// Whether of the segment at `start` this machine's may be hit.
    fn owns(&self, number: usize, start: u64) -> bool {
        start / self.segment_bytes() % self.members.len() as u64 == number as u64
    }

    /// Whether a member's log ends, as it says itself, in a segment that may be hit.
    fn ends_in_its_own(&self, number: usize, group: usize) -> bool {
        let status = self.members[number].status(group);
        status.is_some_and(|status| self.owns(number, status.last_position.0))
    }

    /// The process ends, and pages at the end of its log of a group cannot be read any more. False when
    /// somebody else is without memory, or the log ends where it must not be hit.
    pub fn lose_tail(&self, number: usize, group: usize, dice: &mut Dice) -> bool {
        if !self.members.iter().all(|member| member.machine.remembers_all()) {
            return false;
        }
        self.kill(number);
        let member = &self.members[number];
        let (disk, dir) = (&member.machine.disk, &member.log_dirs[group]);
        let Some((start, entries)) = last_segment(disk, dir) else { return false };
        if !self.owns(number, start) {
            return false;
        }
        let back = dice.between(1, LAST_ENTRIES.min(entries.len() as u64)) as usize;
        let (index, offset, bytes) = entries[entries.len() - back];
        let page = (offset + dice.between(0, bytes - 1)) / PAGE_BYTES;
        let name = &member.machine.name;
        self.trace.tell(format_args!(
            "{name}'s disk cannot read page {page} of the segment at {start} any more: entry {index}, \
             {back} from the end"
        ));
        let file = dir.join(format!("{start:020}"));
        assert!(disk.lose_page(&file, page * PAGE_BYTES), "the file is that long");
        member.excuse(&[Fatal::PageUnreadable.exit_code()]);
        // What says how far the log was durable often goes with it.
        if dice.one_in(2) {
            disk.lose_page(&file, self.segment_bytes());
        }
        member.machine.forgot(group);
        true
    }
}

/// Where the last segment with an entry begins, and its entries.
fn last_segment(disk: &SimDisk, dir: &Path) -> Option<(u64, Entries)> {
    let names = disk.list(dir).unwrap_or_default();
    let starts = names.iter().filter_map(|name| name.parse::<u64>().ok());
    let held = starts.map(|start| {
        let content = disk.content(&dir.join(format!("{start:020}"))).unwrap_or_default();
        (start, entries(&content, start))
    });
    held.filter(|(_, entries)| !entries.is_empty()).max()
}

impl Nemesis {
    /// Often some members are behind when it happens, and those who are not are away when the member comes
    /// back: then only they know what it had.
    pub(super) async fn lose_tail(&mut self, dice: &mut Dice, long_ms: u64) {
        let (cluster, group) = (self.cluster.clone(), self.any_group(dice));
        let members = cluster.members.len();
        let first = dice.below(members);
        let all: Vec<usize> = (0..members).map(|at| (first + at) % members).collect();
        let few = if dice.one_in(2) { (members - 1) / 2 } else { 0 };
        let (behind, ahead) = all.split_at(few);
        if few > 0 {
            let nodes = |numbers: &[usize]| -> Vec<_> {
                numbers.iter().map(|number| self.node(*number)).collect()
            };
            cluster.trace.tell(format_args!("members {behind:?} are cut off from the others"));
            cluster.network.split(&nodes(behind), &nodes(ahead));
            self.wait_ms(dice.between(100, 1_500)).await;
        }
        let victim = self.whose_end(ahead, group).await;
        let struck = victim.filter(|victim| cluster.lose_tail(*victim, group, dice));
        if few > 0 {
            let away = ahead.iter().filter(|number| struck.is_some() && Some(**number) != victim);
            away.for_each(|number| cluster.kill(*number));
            cluster.trace.tell(format_args!("the network is whole again"));
            cluster.network.heal();
        }
        if struck.is_some() {
            self.counts.struck(Kind::UnreadableTail);
            if dice.one_in(2) {
                self.wait_ms(dice.between(0, long_ms)).await;
            }
        }
        if let Some(victim) = victim {
            cluster.start_again(victim);
        }
        if struck.is_some() && few > 0 {
            self.wait_ms(long_ms).await;
            ahead.iter().for_each(|number| cluster.start_again(*number));
        }
    }

    /// Waits until the log of one of these members ends in a segment of its own.
    async fn whose_end(&self, numbers: &[usize], group: usize) -> Option<usize> {
        let began = Instant::now();
        loop {
            let mut ends = numbers.iter().copied();
            let found = ends.find(|number| self.cluster.ends_in_its_own(*number, group));
            if found.is_some() || began.elapsed() > ENDS_WITHIN {
                return found;
            }
            sleep(LOOK_EVERY).await;
        }
    }
}
