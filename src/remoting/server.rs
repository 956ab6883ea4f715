//! The listening end: accepts connections, keeps their registry, closes idle ones, stops in order.
//!
//! Invariant: a stopping server reads no more requests but answers those it has read, as far as its
//! handler answers them within the time it has; what cannot be answered is reset, not closed, because
//! clients wait for their own timeout after an orderly close.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::connection::{Connection, RequestHandler};
use super::frame::FrameLimits;
use super::limits::{
    ACCEPT_PAUSE, CONNECTIONS_MAX, FRAME_BYTES_MAX, IDLE_CLOSE, IDLE_SWEEPS, OUTBOUND_BYTES_MAX,
};
use super::socket;

/// What a server bounds.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Largest frame it reads.
    pub frame_bytes_max: usize,
    /// A connection on which nothing moves for this long is closed.
    pub idle_close: Duration,
    /// Connections it holds at once.
    pub connections_max: usize,
    /// Unsent bytes above which a connection's requests are no longer read.
    pub outbound_bytes_max: usize,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            frame_bytes_max: FRAME_BYTES_MAX,
            idle_close: IDLE_CLOSE,
            connections_max: CONNECTIONS_MAX,
            outbound_bytes_max: OUTBOUND_BYTES_MAX,
        }
    }
}

/// A listening server.
pub struct RemotingServer {
    local_addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    options: ServerOptions,
    handler: Arc<dyn RequestHandler>,
    connections: Mutex<BTreeMap<u64, Arc<Connection>>>,
    is_stopping: AtomicBool,
    /// Wakes the accepting task.
    stop: Notify,
    /// The accepting task is gone, or a connection is.
    ended: Notify,
    is_accepting: AtomicBool,
}

impl RemotingServer {
    /// Listens on an address; port zero takes a free one.
    ///
    /// # Errors
    /// When the address cannot be taken.
    pub async fn bind(
        addr: SocketAddr,
        handler: Arc<dyn RequestHandler>,
        options: ServerOptions,
    ) -> std::io::Result<Self> {
        let listener = socket::listen(addr).await?;
        let local_addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            options,
            handler,
            connections: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            stop: Notify::new(),
            ended: Notify::new(),
            is_accepting: AtomicBool::new(true),
        });
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { local_addr, shared })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The open connection of that number.
    pub fn connection(&self, id: u64) -> Option<Arc<Connection>> {
        self.shared.connections.lock().get(&id).cloned()
    }

    /// All open connections, oldest first.
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        self.shared.connections.lock().values().cloned().collect()
    }

    /// Accepts no more, answers what was asked, closes everything. Returns when all is closed.
    pub async fn shutdown(&self) {
        self.shared.begin_stop();
        for connection in self.connections() {
            connection.drain();
        }
        loop {
            let ended = self.shared.ended.notified();
            if !self.shared.is_accepting.load(Ordering::SeqCst)
                && self.shared.connections.lock().is_empty()
            {
                // Somebody else may be waiting for the same.
                self.shared.ended.notify_one();
                return;
            }
            ended.await;
        }
    }
}

impl Drop for RemotingServer {
    fn drop(&mut self) {
        self.shared.begin_stop();
        for connection in self.connections() {
            connection.close_with_reset();
        }
    }
}

impl Shared {
    fn begin_stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        self.stop.notify_one();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut next_id = 0;
    let mut sweep = tokio::time::interval(shared.options.idle_close / IDLE_SWEEPS);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !shared.is_stopping.load(Ordering::SeqCst) {
        tokio::select! {
            biased;
            () = shared.stop.notified() => break,
            _ = sweep.tick() => {
                for connection in shared.connections.lock().values() {
                    connection.sweep_idle(IDLE_SWEEPS);
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    next_id += 1;
                    serve(stream, next_id, &shared);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    shared.is_accepting.store(false, Ordering::SeqCst);
    shared.ended.notify_one();
}

fn serve(stream: TcpStream, id: u64, shared: &Arc<Shared>) {
    let opened = stream
        .set_nodelay(true)
        .and_then(|()| Connection::new(id, &stream, shared.options.outbound_bytes_max));
    let connection = match opened {
        Ok(connection) => connection,
        Err(error) => {
            tracing::debug!(%error, "a connection was gone before it was served");
            return;
        }
    };
    {
        let mut connections = shared.connections.lock();
        if connections.len() >= shared.options.connections_max {
            let connections_max = shared.options.connections_max;
            tracing::warn!(peer = %connection.peer_addr(), connections_max, "too many connections");
            return;
        }
        connections.insert(id, Arc::clone(&connection));
    }
    if shared.is_stopping.load(Ordering::SeqCst) {
        connection.drain();
    }
    let shared = Arc::clone(shared);
    let limits = FrameLimits { frame_bytes_max: shared.options.frame_bytes_max };
    tokio::spawn(async move {
        connection.run(stream, Some(Arc::clone(&shared.handler)), limits).await;
        shared.connections.lock().remove(&id);
        shared.ended.notify_one();
    });
}
