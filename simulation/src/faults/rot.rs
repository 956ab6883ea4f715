//! Bits that change by themselves on a disk, and pages that it cannot read any more.
//!
//! Invariant, the atlas: of each entry only one member's copy is ever hit by a flip, the one that the
//! entry's index names, and of each segment only one member's is ever hit by a lost page, the one that its
//! number names; no run has both. So of whatever a majority stored a whole copy stays, and every fault
//! must be survived. What is hit is in a full segment, behind which another full one vouches that it was
//! durable.

use std::path::{Path, PathBuf};

use raft_log::entry::{ENTRY_HEADER_BYTES, EntryHeader, EntryKind};
use raft_log::fault::SimDisk;
use raft_log::{Disk, Fatal, PAGE_BYTES};

use crate::cluster::Cluster;
use crate::dice::Dice;

/// A place on a disk that was hit.
pub struct Rot {
    file: PathBuf,
    before: Vec<u8>,
}

impl Rot {
    /// Whether the file is again as it was before.
    pub fn is_mended(&self, disk: &SimDisk) -> bool {
        disk.content(&self.file).is_some_and(|now| now == self.before)
    }
}

/// Flips a bit in one to three entries of a full segment of a machine's member of a group, and in the
/// segment's index if told so: opening the log then reads the segment. None when there is nothing that
/// may be hit.
pub fn rot(
    cluster: &Cluster,
    number: usize,
    group: usize,
    dice: &mut Dice,
    index_too: bool,
) -> Option<Rot> {
    let member = &cluster.members[number];
    let (disk, dir) = (&member.machine.disk, &member.log_dirs[group]);
    let mut sealed = sealed_segments(disk, dir);
    // Its index vouches for those before it.
    sealed.pop()?;
    if sealed.is_empty() {
        return None;
    }
    let start = dice.pick(&sealed);
    let file = dir.join(format!("{start:020}"));
    let before = disk.content(&file)?;
    let members = cluster.members.len() as u64;
    let mut own = entries(&before, start);
    own.retain(|(index, _, _)| index % members == number as u64);
    if own.is_empty() {
        return None;
    }
    for _ in 0..dice.between(1, 3) {
        let (index, offset, bytes) = dice.pick(&own);
        let at = dice.between(0, bytes - 1);
        let position = start + offset;
        let name = &member.machine.name;
        cluster.trace.tell(format_args!(
            "a bit flips on {name}'s disk: byte {at} of entry {index} at position {position}"
        ));
        assert!(disk.flip_bit(&file, offset + at, dice.below(8) as u32), "the file is that long");
    }
    if index_too {
        let index = dir.join(format!("{start:020}.index"));
        disk.flip_bit(&index, dice.between(0, 63), dice.below(8) as u32);
    }
    Some(Rot { file, before })
}

/// Makes one to three pages of a full segment of a machine's member of a group unreadable, and one of the
/// segment's index if told so: opening the log then reads the segment. False when there is nothing that may
/// be hit.
pub fn lose_pages(
    cluster: &Cluster,
    number: usize,
    group: usize,
    dice: &mut Dice,
    index_too: bool,
) -> bool {
    let member = &cluster.members[number];
    let (disk, dir) = (&member.machine.disk, &member.log_dirs[group]);
    let mut sealed = sealed_segments(disk, dir);
    // Its index vouches for those before it.
    sealed.pop();
    let members = cluster.members.len() as u64;
    let segment = |start: u64| dir.join(format!("{start:020}"));
    let pages =
        |start: u64| disk.content(&segment(start)).map_or(1, |held| held.len() as u64 / PAGE_BYTES);
    // The last page is the trailer.
    sealed.retain(|&start| {
        start / ((pages(start) - 1).max(1) * PAGE_BYTES) % members == number as u64
    });
    if sealed.is_empty() {
        return false;
    }
    let start = dice.pick(&sealed);
    member.excuse(&[Fatal::PageUnreadable.exit_code()]);
    for _ in 0..dice.between(1, 3) {
        let page = dice.between(0, pages(start) - 1);
        let name = &member.machine.name;
        cluster.trace.tell(format_args!(
            "{name}'s disk cannot read page {page} of the segment at {start} any more"
        ));
        assert!(disk.lose_page(&segment(start), page * PAGE_BYTES), "the file is that long");
    }
    if index_too {
        disk.lose_page(&dir.join(format!("{start:020}.index")), 0);
    }
    true
}

/// Where segments begin whose index files are durable.
fn sealed_segments(disk: &SimDisk, dir: &Path) -> Vec<u64> {
    let names = disk.list(dir).unwrap_or_default();
    let starts = names.iter().filter_map(|name| name.strip_suffix(".index")?.parse().ok());
    let durable = |start: &u64| {
        let path = dir.join(format!("{start:020}.index"));
        disk.durable(&path, 0..64, |head| head.len() == 64) == Some(true)
    };
    starts.filter(durable).collect()
}

/// Index, offset and bytes of entries.
pub(super) type Entries = Vec<(u64, u64, u64)>;

/// The entries in a segment.
pub(super) fn entries(segment: &[u8], start: u64) -> Entries {
    let (mut entries, mut offset) = (Vec::new(), 0_usize);
    while let Some(bytes) = segment.get(offset..)
        && let Ok((header, _)) = EntryHeader::decode(bytes)
        && header.position == start + offset as u64
        && header.kind != EntryKind::Padding
    {
        let bytes = ENTRY_HEADER_BYTES + u64::from(header.payload_bytes);
        entries.push((header.index, offset as u64, bytes));
        offset += header.stored_bytes() as usize;
    }
    entries
}
