//! Asking one peer for entries, or a snapshot, that are missing or damaged here.
//!
//! Invariant: whatever a peer answers, only the log decides whether it is taken.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use raft::eraftpb::Entry;
use raft_log::{
    DamagedLog, Disk, LogError, LogIndex, LogReader, MendError, Mended, Patch, PatchRefused,
    Patched, Position,
};
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

    /// The entry at an index, if the peer has it, and up to where the peer knows the log to be committed.
    async fn entry(&mut self, index: LogIndex) -> Result<(Option<Entry>, LogIndex), AskError> {
        let answer = self.ask(index, index).await?;
        let commit = LogIndex(answer.commit);
        let entry = answer.entries()?.into_iter().find(|entry| entry.index == index.0);
        Ok((entry, commit))
    }

    /// The last entry that the peer knows to be committed, of those up to an index; none when it does not say.
    async fn last_committed(
        &mut self,
        commit: LogIndex,
        last: LogIndex,
    ) -> Option<(Entry, LogIndex)> {
        let (entry, commit) = self.entry(commit.min(last)).await.ok()?;
        Some((entry?, commit))
    }
}

/// A patch for the first damage, of what `peer` has; or one that takes the damage back, if the peer shows that
/// the group gave up what is before it.
pub(super) async fn fill<D: Disk>(
    identity: &Identity,
    peer: &Peer,
    log: &DamagedLog<D>,
) -> Result<Patch, AskError> {
    let (mut patch, damage) = (log.patch(), log.damage());
    // Only padding may be damaged: then nothing has to be asked.
    let Patched::Wants(_) = patch.state() else { return Ok(patch) };
    let mut asking = Asking::connect(identity, peer).await?;
    while let Patched::Wants(first) = patch.state() {
        let answer = asking.ask(first, damage.last()).await?;
        let (previous_crc, commit) = (answer.previous_crc, LogIndex(answer.commit));
        if let Err(refused) = patch.add(previous_crc, &answer.entries()?, commit) {
            let shown = asking.last_committed(commit, damage.before.index).await;
            let without = shown.and_then(|(entry, commit)| log.patch_without(&entry, commit));
            return without.ok_or(refused.into());
        }
    }
    Ok(patch)
}

/// Has a damaged entry mended with what `peer` has. If that is none, the peer may show that the group gave up
/// what is before it.
pub(super) async fn mend_one<D: Disk>(
    identity: &Identity,
    peer: &Peer,
    reader: &LogReader<D>,
    index: LogIndex,
) -> Result<Mended, AskError> {
    let mut asking = Asking::connect(identity, peer).await?;
    let (entry, commit) = asking.entry(index).await?;
    let refused = match entry {
        Some(entry) => match reader.mend(entry, commit).await {
            Err(MendError::OtherEntry(index)) => MendError::OtherEntry(index).into(),
            mended => return Ok(mended?),
        },
        None => AskError::Refused(PatchRefused::Nothing),
    };
    let before = LogIndex(index.0 - 1);
    if let Some((entry, commit)) = asking.last_committed(commit, before).await
        && reader.was_given_up(entry, commit).await
    {
        return Err(MendError::GivenUp(index).into());
    }
    Err(refused)
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
