//! Opening a group: where its state comes from at a start.
//!
//! Invariant: the state is that of some entry the log knows, or of the one right before it begins;
//! replication replays what follows. A checkpoint is used only if that holds for it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use parking_lot::RwLock;
use raft_log::{Disk, Log, LogError, LogIndex, Position, SnapshotStore};

use super::super::host::Host;
use super::checkpointer::Checkpointer;
use super::effects::EffectsSink;
use super::lease_clock::LeaseClock;
use super::machine::GroupMachine;
use super::sequencer::GroupSequencer;
use super::shared::Shared;
use super::view::GroupView;
use crate::state::{SnapshotError, State};
use crate::store::StoreError;
use crate::store::checkpoint::{Checkpoint, CheckpointStore};
use crate::store::extent::{Extents, ExtentsOptions};
use crate::store::files::{DerivedFiles, DirectoryFiles};
use crate::store::log::CommittedLog;
use crate::store::worker::Worker;

/// A snapshot of the state at a segment's boundary.
pub struct StateSnapshot {
    /// The last entry it contains.
    pub index: LogIndex,
    /// The bytes that [`crate::replication::machine::Machine::snapshot`] gave.
    pub state: Bytes,
}

/// What a group is opened from.
pub struct GroupOptions {
    /// The log, open and recovered.
    pub log: Arc<dyn CommittedLog>,
    /// Index of the log's last entry.
    pub last_index: LogIndex,
    /// The newest snapshot; none when the log still has its first entry.
    pub snapshot: Option<StateSnapshot>,
    /// Where extents' indexes are kept.
    pub files: Arc<dyn DerivedFiles>,
    /// Length of an extent in bytes.
    pub extent_bytes: u64,
    /// Where the state's checkpoint is kept.
    pub checkpoint: Box<dyn CheckpointStore>,
    /// Bytes of log between two checkpoints: about what a restart replays.
    pub checkpoint_interval_bytes: u64,
    /// Who writes derived files.
    pub worker: Arc<Worker>,
    /// Who hears of effects.
    pub sink: Arc<dyn EffectsSink>,
}

impl GroupOptions {
    /// A group's usual parts: its log, and in `dir` the extents' indexes and the checkpoint, written
    /// by a thread of their own.
    ///
    /// # Errors
    /// When the derived files or the log's snapshots cannot be read.
    pub fn of_log<H: Host>(
        log: &Log<H::Disk>,
        host: &H,
        dir: &Path,
        extent_bytes: u64,
        sink: Arc<dyn EffectsSink>,
    ) -> Result<GroupOptions, StoreError> {
        let worker = host.start_worker().map_err(|error| StoreError::File {
            name: dir.display().to_string(),
            message: format!("no thread to write derived files: {error}"),
        })?;
        Ok(GroupOptions {
            log: Arc::new(log.reader()),
            last_index: log.last_index(),
            snapshot: newest_snapshot(&log.snapshots(), log.last_index())?,
            files: Arc::new(DirectoryFiles::new(host.disk(), &dir.join("extents"))?),
            extent_bytes,
            checkpoint: host.open_checkpoint(&dir.join("checkpoint"))?,
            checkpoint_interval_bytes: host.checkpoint_interval_bytes(),
            worker: Arc::new(worker),
            sink,
        })
    }
}

/// The newest snapshot that the log goes on from; damaged ones are passed over.
///
/// # Errors
/// When the snapshots cannot be read.
pub fn newest_snapshot<D: Disk>(
    snapshots: &SnapshotStore<D>,
    last_index: LogIndex,
) -> Result<Option<StateSnapshot>, StoreError> {
    let failed = |error: LogError| StoreError::File {
        name: "snapshots".to_owned(),
        message: error.to_string(),
    };
    for position in snapshots.positions().map_err(failed)?.into_iter().rev() {
        match snapshots.at(position) {
            Ok(Some(snapshot)) if snapshot.boundary.index <= last_index => {
                let index = snapshot.boundary.index;
                return Ok(Some(StateSnapshot { index, state: snapshot.state }));
            }
            Ok(_) => {}
            Err(error @ LogError::Corrupt { .. }) => {
                tracing::warn!(%error, "an older snapshot is used");
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(None)
}

/// The three faces of a group.
pub struct Group {
    /// For the replica: gives proposals their places.
    pub sequencer: GroupSequencer,
    /// For the replica: applies entries.
    pub machine: GroupMachine,
    /// For processors.
    pub view: GroupView,
}

/// Opens a group.
///
/// # Errors
/// When the log or the derived files cannot be read, or the log begins behind what any snapshot or
/// checkpoint holds.
pub fn open(mut options: GroupOptions) -> Result<Group, StoreError> {
    let (state, applied) = initial_state(&mut options)?;
    let log = Arc::clone(&options.log);
    let extents = ExtentsOptions {
        extent_bytes: options.extent_bytes,
        log: Arc::clone(&log),
        files: options.files,
        worker: Arc::clone(&options.worker),
    };
    let (extents, recovered) = Extents::recover(extents, applied)?;
    let applied_end = end_of(&*log, applied)?;
    tracing::info!(
        %applied,
        last_index = %options.last_index,
        extent_files = recovered.files,
        extents_rebuilt = recovered.rebuilt,
        "derived data is open"
    );
    let shared = Arc::new(Shared {
        state: RwLock::new(state),
        topics: RwLock::default(),
        extents,
        log,
        traffic: Arc::default(),
        lease_clock: LeaseClock::default(),
        applied: AtomicU64::new(applied.0),
        applied_end: AtomicU64::new(applied_end.0),
    });
    shared.publish_all_topics();
    let checkpointer = Checkpointer::new(
        options.checkpoint,
        options.worker,
        options.checkpoint_interval_bytes,
        applied_end,
    );
    Ok(Group {
        sequencer: GroupSequencer::new(Arc::clone(&shared)),
        machine: GroupMachine::new(Arc::clone(&shared), checkpointer, options.sink),
        view: GroupView::new(shared),
    })
}

fn initial_state(options: &mut GroupOptions) -> Result<(State, LogIndex), StoreError> {
    let snapshot_index = options.snapshot.as_ref().map_or(LogIndex(0), |snapshot| snapshot.index);
    if let Some(checkpoint) = options.checkpoint.load() {
        let applied = checkpoint.applied;
        if let Some(state) = usable(checkpoint, options, snapshot_index)? {
            return Ok((state, applied));
        }
        tracing::warn!(%applied, "checkpoint does not fit the log: made again");
    }
    options.checkpoint.wipe()?;
    let Some(snapshot) = &options.snapshot else {
        let start = options.log.first_position();
        if start > Position(0) {
            return Err(StoreError::Log {
                position: start,
                message: "the log begins here but there is no snapshot of the state before: \
                          delete this member's store directory to have it copied from the others"
                    .to_owned(),
            });
        }
        return Ok((State::default(), LogIndex(0)));
    };
    let mut state = State::restore(&snapshot.state).map_err(|error| {
        let (name, message) = (format!("snapshot of entry {}", snapshot.index), error.to_string());
        match error {
            SnapshotError::Newer(_) => StoreError::NewerFormat { name, message },
            SnapshotError::Decode(_) | SnapshotError::Format(_) => {
                StoreError::File { name, message }
            }
        }
    })?;
    // The checkpoint takes changes only, so it begins with everything.
    let everything: Vec<_> = state.entries().map(|(key, value)| (key, Some(value))).collect();
    options.checkpoint.save(&everything, snapshot.index)?;
    drop(state.take_changes());
    Ok((state, snapshot.index))
}

/// The checkpoint's state, if replay can go on from it. A newer program's is not made again: what it
/// wrote into the log might be passed over.
fn usable(
    checkpoint: Checkpoint,
    options: &GroupOptions,
    snapshot_index: LogIndex,
) -> Result<Option<State>, StoreError> {
    let applied = checkpoint.applied;
    // Right before the log's start, or in it. What lies before an installed snapshot is in neither.
    let known = applied == snapshot_index || options.log.position_of(applied).is_some();
    let fits = known && applied <= options.last_index;
    #[cfg(madsim)]
    let fits = fits || crate::mistake::made(crate::mistake::Mistake::TrustsCheckpoint);
    let state = State::from_entries(checkpoint.entries.into_iter());
    if let Err(error @ SnapshotError::Newer(_)) = &state {
        let (name, message) = ("the checkpoint".to_owned(), error.to_string());
        return Err(StoreError::NewerFormat { name, message });
    }
    let state = state.inspect_err(|error| tracing::warn!(%error, "checkpoint does not decode"));
    Ok(state.ok().filter(|_| fits))
}

/// Position behind an entry; the log's start when that is behind the entry.
fn end_of(log: &dyn CommittedLog, index: LogIndex) -> Result<Position, StoreError> {
    let Some(position) = log.position_of(index) else { return Ok(log.first_position()) };
    let entries = log.entries_from(position, 1)?;
    Ok(entries.first().map_or(position, |entry| entry.end()))
}
