//! What the log's writer, its readers and its two helper threads share, and who may touch what.
//!
//! Lock order: `background`, then `persist`, then `next`, then `table`, then `unwritten`. `background` is
//! held through a piece of preparation, `persist` through a group sync; the others only for moments.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

use crate::disk::Disk;
use crate::error::LogError;
use crate::group::{GroupWriter, Piece};
use crate::hard_state::HardStateFile;
use crate::read_ahead::ReadAhead;
use crate::segment::{Segment, Witness};
use crate::snapshot::SnapshotStore;
use crate::table::Table;

/// State of what is durable; locked while a group sync runs.
pub(crate) struct Persist<D: Disk> {
    pub(crate) hard_state: HardStateFile<D::File>,
    /// Number of the group whose hard state was stored last.
    pub(crate) hard_state_number: u64,
    /// How far the log is durable.
    pub(crate) durable: Witness,
    /// What the newest trailer says.
    pub(crate) witnessed: Witness,
    /// Changes whenever the log is cut, so that a sync begun before does not speak for what came after.
    pub(crate) epoch: u64,
    pub(crate) writer: GroupWriter<D>,
}

/// The segment behind the active one.
pub(crate) struct Next<D: Disk> {
    /// Where it begins. Preparation that finds another value is late and leaves it alone.
    pub(crate) start: u64,
    /// Created in advance, or not yet.
    pub(crate) segment: Option<Arc<Segment<D>>>,
}

pub(crate) struct Shared<D: Disk> {
    pub(crate) disk: D,
    pub(crate) dir: PathBuf,
    pub(crate) segment_bytes: u64,
    pub(crate) prepare_ahead_bytes: u64,
    table: RwLock<Table<D>>,
    persist: Mutex<Persist<D>>,
    /// What was appended and not yet taken to be written.
    unwritten: Mutex<Vec<Piece<D>>>,
    /// The log is in files up to here. Goes back only when the log is cut.
    pub(crate) written_position: AtomicU64,
    /// Whether the trailers say less than what is durable.
    pub(crate) unwitnessed: AtomicBool,
    /// A copy of `Persist::durable.position` that needs no lock.
    pub(crate) durable_position: AtomicU64,
    background: Mutex<()>,
    /// Asks running preparation to end soon.
    pub(crate) interrupt: AtomicBool,
    /// Whether preparation was handed in and has not begun.
    pub(crate) preparing: AtomicBool,
    pub(crate) next: Mutex<Next<D>>,
    /// Why there is no room ahead of the tail, while that is so.
    pub(crate) no_space: Mutex<Option<LogError>>,
    failure: OnceLock<LogError>,
    /// Told when an entry is found damaged.
    pub(crate) on_damage: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// The directory has a note of pages that could not be read.
    pub(crate) noted: AtomicBool,
    pub(crate) snapshots: SnapshotStore<D>,
    /// The one at the log's start was found unreadable, and was not found whole since.
    pub(crate) snapshot_lost: AtomicBool,
    pub(crate) closed: AtomicBool,
    pub(crate) read_ahead: ReadAhead,
}

/// A panic while a lock was held cannot leave half a change behind that matters: every change of
/// the disk is latched as a failure first.
fn held<'a, T>(lock: &'a Mutex<T>) -> MutexGuard<'a, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D: Disk> Shared<D> {
    pub(crate) fn new(
        disk: D,
        dir: PathBuf,
        prepare_ahead_bytes: u64,
        table: Table<D>,
        hard_state: HardStateFile<D::File>,
        snapshots: SnapshotStore<D>,
    ) -> Self {
        let last = table.segments.last().expect("a log has a segment");
        let next = Next { start: last.segment.end(), segment: None };
        let durable = Witness { position: table.end.position.0, index: table.end.index.0 };
        Self {
            disk,
            dir,
            segment_bytes: table.segment_bytes,
            prepare_ahead_bytes,
            table: RwLock::new(table),
            persist: Mutex::new(Persist {
                hard_state,
                hard_state_number: 0,
                durable,
                witnessed: Witness::default(),
                epoch: 0,
                writer: GroupWriter::new(),
            }),
            unwritten: Mutex::new(Vec::new()),
            written_position: AtomicU64::new(durable.position),
            unwitnessed: AtomicBool::new(false),
            durable_position: AtomicU64::new(durable.position),
            background: Mutex::new(()),
            interrupt: AtomicBool::new(false),
            preparing: AtomicBool::new(false),
            next: Mutex::new(next),
            no_space: Mutex::new(None),
            failure: OnceLock::new(),
            on_damage: OnceLock::new(),
            noted: AtomicBool::new(false),
            snapshots,
            snapshot_lost: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            read_ahead: ReadAhead::default(),
        }
    }

    pub(crate) fn table(&self) -> RwLockReadGuard<'_, Table<D>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn table_mut(&self) -> RwLockWriteGuard<'_, Table<D>> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn persist(&self) -> MutexGuard<'_, Persist<D>> {
        held(&self.persist)
    }

    pub(crate) fn unwritten(&self) -> MutexGuard<'_, Vec<Piece<D>>> {
        held(&self.unwritten)
    }

    pub(crate) fn next(&self) -> MutexGuard<'_, Next<D>> {
        held(&self.next)
    }

    pub(crate) fn no_space(&self) -> MutexGuard<'_, Option<LogError>> {
        held(&self.no_space)
    }

    /// Waits for preparation.
    pub(crate) fn background(&self) -> MutexGuard<'_, ()> {
        held(&self.background)
    }

    /// Ends preparation that is under way, and keeps it from beginning again while the guard lives.
    pub(crate) fn pause_background(&self) -> MutexGuard<'_, ()> {
        self.interrupt.store(true, Ordering::Relaxed);
        let guard = self.background();
        self.interrupt.store(false, Ordering::Relaxed);
        guard
    }

    /// The reason why nothing more may be written, if there is one.
    pub(crate) fn check_writable(&self) -> Result<(), LogError> {
        match self.failure.get() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Remembers a failure for good: what is on the disk is now unknown.
    pub(crate) fn latch<T>(&self, result: Result<T, LogError>) -> Result<T, LogError> {
        if let Err(error) = &result
            && self.failure.set(error.clone()).is_ok()
        {
            tracing::error!(dir = %self.dir.display(), %error, "the log accepts no further writes");
        }
        result
    }
}
