//! Committed entries are byte for byte the same on all members, and all that the state holds follows
//! from them.
//!
//! Read from the simulated disks after everything was stopped, with the log's own recovery.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use raft_log::fault::SimDisk;
use raft_log::{EntryKind, Log, LogIndex, LogOptions, StoredEntry};
use raftmq::protocol::record::{RecordView, records};
use raftmq::state::{QueueRun, State, payload};

use super::Findings;

const INVARIANT: &str = "committed logs are byte-identical";
const REBUILT: &str = "the state follows from the log";
const READ_BYTES: usize = 1 << 20;

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
    /// The message's body.
    pub body: Vec<u8>,
}

/// The log that one disk holds, up to the last entry.
pub fn read(disk: &SimDisk, dir: &Path, options: LogOptions) -> Result<Vec<StoredEntry>, String> {
    let log = Log::open(disk.clone(), dir, options).map_err(|error| error.to_string())?;
    let reader = log.reader();
    let mut entries: Vec<StoredEntry> = Vec::new();
    let mut next = reader.first_position();
    loop {
        let found = reader.entries_from(next, READ_BYTES).map_err(|error| error.to_string())?;
        let Some(last) = found.last() else { return Ok(entries) };
        let after = LogIndex(last.index.0 + 1);
        entries.extend(found);
        match reader.position_of(after) {
            Some(position) => next = position,
            None => return Ok(entries),
        }
    }
}

/// Compares the committed parts of all members' logs and returns the longest.
pub fn compare(
    logs: BTreeMap<String, Vec<StoredEntry>>,
    committed: u64,
    findings: &Findings,
) -> Vec<StoredEntry> {
    let mut longest: (String, Vec<StoredEntry>) = Default::default();
    for (member, mut entries) in logs {
        entries.retain(|entry| entry.index.0 <= committed);
        let both = entries.iter().zip(&longest.1);
        if let Some((found, known)) = both.clone().find(|(found, known)| !same(found, known)) {
            let (other, index) = (&longest.0, found.index);
            let what = format!("{member} and {other} differ at {index} or {}", known.index);
            findings.report(INVARIANT, what);
        }
        if entries.len() > longest.1.len() {
            longest = (member, entries);
        }
    }
    if longest.1.last().map_or(0, |entry| entry.index.0) < committed {
        findings.report(INVARIANT, format!("no member has entry {committed}, which is committed"));
    }
    longest.1
}

fn same(one: &StoredEntry, other: &StoredEntry) -> bool {
    (one.index, one.term, one.position, one.kind, &one.payload)
        == (other.index, other.term, other.position, other.kind, &other.payload)
}

/// Applies the entries to an empty state; compares it with what members had where they were looked
/// at, and returns the records.
pub fn rebuild(
    entries: &[StoredEntry],
    seen: impl Fn(u64) -> Option<u32>,
    findings: &Findings,
) -> Vec<Stored> {
    let (mut state, mut stored) = (State::default(), Vec::new());
    for entry in entries {
        if entry.kind == EntryKind::Normal && !entry.payload.is_empty() {
            let parsed = match payload::parse(&entry.payload) {
                Ok(parsed) => parsed,
                Err(error) => {
                    findings.report(REBUILT, format!("entry {}: {error}", entry.index));
                    return stored;
                }
            };
            let mut runs: Vec<QueueRun> = Vec::new();
            for record in records(&parsed.records) {
                match record {
                    Ok(record) => take(&record, &mut runs, &mut stored),
                    Err(error) => {
                        findings.report(REBUILT, format!("entry {}: {error}", entry.index));
                    }
                }
            }
            state.apply(entry.position, &parsed.batch, &runs);
        }
        if let Some(digest) = seen(entry.index.0)
            && digest != state.digest()
        {
            let what = format!(
                "at {} members had {digest:08x}, the log gives {:08x}",
                entry.index,
                state.digest()
            );
            findings.report(REBUILT, what);
            return stored;
        }
    }
    stored
}

fn take(record: &RecordView<'_>, runs: &mut Vec<QueueRun>, stored: &mut Vec<Stored>) {
    stored.push(Stored {
        topic: record.topic.to_owned(),
        queue_id: record.queue_id,
        offset: record.queue_offset,
        position: record.physical_offset,
        body: record.body.to_vec(),
    });
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
