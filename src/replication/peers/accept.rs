//! Connections that peers open to us: the handshake, then their messages.
//!
//! Invariant: nothing is believed before the handshake matched; a refused member is told why, and the
//! operator reads it once, not at every attempt.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message as _;
use raft_log::Claim;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::dial::{HANDSHAKE_BYTES_MAX, WRITE_PATIENCE};
use super::frame::{FrameReader, write_all};
use super::tasks::Tasks;
use super::{Identity, Inbound, Peer, PeerBounds, PeerEvent, PeerTable};
use crate::replication::complaint::Complaint;
use crate::replication::repair::{self, EntrySource};
use crate::replication::wire::{
    self, FrameBuffer, Hello, MAGIC, PROTOCOL_VERSION, Parcel, Purpose, Welcome,
};

/// How long a stranger may take to say who it is.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);
/// A peer sends something at least twice a second: silence this long breaks the connection.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// A peer heard from this recently is alive: another process with its id is an impostor.
const ALIVE: Duration = Duration::from_millis(1500);
/// Largest snapshot accepted.
const SNAPSHOT_BYTES_MAX: usize = 1 << 30;
/// Pause after the operating system refuses to accept, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every inbound connection needs.
pub(super) struct Acceptor {
    pub identity: Arc<Identity>,
    pub table: PeerTable,
    /// Where peers that lost entries get them from.
    pub source: Arc<dyn EntrySource>,
    /// Whom messages are for; none while this member's log is being repaired.
    pub member: Option<(mpsc::Sender<PeerEvent>, PeerBounds)>,
    pub last_refusal: Mutex<Complaint>,
}

/// Accepts until it is dropped.
pub(super) async fn run(acceptor: Arc<Acceptor>, listener: &TcpListener, tasks: &Tasks) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let acceptor = Arc::clone(&acceptor);
                tasks.spawn(async move { acceptor.serve(stream, from).await });
            }
            Err(error) => {
                tracing::warn!(reason = %error, "cannot accept a peer's connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Acceptor {
    async fn serve(&self, stream: TcpStream, from: SocketAddr) {
        // Without it answers on this socket wait for the other side's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let mut reader = FrameReader::new(stream, HANDSHAKE_BYTES_MAX);
        let hello = match reader.next_within(HELLO_PATIENCE).await {
            Ok(Some(frame)) => Hello::decode(frame).ok(),
            _ => return, // A port scan or a peer that gave up: nothing was said.
        };
        let admitted = self.admit(hello.as_ref());
        let refusal = admitted.as_ref().err().cloned();
        if let Some(reason) = &refusal {
            self.log_refusal(from, reason);
        }
        let heard = match (&admitted, &hello) {
            (Ok(peer), Some(hello)) => peer.heard().before_that_of(hello.instance),
            _ => Claim::default(),
        };
        let welcome = self.identity.welcome(refusal, heard);
        if answer(&mut reader, &welcome).await.is_err() {
            return;
        }
        let (Ok(peer), Some(hello)) = (admitted, hello) else { return };
        peer.learn_client_addr(&hello.client_addr);
        if hello.purpose == Purpose::Repair as i32 {
            if let Err(error) = repair::serve(&*self.source, &mut reader).await {
                tracing::debug!(peer = peer.id, reason = %error, "a repair's connection ended");
            }
            return;
        }
        let Some((events, bounds)) = &self.member else { return };
        if hello.purpose == Purpose::Snapshot as i32 {
            receive_snapshot(events, &mut reader, &peer, &welcome).await;
        } else {
            reader.set_frame_bytes_max(bounds.frame_bytes_max);
            peer.heard.lock().note(hello.instance, Claim::default());
            self.listen(events, &mut reader, &peer, hello.instance).await;
        }
    }

    /// The peer that says hello, or why it may not speak.
    fn admit(&self, hello: Option<&Hello>) -> Result<Arc<Peer>, String> {
        let own = &self.identity;
        let Some(hello) = hello.filter(|hello| hello.magic == MAGIC) else {
            return Err("this port is for raftmq members only".to_owned());
        };
        if hello.version != PROTOCOL_VERSION {
            let theirs = hello.version;
            return Err(format!("we speak protocol version {PROTOCOL_VERSION}, not {theirs}"));
        }
        if hello.cluster != own.cluster {
            return Err(format!("this is cluster {}, not {}", own.cluster, hello.cluster));
        }
        if hello.group != own.group {
            return Err(format!("this is group {}, not {}", own.group, hello.group));
        }
        if hello.to != own.member {
            return Err(format!("this is member {}, not {}", own.member, hello.to));
        }
        if hello.member == own.member {
            return Err(format!("we are member {} ourselves", own.member));
        }
        let Some(peer) = self.table.get(&hello.member) else {
            return Err(format!("member {} is not one of this group's", hello.member));
        };
        if self.member.is_none() && hello.purpose != Purpose::Repair as i32 {
            return Err("its log is being repaired".to_owned());
        }
        let alive_elsewhere = peer.inbound.lock().as_ref().is_some_and(|inbound| {
            inbound.instance != hello.instance && inbound.heard.elapsed() < ALIVE
        });
        if alive_elsewhere {
            return Err(format!("another process speaks for member {}", hello.member));
        }
        Ok(Arc::clone(peer))
    }

    fn log_refusal(&self, from: SocketAddr, reason: &str) {
        if self.last_refusal.lock().is_due(format!("{}: {reason}", from.ip())) {
            tracing::warn!(
                group = %self.identity.group, %from, reason, "refused a peer's connection"
            );
        }
    }

    /// Reads messages until the connection breaks; tells the owner when that leaves the peer mute.
    async fn listen(
        &self,
        events: &mpsc::Sender<PeerEvent>,
        reader: &mut FrameReader<TcpStream>,
        peer: &Arc<Peer>,
        instance: u64,
    ) {
        let sequence = peer.inbound_count.fetch_add(1, Ordering::Relaxed);
        *peer.inbound.lock() = Some(Inbound { sequence, instance, heard: Instant::now() });
        let _mute = Mute { peer, sequence };
        let reason = match self.pump(events, reader, peer, (sequence, instance)).await {
            Ok(()) => "closed".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::debug!(peer = peer.id, %reason, "a peer's connection ended");
        if peer.is_current(sequence) {
            let _ = events.send(PeerEvent::Closed(peer.id)).await;
        }
    }

    async fn pump(
        &self,
        events: &mpsc::Sender<PeerEvent>,
        reader: &mut FrameReader<TcpStream>,
        peer: &Peer,
        (sequence, instance): (u64, u64),
    ) -> io::Result<()> {
        while let Some(frame) = reader.next_within(SILENCE_MAX).await? {
            if frame.is_empty() {
                peer.is_heard(sequence, || ())?;
                continue;
            }
            let parcel = wire::decode(frame).map_err(io::Error::other)?;
            if parcel.from() != peer.id || parcel.to() != self.identity.member {
                return Err(io::Error::other("a message between other members"));
            }
            let Ok(place) = events.reserve().await else {
                break; // The member stops.
            };
            // Never behind anything of a connection that took this one's place: what an earlier
            // process of the peer said must not be heard after what a later one says.
            peer.is_heard(sequence, || {
                if let Parcel::Standing { report, .. } = &parcel {
                    peer.heard.lock().note(instance, report.claim());
                }
                place.send(PeerEvent::Parcel(parcel));
            })?;
        }
        Ok(())
    }
}

async fn receive_snapshot(
    events: &mpsc::Sender<PeerEvent>,
    reader: &mut FrameReader<TcpStream>,
    peer: &Peer,
    acknowledgement: &Welcome,
) {
    reader.set_frame_bytes_max(SNAPSHOT_BYTES_MAX);
    let received = match reader.next_within(Duration::from_secs(60)).await {
        Ok(Some(frame)) => wire::decode(frame).map_err(io::Error::other),
        Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) => Err(error),
    };
    match received {
        Ok(Parcel::Raft(message)) if message.from == peer.id && message.has_snapshot() => {
            if events.send(PeerEvent::Parcel(Parcel::Raft(message))).await.is_ok() {
                let _ = answer(reader, acknowledgement).await;
            }
        }
        Ok(_) => tracing::warn!(peer = peer.id, "a snapshot connection without a snapshot"),
        Err(error) => tracing::warn!(peer = peer.id, reason = %error, "snapshot not received"),
    }
}

async fn answer(reader: &mut FrameReader<TcpStream>, welcome: &Welcome) -> io::Result<()> {
    let mut frames = FrameBuffer::default();
    frames.put_plain(welcome);
    write_all(reader.get_mut(), &mut frames, WRITE_PATIENCE).await
}

impl Peer {
    /// A frame arrived: does what it calls for, unless another connection took this one's place.
    fn is_heard(&self, sequence: u64, then: impl FnOnce()) -> io::Result<()> {
        let mut current = self.inbound.lock();
        let Some(inbound) = current.as_mut().filter(|inbound| inbound.sequence == sequence) else {
            return Err(io::Error::other("replaced by a newer connection"));
        };
        inbound.heard = Instant::now();
        then();
        Ok(())
    }

    fn is_current(&self, sequence: u64) -> bool {
        self.inbound.lock().as_ref().is_some_and(|inbound| inbound.sequence == sequence)
    }
}

/// Forgets the connection when it ends, unless another took its place.
struct Mute<'a> {
    peer: &'a Peer,
    sequence: u64,
}

impl Drop for Mute<'_> {
    fn drop(&mut self) {
        let mut inbound = self.peer.inbound.lock();
        if inbound.as_ref().is_some_and(|inbound| inbound.sequence == self.sequence) {
            *inbound = None;
        }
    }
}
