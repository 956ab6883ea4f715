//! What a log is opened with, and which of it can never change afterwards.

use crate::entry::ENTRY_HEADER_BYTES;
use crate::error::LogError;
use crate::types::Position;

/// Smallest segment; meant for tests.
pub const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
/// Largest segment: offsets inside a segment fit 32 bits.
pub const SEGMENT_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Settings of a log. Everything but `voters`, `prepare_ahead_bytes`, `tail_bytes_max`, `boot` and `doubted`
/// is fixed at creation and checked at every later start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// Bytes per segment, a multiple of 4096. Positions depend on it: the same on every member.
    pub segment_bytes: u64,
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the group, which all members share.
    pub group: String,
    /// Name of this member within the group.
    pub member: String,
    /// Raft ids of the group's voters; used at the very first start only.
    pub voters: Vec<u64>,
    /// How far ahead of the tail segments are kept zero-filled, so that writes land in allocated
    /// space. A new log occupies this much and no more.
    pub prepare_ahead_bytes: u64,
    /// Payloads of the newest entries stay in memory up to this much, so that who reads at the log's end
    /// touches no file. What is not written yet stays in any case.
    pub tail_bytes_max: usize,
    /// Names the time from this machine's power-on to its power-off: what was written in it, the page
    /// cache kept. Empty when nobody can tell.
    pub boot: String,
    /// The segment that holds this position is read entry by entry, even if its index file is sound. For who
    /// knows of damage there that cannot be mended in an open log: it is found before the log is open.
    pub doubted: Option<Position>,
    /// A mistake that simulations have the log make: an end that the disk cannot read counts as torn.
    #[cfg(madsim)]
    pub cuts_unreadable_tail: bool,
}

impl LogOptions {
    /// The defaults: segments of 1 GiB, prepared 32 MiB ahead, 64 MiB of the tail in memory.
    pub fn new(cluster: &str, group: &str, member: &str, voters: Vec<u64>) -> Self {
        Self {
            segment_bytes: 1 << 30,
            cluster: cluster.to_owned(),
            group: group.to_owned(),
            member: member.to_owned(),
            voters,
            prepare_ahead_bytes: 32 << 20,
            tail_bytes_max: 64 << 20,
            boot: String::new(),
            doubted: None,
            #[cfg(madsim)]
            cuts_unreadable_tail: false,
        }
    }

    pub(crate) fn check(&self) -> Result<(), LogError> {
        let bytes = self.segment_bytes;
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes) || !bytes.is_multiple_of(4096)
        {
            return Err(LogError::Options(format!(
                "segment_bytes is {bytes}; it must be a multiple of 4096 from {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}"
            )));
        }
        for (field, text) in
            [("cluster", &self.cluster), ("group", &self.group), ("member", &self.member)]
        {
            if text.is_empty() || text.chars().any(char::is_control) {
                return Err(LogError::Options(format!(
                    "{field} is {text:?}; it must not be empty nor contain control characters"
                )));
            }
        }
        Ok(())
    }
}

/// The largest payload that fits into a segment of this size.
pub fn payload_bytes_max(segment_bytes: u64) -> usize {
    usize::try_from(segment_bytes - ENTRY_HEADER_BYTES).unwrap_or(usize::MAX)
}
