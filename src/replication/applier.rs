//! The task that applies committed entries, beside the one that replicates them.
//!
//! Invariant: the machine sees every committed entry once, in order, and the state at each segment's
//! start is on disk as a snapshot before the first entry of that segment is applied: only then may
//! the segments below it ever be deleted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use raft_log::{Disk, LogError, LogIndex, LogReader, Position, SnapshotStore, Term};
use tokio::sync::{Notify, mpsc};

use super::machine::{ApplyOutcome, Committed, Machine};

/// Batches that may wait in the channel; the owner keeps the rest and hands them on as room appears.
const BATCHES_MAX: usize = 16;

/// What the owner hands over.
pub(super) enum Work<P> {
    /// Committed entries, each with who waits for it.
    Entries(Vec<(Committed, Option<P>)>),
    /// Replace the state.
    Restore { index: LogIndex, term: Term, log_start: Position, snapshot: Bytes },
}

/// Why applying cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    #[error("the snapshot at the segment's start cannot be stored: {0}")]
    Save(#[from] LogError),
    #[error("the snapshot at index {index} cannot be read: {reason}")]
    Restore { index: LogIndex, reason: String },
}

/// What the applier tells the owner, without a message per batch.
pub(super) struct Progress {
    applied: AtomicU64,
    /// Payload bytes handed over and not yet applied.
    backlog_bytes: AtomicUsize,
    /// Zero for none, else position plus one.
    compact_to: AtomicU64,
    /// The owner wants to be woken once this is applied.
    wake_at: AtomicU64,
    wake: Arc<Notify>,
}

impl Progress {
    fn new(applied: LogIndex, wake: Arc<Notify>) -> Self {
        Progress {
            applied: AtomicU64::new(applied.0),
            backlog_bytes: AtomicUsize::new(0),
            compact_to: AtomicU64::new(0),
            wake_at: AtomicU64::new(u64::MAX),
            wake,
        }
    }

    fn advance(&self, index: LogIndex, bytes: usize) {
        self.applied.store(index.0, Ordering::SeqCst);
        self.backlog_bytes.fetch_sub(bytes, Ordering::SeqCst);
        if index.0 >= self.wake_at.load(Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    fn ask_compaction(&self, position: Position) {
        self.compact_to.fetch_max(position.0 + 1, Ordering::SeqCst);
        self.wake.notify_one();
    }
}

/// The owner's end.
pub(super) struct Applier<P> {
    work: mpsc::Sender<Work<P>>,
    /// What did not fit the channel. The owner defers what comes while this is large.
    overflow: VecDeque<Work<P>>,
    progress: Arc<Progress>,
}

impl<P: Send + 'static> Applier<P> {
    /// The owner's end, and the task's.
    pub fn new(applied: LogIndex, wake: Arc<Notify>) -> (Self, mpsc::Receiver<Work<P>>) {
        let (work, received) = mpsc::channel(BATCHES_MAX);
        let progress = Arc::new(Progress::new(applied, wake));
        (Applier { work, overflow: VecDeque::new(), progress }, received)
    }

    /// For the task.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Queues work behind everything queued before.
    pub fn hand(&mut self, work: Work<P>) {
        if let Work::Entries(entries) = &work {
            let bytes = weight(entries);
            self.progress.backlog_bytes.fetch_add(bytes, Ordering::SeqCst);
        }
        self.overflow.push_back(work);
        self.push();
    }

    /// Moves as much as fits into the channel.
    pub fn push(&mut self) {
        while let Some(work) = self.overflow.pop_front() {
            if let Err(refused) = self.work.try_send(work) {
                let (mpsc::error::TrySendError::Full(work)
                | mpsc::error::TrySendError::Closed(work)) = refused;
                self.overflow.push_front(work);
                return;
            }
        }
    }

    /// Index up to which the machine has applied.
    pub fn applied(&self) -> LogIndex {
        LogIndex(self.progress.applied.load(Ordering::SeqCst))
    }

    /// Payload bytes committed but not applied.
    pub fn backlog_bytes(&self) -> usize {
        self.progress.backlog_bytes.load(Ordering::SeqCst)
    }

    /// Wakes the owner once `index` is applied (it may be already: then at once). While work does
    /// not fit the channel, at every batch.
    pub fn wake_at(&self, index: Option<LogIndex>) {
        let index = if self.overflow.is_empty() { index.map_or(u64::MAX, |at| at.0) } else { 0 };
        self.progress.wake_at.store(index, Ordering::SeqCst);
        if index != 0 && self.progress.applied.load(Ordering::SeqCst) >= index {
            self.progress.wake.notify_one();
        }
    }

    /// The highest position that the machine allowed to be dropped since last asked.
    pub fn take_compaction(&self) -> Option<Position> {
        let asked = self.progress.compact_to.swap(0, Ordering::SeqCst);
        asked.checked_sub(1).map(Position)
    }
}

fn weight<P>(entries: &[(Committed, Option<P>)]) -> usize {
    entries.iter().map(|(entry, _)| entry.payload.len()).sum()
}

/// The task's end.
pub(super) struct ApplierTask<D: Disk, M: Machine> {
    pub machine: M,
    pub work: mpsc::Receiver<Work<M::Pending>>,
    pub progress: Arc<Progress>,
    pub reader: LogReader<D>,
    pub snapshots: SnapshotStore<D>,
    /// Index and term of the last applied entry.
    pub last: (LogIndex, Term),
    /// Whose entries they are.
    #[cfg(madsim)]
    pub group: Arc<str>,
}

impl<D: Disk, M: Machine> ApplierTask<D, M> {
    /// Applies until the owner is gone; the machine is dropped with it.
    pub async fn run(mut self) -> Result<(), ApplyError> {
        while let Some(work) = self.work.recv().await {
            #[cfg(madsim)]
            crate::buggify::apply_lag().await;
            match work {
                Work::Entries(entries) => self.apply(entries).await?,
                Work::Restore { index, term, log_start, snapshot } => {
                    self.restore(index, log_start, &snapshot)?;
                    self.last = (index, term);
                    self.progress.advance(index, 0);
                }
            }
            // One batch may have been long, and ready work never yields by itself.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn apply(
        &mut self,
        entries: Vec<(Committed, Option<M::Pending>)>,
    ) -> Result<(), ApplyError> {
        let bytes = weight(&entries);
        let mut compact_to = None;
        for (entry, pending) in entries {
            assert_eq!(entry.index.0, self.last.0.0 + 1, "entries are applied in order");
            if entry.position == self.reader.segment_start(entry.position) {
                // What is applied so far becomes visible while the disk works.
                self.machine.batch_applied();
                self.save_boundary(entry.position).await?;
            }
            self.last = (entry.index, entry.term);
            #[cfg(madsim)]
            crate::observe::applied(&self.group, &entry);
            let ApplyOutcome { compact_to: asked } = self.machine.apply(entry, pending);
            compact_to = compact_to.max(asked);
        }
        self.machine.batch_applied();
        self.progress.advance(self.last.0, bytes);
        if let Some(position) = compact_to {
            self.progress.ask_compaction(position);
        }
        Ok(())
    }

    /// Keeps the state as it is before the first entry of a segment.
    // In a simulation, where it runs in place, it has a mark of its own.
    #[cfg_attr(madsim, allow(deprecated))]
    async fn save_boundary(&mut self, position: Position) -> Result<(), ApplyError> {
        match self.reader.boundary_before(position) {
            Ok(Some(boundary)) => {
                let wanted = boundary.index > LogIndex(0);
                // During a replay it is there already.
                if wanted && !self.snapshots.positions()?.contains(&boundary.position) {
                    let (snapshots, state) = (self.snapshots.clone(), self.machine.snapshot());
                    let saved =
                        tokio::task::spawn_blocking(move || snapshots.save(boundary, &state));
                    saved.await.unwrap_or(Err(LogError::Closed))?;
                }
                Ok(())
            }
            Ok(None) => Ok(()),
            // The log was replaced by a snapshot from beyond this entry: nobody will need this one.
            Err(LogError::Compacted { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn restore(
        &mut self,
        index: LogIndex,
        log_start: Position,
        snapshot: &[u8],
    ) -> Result<(), ApplyError> {
        self.machine
            .restore(index, log_start, snapshot)
            .map_err(|reason| ApplyError::Restore { index, reason })?;
        self.machine.batch_applied();
        tracing::info!(index = index.0, position = log_start.0, "state replaced by a snapshot");
        Ok(())
    }
}
