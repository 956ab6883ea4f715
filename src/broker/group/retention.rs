//! Which part of the log may go.
//!
//! Invariant: a pure choice of the leader; what it chooses takes effect as a log entry, so all
//! members give up the same. The newest segment always stays.

use raft_log::Position;

/// A segment of the log that is no longer written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentAge {
    /// Where it ends.
    pub end: Position,
    /// Store timestamp of its newest message, or a later time.
    pub newest_ms: i64,
}

/// What an operator set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionSettings {
    /// Age from which a segment may go, in milliseconds.
    pub reserved_ms: i64,
    /// Percentage of the disk in use from which expired segments go at any hour.
    pub max_used_percent: u8,
    /// Percentage from which segments go whatever their age.
    pub forced_percent: u8,
    /// Segments that go at once at most.
    pub segments_max: usize,
}

/// How things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUse {
    /// Percentage of the disk in use.
    pub used_percent: u8,
    /// It is the hour at which expired segments go, or an operator asked.
    pub is_time: bool,
}

/// Where the log should begin, when something may go. `segments` are those no longer written,
/// oldest first.
pub fn retain_position(
    segments: &[SegmentAge],
    now_ms: i64,
    settings: &RetentionSettings,
    disk: DiskUse,
) -> Option<Position> {
    let forced = disk.used_percent >= settings.forced_percent;
    if !forced && !disk.is_time && disk.used_percent < settings.max_used_percent {
        return None;
    }
    let expired = |segment: &&SegmentAge| {
        forced || now_ms.saturating_sub(segment.newest_ms) >= settings.reserved_ms
    };
    segments.iter().take(settings.segments_max).take_while(expired).last().map(|s| s.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: RetentionSettings = RetentionSettings {
        reserved_ms: 100,
        max_used_percent: 75,
        forced_percent: 85,
        segments_max: 2,
    };

    fn segments() -> Vec<SegmentAge> {
        [(10, 0), (20, 50), (30, 60), (40, 190)]
            .map(|(end, newest_ms)| SegmentAge { end: Position(end), newest_ms })
            .to_vec()
    }

    fn choose(now_ms: i64, used_percent: u8, is_time: bool) -> Option<u64> {
        let disk = DiskUse { used_percent, is_time };
        retain_position(&segments(), now_ms, &SETTINGS, disk).map(|position| position.0)
    }

    #[test]
    fn expired_segments_go_when_it_is_time_or_the_disk_fills() {
        assert_eq!(choose(120, 10, false), None);
        assert_eq!(choose(120, 10, true), Some(10));
        assert_eq!(choose(120, 75, false), Some(10));
        assert_eq!(choose(99, 75, true), None);
    }

    #[test]
    fn no_more_than_allowed_go_at_once() {
        assert_eq!(choose(1_000, 10, true), Some(20));
    }

    #[test]
    fn a_full_disk_does_not_ask_for_age() {
        assert_eq!(choose(0, 85, false), Some(20));
    }
}
