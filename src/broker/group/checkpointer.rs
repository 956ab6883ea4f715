//! When the state's checkpoint is saved.
//!
//! Invariant: what is saved is the state right behind an entry, and saves reach the store in order:
//! at most one is under way, and one from before a restored snapshot is dropped. How often is
//! counted in bytes of log, because those are what a restart replays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use raft_log::{LogIndex, Position};

use crate::state::{Change, State};
use crate::store::checkpoint::CheckpointStore;
use crate::store::worker::Worker;

pub(super) struct Checkpointer {
    store: Arc<Mutex<Box<dyn CheckpointStore>>>,
    worker: Arc<Worker>,
    /// A save is under way.
    busy: Arc<AtomicBool>,
    /// A save failed: the next one holds everything.
    failed: Arc<AtomicBool>,
    generation: Arc<AtomicU64>,
    interval_bytes: u64,
    saved_at: Position,
}

impl Checkpointer {
    pub(super) fn new(
        store: Box<dyn CheckpointStore>,
        worker: Arc<Worker>,
        interval_bytes: u64,
        saved_at: Position,
    ) -> Checkpointer {
        Checkpointer {
            store: Arc::new(Mutex::new(store)),
            worker,
            busy: Arc::default(),
            failed: Arc::default(),
            generation: Arc::default(),
            interval_bytes,
            saved_at,
        }
    }

    /// Whether enough was applied since the last save.
    pub(super) fn is_due(&self, applied_end: Position) -> bool {
        let enough = applied_end.0.saturating_sub(self.saved_at.0) >= self.interval_bytes;
        #[cfg(madsim)]
        let enough = enough || crate::buggify::early_checkpoint();
        enough && !self.busy.load(Ordering::Acquire)
    }

    /// Saves what changed; skipped when a save is under way.
    pub(super) fn save(&mut self, state: &mut State, applied: LogIndex, applied_end: Position) {
        if self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        self.saved_at = applied_end;
        let everything = self.failed.swap(false, Ordering::AcqRel);
        let changes = state.take_changes();
        let changes = if everything { all_of(state) } else { changes };
        let generation = self.generation.load(Ordering::Acquire);
        let (store, busy, failed) =
            (Arc::clone(&self.store), Arc::clone(&self.busy), Arc::clone(&self.failed));
        let current = Arc::clone(&self.generation);
        self.worker.submit(move || {
            let mut store = store.lock();
            if current.load(Ordering::Acquire) == generation {
                let wiped = if everything { store.wipe() } else { Ok(()) };
                if let Err(error) = wiped.and_then(|()| store.save(&changes, applied)) {
                    tracing::warn!(%error, "checkpoint is not saved; a restart replays more");
                    failed.store(true, Ordering::Release);
                }
            }
            busy.store(false, Ordering::Release);
        });
    }

    /// Puts a restored state in the place of all that was saved.
    pub(super) fn replace(&mut self, state: &mut State, applied: LogIndex, log_start: Position) {
        self.saved_at = log_start;
        drop(state.take_changes());
        let mut store = self.store.lock();
        self.generation.fetch_add(1, Ordering::AcqRel);
        let saved = store.wipe().and_then(|()| store.save(&all_of(state), applied));
        self.failed.store(saved.is_err(), Ordering::Release);
        if let Err(error) = saved {
            tracing::warn!(%error, "checkpoint is not saved; a restart replays more");
        }
    }
}

fn all_of(state: &State) -> Vec<Change> {
    state.entries().map(|(key, value)| (key, Some(value))).collect()
}
