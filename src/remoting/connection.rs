//! One TCP connection: a reader task, a writer task, and what both ends may ask of each other.
//!
//! Client and server use the same thing, since either side may send requests. Requests of the peer go
//! to the [`RequestHandler`], inline on the reader task; answers of the peer go to whoever asked.
//!
//! Invariant: `connection_closed` is called exactly once per connection, after its last request was
//! handed out; from then on every invocation fails with [`InvokeError::Closed`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::command::{FLAG_ONEWAY, RemotingCommand, SerializeType};
use super::frame::{self, FrameError, FrameLimits};
use super::limits::{DRAIN_TIMEOUT, READ_BUFFER_BYTES_MAX, READ_BUFFER_BYTES_MIN};
use super::outbound::{Batch, Outbound};
use super::pending::{Callback, Expiry, PendingTable};
use super::responder::Responder;
use super::socket;
use crate::protocol::code::response;

/// Our request numbers have ten digits, so that one can be patched into an encoded request.
pub(super) const OPAQUE_BASE: u32 = 1_000_000_000;
const OPAQUE_SPAN: u32 = i32::MAX as u32 - OPAQUE_BASE;

/// Receives what peers ask.
pub trait RequestHandler: Send + Sync + 'static {
    /// Called on the connection's reader task for each request, in order of arrival. Must not block.
    fn handle(&self, request: Request);

    /// Called once, when the connection is gone.
    fn connection_closed(&self, connection: &Arc<Connection>);
}

/// A request of the peer.
pub struct Request {
    /// What it asks. Refers to the read buffer: see [`RemotingCommand::detached`].
    pub command: RemotingCommand,
    /// Where it came from.
    pub connection: Arc<Connection>,
    /// How to answer it.
    pub responder: Responder,
}

/// Why a request of ours has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// There is no connection; the request was not sent.
    #[error("cannot connect to {addr}: {reason}")]
    Connect {
        /// The peer's address.
        addr: String,
        /// What the system says.
        reason: String,
    },
    /// The answer did not come in time; the request may have taken effect.
    #[error("no answer in time")]
    Timeout,
    /// The connection ended before the answer came; the request may have taken effect.
    #[error("the connection was closed before the answer came")]
    Closed,
    /// Too many requests wait already; this one was not sent.
    #[error("too many requests wait for an answer")]
    Overloaded,
}

/// How a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Ending {
    /// It goes on.
    Open = 0,
    /// Answer what was asked, then close.
    Drain = 1,
    /// Write what is queued, then close.
    Flush = 2,
    /// Drop everything and reset.
    Reset = 3,
}

/// One TCP connection.
pub struct Connection {
    id: u64,
    peer_addr: SocketAddr,
    local_addr: SocketAddr,
    outbound: Outbound,
    pending: PendingTable,
    next_opaque: AtomicU32,
    /// Header form of the peer's last request, which requests to it use too.
    peer_form: AtomicU8,
    /// Requests of the peer that are not answered yet.
    unanswered: AtomicUsize,
    answered: Notify,
    ending: AtomicU8,
    /// Wakes who waits for `ending` to change.
    ended: Notify,
    /// The peer has said that it goes.
    took_leave: AtomicBool,
    /// Wakes the reader when `ending` changes.
    reader_stop: Notify,
    /// Wakes the writer when `ending` becomes a reset.
    writer_stop: Notify,
    reads: AtomicU32,
    has_moved: AtomicBool,
    idle_sweeps: AtomicU32,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({} from {})", self.id, self.peer_addr)
    }
}

impl Connection {
    pub(super) fn new(
        id: u64,
        stream: &TcpStream,
        outbound_bytes_max: usize,
    ) -> std::io::Result<Arc<Self>> {
        let canonical = crate::protocol::record::canonical_host;
        Ok(Arc::new(Self {
            id,
            peer_addr: canonical(stream.peer_addr()?),
            local_addr: canonical(stream.local_addr()?),
            outbound: Outbound::new(outbound_bytes_max),
            pending: PendingTable::default(),
            next_opaque: AtomicU32::new(0),
            peer_form: AtomicU8::new(SerializeType::Json.code()),
            unanswered: AtomicUsize::new(0),
            answered: Notify::new(),
            ending: AtomicU8::new(Ending::Open as u8),
            ended: Notify::new(),
            took_leave: AtomicBool::new(false),
            reader_stop: Notify::new(),
            writer_stop: Notify::new(),
            reads: AtomicU32::new(0),
            has_moved: AtomicBool::new(true),
            idle_sweeps: AtomicU32::new(0),
        }))
    }

    /// Unique among the connections of its server or client.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The peer's address; IPv4-mapped ones as IPv4.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer_addr
    }

    /// Our address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Requests of the peer that are not answered yet.
    pub fn unanswered(&self) -> usize {
        self.unanswered.load(Ordering::SeqCst)
    }

    pub(super) fn is_congested(&self) -> bool {
        self.outbound.is_full()
    }

    /// Whether the connection is over, or about to be.
    pub fn is_closing(&self) -> bool {
        self.ending.load(Ordering::SeqCst) != Ending::Open as u8
    }

    /// Waits until [`Connection::is_closing`].
    pub async fn closing(&self) {
        loop {
            let ended = self.ended.notified();
            if self.is_closing() {
                return;
            }
            ended.await;
        }
    }

    /// The peer says that it goes, so that closing the connection takes nothing back.
    pub fn take_leave(&self) {
        self.took_leave.store(true, Ordering::SeqCst);
    }

    /// Whether the connection ends, or has ended, without the peer's having said that it goes.
    pub fn is_abandoned(&self) -> bool {
        self.is_closing() && !self.took_leave.load(Ordering::SeqCst)
    }

    /// Sends a request that is not answered. False when the connection takes no more.
    pub fn send_oneway(&self, mut command: RemotingCommand) -> bool {
        command.flag |= FLAG_ONEWAY;
        command.opaque = self.take_opaque();
        self.send(&mut command)
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// When there is none.
    pub async fn invoke(
        &self,
        mut command: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, InvokeError> {
        let (sender, receiver) = oneshot::channel();
        let opaque = self.take_opaque();
        command.opaque = opaque;
        // Whoever asked may be gone; then nobody is interested.
        let callback: Callback = Box::new(move |outcome| drop(sender.send(outcome)));
        self.pending.insert(opaque, None, self.reads(), callback).map_err(|(_, error)| error)?;
        self.send(&mut command);
        // Also when the caller loses interest before.
        let _forget = Forget { pending: &self.pending, opaque };
        match tokio::time::timeout(timeout, receiver).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(InvokeError::Closed),
            Err(_) => Err(InvokeError::Timeout),
        }
    }

    /// Sends a request whose outcome `callback` receives; [`Connection::expire`] keeps the deadline.
    pub(super) fn invoke_with(
        &self,
        mut command: RemotingCommand,
        deadline: Instant,
        callback: Callback,
    ) {
        command.opaque = self.take_opaque();
        match self.pending.insert(command.opaque, Some(deadline), self.reads(), callback) {
            // A refused push means that the connection ends, which fails the entry.
            Ok(()) => drop(self.send(&mut command)),
            Err((callback, error)) => callback(Err(error)),
        }
    }

    /// As [`Connection::invoke_with`], for a request that was encoded beforehand.
    pub(super) fn invoke_encoded(
        &self,
        deadline: Instant,
        callback: Callback,
        bodies: &[Bytes],
        put: impl FnOnce(&mut BytesMut, i32),
    ) {
        let opaque = self.take_opaque();
        match self.pending.insert(opaque, Some(deadline), self.reads(), callback) {
            Ok(()) => drop(self.push(bodies, |out| put(out, opaque))),
            Err((callback, error)) => callback(Err(error)),
        }
    }

    fn send(&self, command: &mut RemotingCommand) -> bool {
        let form = SerializeType::from_code(self.peer_form.load(Ordering::Relaxed));
        command.serialize_type = form.unwrap_or_default();
        let body_bytes = command.body.len();
        self.push(std::slice::from_ref(&command.body), |out| {
            frame::encode_header(command, body_bytes, out);
        })
    }

    pub(super) fn push(&self, bodies: &[Bytes], put: impl FnOnce(&mut BytesMut)) -> bool {
        self.outbound.push(bodies, put)
    }

    fn take_opaque(&self) -> i32 {
        let number = self.next_opaque.fetch_add(1, Ordering::Relaxed) % OPAQUE_SPAN + OPAQUE_BASE;
        i32::try_from(number).expect("base and span stay within 31 bits")
    }

    fn reads(&self) -> u32 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Writes what is queued, then closes in order. Requests in flight go unanswered.
    pub fn close(&self) {
        self.end(Ending::Flush);
    }

    /// Drops everything and resets, which makes Java clients fail what is in flight at once.
    pub fn close_with_reset(&self) {
        self.end(Ending::Reset);
    }

    /// Reads no more, answers what was asked, then closes.
    pub(super) fn drain(&self) {
        self.end(Ending::Drain);
    }

    fn end(&self, ending: Ending) {
        let before = self.ending.fetch_max(ending as u8, Ordering::SeqCst);
        if before >= ending as u8 {
            return;
        }
        self.ended.notify_waiters();
        self.reader_stop.notify_one();
        self.answered.notify_one();
        if ending == Ending::Reset {
            self.writer_stop.notify_one();
        }
    }

    fn is_ending(&self, ending: Ending) -> bool {
        self.ending.load(Ordering::SeqCst) >= ending as u8
    }

    pub(super) fn request_begins(&self) {
        self.unanswered.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn request_ends(&self) {
        if self.unanswered.fetch_sub(1, Ordering::SeqCst) == 1 && self.is_ending(Ending::Drain) {
            self.answered.notify_one();
        }
    }

    /// Fails requests of ours whose time is up. A peer that has been silent since before one of them
    /// is taken for dead, and the connection is reset.
    pub(super) fn expire(&self, now: Instant) {
        if self.pending.expire(now, self.reads()) == Expiry::PeerSilent {
            tracing::warn!(peer = %self.peer_addr, "the peer is silent; its connection is reset");
            self.close_with_reset();
        }
    }

    /// Whether requests of ours wait for an answer.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Called at even intervals; closes when nothing has moved for `sweeps_max` of them.
    pub(super) fn sweep_idle(&self, sweeps_max: u32) {
        if self.has_moved.swap(false, Ordering::Relaxed) {
            self.idle_sweeps.store(0, Ordering::Relaxed);
            return;
        }
        if self.idle_sweeps.fetch_add(1, Ordering::Relaxed) + 1 >= sweeps_max {
            tracing::info!(peer = %self.peer_addr, "an idle connection is closed");
            self.end(Ending::Flush);
        }
    }

    fn moved(&self) {
        self.has_moved.store(true, Ordering::Relaxed);
    }

    /// Serves the connection until it ends.
    pub(super) async fn run(
        self: Arc<Self>,
        stream: TcpStream,
        handler: Option<Arc<dyn RequestHandler>>,
        limits: FrameLimits,
    ) {
        let (mut read_half, write_half) = tokio::io::split(stream);
        let mut writer = tokio::spawn(Arc::clone(&self).write(write_half));
        self.read(&mut read_half, handler.as_ref(), &limits).await;

        if self.ending.load(Ordering::SeqCst) == Ending::Drain as u8 {
            self.until_answered().await;
        }
        self.end(Ending::Flush);
        self.pending.fail_all();
        self.outbound.finish();
        if let Some(handler) = &handler {
            handler.connection_closed(&self);
        }
        let write_half = match tokio::time::timeout(DRAIN_TIMEOUT, &mut writer).await {
            Ok(joined) => joined,
            Err(_) => {
                self.end(Ending::Reset);
                writer.await
            }
        };
        let Ok(write_half) = write_half else { return };
        let mut stream = read_half.unsplit(write_half);
        if self.is_ending(Ending::Reset) {
            socket::reset(stream);
        } else {
            // The peer may have closed first; then there is nobody to say goodbye to.
            drop(stream.shutdown().await);
        }
    }

    async fn until_answered(&self) {
        let all = async {
            while self.unanswered() > 0 && !self.is_ending(Ending::Flush) {
                self.answered.notified().await;
            }
        };
        if tokio::time::timeout(DRAIN_TIMEOUT, all).await.is_err() {
            let unanswered = self.unanswered();
            tracing::warn!(peer = %self.peer_addr, unanswered, "requests remain unanswered; reset");
            self.end(Ending::Reset);
        }
    }

    async fn read(
        self: &Arc<Self>,
        read_half: &mut ReadHalf<TcpStream>,
        handler: Option<&Arc<dyn RequestHandler>>,
        limits: &FrameLimits,
    ) {
        let mut room_bytes = READ_BUFFER_BYTES_MIN;
        let mut buffer = BytesMut::with_capacity(room_bytes);
        loop {
            self.outbound.cork();
            let outcome = self.dispatch_all(&mut buffer, handler, limits);
            self.outbound.uncork();
            match outcome {
                Ok(Dispatched::All) => {}
                Ok(Dispatched::UntilFull) => {
                    tokio::select! {
                        biased;
                        () = self.reader_stop.notified() => return,
                        () = self.outbound.until_drained() => continue,
                    }
                }
                Err(FrameError::Tls) => {
                    let error = FrameError::Tls;
                    tracing::warn!(peer = %self.peer_addr, %error, "a connection is closed");
                    return;
                }
                Err(error) => {
                    tracing::warn!(peer = %self.peer_addr, %error, "a connection is closed: bad frame");
                    return;
                }
            }
            if buffer.capacity() - buffer.len() < room_bytes / 8 {
                buffer.reserve(room_bytes);
            }
            let room = buffer.capacity() - buffer.len();
            let read = tokio::select! {
                biased;
                () = self.reader_stop.notified() => return,
                read = read_half.read_buf(&mut buffer) => read,
            };
            match read {
                Ok(0) => return,
                Ok(count) => {
                    self.reads.fetch_add(1, Ordering::Relaxed);
                    self.moved();
                    if count >= room {
                        room_bytes = (room_bytes * 2).min(READ_BUFFER_BYTES_MAX);
                    }
                }
                Err(error) => {
                    tracing::debug!(peer = %self.peer_addr, %error, "a connection broke");
                    self.end(Ending::Reset);
                    return;
                }
            }
        }
    }

    fn dispatch_all(
        self: &Arc<Self>,
        buffer: &mut BytesMut,
        handler: Option<&Arc<dyn RequestHandler>>,
        limits: &FrameLimits,
    ) -> Result<Dispatched, FrameError> {
        loop {
            if self.outbound.is_full() {
                return Ok(Dispatched::UntilFull);
            }
            if self.is_ending(Ending::Flush) {
                return Ok(Dispatched::All);
            }
            let Some(command) = frame::decode(buffer, limits)? else {
                return Ok(Dispatched::All);
            };
            self.dispatch(command, handler);
        }
    }

    fn dispatch(
        self: &Arc<Self>,
        command: RemotingCommand,
        handler: Option<&Arc<dyn RequestHandler>>,
    ) {
        if command.is_response() {
            let opaque = command.opaque;
            if !self.pending.complete(command) {
                tracing::debug!(peer = %self.peer_addr, opaque, "an answer nobody waits for");
            }
            return;
        }
        self.peer_form.store(command.serialize_type.code(), Ordering::Relaxed);
        let responder = Responder::new(self, &command);
        match handler {
            Some(handler) => {
                handler.handle(Request { command, connection: Arc::clone(self), responder });
            }
            None => responder.respond_error(
                response::REQUEST_CODE_NOT_SUPPORTED,
                format!(" request type {} not supported", command.code),
            ),
        }
    }

    async fn write(self: Arc<Self>, mut half: WriteHalf<TcpStream>) -> WriteHalf<TcpStream> {
        let mut spare = BytesMut::new();
        loop {
            let batch = tokio::select! {
                biased;
                () = self.writer_stop.notified() => return half,
                batch = self.outbound.take(std::mem::take(&mut spare)) => batch,
            };
            if matches!(batch, Batch::Over) {
                return half;
            }
            let written = tokio::select! {
                biased;
                () = self.writer_stop.notified() => return half,
                written = self.write_batch(&mut half, batch) => written,
            };
            match written {
                Ok(buffer) => spare = buffer,
                Err(error) => {
                    tracing::debug!(peer = %self.peer_addr, %error, "a connection broke");
                    self.end(Ending::Reset);
                    return half;
                }
            }
        }
    }

    async fn write_batch(
        &self,
        half: &mut WriteHalf<TcpStream>,
        batch: Batch,
    ) -> std::io::Result<BytesMut> {
        let spare = match batch {
            Batch::Buffer(buffer) => {
                let mut at = 0;
                while at < buffer.len() {
                    let count = half.write(&buffer[at..]).await?;
                    at += self.count_written(count)?;
                }
                buffer
            }
            Batch::Pieces(mut pieces) => {
                while bytes::Buf::has_remaining(&pieces) {
                    let written = half.write_buf(&mut pieces).await;
                    let count = written.inspect_err(|error| {
                        raft_log::touch_what_the_kernel_could_not_read(error, pieces.iter());
                    })?;
                    self.count_written(count)?;
                }
                BytesMut::new()
            }
            Batch::Over => BytesMut::new(),
        };
        half.flush().await?;
        Ok(spare)
    }

    fn count_written(&self, count: usize) -> std::io::Result<usize> {
        if count == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        self.outbound.written(count);
        self.moved();
        Ok(count)
    }
}

/// Takes a request out of the table when nobody waits for it any more.
struct Forget<'a> {
    pending: &'a PendingTable,
    opaque: i32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.pending.forget(self.opaque);
    }
}

enum Dispatched {
    /// Every complete frame.
    All,
    /// Until the peer had too much to read.
    UntilFull,
}
