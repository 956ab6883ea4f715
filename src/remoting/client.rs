//! The connecting end: one connection per address, opened on demand and shared by all requests.
//!
//! Invariant: every request has exactly one outcome. A request that waits for its connection fails
//! with it; one in flight fails the moment its connection ends; one that nobody answers fails within
//! one sweep of its deadline.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast, oneshot};
use tokio::time::Instant;

use super::command::{RemotingCommand, SerializeType};
use super::connection::{Connection, InvokeError, OPAQUE_BASE, RequestHandler};
use super::frame::{self, FrameLimits};
use super::limits::{
    CONNECT_TIMEOUT, FRAME_BYTES_MAX, IN_FLIGHT_MAX, OUTBOUND_BYTES_MAX, TIMEOUT_SWEEP,
};
use super::pending::Callback;
use super::socket;

/// Addresses of closed connections a slow subscriber may miss.
const CLOSED_HINTS_KEPT: usize = 64;

/// What a client bounds.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Largest frame it reads.
    pub frame_bytes_max: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { connect_timeout: CONNECT_TIMEOUT, frame_bytes_max: FRAME_BYTES_MAX }
    }
}

/// Sends requests to any number of servers. Clones share their connections.
#[derive(Clone)]
pub struct RemotingClient {
    shared: Arc<Shared>,
}

struct Shared {
    options: ClientOptions,
    handler: Option<Arc<dyn RequestHandler>>,
    slots: Mutex<BTreeMap<String, Arc<Slot>>>,
    next_id: AtomicU64,
    closed: broadcast::Sender<String>,
    is_shut_down: AtomicBool,
    /// The sweeping task waits for `work`; set only by it.
    is_sweeper_asleep: AtomicBool,
    has_sweeper: AtomicBool,
    work: Arc<Notify>,
}

/// The connection to one address, or the way to it.
struct Slot {
    addr: String,
    state: Mutex<SlotState>,
}

enum SlotState {
    Idle,
    Connecting(VecDeque<Waiting>),
    Open(Arc<Connection>),
}

/// A request that waits for its connection.
struct Waiting {
    outgoing: Outgoing,
    deadline: Instant,
    /// Absent for one-way requests.
    callback: Option<Callback>,
}

enum Outgoing {
    Command(RemotingCommand),
    Template(Arc<RequestTemplate>, Bytes),
}

/// A request encoded once and sent many times; only its number and body change.
#[derive(Debug)]
pub struct RequestTemplate {
    /// Everything between the header word and the body.
    header: Bytes,
    opaque_at: usize,
}

impl RequestTemplate {
    /// Encodes a request; its body is ignored.
    pub fn new(command: &RemotingCommand) -> Arc<Self> {
        let mut command = command.clone();
        command.opaque = i32::try_from(OPAQUE_BASE).expect("ten digits fit 31 bits");
        command.serialize_type = SerializeType::Json;
        command.body = Bytes::new();
        let mut out = BytesMut::new();
        let opaque_at = frame::encode_header(&command, 0, &mut out);
        let header = out.split_off(frame::PREFIX_BYTES).freeze();
        let opaque_at = opaque_at.expect("the header is JSON") - frame::PREFIX_BYTES;
        Arc::new(Self { header, opaque_at })
    }

    fn put(&self, out: &mut BytesMut, opaque: i32, body_bytes: usize) {
        let begin = out.len();
        out.put_u64(0);
        let at = out.len() + self.opaque_at;
        out.put_slice(&self.header);
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(opaque).as_bytes();
        // Numbers of ours have ten digits, as the one that was encoded.
        out[at..at + digits.len()].copy_from_slice(digits);
        frame::finish_frame(out, begin, SerializeType::Json, body_bytes);
    }
}

impl RemotingClient {
    /// A client without connections. `handler` receives what servers ask; without one they are told
    /// that nothing is supported.
    pub fn new(options: ClientOptions, handler: Option<Arc<dyn RequestHandler>>) -> Self {
        Self {
            shared: Arc::new(Shared {
                options,
                handler,
                slots: Mutex::default(),
                next_id: AtomicU64::new(1),
                closed: broadcast::channel(CLOSED_HINTS_KEPT).0,
                is_shut_down: AtomicBool::new(false),
                is_sweeper_asleep: AtomicBool::new(false),
                has_sweeper: AtomicBool::new(false),
                work: Arc::default(),
            }),
        }
    }

    /// Sends a request to `host:port` and waits for its answer.
    ///
    /// # Errors
    /// When there is none.
    pub async fn invoke(
        &self,
        addr: &str,
        command: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, InvokeError> {
        let (sender, receiver) = oneshot::channel();
        // Whoever asked may be gone; then nobody is interested.
        self.invoke_with(addr, command, timeout, move |outcome| drop(sender.send(outcome)));
        receiver.await.unwrap_or(Err(InvokeError::Closed))
    }

    /// Sends a request; `callback` receives its outcome, on a task that must not be blocked. May be
    /// called before this returns.
    pub fn invoke_with(
        &self,
        addr: &str,
        command: RemotingCommand,
        timeout: Duration,
        callback: impl FnOnce(Result<RemotingCommand, InvokeError>) + Send + 'static,
    ) {
        self.submit(addr, Outgoing::Command(command), timeout, Some(Box::new(callback)));
    }

    /// As [`RemotingClient::invoke_with`], for a request that was encoded beforehand.
    pub fn invoke_template(
        &self,
        addr: &str,
        template: &Arc<RequestTemplate>,
        body: Bytes,
        timeout: Duration,
        callback: impl FnOnce(Result<RemotingCommand, InvokeError>) + Send + 'static,
    ) {
        let outgoing = Outgoing::Template(Arc::clone(template), body);
        self.submit(addr, outgoing, timeout, Some(Box::new(callback)));
    }

    /// Sends a request that is not answered. What becomes of it is not known.
    pub fn invoke_oneway(&self, addr: &str, command: RemotingCommand) {
        let timeout = self.shared.options.connect_timeout;
        self.submit(addr, Outgoing::Command(command), timeout, None);
    }

    /// Addresses whose connection ended, as it happens: a hint to look for another server. A slow
    /// subscriber misses some.
    pub fn subscribe_closed(&self) -> broadcast::Receiver<String> {
        self.shared.closed.subscribe()
    }

    /// Closes the connection to an address, if there is one; requests in flight fail.
    pub fn close_addr(&self, addr: &str) {
        let slot = self.shared.slots.lock().get(addr).cloned();
        if let Some(slot) = slot
            && let SlotState::Open(connection) = &*slot.state.lock()
        {
            connection.close();
        }
    }

    /// Closes every connection. Requests in flight and all later ones fail.
    pub fn shutdown(&self) {
        self.shared.shut_down();
    }

    fn submit(
        &self,
        addr: &str,
        outgoing: Outgoing,
        timeout: Duration,
        callback: Option<Callback>,
    ) {
        let slot = self.shared.slot(addr);
        let waiting = Waiting { outgoing, deadline: Instant::now() + timeout, callback };
        Shared::submit(&self.shared, &slot, waiting);
        self.shared.wake_sweeper();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl Waiting {
    fn fail(self, error: InvokeError) {
        if let Some(callback) = self.callback {
            callback(Err(error));
        }
    }

    fn send(self, connection: &Connection) {
        match (self.outgoing, self.callback) {
            (Outgoing::Command(command), Some(callback)) => {
                connection.invoke_with(command, self.deadline, callback);
            }
            (Outgoing::Command(command), None) => {
                connection.send_oneway(command);
            }
            (Outgoing::Template(template, body), callback) => {
                let body_bytes = body.len();
                let callback = callback.unwrap_or_else(|| Box::new(|_| {}));
                connection.invoke_encoded(
                    self.deadline,
                    callback,
                    std::slice::from_ref(&body),
                    |out, opaque| template.put(out, opaque, body_bytes),
                );
            }
        }
    }
}

impl Shared {
    fn slot(&self, addr: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(addr) {
            return Arc::clone(slot);
        }
        let slot = Arc::new(Slot { addr: addr.to_owned(), state: Mutex::new(SlotState::Idle) });
        slots.insert(addr.to_owned(), Arc::clone(&slot));
        slot
    }

    fn submit(shared: &Arc<Self>, slot: &Arc<Slot>, waiting: Waiting) {
        let mut state = slot.state.lock();
        if shared.is_shut_down.load(Ordering::SeqCst) {
            drop(state);
            return waiting.fail(InvokeError::Closed);
        }
        if let SlotState::Open(connection) = &*state
            && connection.is_closing()
        {
            // It is about to leave the slot by itself; a new one need not wait for that.
            *state = SlotState::Idle;
        }
        match &mut *state {
            SlotState::Open(connection) => {
                let connection = Arc::clone(connection);
                drop(state);
                waiting.send(&connection);
            }
            SlotState::Connecting(queue) if queue.len() >= IN_FLIGHT_MAX => {
                drop(state);
                waiting.fail(InvokeError::Overloaded);
            }
            SlotState::Connecting(queue) => queue.push_back(waiting),
            SlotState::Idle => {
                *state = SlotState::Connecting([waiting].into());
                drop(state);
                tokio::spawn(connect(Arc::downgrade(shared), Arc::clone(slot)));
            }
        }
    }

    fn shut_down(&self) {
        self.is_shut_down.store(true, Ordering::SeqCst);
        let slots: Vec<_> = self.slots.lock().values().cloned().collect();
        for slot in slots {
            let state = std::mem::replace(&mut *slot.state.lock(), SlotState::Idle);
            match state {
                SlotState::Idle => {}
                SlotState::Connecting(queue) => {
                    queue.into_iter().for_each(|waiting| waiting.fail(InvokeError::Closed));
                }
                SlotState::Open(connection) => connection.close(),
            }
        }
        self.work.notify_one();
    }

    fn wake_sweeper(self: &Arc<Self>) {
        if self.is_sweeper_asleep.load(Ordering::SeqCst) {
            self.work.notify_one();
        } else if !self.has_sweeper.load(Ordering::Relaxed)
            && !self.has_sweeper.swap(true, Ordering::SeqCst)
        {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Fails what has waited too long; true while something waits.
    fn expire(&self, now: Instant) -> bool {
        let slots: Vec<_> = self.slots.lock().values().cloned().collect();
        let mut is_busy = false;
        for slot in slots {
            let mut late = Vec::new();
            let mut state = slot.state.lock();
            match &mut *state {
                SlotState::Idle => {}
                SlotState::Connecting(queue) => {
                    is_busy = true;
                    let waiting = std::mem::take(queue);
                    for entry in waiting {
                        if entry.deadline <= now {
                            late.push(entry)
                        } else {
                            queue.push_back(entry)
                        }
                    }
                    drop(state);
                }
                SlotState::Open(connection) => {
                    let connection = Arc::clone(connection);
                    drop(state);
                    connection.expire(now);
                    is_busy |= connection.has_pending();
                }
            }
            for waiting in late {
                let (addr, reason) = (slot.addr.clone(), "no connection in time".to_owned());
                waiting.fail(InvokeError::Connect { addr, reason });
            }
        }
        is_busy
    }
}

/// One for all requests of a client, so that a request costs no timer. Ends with the client.
async fn sweep(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(TIMEOUT_SWEEP).await;
        let Some(strong) = shared.upgrade() else { return };
        if strong.expire(Instant::now()) {
            continue;
        }
        strong.is_sweeper_asleep.store(true, Ordering::SeqCst);
        // A request may have been sent before it could see that nobody sweeps.
        if !strong.expire(Instant::now()) {
            let work = Arc::clone(&strong.work);
            drop(strong);
            work.notified().await;
        }
        let Some(strong) = shared.upgrade() else { return };
        strong.is_sweeper_asleep.store(false, Ordering::SeqCst);
    }
}

/// Opens a slot's connection and serves it until it ends.
async fn connect(shared: Weak<Shared>, slot: Arc<Slot>) {
    let Some(strong) = shared.upgrade() else { return };
    let options = strong.options.clone();
    let handler = strong.handler.clone();
    let id = strong.next_id.fetch_add(1, Ordering::Relaxed);
    drop(strong);
    let opened =
        match tokio::time::timeout(options.connect_timeout, socket::connect(&slot.addr)).await {
            Ok(Ok(stream)) => Connection::new(id, &stream, OUTBOUND_BYTES_MAX)
                .map(|connection| (stream, connection))
                .map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no connection within {:?}", options.connect_timeout)),
        };
    let (stream, connection) = match opened {
        Ok(opened) => opened,
        Err(reason) => {
            tracing::debug!(addr = slot.addr, reason, "cannot connect");
            let state = std::mem::replace(&mut *slot.state.lock(), SlotState::Idle);
            if let SlotState::Connecting(queue) = state {
                let error = InvokeError::Connect { addr: slot.addr.clone(), reason };
                queue.into_iter().for_each(|waiting| waiting.fail(error.clone()));
            }
            return;
        }
    };
    {
        // Sent under the lock, so that no later request overtakes those that have waited.
        let mut state = slot.state.lock();
        let SlotState::Connecting(queue) = &mut *state else { return };
        let queue = std::mem::take(queue);
        *state = SlotState::Open(Arc::clone(&connection));
        queue.into_iter().for_each(|waiting| waiting.send(&connection));
    }
    let limits = FrameLimits { frame_bytes_max: options.frame_bytes_max };
    Arc::clone(&connection).run(stream, handler, limits).await;
    {
        let mut state = slot.state.lock();
        if let SlotState::Open(current) = &*state
            && Arc::ptr_eq(current, &connection)
        {
            *state = SlotState::Idle;
        }
    }
    if let Some(shared) = shared.upgrade() {
        // Nobody may be listening.
        drop(shared.closed.send(slot.addr.clone()));
    }
}
