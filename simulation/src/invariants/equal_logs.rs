//! Committed entries are byte for byte the same on all members, at any time and for ever, and all that
//! members' states hold follows from them.
//!
//! The first member that applies an entry says what it is. Every other member's entry is compared with
//! that at the moment it is applied, and the logs on all disks after the end. What retention gave up
//! stays known here.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use raft_log::fault::SimDisk;
use raft_log::{Log, LogIndex, LogOptions};
use raftmq::protocol::message_id::OffsetMessageId;
use raftmq::protocol::names::SCHEDULE_TOPIC;
use raftmq::protocol::properties::{DELAY, ORIGIN_MESSAGE_ID, REAL_QID, REAL_TOPIC};
use raftmq::protocol::record::{RecordView, records};
use raftmq::state::{QueueRun, State, payload};
use raftmq::store::log::{CommittedLog, LogEntry};

use super::Findings;
use super::ordered_time::OrderedTime;

const INVARIANT: &str = "committed logs are byte-identical";
const REBUILT: &str = "the state follows from the log";
const READ_BYTES: usize = 64 << 10;

/// What a record says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Topic.
    pub topic: String,
    /// Queue.
    pub queue_id: i32,
    /// Place in it.
    pub offset: i64,
    /// Place in the log.
    pub position: i64,
    /// When it was stored.
    pub store_timestamp_ms: i64,
    /// Failed attempts to consume it.
    pub reconsume_times: i32,
    /// The level at which it is delayed, or was.
    pub delay_level: Option<i32>,
    /// Topic and queue for which it waits.
    pub waits_for: Option<(String, i32)>,
    /// Place of the message of which it is an attempt.
    pub origin: Option<i64>,
    /// The message's body.
    pub body: Vec<u8>,
}

impl From<&RecordView<'_>> for Stored {
    fn from(record: &RecordView<'_>) -> Stored {
        let place = || {
            let queue_id = record.property(REAL_QID)?.parse().ok()?;
            Some((record.property(REAL_TOPIC)?.to_owned(), queue_id))
        };
        let origin = record.property(ORIGIN_MESSAGE_ID);
        Stored {
            topic: record.topic.to_owned(),
            queue_id: record.queue_id,
            offset: record.queue_offset,
            position: record.physical_offset,
            store_timestamp_ms: record.store_timestamp_ms,
            reconsume_times: record.reconsume_times,
            delay_level: record.property(DELAY).and_then(|level| level.parse().ok()),
            waits_for: (record.topic == SCHEDULE_TOPIC).then(place).flatten(),
            origin: origin.and_then(|id| Some(OffsetMessageId::decode(id).ok()?.offset)),
            body: record.body.to_vec(),
        }
    }
}

/// The committed entries of a run.
#[derive(Default)]
pub struct EqualLogs {
    /// The entry of index n is at n - 1.
    entries: Vec<LogEntry>,
}

impl EqualLogs {
    /// Compares entries from `first` to `last`, or those of them that the log still has; returns the
    /// last one compared.
    fn compare(
        &mut self,
        member: &str,
        log: &dyn CommittedLog,
        first: u64,
        last: u64,
        findings: &Findings,
    ) -> Result<u64, String> {
        let found = log.position_of(LogIndex(first));
        let mut position = found.unwrap_or_else(|| log.first_position());
        let mut compared = first - 1;
        loop {
            let entries =
                log.entries_from(position, READ_BYTES).map_err(|error| error.to_string())?;
            for entry in entries {
                if entry.index.0 > last {
                    return Ok(compared);
                }
                compared = entry.index.0;
                self.seen(member, entry, findings);
            }
            match log.position_of(LogIndex(compared + 1)) {
                Some(next) if compared < last => position = next,
                _ => return Ok(compared),
            }
        }
    }

    /// A member applies an entry, or has it on its disk.
    pub fn seen(&mut self, member: &str, entry: LogEntry, findings: &Findings) {
        let index = entry.index.0;
        let known = self.entries.len() as u64;
        if index == known + 1 {
            let payload = Bytes::copy_from_slice(&entry.payload);
            self.entries.push(LogEntry { payload, ..entry });
        } else if index > known {
            findings.report(INVARIANT, format!("{member} has {index}, nobody has {}", known + 1));
        } else {
            let first = &self.entries[usize::try_from(index - 1).expect("it is known")];
            if !same(first, &entry) {
                let what = format!("entry {index} of {member} is not the one committed");
                findings.report(INVARIANT, what);
            }
        }
    }

    /// Index of the last entry seen to be committed.
    pub fn committed(&self) -> u64 {
        self.entries.len() as u64
    }

    /// What is behind an index need not be the same any more: all that held it is gone. Where the log ended
    /// there.
    pub fn give_up_behind(&mut self, index: u64) -> i64 {
        self.entries.truncate(usize::try_from(index).unwrap_or(usize::MAX));
        let end = self.entries.last().map_or(0, |last| last.end().0);
        i64::try_from(end).unwrap_or(i64::MAX)
    }

    /// Compares the log on a stopped member's disk; returns its last index.
    pub fn on_disk(
        &mut self,
        member: &str,
        disk: &SimDisk,
        dir: &Path,
        options: LogOptions,
        findings: &Findings,
    ) -> Result<u64, String> {
        let log = Log::open(disk.clone(), dir, options).map_err(|error| error.to_string())?;
        let (reader, last) = (log.reader(), log.last_index().0);
        let committed = last.min(self.committed());
        self.compare(member, &reader, reader.first_index().0.max(1), committed, findings)?;
        Ok(last)
    }

    /// Applies all entries to an empty state; compares it with what members had where they were looked
    /// at, and returns the records, the position below which retention gave everything up, and the state.
    pub fn rebuild(
        &self,
        seen: impl Fn(u64) -> Option<u32>,
        findings: &Findings,
    ) -> (Vec<Stored>, i64, State) {
        let (mut state, mut stored) = (State::default(), Vec::new());
        let mut time = OrderedTime::default();
        for entry in &self.entries {
            match apply(&mut state, entry, &mut stored) {
                Ok(Some(stamp_ms)) => time.seen(entry.index.0, stamp_ms, findings),
                Ok(None) => {}
                Err(error) => {
                    findings.report(REBUILT, format!("entry {}: {error}", entry.index));
                    break;
                }
            }
            let digest = seen(entry.index.0).filter(|digest| *digest != state.digest());
            if let Some(digest) = digest {
                let (index, own) = (entry.index, state.digest());
                let what = format!("at {index} members had {digest:08x}, the log gives {own:08x}");
                findings.report(REBUILT, what);
                break;
            }
        }
        let given_up = i64::try_from(state.min_position().0).unwrap_or(i64::MAX);
        (stored, given_up, state)
    }
}

fn same(one: &LogEntry, other: &LogEntry) -> bool {
    (one.index, one.term, one.position, one.payload_position, &one.payload)
        == (other.index, other.term, other.position, other.payload_position, &other.payload)
}

/// Applies an entry; its store timestamp, if it has one.
fn apply(
    state: &mut State,
    entry: &LogEntry,
    stored: &mut Vec<Stored>,
) -> Result<Option<i64>, String> {
    if entry.payload.is_empty() {
        return Ok(None);
    }
    let parsed = payload::parse(&entry.payload).map_err(|error| error.to_string())?;
    let mut runs: Vec<QueueRun> = Vec::new();
    for record in records(&parsed.records) {
        take(&record.map_err(|error| error.to_string())?, &mut runs, stored);
    }
    state.apply(entry.position, &parsed.batch, &runs);
    Ok(Some(parsed.batch.store_timestamp_ms))
}

fn take(record: &RecordView<'_>, runs: &mut Vec<QueueRun>, stored: &mut Vec<Stored>) {
    stored.push(Stored::from(record));
    if let Some(run) = runs.last_mut()
        && run.queue_id == record.queue_id
        && *run.topic == *record.topic
        && run.first_offset + i64::from(run.count) == record.queue_offset
    {
        run.count += 1;
        return;
    }
    runs.push(QueueRun {
        topic: Arc::from(record.topic),
        queue_id: record.queue_id,
        first_offset: record.queue_offset,
        count: 1,
    });
}
