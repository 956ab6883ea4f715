//! Giving entries and snapshots to a peer that lost them.
//!
//! Invariant: every entry given was read from this member's log and checked; up to the commit index
//! that comes with them, they are the same on every member for ever. So is a snapshot: it is the state of
//! applied entries.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use raft_log::{DamagedLog, Disk, HeadlessLog, LogIndex, LogReader, Position, SnapshotStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::wire::{FetchAnswer, FetchRequest};
use crate::replication::handle::ReplicaStatus;
use crate::replication::peers::frame::{FrameReader, write_all};
use crate::replication::wire::FrameBuffer;

/// Payload in one answer, if the first entry is not larger.
const ANSWER_BYTES: usize = 1 << 20;
/// How long an asking peer may take for its next question, or to read an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where entries are taken from. Not generic over the disk, so that connections need not be.
pub(in crate::replication) trait EntrySource: Send + Sync + 'static {
    /// What there is of what is asked for.
    fn fetch(&self, request: FetchRequest) -> Pin<Box<dyn Future<Output = FetchAnswer> + Send>>;
}

/// The log of a member that runs.
pub(in crate::replication) struct LiveLog<D: Disk> {
    pub reader: LogReader<D>,
    pub status: watch::Receiver<ReplicaStatus>,
}

impl<D: Disk> EntrySource for LiveLog<D> {
    fn fetch(&self, request: FetchRequest) -> Pin<Box<dyn Future<Output = FetchAnswer> + Send>> {
        // Before anything is read: what is committed by then is committed when it is read.
        let commit = self.status.borrow().commit;
        let reader = self.reader.clone();
        Box::pin(async move {
            if request.snapshot > 0 {
                let found = snapshot_of(reader.snapshots(), request).await;
                let found = found.map(|found| found.unwrap_or_else(FetchAnswer::without_snapshot));
                return found.unwrap_or_default();
            }
            let (first, last) = (LogIndex(request.first), LogIndex(request.last));
            let found = reader.fetch(first, last, ANSWER_BYTES).await;
            answer(reader.first_index(), commit, found)
        })
    }
}

/// The log of a member that is being repaired itself.
impl<D: Disk> EntrySource for Arc<DamagedLog<D>> {
    fn fetch(&self, request: FetchRequest) -> Pin<Box<dyn Future<Output = FetchAnswer> + Send>> {
        let log = Arc::clone(self);
        Box::pin(async move {
            if request.snapshot > 0 {
                return snapshot_of(log.snapshots(), request).await.flatten().unwrap_or_default();
            }
            let (first, last) = (LogIndex(request.first), LogIndex(request.last));
            let found = DamagedLog::fetch(&log, first, last, ANSWER_BYTES).await;
            answer(log.first_index(), log.commit(), found)
        })
    }
}

/// The snapshots of a member that lacks the one at its log's start.
impl<D: Disk> EntrySource for Arc<HeadlessLog<D>> {
    fn fetch(&self, request: FetchRequest) -> Pin<Box<dyn Future<Output = FetchAnswer> + Send>> {
        let log = Arc::clone(self);
        Box::pin(async move {
            if request.snapshot > 0 {
                return snapshot_of(log.snapshots(), request).await.flatten().unwrap_or_default();
            }
            FetchAnswer::default()
        })
    }
}

/// An answer with the snapshot that is asked for: `None` when it cannot be read, `Some(None)` when it is not
/// there.
async fn snapshot_of<D: Disk>(
    snapshots: SnapshotStore<D>,
    request: FetchRequest,
) -> Option<Option<FetchAnswer>> {
    match snapshots.fetch(Position(request.snapshot)).await {
        Ok(found) => Some(found.map(FetchAnswer::with_snapshot)),
        Err(error) => {
            tracing::warn!(%error, "cannot read what a peer lost");
            None
        }
    }
}

fn answer(
    first_index: LogIndex,
    commit: LogIndex,
    found: Result<Option<raft_log::Fetched>, raft_log::LogError>,
) -> FetchAnswer {
    let found = found.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read what a peer lost");
        None
    });
    FetchAnswer::of(first_index, commit, found)
}

/// Answers a peer's questions until it has no more.
pub(in crate::replication) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    source: &dyn EntrySource,
    reader: &mut FrameReader<S>,
) -> io::Result<()> {
    while let Some(frame) = reader.next_within(PATIENCE).await? {
        let request = FetchRequest::decode(frame).map_err(io::Error::other)?;
        let answer = source.fetch(request).await;
        let mut frames = FrameBuffer::default();
        frames.put_plain(&answer);
        write_all(reader.get_mut(), &mut frames, PATIENCE).await?;
    }
    Ok(())
}
