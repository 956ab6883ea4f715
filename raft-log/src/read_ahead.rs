//! Fetching what is about to be read, before it is read.
//!
//! Most of what is read of a log is in no cache: its writer goes past it. The kernel would read ahead as
//! much as the device is set to, up to many megabytes at a time, and every sync of the writer would wait for
//! that. So maps are said to be read at random, and who reads through the log has it fetched in small steps.
//!
//! Invariant: only advice. What was not fetched ahead is fetched page by page when it is read.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::disk::{Disk, DiskMap};
use crate::shared::Shared;

/// How much is fetched ahead of a reader.
const AHEAD_BYTES: u64 = 1 << 20;
/// The next step is fetched when less than this is left ahead.
const LEFT_BYTES: u64 = AHEAD_BYTES / 2;
/// The most that is fetched for one read.
const READ_BYTES_MAX: u64 = 4 << 20;
/// Readers that are remembered; more take turns.
const READERS: usize = 16;

/// What was fetched ahead of the last readers, by position.
#[derive(Default)]
pub(crate) struct ReadAhead(Mutex<Readers>);

#[derive(Default)]
struct Readers {
    fetched: [Range<u64>; READERS],
    /// Whose place is taken next.
    turn: usize,
}

impl Readers {
    /// What to fetch for a reader of `from..to`.
    fn wanted(&mut self, from: u64, to: u64) -> Option<Range<u64>> {
        let known = self.fetched.iter_mut().find(|fetched| fetched.contains(&from));
        let end = to + AHEAD_BYTES;
        if let Some(fetched) = known {
            if to + LEFT_BYTES <= fetched.end {
                return None;
            }
            let wanted = fetched.end..end;
            *fetched = from..end;
            return Some(wanted);
        }
        self.fetched[self.turn] = from..end;
        self.turn = (self.turn + 1) % READERS;
        Some(from..end)
    }
}

impl<D: Disk> Shared<D> {
    /// About `bytes` bytes from `position` on are read next, if the log has so many. False when memory holds
    /// them, or nobody does.
    pub(crate) fn will_read(&self, position: u64, bytes: u64) -> bool {
        let (segment, end) = {
            let table = self.table();
            let tail = table.tail.first_position();
            let Some(held) = table.segment_at(position) else { return false };
            if position >= tail {
                return false;
            }
            (held.segment.clone(), held.segment.end().min(tail))
        };
        let to = position.saturating_add(bytes.min(READ_BYTES_MAX)).min(end);
        let wanted = {
            let mut readers = self.read_ahead.0.lock().unwrap_or_else(PoisonError::into_inner);
            readers.wanted(position, to)
        };
        if let Some(wanted) = wanted {
            let to = wanted.end.min(end);
            if wanted.start < to {
                segment.map.will_need(wanted.start - segment.start..to - segment.start);
            }
        }
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use raft::eraftpb::Entry;

    use super::*;
    use crate::disk::fault::SimDisk;
    use crate::log::Log;
    use crate::options::{LogOptions, SEGMENT_BYTES_MIN};
    use crate::types::Position;

    #[test]
    fn a_reader_is_kept_ahead_of_in_steps() {
        let mut readers = Readers::default();
        let (step, mut fetched_to) = (100_000, 0);
        let mut fetches = 0;
        for at in (0..20 * AHEAD_BYTES).step_by(step as usize) {
            if let Some(wanted) = readers.wanted(at, at + step) {
                assert_eq!(wanted.start, fetched_to, "nothing twice and nothing left out");
                fetched_to = wanted.end;
                fetches += 1;
            }
            assert!(fetched_to >= at + step + LEFT_BYTES);
            assert!(fetched_to <= at + step + AHEAD_BYTES);
        }
        assert!(fetches < 50, "{fetches}");
    }

    #[test]
    fn readers_elsewhere_do_not_disturb_each_other() {
        let mut readers = Readers::default();
        let far = 1 << 40;
        for round in 0..READERS as u64 {
            let wanted = readers.wanted(round * far, round * far + 10);
            assert_eq!(wanted, Some(round * far..round * far + 10 + AHEAD_BYTES));
        }
        for round in 0..READERS as u64 {
            assert_eq!(readers.wanted(round * far + 10, round * far + 20), None, "reader {round}");
        }
    }

    #[test]
    fn only_what_memory_does_not_hold_is_fetched() {
        let disk = SimDisk::new();
        let mut options = LogOptions::new("cluster", "group", "n1", vec![1]);
        options.segment_bytes = SEGMENT_BYTES_MIN;
        let dir = std::path::Path::new("/log");
        let entry =
            |index| Entry { index, term: 1, data: vec![7; 10_000].into(), ..Entry::default() };
        let mut log = Log::open(disk.clone(), dir, options.clone()).unwrap();
        log.append(&[entry(1), entry(2)]).unwrap();
        log.begin_sync().wait().unwrap();
        let first = log.first_position();
        assert!(!log.reader().will_read(first, 5_000), "its end is in memory");
        let end = log.tail();
        drop(log);
        let mut log = Log::open(disk, dir, options).unwrap();
        log.append(&[entry(3)]).unwrap();
        let reader = log.reader();
        assert!(reader.will_read(first, 5_000));
        assert!(!reader.will_read(end, 5_000));
        assert!(!reader.will_read(Position(1 << 40), 5_000), "no log is so long");
    }
}
