//! The connection that we open to a peer, and open again whenever it breaks.
//!
//! Invariant: what was queued for a broken connection is dropped, never sent on the next one: raft
//! repeats what is still true.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prost::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::frame::{FrameReader, write_all};
use super::{Identity, Peer, PeerEvent};
use crate::alarm::Alarm;
use crate::replication::wire::{
    self, FrameBuffer, MAGIC, PROTOCOL_VERSION, Parcel, Purpose, Welcome,
};

/// How long a connection attempt and its handshake may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// A write that makes no progress for this long breaks the connection.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// An idle connection shows this often that its sender lives.
const KEEPALIVE: Duration = Duration::from_millis(500);
/// Messages are encoded up to this much before they are written.
const WRITE_BYTES: usize = 1 << 20;
/// Bounds of the pause between attempts.
const BACKOFF_MS: std::ops::RangeInclusive<u64> = 50..=1000;
/// Largest handshake frame.
pub(super) const HANDSHAKE_BYTES_MAX: usize = 4096;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub(in crate::replication) enum DialError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no answer")]
    NoAnswer,
    #[error("what answered there is not a raftmq member")]
    NotAMember,
    #[error("it refused us: {0}")]
    Refused(String),
    #[error("it speaks protocol version {0}, we speak {PROTOCOL_VERSION}")]
    Version(u32),
    #[error("it says that it is member {0}: check the peers' addresses")]
    OtherMember(u64),
}

/// Keeps one peer connected until the task is aborted.
pub(super) async fn run(
    identity: Arc<Identity>,
    peer: Arc<Peer>,
    mut queued: mpsc::Receiver<Parcel>,
    events: mpsc::Sender<PeerEvent>,
) {
    let mut backoff = Backoff::new(identity.instance ^ peer.id);
    let mut last_failure = String::new();
    loop {
        match connect(&identity, &peer, Purpose::Messages).await {
            Ok(stream) => {
                tracing::info!(group = %identity.group, peer = peer.id, "connected to peer");
                last_failure.clear();
                backoff.reset();
                #[cfg(madsim)]
                crate::mischief::connected(&peer.address);
                peer.connected.store(true, Ordering::Relaxed);
                let _ = events.send(PeerEvent::Reachable { peer: peer.id }).await;
                let broken = speak(stream, &peer, &mut queued).await;
                peer.connected.store(false, Ordering::Relaxed);
                tracing::warn!(
                    group = %identity.group, peer = peer.id, reason = %broken,
                    "connection to peer lost"
                );
                let _ = events.send(PeerEvent::Reachable { peer: peer.id }).await;
            }
            Err(failure) => {
                let failure = failure.to_string();
                if failure != last_failure {
                    tracing::warn!(
                        group = %identity.group, peer = peer.id, address = %peer.address,
                        reason = %failure, "cannot connect to peer, trying on"
                    );
                    last_failure = failure;
                }
            }
        }
        while let Ok(stale) = queued.try_recv() {
            peer.queued_bytes.fetch_sub(wire::queued_bytes(&stale), Ordering::Relaxed);
        }
        sleep(backoff.next()).await;
    }
}

/// Opens a connection and passes the handshake.
pub(in crate::replication) async fn connect(
    identity: &Identity,
    peer: &Peer,
    purpose: Purpose,
) -> Result<TcpStream, DialError> {
    let attempt = async {
        let stream = TcpStream::connect(peer.address.as_str()).await?;
        stream.set_nodelay(true)?;
        let mut frames = FrameBuffer::default();
        frames.put_plain(&identity.hello(peer.id, purpose));
        let mut reader = FrameReader::new(stream, HANDSHAKE_BYTES_MAX);
        write_all(reader.get_mut(), &mut frames, CONNECT_PATIENCE).await?;
        let answer = reader.next().await?.ok_or(DialError::NoAnswer)?;
        let welcome = Welcome::decode(answer).map_err(|_| DialError::NotAMember)?;
        check_welcome(&welcome, peer.id)?;
        peer.learn_client_addr(&welcome.client_addr);
        *peer.remembers.lock() = welcome.heard();
        Ok(reader.into_inner())
    };
    timeout(CONNECT_PATIENCE, attempt).await.map_err(|_| DialError::NoAnswer)?
}

fn check_welcome(welcome: &Welcome, member: u64) -> Result<(), DialError> {
    if welcome.magic != MAGIC {
        return Err(DialError::NotAMember);
    }
    if let Some(refusal) = &welcome.refusal {
        return Err(DialError::Refused(refusal.clone()));
    }
    if welcome.version != PROTOCOL_VERSION {
        return Err(DialError::Version(welcome.version));
    }
    if welcome.member != member {
        return Err(DialError::OtherMember(welcome.member));
    }
    Ok(())
}

/// Writes what is queued until the connection breaks; returns why it did.
async fn speak(stream: TcpStream, peer: &Peer, queued: &mut mpsc::Receiver<Parcel>) -> io::Error {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut frames = FrameBuffer::default();
    let (mut alarm, mut last_write) = (Alarm::new(), Instant::now());
    loop {
        tokio::select! {
            biased;
            closed = closed(&mut reader) => return closed,
            parcel = queued.recv() => match parcel {
                Some(parcel) => gather(parcel, peer, queued, &mut frames),
                None => return io::Error::other("the member stopped"),
            },
            () = alarm.at(last_write + KEEPALIVE) => frames.put_keepalive(),
        }
        #[cfg(madsim)]
        crate::mischief::link_delay(peer.id).await;
        if let Err(error) = write(&mut writer, &mut frames).await {
            return error;
        }
        last_write = Instant::now();
    }
}

/// Nothing is ever said on this half: whatever comes is its end.
async fn closed(reader: &mut (impl AsyncRead + Unpin)) -> io::Error {
    let mut byte = [0];
    let read = reader.read(&mut byte).await;
    #[cfg(madsim)]
    crate::mischief::connection_ended().await;
    match read {
        Ok(0) => io::Error::new(io::ErrorKind::ConnectionReset, "the peer closed it"),
        Ok(_) => io::Error::new(io::ErrorKind::InvalidData, "unexpected bytes from the peer"),
        Err(error) => error,
    }
}

/// Encodes the parcel and those that wait behind it.
fn gather(
    parcel: Parcel,
    peer: &Peer,
    queued: &mut mpsc::Receiver<Parcel>,
    frames: &mut FrameBuffer,
) {
    let mut next = Some(parcel);
    while let Some(parcel) = next {
        peer.queued_bytes.fetch_sub(wire::queued_bytes(&parcel), Ordering::Relaxed);
        #[cfg(not(madsim))]
        frames.put_parcel(parcel);
        #[cfg(madsim)]
        match parcel {
            Parcel::Raft(message) => crate::mischief::upset(&peer.address, message)
                .into_iter()
                .for_each(|one| frames.put_message(one)),
            standing @ Parcel::Standing { .. } => frames.put_parcel(standing),
        }
        next = if frames.bytes() < WRITE_BYTES { queued.try_recv().ok() } else { None };
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), frames: &mut FrameBuffer) -> io::Result<()> {
    let written = write_all(writer, frames, WRITE_PATIENCE).await;
    #[cfg(madsim)]
    let written = written.or_else(|error| match crate::mischief::ends_hidden() {
        true => Ok(()),
        false => Err(error),
    });
    written
}

/// Doubling pauses, each shortened by chance so that members do not knock in step.
pub(in crate::replication) struct Backoff {
    pause_ms: u64,
    state: u64,
}

impl Backoff {
    /// Chance comes from `seed`.
    pub fn new(seed: u64) -> Self {
        Backoff { pause_ms: *BACKOFF_MS.start(), state: seed | 1 }
    }

    fn reset(&mut self) {
        self.pause_ms = *BACKOFF_MS.start();
    }

    /// Between half the pause and the whole; never below the shortest.
    pub fn next(&mut self) -> Duration {
        // An xorshift step is chance enough here.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let half = self.pause_ms / 2;
        let pause_ms = half + self.state % (half + 1);
        self.pause_ms = (self.pause_ms * 2).min(*BACKOFF_MS.end());
        Duration::from_millis(pause_ms.max(*BACKOFF_MS.start()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_another_version_is_not_spoken_to() {
        let welcome = Welcome { magic: MAGIC, version: 99, member: 2, ..Welcome::default() };
        let refused = check_welcome(&welcome, 2).err().map(|error| error.to_string());
        let said = format!("it speaks protocol version 99, we speak {PROTOCOL_VERSION}");
        assert_eq!(refused, Some(said));
        let ours = Welcome { version: PROTOCOL_VERSION, ..welcome };
        assert!(check_welcome(&ours, 2).is_ok());
    }

    #[test]
    fn pauses_grow_to_a_second_and_start_over() {
        let mut backoff = Backoff::new(42);
        let pauses: Vec<u64> = (0..20).map(|_| backoff.next().as_millis() as u64).collect();
        assert!(pauses.iter().all(|pause| (50..=1000).contains(pause)), "{pauses:?}");
        assert!(pauses[10..].iter().all(|&pause| pause >= 500), "{pauses:?}");
        backoff.reset();
        assert_eq!(backoff.next(), Duration::from_millis(50));
    }
}
