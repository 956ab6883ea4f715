//! Asking one peer for entries, or a snapshot, that are missing or damaged here.
//!
//! Invariant: whatever a peer answers, only the log decides whether it is taken.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use raft::eraftpb::Entry;
use raft_log::{LogError, LogIndex, MendError, Patch, PatchRefused, Patched, Position};
use tokio::net::TcpStream;

use super::wire::{FetchAnswer, FetchRequest};
use crate::replication::peers::dial::{DialError, connect};
use crate::replication::peers::frame::{FrameReader, write_all};
use crate::replication::peers::{Identity, Peer};
use crate::replication::wire::{FrameBuffer, Purpose, WireError};

/// How long a peer may take to read entries from its disk.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer accepted.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// Why a peer was of no help.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("its log begins with index {0}")]
    Compacted(u64),
    #[error(transparent)]
    Refused(#[from] PatchRefused),
    #[error(transparent)]
    Mend(#[from] MendError),
    #[error("its log has no snapshot there")]
    NoSnapshot,
    #[error("it cannot read it either")]
    SnapshotLost,
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A connection for questions.
struct Asking {
    reader: FrameReader<TcpStream>,
}

impl Asking {
    async fn connect(identity: &Identity, peer: &Peer) -> Result<Asking, AskError> {
        let stream = connect(identity, peer, Purpose::Repair).await?;
        Ok(Asking { reader: FrameReader::new(stream, ANSWER_BYTES_MAX) })
    }

    async fn question(&mut self, request: FetchRequest) -> Result<FetchAnswer, AskError> {
        let mut frames = FrameBuffer::default();
        frames.put_plain(&request);
        write_all(self.reader.get_mut(), &mut frames, PATIENCE).await?;
        let closed = || io::Error::from(io::ErrorKind::ConnectionReset);
        let frame = self.reader.next_within(PATIENCE).await?.ok_or_else(closed)?;
        Ok(FetchAnswer::decode(frame).map_err(WireError::from)?)
    }

    async fn ask(&mut self, first: LogIndex, last: LogIndex) -> Result<FetchAnswer, AskError> {
        let answer = self.question(FetchRequest::entries(first, last)).await?;
        if answer.first_index > first.0 {
            return Err(AskError::Compacted(answer.first_index));
        }
        Ok(answer)
    }
}

/// Fills the patch with what `peer` has, up to `last`. On an error the patch is of no more use.
pub(super) async fn fill(
    identity: &Identity,
    peer: &Peer,
    patch: &mut Patch,
    last: LogIndex,
) -> Result<(), AskError> {
    // Only padding may be damaged: then nothing has to be asked.
    let Patched::Wants(_) = patch.state() else { return Ok(()) };
    let mut asking = Asking::connect(identity, peer).await?;
    while let Patched::Wants(first) = patch.state() {
        let answer = asking.ask(first, last).await?;
        let (previous_crc, commit) = (answer.previous_crc, LogIndex(answer.commit));
        patch.add(previous_crc, &answer.entries()?, commit)?;
    }
    Ok(())
}

/// One entry as `peer` has it, and up to where that peer knows the log to be committed.
pub(super) async fn fetch_one(
    identity: &Identity,
    peer: &Peer,
    index: LogIndex,
) -> Result<(Entry, LogIndex), AskError> {
    let mut asking = Asking::connect(identity, peer).await?;
    let answer = asking.ask(index, index).await?;
    let commit = LogIndex(answer.commit);
    let found = answer.entries()?.into_iter().find(|entry| entry.index == index.0);
    let found = found.ok_or(AskError::Refused(PatchRefused::Nothing))?;
    Ok((found, commit))
}

/// The snapshot at a position as `peer` has it.
pub(super) async fn fetch_snapshot(
    identity: &Identity,
    peer: &Peer,
    position: Position,
) -> Result<Bytes, AskError> {
    let mut asking = Asking::connect(identity, peer).await?;
    let answer = asking.question(FetchRequest::snapshot(position)).await?;
    if answer.lacks_snapshot {
        return Err(AskError::NoSnapshot);
    }
    if answer.snapshot.is_empty() {
        return Err(AskError::SnapshotLost);
    }
    Ok(answer.snapshot)
}
