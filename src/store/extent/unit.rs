//! Units of a consume queue, and the runs they come in.
//!
//! Invariant: in a run, queue offsets follow on and positions rise. A queue whose topic was deleted
//! and created again within one extent has several runs; each belongs to one life of the topic.

use std::ops::Range;

use raft_log::Position;

use super::chain::{Chain, ChainedRun};

/// Where one message of a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Position of the record.
    pub position: Position,
    /// Its length in bytes.
    pub size: u32,
    /// Hash of its tags, zero without.
    pub tag_hash: i32,
}

/// Bytes of a unit in an extent file: distance from the extent's start, size, tag hash.
pub(super) const FILE_UNIT_BYTES: usize = 12;

/// The units of a run, in memory or in a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Units<'a> {
    Memory { chain: &'a Chain, run: &'a ChainedRun },
    File { bytes: &'a [u8], extent_start: u64 },
}

impl Units<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Units::Memory { run, .. } => run.len(),
            Units::File { bytes, .. } => bytes.len() / FILE_UNIT_BYTES,
        }
    }

    pub(super) fn get(&self, i: usize) -> Unit {
        match self {
            Units::Memory { chain, run } => chain.get(run, i),
            Units::File { bytes, extent_start } => {
                let at = i * FILE_UNIT_BYTES;
                Unit {
                    position: Position(extent_start + u64::from(be_u32(bytes, at))),
                    size: be_u32(bytes, at + 4),
                    tag_hash: be_u32(bytes, at + 8).cast_signed(),
                }
            }
        }
    }

    /// Shows those of the range, numbered, oldest first, until told to stop.
    pub(super) fn visit(&self, range: Range<usize>, mut visit: impl FnMut(usize, Unit) -> bool) {
        match self {
            Units::Memory { chain, run } => chain.visit(run, range, visit),
            Units::File { .. } => {
                for i in range {
                    if !visit(i, self.get(i)) {
                        return;
                    }
                }
            }
        }
    }

    /// First unit at or above `position`, or how many there are.
    pub(super) fn first_at_or_above(&self, position: Position) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle).position < position {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// Neighbouring offsets of one queue within one extent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) first_offset: i64,
    pub(super) units: Units<'a>,
}

impl Run<'_> {
    /// Offset behind the last.
    pub(super) fn end_offset(&self) -> i64 {
        self.first_offset + self.units.len() as i64
    }

    /// Whether it belongs to the topic that was created at `created`.
    pub(super) fn visible_from(&self, created: Position) -> bool {
        self.units.len() > 0 && self.units.get(0).position >= created
    }
}

pub(super) fn be_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn be_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
