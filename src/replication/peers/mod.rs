//! The members' connections to each other.
//!
//! Each member opens one connection to each peer and only writes on it; it only reads on those that
//! peers open. A snapshot travels on a connection of its own. Messages may be lost (raft repeats
//! them), but never altered, and those of one connection arrive in order.
//!
//! Invariant: a message reaches the owner only from a member of the same cluster and group that
//! passed the handshake, and at most one process speaks for a member at a time.

mod accept;
pub(super) mod dial;
pub(super) mod frame;
mod snapshot;
mod tasks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use raft::eraftpb;
use raft_log::{Claim, Heard, HeardOf};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::repair::EntrySource;
use super::wire::{self, Hello, MAGIC, PROTOCOL_VERSION, Parcel, Purpose, Welcome};
use tasks::Tasks;

/// Messages from all peers that may wait for the owner; beyond that their connections are not read.
const EVENTS_MAX: usize = 256;

/// What the connections tell the owner.
#[derive(Debug)]
pub(super) enum PeerEvent {
    /// Something arrived.
    Parcel(Parcel),
    /// The connection on which this peer spoke to us closed and no other has taken its place.
    Closed(u64),
    /// Our connection to this peer was made or lost.
    Reachable { peer: u64 },
    /// A snapshot was delivered, or was not.
    SnapshotSent { to: u64, delivered: bool },
}

/// Who this process is among its peers.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub cluster: String,
    pub group: String,
    pub member: u64,
    pub client_addr: String,
    /// Drawn at start.
    pub instance: u64,
}

impl Identity {
    fn hello(&self, to: u64, purpose: Purpose) -> Hello {
        Hello {
            magic: MAGIC,
            version: PROTOCOL_VERSION,
            cluster: self.cluster.clone(),
            group: self.group.clone(),
            member: self.member,
            to,
            instance: self.instance,
            client_addr: self.client_addr.clone(),
            purpose: purpose as i32,
        }
    }

    fn welcome(&self, refusal: Option<String>, heard: Claim) -> Welcome {
        Welcome {
            magic: MAGIC,
            version: PROTOCOL_VERSION,
            member: self.member,
            client_addr: self.client_addr.clone(),
            refusal,
            heard_term: heard.term,
            heard_index: heard.index,
        }
    }
}

/// The connection on which a peer currently speaks to us.
struct Inbound {
    /// Which of this peer's connections it is.
    sequence: u64,
    instance: u64,
    /// When a frame last arrived.
    heard: Instant,
}

/// One peer, shared by the tasks of its connections and the owner.
pub(super) struct Peer {
    pub id: u64,
    pub address: String,
    queue: mpsc::Sender<Parcel>,
    queued_bytes: AtomicUsize,
    connected: AtomicBool,
    snapshot_under_way: AtomicBool,
    client_addr: Mutex<Option<String>>,
    inbound: Mutex<Option<Inbound>>,
    /// Connections that it ever opened to us.
    inbound_count: AtomicU64,
    /// What it claimed of itself.
    heard: Mutex<Heard>,
    /// What it said last that our earlier processes claimed.
    remembers: Mutex<Claim>,
}

impl Peer {
    /// Bytes that wait for it.
    #[cfg(madsim)]
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// Whether messages can be sent to it now.
    pub fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Where clients reach it, once it has said so.
    pub fn client_addr(&self) -> Option<String> {
        self.client_addr.lock().clone()
    }

    /// What it claimed of itself.
    pub fn heard(&self) -> Heard {
        *self.heard.lock()
    }

    /// What it heard of this member's earlier processes; to be asked once it was reached.
    pub fn remembers(&self) -> Claim {
        *self.remembers.lock()
    }

    fn learn_client_addr(&self, announced: &str) {
        if !announced.is_empty() {
            *self.client_addr.lock() = Some(announced.to_owned());
        }
    }
}

/// Sizes that the connections keep to.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeerBounds {
    pub queue_messages_max: usize,
    pub queue_bytes_max: usize,
    /// Largest frame accepted on a message connection.
    pub frame_bytes_max: usize,
}

/// All peers, by raft id.
pub(super) type PeerTable = Arc<BTreeMap<u64, Arc<Peer>>>;

/// The transport as the owner sees it. Dropping it ends every connection.
pub(super) struct Peers {
    identity: Arc<Identity>,
    table: PeerTable,
    events: mpsc::Sender<PeerEvent>,
    bounds: PeerBounds,
    tasks: Tasks,
}

/// The queues of messages to peers, for who opens the connections.
type Queues = Vec<(Arc<Peer>, mpsc::Receiver<Parcel>)>;

/// The peers at these addresses, not connected.
pub(super) fn table(addresses: &BTreeMap<u64, String>, bounds: PeerBounds) -> (PeerTable, Queues) {
    let mut table = BTreeMap::new();
    let mut queues = Vec::new();
    for (&id, address) in addresses {
        let (queue, queued) = mpsc::channel(bounds.queue_messages_max);
        let peer = Arc::new(Peer {
            id,
            address: address.clone(),
            queue,
            queued_bytes: AtomicUsize::new(0),
            connected: AtomicBool::new(false),
            snapshot_under_way: AtomicBool::new(false),
            client_addr: Mutex::new(None),
            inbound: Mutex::new(None),
            inbound_count: AtomicU64::new(0),
            heard: Mutex::default(),
            remembers: Mutex::default(),
        });
        queues.push((Arc::clone(&peer), queued));
        table.insert(id, peer);
    }
    (Arc::new(table), queues)
}

impl Peers {
    /// Starts listening and dialling. Peers that lost entries are given them from `source`; `heard` is
    /// what they claimed in the time of earlier processes.
    pub fn start(
        identity: Identity,
        listener: TcpListener,
        addresses: &BTreeMap<u64, String>,
        bounds: PeerBounds,
        source: Arc<dyn EntrySource>,
        heard: &HeardOf,
    ) -> (Peers, mpsc::Receiver<PeerEvent>) {
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let identity = Arc::new(identity);
        let tasks = Tasks::default();
        let (table, queues) = table(addresses, bounds);
        for (peer, queued) in queues {
            *peer.heard.lock() = heard.get(&peer.id).copied().unwrap_or_default();
            tasks.spawn(dial::run(Arc::clone(&identity), peer, queued, events.clone()));
        }
        let acceptor = Arc::new(accept::Acceptor {
            identity: Arc::clone(&identity),
            table: Arc::clone(&table),
            source,
            member: Some((events.clone(), bounds)),
            last_refusal: Mutex::default(),
        });
        let serving = tasks.clone();
        tasks.spawn(async move { accept::run(acceptor, &listener, &serving).await });
        (Peers { identity, table, events, bounds, tasks }, received)
    }

    /// Who this process is among them.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// The peers themselves.
    pub fn table(&self) -> &PeerTable {
        &self.table
    }

    /// Queues a parcel. `false` when it was dropped because the peer is not connected or too much
    /// waits already: the caller tells raft. An empty queue takes a message of any size.
    #[must_use]
    pub fn send(&self, parcel: Parcel) -> bool {
        let Some(peer) = self.table.get(&parcel.to()) else {
            return true; // Not a member: nobody to report about.
        };
        if !peer.connected() {
            return false;
        }
        let bytes = wire::queued_bytes(&parcel);
        let waiting = peer.queued_bytes.load(Ordering::Relaxed);
        if waiting > 0 && waiting + bytes > self.bounds.queue_bytes_max {
            return false;
        }
        peer.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if peer.queue.try_send(parcel).is_err() {
            peer.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Sends a snapshot on a connection of its own; the outcome comes as an event.
    pub fn send_snapshot(&self, message: eraftpb::Message) {
        let Some(peer) = self.table.get(&message.to) else { return };
        if peer.snapshot_under_way.swap(true, Ordering::Relaxed) {
            return; // raft repeats itself; the one under way will be reported.
        }
        let (identity, peer) = (Arc::clone(&self.identity), Arc::clone(peer));
        self.tasks.spawn(snapshot::send(identity, peer, message, self.events.clone()));
    }

    /// Runs something that needs the peers for as long as they are connected.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// Ends every connection and task.
    pub fn stop(&self) {
        self.tasks.abort_all();
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where a member whose log is being repaired answers peers' questions for entries, and nothing else.
/// Dropping it ends its connections.
pub(super) struct RepairDoor {
    acceptor: Arc<accept::Acceptor>,
    tasks: Tasks,
}

impl RepairDoor {
    /// Answers from `source`.
    pub fn new(identity: &Arc<Identity>, table: &PeerTable, source: Arc<dyn EntrySource>) -> Self {
        let acceptor = accept::Acceptor {
            identity: Arc::clone(identity),
            table: Arc::clone(table),
            source,
            member: None,
            last_refusal: Mutex::default(),
        };
        RepairDoor { acceptor: Arc::new(acceptor), tasks: Tasks::default() }
    }

    /// Lets peers in, for as long as it is polled.
    pub async fn keep(&self, listener: &TcpListener) {
        accept::run(Arc::clone(&self.acceptor), listener, &self.tasks).await;
    }
}

impl Drop for RepairDoor {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}
