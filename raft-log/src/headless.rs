//! A log that begins at a snapshot which cannot be read: what its entries are applied to is gone.
//!
//! At a boundary every member's snapshot is the same, byte for byte, so one that a peer gives takes its place.
//! When no peer has it any more, the member gives up its entries too: it keeps term and vote, and counts as
//! one that lost what it acknowledged, until the leader has given it everything anew. In a log in use the same
//! snapshot is needed by followers only, and mended beside everything else.
//!
//! Invariants: no raft node runs on such a log; a snapshot is taken only if the first entry, where that can be
//! read, follows it; before the first file goes the member has noted, durably, that it is lost. Every step can
//! be repeated, and after a crash between two of them the log is without its head still, or gone.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use raft::eraftpb::ConfState;

use crate::anew;
use crate::disk::{Disk, DiskFile, Lane, read_or_lost};
use crate::entry::{EntryHeader, EntryKind, HEADER};
use crate::error::{IoContext, LogError};
use crate::files;
use crate::log::{Log, Opened};
use crate::options::LogOptions;
use crate::reader::LogReader;
use crate::recovery;
use crate::shared::Shared;
use crate::snapshot::{BoundarySnapshot, SnapshotStore};
use crate::types::{LogIndex, Position};

/// See the module.
pub struct HeadlessLog<D: Disk> {
    disk: D,
    dir: PathBuf,
    options: LogOptions,
    lock: Arc<D::Lock>,
    position: Position,
    /// Index and previous checksum of the first entry, if that can be read.
    first: Option<(LogIndex, u32)>,
}

impl<D: Disk> HeadlessLog<D> {
    /// The log in `dir`, whose snapshot at `position` cannot be read.
    pub(crate) fn new(
        disk: &D,
        dir: &Path,
        options: &LogOptions,
        lock: Arc<D::Lock>,
        position: Position,
    ) -> Result<Self, LogError> {
        let first = first_entry(disk, dir, position)?;
        let (disk, dir, options) = (disk.clone(), dir.to_path_buf(), options.clone());
        Ok(Self { disk, dir, options, lock, position, first })
    }

    /// Where the snapshot stands that it lacks.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The same as an error, for who cannot have it mended.
    pub fn error(&self) -> LogError {
        LogError::corrupt(
            &files::snapshot_path(&self.dir, self.position.0),
            self.position.0,
            "the snapshot at the log's start is missing or damaged",
        )
    }

    /// The snapshots that can be read, for peers that lack one.
    pub fn snapshots(&self) -> SnapshotStore<D> {
        SnapshotStore::new(self.disk.clone(), self.dir.clone(), ConfState::default())
    }

    /// Takes the snapshot as a peer has it, and opens the log again.
    ///
    /// # Errors
    /// `BadSnapshot` when it is another one: nothing was changed. All others are fatal.
    pub fn put(&self, encoded: Bytes) -> Result<Opened<D>, LogError> {
        let snapshot = BoundarySnapshot::decode(encoded)?;
        let boundary = snapshot.boundary;
        let before = (LogIndex(boundary.index.0 + 1), boundary.chain_crc);
        if boundary.position != self.position || self.first.is_some_and(|first| first != before) {
            let reason = format!("what was given for position {} is another's", self.position);
            return Err(LogError::BadSnapshot(reason));
        }
        self.snapshots().put(&snapshot)?;
        self.open_again()
    }

    /// Gives up what is there, and opens an empty log of a member that is lost.
    ///
    /// # Errors
    /// All are fatal.
    pub fn begin_anew(&self) -> Result<Opened<D>, LogError> {
        tracing::error!(position = %self.position, "nobody has the snapshot at which the log begins");
        anew::give_up(&self.disk, &self.dir)?;
        self.open_again()
    }

    fn open_again(&self) -> Result<Opened<D>, LogError> {
        let (disk, dir, options) = (&self.disk, &self.dir, &self.options);
        let outcome = recovery::open_locked(disk, dir, options, self.lock.clone())?;
        Ok(Log::around(disk.clone(), dir, options, outcome))
    }
}

impl<D: Disk> Shared<D> {
    /// The snapshot at the log's start cannot be read: has it mended.
    pub(crate) fn note_lost_snapshot(&self, position: Position) {
        if !self.snapshot_lost.swap(true, Ordering::AcqRel) {
            tracing::error!(
                file = %files::snapshot_path(&self.dir, position.0).display(),
                "the snapshot at the log's start cannot be read; peers are asked for it"
            );
            self.tell_damage();
        }
    }

    fn check_snapshot_now(&self) -> Result<(), LogError> {
        let start = self.table().start;
        let is_there = start.index.0 == 0
            || match self.snapshots.at(start.position) {
                Ok(found) => found.is_some(),
                Err(LogError::Corrupt { .. }) => false,
                Err(error) => return Err(error),
            };
        // The log may begin elsewhere by now, and what was read be gone rightly.
        if self.table().start != start {
            return Ok(());
        }
        if is_there {
            self.snapshot_lost.store(false, Ordering::Release);
        } else {
            self.note_lost_snapshot(start.position);
        }
        Ok(())
    }

    fn renew_snapshot_now(&self, encoded: Bytes) -> Result<(), LogError> {
        let _background = self.background();
        if self.closed.load(Ordering::Acquire) {
            return Err(LogError::Closed);
        }
        self.check_writable()?;
        let snapshot = BoundarySnapshot::decode(encoded)?;
        if snapshot.boundary != self.table().start {
            return Err(LogError::BadSnapshot("it is not the one at the log's start".to_owned()));
        }
        // A disk that is full, or fails, is met by the next write.
        self.snapshots.put(&snapshot)?;
        self.snapshot_lost.store(false, Ordering::Release);
        Ok(())
    }
}

impl<D: Disk> LogReader<D> {
    /// Where the log begins, while the snapshot there is known to be unreadable.
    pub fn lost_snapshot(&self) -> Option<Position> {
        self.shared.snapshot_lost.load(Ordering::Acquire).then(|| self.first_position())
    }

    /// Looks at the snapshot at the log's start, away from the caller; one that cannot be read is known as lost
    /// afterwards.
    pub fn check_snapshot(&self) -> impl Future<Output = Result<(), LogError>> + Send + 'static {
        let shared = self.shared.clone();
        let check = move || shared.check_snapshot_now();
        // A log with its first entry needs none.
        let needed = self.first_index().0 > 1;
        let checked = needed.then(|| self.shared.disk.offload(Lane::Prepare, check));
        async move {
            match checked {
                Some(checked) => checked.await.unwrap_or(Err(LogError::Closed)),
                None => Ok(()),
            }
        }
    }

    /// Takes what a peer has for the snapshot at the log's start. Durable when it is done.
    pub fn renew_snapshot(
        &self,
        encoded: Bytes,
    ) -> impl Future<Output = Result<(), LogError>> + Send + 'static {
        let shared = self.shared.clone();
        let renewed =
            self.shared.disk.offload(Lane::Prepare, move || shared.renew_snapshot_now(encoded));
        async move { renewed.await.unwrap_or(Err(LogError::Closed)) }
    }

    /// The snapshots beside the log.
    pub fn snapshots(&self) -> SnapshotStore<D> {
        self.shared.snapshots.clone()
    }
}

/// What the first entry of the segment at `position` says of itself and of what was before it.
fn first_entry<D: Disk>(
    disk: &D,
    dir: &Path,
    position: Position,
) -> Result<Option<(LogIndex, u32)>, LogError> {
    let path = files::segment_path(dir, position.0);
    if !files::exists(disk, &path)? {
        return Ok(None);
    }
    let file = disk.open(&path).during("open", &path)?;
    let mut bytes = [0; HEADER];
    if file.len().during("measure", &path)? < HEADER as u64
        || !read_or_lost(&file, &mut bytes, 0).during("read", &path)?
    {
        return Ok(None);
    }
    let header = EntryHeader::decode(&bytes).ok().map(|(header, _)| header);
    let header =
        header.filter(|header| header.position == position.0 && header.kind != EntryKind::Padding);
    Ok(header.map(|header| (LogIndex(header.index), header.previous_crc)))
}
