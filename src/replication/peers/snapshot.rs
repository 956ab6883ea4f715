//! Sending a snapshot: one connection, one frame, one acknowledgement.
//!
//! Invariant: whatever happens, the owner learns exactly once how it ended, so that raft goes on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use raft::eraftpb;
use tokio::sync::mpsc;

use super::dial::{DialError, HANDSHAKE_BYTES_MAX, WRITE_PATIENCE, connect};
use super::frame::{FrameReader, write_all};
use super::{Identity, Peer, PeerEvent};
use crate::replication::wire::{FrameBuffer, Purpose};

/// How long the receiver may take to read and accept it.
const ACKNOWLEDGE_PATIENCE: Duration = Duration::from_secs(60);

/// Sends the snapshot and reports the outcome.
pub(super) async fn send(
    identity: Arc<Identity>,
    peer: Arc<Peer>,
    message: eraftpb::Message,
    events: mpsc::Sender<PeerEvent>,
) {
    let index = message.get_snapshot().get_metadata().index;
    let bytes = message.get_snapshot().get_data().len();
    let outcome = deliver(&identity, &peer, message).await;
    match &outcome {
        Ok(()) => tracing::info!(
            group = %identity.group, peer = peer.id, index, bytes, "snapshot delivered"
        ),
        Err(error) => tracing::warn!(
            group = %identity.group, peer = peer.id, index, bytes, reason = %error,
            "snapshot not delivered"
        ),
    }
    peer.snapshot_under_way.store(false, Ordering::Relaxed);
    let _ = events.send(PeerEvent::SnapshotSent { to: peer.id, delivered: outcome.is_ok() }).await;
}

async fn deliver(
    identity: &Identity,
    peer: &Peer,
    message: eraftpb::Message,
) -> Result<(), DialError> {
    let mut stream = connect(identity, peer, Purpose::Snapshot).await?;
    let mut frames = FrameBuffer::default();
    frames.put_message(message);
    write_all(&mut stream, &mut frames, WRITE_PATIENCE).await?;
    let mut reader = FrameReader::new(stream, HANDSHAKE_BYTES_MAX);
    match reader.next_within(ACKNOWLEDGE_PATIENCE).await? {
        Some(_) => Ok(()),
        None => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
    }
}
