//! Work ahead of and behind the tail that nobody waits for: zero-filling, the next segment, index
//! files of full segments.
//!
//! Invariant: appends stay correct without any of it. It only moves costs, and the news that a disk
//! is full, away from the moment at which something was promised.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::disk::{Disk, Lane};
use crate::error::LogError;
use crate::index::{IndexHeader, SealedIndex, SegmentIndex};
use crate::segment::Segment;
use crate::shared::Shared;
use crate::table::Table;

impl<D: Disk> Shared<D> {
    /// Hands in preparation when less than half of the distance ahead is left, or a segment waits
    /// to be sealed.
    pub(crate) fn request_preparation(self: &Arc<Self>) {
        if self.needs_preparation() {
            self.hand_in_preparation();
        }
    }

    /// Hands in preparation when the last found no room: there may be some now. Appends cannot be relied
    /// on to ask, since nothing is promised any more while the disk is full.
    pub(crate) fn look_for_space(self: &Arc<Self>) {
        if self.no_space().is_some() {
            self.hand_in_preparation();
        }
    }

    fn hand_in_preparation(self: &Arc<Self>) {
        if self.preparing.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = self.clone();
        let work = self.disk.offload(Lane::Prepare, move || {
            let _background = shared.background();
            shared.preparing.store(false, Ordering::Release);
            shared.prepare();
        });
        // Work that was handed in is done whether or not somebody awaits it.
        drop(work);
    }

    /// Asked after every append, so it must not wait: whoever holds `next` is preparing already.
    fn needs_preparation(&self) -> bool {
        let (last, tail, unsealed) = {
            let table = self.table();
            let last = table.segments[table.segments.len() - 1].segment.clone();
            (last, table.end.position.0, self.unsealed(&table).is_some())
        };
        let claimed = last.claimed_to();
        let mut ready = (last.start + claimed).saturating_sub(tail);
        if claimed == last.bytes {
            match self.next.try_lock() {
                Ok(next) => ready += next.segment.as_ref().map_or(0, |next| next.claimed_to()),
                Err(_) => return false,
            }
        }
        unsealed || ready <= self.ahead() / 2
    }

    fn ahead(&self) -> u64 {
        self.prepare_ahead_bytes.min(self.segment_bytes)
    }

    /// The first full segment that is durable, together with an entry beyond, and has no index file.
    fn unsealed(&self, table: &Table<D>) -> Option<usize> {
        let durable = self.durable_position.load(Ordering::Acquire);
        let full = table.segments.len() - 1;
        let recent = full.saturating_sub(4);
        (recent..full).find(|&nth| {
            let held = &table.segments[nth];
            !held.index.is_sealed() && held.segment.end() < durable
        })
    }

    fn prepare(&self) {
        let stopped = || {
            self.closed.load(Ordering::Acquire)
                || self.interrupt.load(Ordering::Relaxed)
                || self.check_writable().is_err()
        };
        if stopped() {
            return;
        }
        let ahead = self.prepare_ahead();
        match &ahead {
            Ok(()) => *self.no_space() = None,
            Err(error @ LogError::NoSpace { .. }) => {
                if self.no_space().replace(error.clone()).is_none() {
                    let dir = self.dir.display();
                    tracing::warn!(%dir, %error, "no space ahead of the log's tail");
                }
            }
            Err(_) => {
                let _ = self.latch(ahead);
                return;
            }
        }
        while !stopped() {
            match self.seal_one() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error @ LogError::NoSpace { .. }) => {
                    *self.no_space() = Some(error);
                    return;
                }
                Err(error) => {
                    let _ = self.latch::<()>(Err(error));
                    return;
                }
            }
        }
    }

    fn prepare_ahead(&self) -> Result<(), LogError> {
        let (last, tail) = {
            let table = self.table();
            (table.segments[table.segments.len() - 1].segment.clone(), table.end.position.0)
        };
        let target = tail + self.ahead();
        last.prepare((target - last.start).min(last.bytes), &self.interrupt)?;
        if target > last.end()
            && !self.interrupt.load(Ordering::Relaxed)
            && let Some(next) = self.next_segment(&last)?
        {
            next.prepare(target - next.start, &self.interrupt)?;
        }
        Ok(())
    }

    /// Creates the segment behind `last` when it is not there yet. `None` when the log has moved on
    /// and `last` is not its last segment any more.
    fn next_segment(&self, last: &Segment<D>) -> Result<Option<Arc<Segment<D>>>, LogError> {
        let mut next = self.next();
        if next.start != last.end() {
            return Ok(None);
        }
        if next.segment.is_none() {
            let bytes = self.segment_bytes;
            let created = Segment::create(&self.disk, &self.dir, next.start, bytes)?;
            next.segment = Some(Arc::new(created));
        }
        Ok(next.segment.clone())
    }

    /// The segment behind `last`, for the appender to go on in.
    pub(crate) fn take_next_segment(&self, last: &Segment<D>) -> Result<Arc<Segment<D>>, LogError> {
        let taken = self.next_segment(last)?.expect("only the appender moves the log on");
        let mut next = self.next();
        next.segment = None;
        next.start = taken.end();
        Ok(taken)
    }

    /// Writes the index file of one full segment. False when there is none to write.
    fn seal_one(&self) -> Result<bool, LogError> {
        let (nth_start, header, records) = {
            let table = self.table();
            let Some(nth) = self.unsealed(&table) else { return Ok(false) };
            let held = &table.segments[nth];
            let SegmentIndex::Memory(records) = &held.index else { return Ok(false) };
            let last = held.base_index + records.len() as u64 - 1;
            let end = table.boundary_at(last)?.position.0;
            let header = IndexHeader {
                segment: held.segment.start,
                base_index: held.base_index,
                count: records.len() as u64,
                previous_crc: held.previous_crc,
                data_end: u32::try_from(end - held.segment.start).expect("offsets fit 32 bits"),
            };
            (held.segment.start, header, records.clone())
        };
        let sealed = SealedIndex::write(&self.disk, &self.dir, header, &records)?;
        let mut table = self.table_mut();
        let held = table.segments.iter_mut().find(|held| held.segment.start == nth_start);
        if let Some(held) = held {
            held.index = SegmentIndex::Sealed(sealed);
        }
        Ok(true)
    }
}
