//! One segment file: a fixed stretch of the log, and a block behind it that remembers how far the
//! log was durable.
//!
//! Invariants: bytes beyond the log's tail are zeros; a byte is written by one writer at a time
//! (zero-filling and appending claim their ranges); published bytes never change while somebody may
//! hold a slice of them. The witness written before a sync speaks only of earlier, finished syncs,
//! so it never claims more than was durable.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, PAGE_BYTES, read_or_lost};
use crate::entry::{be32, be64};
use crate::error::{IoContext, LogError};
use crate::files;
use crate::format::Format;

const MAGIC: u32 = 0x524d_5157; // "RMQW"
const VERSION: u16 = 1;
pub(crate) const FORMAT: Format = Format { magic: MAGIC, version: VERSION, checked_bytes: 36 };
const WITNESS_BYTES: usize = 40;
/// The block behind a segment's entries.
pub(crate) const TRAILER_BYTES: u64 = 4096;
/// Two slots in different sectors of that block, so that a torn write spares one of them.
pub(crate) const WITNESS_OFFSETS: [u64; 2] = [0, 2048];
/// Zero-filling and clearing go in steps of this many bytes: the disk is busy for a fraction of a
/// millisecond with each, and no sync of the tail waits longer for it.
const STEP_BYTES: u64 = 256 * 1024;
/// Zero-filled bytes are synced after this many.
const SYNC_EVERY_BYTES: u64 = 4 * 1024 * 1024;

/// How far the log was durable at some time in the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub(crate) struct Witness {
    /// End of the last durable entry.
    pub(crate) position: u64,
    /// Its index.
    pub(crate) index: u64,
}

pub(crate) fn encode_witness(sequence: u64, witness: Witness) -> [u8; WITNESS_BYTES] {
    let mut out = [0; WITNESS_BYTES];
    out[0..4].copy_from_slice(&MAGIC.to_be_bytes());
    out[4..6].copy_from_slice(&VERSION.to_be_bytes());
    out[8..16].copy_from_slice(&sequence.to_be_bytes());
    out[16..24].copy_from_slice(&witness.position.to_be_bytes());
    out[24..32].copy_from_slice(&witness.index.to_be_bytes());
    let crc = crc32fast::hash(&out[..36]);
    out[36..40].copy_from_slice(&crc.to_be_bytes());
    out
}

pub(crate) fn decode_witness(bytes: &[u8]) -> Option<(u64, Witness)> {
    let slot: &[u8; WITNESS_BYTES] = bytes.first_chunk()?;
    if be32(slot, 0) != MAGIC || be32(slot, 36) != crc32fast::hash(&slot[..36]) {
        return None;
    }
    if u16::from_be_bytes([slot[4], slot[5]]) != VERSION {
        return None;
    }
    Some((be64(slot, 8), Witness { position: be64(slot, 16), index: be64(slot, 24) }))
}

/// Who may write where beyond the prepared part.
struct Claims {
    /// Everything before belongs to the appender or was given to the zero-filler.
    to: u64,
    /// What the zero-filler is writing right now.
    filling: Option<(u64, u64)>,
}

/// An open segment.
pub(crate) struct Segment<D: Disk> {
    /// Position of the first byte.
    pub(crate) start: u64,
    /// Bytes available to entries.
    pub(crate) bytes: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: D::File,
    pub(crate) map: <D::File as DiskFile>::Map,
    /// Appends that end at or below this offset meet zero-filled blocks and need no claim.
    prepared_to: AtomicU64,
    claims: Mutex<Claims>,
    filled: Condvar,
    witness_sequence: AtomicU64,
    /// The trailer was found unreadable.
    trailer_lost: bool,
}

impl<D: Disk> Segment<D> {
    /// Creates the segment that begins at `start`; its name is durable on return.
    pub(crate) fn create(disk: &D, dir: &Path, start: u64, bytes: u64) -> Result<Self, LogError> {
        let path = files::segment_path(dir, start);
        let file = disk.create(&path).during("create", &path)?;
        if let Err(error) = Self::lay_out(&file, bytes).during("extend", &path) {
            // A full disk has room again some time: the next attempt must find the name free.
            files::remove_if_exists(disk, &path)?;
            return Err(error);
        }
        file.sync_now().map_err(|source| LogError::sync(&path, source))?;
        files::sync_dir(disk, dir)?;
        Self::around(file, path, start, bytes, 0, Slots::default())
    }

    /// Gives a new file its length and allocates the trailer.
    fn lay_out(file: &D::File, bytes: u64) -> std::io::Result<()> {
        file.set_len(bytes + TRAILER_BYTES)?;
        file.write_zeros(bytes..bytes + TRAILER_BYTES)
    }

    /// Opens an existing segment whose length was checked. Where its data ends is found later.
    pub(crate) fn open(disk: &D, dir: &Path, start: u64, bytes: u64) -> Result<Self, LogError> {
        let path = files::segment_path(dir, start);
        let file = disk.open(&path).during("open", &path)?;
        let slots = read_slots(&file, bytes).during("read", &path)?;
        Self::around(file, path, start, bytes, bytes, slots)
    }

    /// A copy of the first `keep` bytes of `self` under the same name, zeros behind them.
    pub(crate) fn replace_by_prefix(
        &self,
        disk: &D,
        dir: &Path,
        keep: u64,
        witness: Witness,
    ) -> Result<Self, LogError> {
        let sequence = self.witness_sequence.load(Ordering::Relaxed) + 1;
        let mut buffer = vec![0; STEP_BYTES as usize];
        let file = files::replace(disk, dir, &self.path, |file| {
            Self::lay_out(file, self.bytes)?;
            let mut at = 0;
            while at < keep {
                let step = &mut buffer[..STEP_BYTES.min(keep - at) as usize];
                self.file.read_at(step, at)?;
                file.write_at(step, at)?;
                at += step.len() as u64;
            }
            let slot = WITNESS_OFFSETS[(sequence % 2) as usize];
            file.write_at(&encode_witness(sequence, witness), self.bytes + slot)
        })?;
        let slots = Slots { newest: Some((sequence, witness)), lost: false };
        Self::around(file, self.path.clone(), self.start, self.bytes, keep, slots)
    }

    fn around(
        file: D::File,
        path: PathBuf,
        start: u64,
        bytes: u64,
        data_end: u64,
        slots: Slots,
    ) -> Result<Self, LogError> {
        let map = file.map(bytes).during("map", &path)?;
        Ok(Self {
            start,
            bytes,
            path,
            file,
            map,
            prepared_to: AtomicU64::new(data_end),
            claims: Mutex::new(Claims { to: data_end, filling: None }),
            filled: Condvar::new(),
            witness_sequence: AtomicU64::new(slots.newest.map_or(0, |(sequence, _)| sequence)),
            trailer_lost: slots.lost,
        })
    }

    /// Position behind the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.bytes
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offset up to which the segment is written or prepared.
    pub(crate) fn claimed_to(&self) -> u64 {
        self.claims().to
    }

    /// Says where the data ends in a segment that was opened; what lies behind is zeros.
    pub(crate) fn set_data_end(&self, offset: u64) {
        let offset = offset.next_multiple_of(PAGE_BYTES).min(self.bytes);
        self.claims().to = offset;
        self.prepared_to.store(offset, Ordering::Release);
    }

    /// Takes `from..to` for the appender, waiting for a step of zero-filling that is under way there.
    fn claim(&self, from: u64, to: u64) {
        if to <= self.prepared_to.load(Ordering::Acquire) {
            return;
        }
        let mut claims = self.claims();
        while claims.filling.is_some_and(|(begin, end)| begin < to && from < end) {
            claims = self.filled.wait(claims).unwrap_or_else(PoisonError::into_inner);
        }
        claims.to = claims.to.max(to);
    }

    /// Writes whole pages of entries; durable on return when told so.
    pub(crate) fn write(&self, pages: &[u8], offset: u64, durable: bool) -> Result<(), LogError> {
        let end = offset + pages.len() as u64;
        assert!(end <= self.bytes, "an entry never straddles a segment");
        self.claim(offset, end);
        let written = self.file.write_pages(pages, offset, durable);
        written.map_err(|source| match LogError::io("write", &self.path, source) {
            // What a durable write that failed left on the disk is as unknown as after a sync.
            LogError::Io { file, source, .. } if durable => LogError::SyncFailed { file, source },
            error => error,
        })
    }

    /// Zero-fills and syncs up to `to`, unless told to stop.
    pub(crate) fn prepare(&self, to: u64, stop: &AtomicBool) -> Result<(), LogError> {
        let to = to.next_multiple_of(PAGE_BYTES);
        let mut unsynced = 0;
        while !stop.load(Ordering::Relaxed) {
            let (begin, end) = {
                let mut claims = self.claims();
                let begin = claims.to;
                let end = (begin + STEP_BYTES).min(to).min(self.bytes);
                if begin >= end {
                    break;
                }
                claims.to = end;
                claims.filling = Some((begin, end));
                (begin, end)
            };
            let written = self.file.write_zeros(begin..end);
            self.claims().filling = None;
            self.filled.notify_all();
            written.during("zero-fill", &self.path)?;
            self.prepared_to.fetch_max(end, Ordering::Release);
            unsynced += end - begin;
            if unsynced >= SYNC_EVERY_BYTES {
                self.sync()?;
                unsynced = 0;
            }
        }
        if unsynced > 0 { self.sync() } else { Ok(()) }
    }

    pub(crate) fn sync(&self) -> Result<(), LogError> {
        self.file.sync_now().map_err(|source| LogError::sync(&self.path, source))
    }

    /// Writes a range again as it is, so that the next sync makes it durable whatever became of the last
    /// one: after a failed sync, what it was for counts as clean.
    pub(crate) fn rewrite(&self, range: Range<u64>) -> Result<(), LogError> {
        let mut buffer = vec![0; STEP_BYTES.min(range.end.saturating_sub(range.start)) as usize];
        let mut at = range.start;
        while at < range.end {
            let step = &mut buffer[..STEP_BYTES.min(range.end - at) as usize];
            self.file.read_at(step, at).during("read", &self.path)?;
            self.file.write_at(step, at).during("rewrite", &self.path)?;
            at += step.len() as u64;
        }
        Ok(())
    }

    /// Overwrites by zeros whatever is not zero, or cannot be read, from `offset` on. Says whether there was
    /// anything.
    pub(crate) fn clear_from(&self, offset: u64) -> Result<bool, LogError> {
        let mut buffer = vec![0; STEP_BYTES as usize];
        let (mut at, mut cleared) = (offset, false);
        while let Some(data) = self.file.next_data(at).during("scan", &self.path)? {
            if data >= self.bytes {
                break;
            }
            // Up to where a page ends: a page that cannot be read is written whole.
            let end = (data + 1).next_multiple_of(STEP_BYTES).min(self.bytes);
            let step = &mut buffer[..(end - data) as usize];
            let there = read_or_lost(&self.file, step, data).during("read", &self.path)?;
            if !there || step.iter().any(|&byte| byte != 0) {
                self.file.write_zeros(data..end).during("clear", &self.path)?;
                cleared = true;
            }
            at = end;
        }
        Ok(cleared)
    }

    /// The newest witness in the trailer.
    pub(crate) fn witness(&self) -> Result<Option<Witness>, LogError> {
        let slots = read_slots(&self.file, self.bytes).during("read", &self.path)?;
        Ok(slots.newest.map(|(_, witness)| witness))
    }

    /// Makes a trailer that cannot be read one without a witness: it can be written again then.
    pub(crate) fn renew_lost_trailer(&self) -> Result<(), LogError> {
        if !self.trailer_lost {
            return Ok(());
        }
        let trailer = self.bytes..self.bytes + TRAILER_BYTES;
        self.file.write_zeros(trailer).during("renew the trailer of", &self.path)?;
        self.sync()
    }

    /// Writes a witness into the older slot; the next sync makes it durable.
    pub(crate) fn write_witness(&self, witness: Witness) -> Result<(), LogError> {
        let sequence = self.witness_sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let offset = self.bytes + WITNESS_OFFSETS[(sequence % 2) as usize];
        self.file
            .write_at(&encode_witness(sequence, witness), offset)
            .during("write the trailer of", &self.path)
    }

    /// Writes a witness into both slots: the log is about to become shorter than either says.
    pub(crate) fn lower_witness(&self, witness: Witness) -> Result<(), LogError> {
        self.write_witness(witness)?;
        self.write_witness(witness)?;
        self.sync()
    }
}

/// What a trailer holds.
#[derive(Default)]
struct Slots {
    newest: Option<(u64, Witness)>,
    /// The disk cannot read it.
    lost: bool,
}

fn read_slots<F: DiskFile>(file: &F, bytes: u64) -> std::io::Result<Slots> {
    let (mut newest, mut lost): (Option<(u64, Witness)>, _) = (None, false);
    for offset in WITNESS_OFFSETS {
        let mut slot = [0; WITNESS_BYTES];
        lost |= !read_or_lost(file, &mut slot, bytes + offset)?;
        if let Some((sequence, witness)) = decode_witness(&slot)
            && newest.is_none_or(|(other, _)| sequence > other)
        {
            newest = Some((sequence, witness));
        }
    }
    Ok(Slots { newest, lost })
}
