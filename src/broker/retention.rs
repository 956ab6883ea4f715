//! When old messages go: the leader looks at age and disk, and proposes where the log should begin.
//!
//! Invariant: nothing is deleted here. What the leader chooses becomes a log entry, and every member
//! gives up the same messages when it applies it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use raft_log::{Disk, LogReader, Position};
use tokio::time::{Duration, sleep};

use super::core::Core;
use super::group::{DiskUse, RetentionSettings, SegmentAge, retain_position};
use crate::state::{Command, payload};

/// Segments given up by one decision; the next one follows soon.
const SEGMENTS_AT_ONCE: usize = 10;
/// How much of a segment's beginning is searched for a time; less in a simulation, whose disks copy what
/// is read.
const TIME_SEARCH_BYTES: usize = if cfg!(madsim) { 4 << 10 } else { 64 << 10 };
const HOUR_MS: i64 = 3_600_000;

/// Watches the disk on every member, and proposes what may go while this one leads.
pub async fn run<D: Disk>(
    core: Arc<Core>,
    log: LogReader<D>,
    segment_bytes: u64,
    used_percent: impl Fn(&Path) -> u8,
) {
    let period = Duration::from_millis(core.config.clean_resource_interval_ms);
    let mut asked = false;
    loop {
        let used = used_percent(&core.config.store_path_root_dir);
        look(&core, &log, segment_bytes, used, asked).await;
        asked = tokio::select! {
            biased;
            () = core.retention_asked.notified() => true,
            () = sleep(period) => false,
        };
    }
}

/// `asked` by an operator, it is the hour.
async fn look<D: Disk>(
    core: &Core,
    log: &LogReader<D>,
    segment_bytes: u64,
    used_percent: u8,
    asked: bool,
) {
    core.disk_used_percent.store(used_percent, Ordering::Relaxed);
    core.set_disk_full(used_percent >= core.config.disk_space_warning_level_ratio);
    let begins_ms = time_from(log, log.first_position());
    core.earliest_stored_ms.store(begins_ms.unwrap_or(-1), Ordering::Relaxed);
    if !core.serving() {
        return;
    }
    let now_ms = crate::clock::now_ms();
    let hour = u8::try_from(now_ms / HOUR_MS % 24).unwrap_or(0);
    let is_time = asked || core.config.delete_when.contains(hour);
    let disk = DiskUse { used_percent, is_time };
    let reserved_hours = i64::try_from(core.live.file_reserved_time_hours()).unwrap_or(i64::MAX);
    let settings = RetentionSettings {
        reserved_ms: reserved_hours.saturating_mul(HOUR_MS),
        max_used_percent: core.config.disk_max_used_space_ratio,
        forced_percent: core.config.disk_space_clean_forcibly_ratio,
        segments_max: SEGMENTS_AT_ONCE,
    };
    if !disk.is_time && used_percent < settings.max_used_percent {
        return;
    }
    let segments = full_segments(log, segment_bytes);
    let Some(position) = retain_position(&segments, now_ms, &settings, disk) else { return };
    if position <= core.view.min_position() {
        return;
    }
    match core.propose(Command::retain(position)).await {
        Ok(()) => tracing::info!(%position, used_percent, "messages below were given up"),
        Err(refusal) => tracing::debug!(%refusal, "retention waits for the next look"),
    }
}

/// The segments that are no longer written, oldest first.
fn full_segments<D: Disk>(log: &LogReader<D>, segment_bytes: u64) -> Vec<SegmentAge> {
    let mut segments = Vec::new();
    let last = log.segment_start(log.tail());
    let mut end = Position(log.segment_start(log.first_position()).0 + segment_bytes);
    while end <= last {
        // The next segment's first message is at least as new as this one's last.
        let newest_ms = time_from(log, end).unwrap_or(i64::MAX);
        segments.push(SegmentAge { end, newest_ms });
        end = Position(end.0 + segment_bytes);
    }
    segments
}

/// Store timestamp of the first entry with one, from `position` on.
fn time_from<D: Disk>(log: &LogReader<D>, position: Position) -> Option<i64> {
    let entries = log.entries_from(position, TIME_SEARCH_BYTES).ok()?;
    entries.iter().find_map(|entry| {
        let parsed = payload::parse(&entry.payload).ok()?;
        Some(parsed.batch.store_timestamp_ms)
    })
}
