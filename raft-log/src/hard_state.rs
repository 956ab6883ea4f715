//! Raft's hard state (term, vote, commit) in two alternating slots.
//!
//! Invariants: the slot that was last made durable is never written to, so a torn write costs at
//! most what was not yet durable; term and vote never go backwards past a finished sync; the stored
//! commit never exceeds what the log held durably when it was written, so a log that is found
//! shorter than the commit was damaged, not torn. A slot that the disk cannot read may have held a newer
//! vote than the other one, so it is told.

use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile, PAGE_BYTES, read_or_lost};
use crate::entry::{be32, be64};
use crate::error::{IoContext, LogError};
use crate::files;
use crate::format::Format;
use crate::types::Term;

const MAGIC: u32 = 0x524d_5148; // "RMQH"
const VERSION: u16 = 1;
pub(crate) const FORMAT: Format = Format { magic: MAGIC, version: VERSION, checked_bytes: 44 };
const SLOT_BYTES: usize = 48;
/// The slots lie in different blocks, so that no write touches both.
pub(crate) const SLOT_OFFSETS: [u64; 2] = [0, 4096];
const FILE_BYTES: u64 = 8192;

/// The three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct HardStateValue {
    pub(crate) term: u64,
    pub(crate) vote: u64,
    pub(crate) commit: u64,
}

pub(crate) fn encode_slot(sequence: u64, value: HardStateValue) -> [u8; SLOT_BYTES] {
    let mut out = [0; SLOT_BYTES];
    out[0..4].copy_from_slice(&MAGIC.to_be_bytes());
    out[4..6].copy_from_slice(&VERSION.to_be_bytes());
    out[8..16].copy_from_slice(&sequence.to_be_bytes());
    out[16..24].copy_from_slice(&value.term.to_be_bytes());
    out[24..32].copy_from_slice(&value.vote.to_be_bytes());
    out[32..40].copy_from_slice(&value.commit.to_be_bytes());
    let crc = crc32fast::hash(&out[..44]);
    out[44..48].copy_from_slice(&crc.to_be_bytes());
    out
}

pub(crate) fn decode_slot(bytes: &[u8]) -> Option<(u64, HardStateValue)> {
    let slot: &[u8; SLOT_BYTES] = bytes.first_chunk()?;
    if be32(slot, 0) != MAGIC || be32(slot, 44) != crc32fast::hash(&slot[..44]) {
        return None;
    }
    if u16::from_be_bytes([slot[4], slot[5]]) != VERSION {
        return None;
    }
    let value =
        HardStateValue { term: be64(slot, 16), vote: be64(slot, 24), commit: be64(slot, 32) };
    Some((be64(slot, 8), value))
}

/// Term and vote in the bytes of a hard-state file, for whoever examines a member from outside; none
/// when no slot of it is whole.
pub fn term_and_vote(file: &[u8]) -> Option<(Term, u64)> {
    let slots = SLOT_OFFSETS
        .iter()
        .filter_map(|&offset| decode_slot(file.get(usize::try_from(offset).ok()?..)?));
    let (_, newest) = slots.max_by_key(|(sequence, _)| *sequence)?;
    Some((Term(newest.term), newest.vote))
}

/// Writes a slot's whole page: nothing has to be read for that, so a bad sector does not prevent it.
fn write_slot<F: DiskFile>(file: &F, slot: usize, bytes: &[u8; SLOT_BYTES]) -> std::io::Result<()> {
    let mut page = [0; PAGE_BYTES as usize];
    page[..SLOT_BYTES].copy_from_slice(bytes);
    file.write_at(&page, SLOT_OFFSETS[slot])
}

/// The file, open.
pub(crate) struct HardStateFile<F> {
    file: F,
    path: PathBuf,
    sequence: u64,
    durable_slot: usize,
    durable: HardStateValue,
    written: HardStateValue,
    /// The disk cannot read the other slot.
    other_lost: bool,
}

impl<F: DiskFile> HardStateFile<F> {
    /// Writes a first, all-zero state.
    pub(crate) fn create<D: Disk<File = F>>(disk: &D, dir: &Path) -> Result<Self, LogError> {
        let path = dir.join(files::HARD_STATE);
        let value = HardStateValue::default();
        let file = files::replace(disk, dir, &path, |file| {
            file.set_len(FILE_BYTES)?;
            write_slot(file, 0, &encode_slot(1, value))
        })?;
        let (sequence, durable_slot, other_lost) = (1, 0, false);
        Ok(Self { file, path, sequence, durable_slot, durable: value, written: value, other_lost })
    }

    /// None when there is no file, or one without a whole slot: the votes are gone.
    pub(crate) fn open<D: Disk<File = F>>(disk: &D, dir: &Path) -> Result<Option<Self>, LogError> {
        let path = dir.join(files::HARD_STATE);
        if !files::exists(disk, &path)? {
            return Ok(None);
        }
        let file = disk.open(&path).during("open", &path)?;
        if file.len().during("measure", &path)? != FILE_BYTES {
            return Ok(None);
        }
        let mut found: Option<(usize, u64, HardStateValue)> = None;
        let mut other_lost = false;
        for (slot, offset) in SLOT_OFFSETS.into_iter().enumerate() {
            let mut bytes = [0; SLOT_BYTES];
            other_lost |= !read_or_lost(&file, &mut bytes, offset).during("read", &path)?;
            if let Some((sequence, value)) = decode_slot(&bytes)
                && found.is_none_or(|(_, newest, _)| sequence > newest)
            {
                found = Some((slot, sequence, value));
            }
        }
        let Some((durable_slot, sequence, durable)) = found else { return Ok(None) };
        // After the death of a process the newest slot may be in the page cache only, and after a failed
        // sync it counts as clean there: only what is written again is sure to reach the disk. The bytes
        // stay the same, so that a torn write changes nothing.
        let bytes = encode_slot(sequence, durable);
        write_slot(&file, durable_slot, &bytes).during("rewrite", &path)?;
        file.sync_now().map_err(|source| LogError::sync(&path, source))?;
        let written = durable;
        Ok(Some(Self { file, path, sequence, durable_slot, durable, written, other_lost }))
    }

    /// Whether one of the slots, perhaps the newer one, is lost.
    pub(crate) fn lacks_a_slot(&self) -> bool {
        self.other_lost
    }

    /// Makes the lost slot one that holds nothing.
    pub(crate) fn renew_lost_slot(&mut self) -> Result<(), LogError> {
        let nothing = [0; SLOT_BYTES];
        write_slot(&self.file, 1 - self.durable_slot, &nothing).during("renew", &self.path)?;
        self.file.sync_now().map_err(|source| LogError::sync(&self.path, source))?;
        self.other_lost = false;
        Ok(())
    }

    pub(crate) fn durable(&self) -> HardStateValue {
        self.durable
    }

    /// Stores `value`; durable on return when term or vote changed or `must_sync` says so. A new
    /// commit alone is only written: raft learns it again from its peers.
    pub(crate) fn store(&mut self, value: HardStateValue, must_sync: bool) -> Result<(), LogError> {
        let changed =
            (value.term, value.vote) != (self.durable.term, self.durable.vote) || must_sync;
        if value != self.written {
            let slot = 1 - self.durable_slot;
            let bytes = encode_slot(self.sequence + 1, value);
            write_slot(&self.file, slot, &bytes).during("write", &self.path)?;
            self.sequence += 1;
            self.written = value;
        }
        if changed && self.written != self.durable {
            self.file.sync_now().map_err(|source| LogError::sync(&self.path, source))?;
            self.durable_slot = 1 - self.durable_slot;
            self.durable = value;
        }
        Ok(())
    }
}
