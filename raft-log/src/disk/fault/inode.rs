//! One file of the fault-injecting disk: what the medium has of it, and what only the cache has.
//!
//! Invariant: the medium changes by a sync, and by a loss of power that keeps some of the cache.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{BLOCK_BYTES, Dice, Loss, SECTOR_BYTES};

#[derive(Default)]
pub(super) struct Inode {
    pub(super) live: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Sectors written since the last sync.
    pub(super) dirty: BTreeSet<usize>,
    /// Blocks that take up space.
    pub(super) allocated: BTreeSet<usize>,
    /// Blocks that the medium does not give back.
    pub(super) unreadable: BTreeSet<usize>,
    /// Those of them that were written whole since, so that the cache has them.
    pub(super) rewritten: BTreeSet<usize>,
}

impl Inode {
    /// Whether some of these bytes can neither be read nor found in the cache.
    pub(super) fn is_unreadable(&self, offset: usize, bytes: usize) -> bool {
        let blocks = offset / BLOCK_BYTES..(offset + bytes).div_ceil(BLOCK_BYTES);
        self.unreadable.range(blocks).any(|block| !self.rewritten.contains(block))
    }

    /// The first block with one of these bytes that can neither be read nor found in the cache.
    pub(super) fn first_unreadable(&self, range: &Range<u64>) -> Option<usize> {
        let (begin, end) = (range.start as usize, range.end as usize);
        let mut blocks = self.unreadable.range(begin / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES));
        blocks.find(|block| !self.rewritten.contains(block)).copied()
    }

    /// Whether a write of these bytes would have to read an unreadable block first.
    pub(super) fn would_read_unreadable(&self, offset: usize, bytes: usize) -> bool {
        let end = offset + bytes;
        let cut = |at: usize| !at.is_multiple_of(BLOCK_BYTES) && self.is_unreadable(at, 1);
        bytes > 0 && (cut(offset) || (end < self.live.len() && cut(end)))
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        let whole = offset.div_ceil(BLOCK_BYTES)..end / BLOCK_BYTES;
        self.rewritten.extend(self.unreadable.iter().filter(|block| whole.contains(block)));
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
    }

    pub(super) fn keep_sector(&mut self, sector: usize) {
        let begin = sector * SECTOR_BYTES;
        let end = (begin + SECTOR_BYTES).min(self.live.len());
        if begin < end {
            if self.durable.len() < end {
                self.durable.resize(end, 0);
            }
            self.durable[begin..end].copy_from_slice(&self.live[begin..end]);
        }
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.live.len(), 0);
        let dirty = std::mem::take(&mut self.dirty);
        self.keep(&dirty);
    }

    /// Makes sectors durable; a block all of whose sectors are among them can be read again.
    pub(super) fn keep(&mut self, sectors: &BTreeSet<usize>) {
        for sector in sectors {
            self.keep_sector(*sector);
        }
        let each = BLOCK_BYTES / SECTOR_BYTES;
        let whole = |block: &usize| sectors.range(block * each..(block + 1) * each).count() == each;
        let mended: Vec<usize> =
            self.rewritten.iter().filter(|block| whole(block)).copied().collect();
        for block in mended {
            self.unreadable.remove(&block);
            self.rewritten.remove(&block);
        }
    }

    pub(super) fn lose_power(&mut self, loss: Loss, dice: &mut Dice) {
        match loss {
            Loss::All => {}
            Loss::Nothing => return,
            Loss::Torn(_) => match dice.roll() % 4 {
                0 => {}
                1 => self.sync(),
                _ => {
                    if dice.coin() {
                        self.durable.resize(self.live.len(), 0);
                    }
                    let mut kept = std::mem::take(&mut self.dirty);
                    kept.retain(|_| dice.coin());
                    self.keep(&kept);
                }
            },
        }
        self.dirty.clear();
        self.rewritten.clear();
        self.live = self.durable.clone();
    }
}
