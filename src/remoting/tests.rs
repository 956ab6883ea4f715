//! Server and client over real sockets, and raw peers that behave as clients of other languages do.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::*;

/// Answers with the request's body and its field `k`.
const ECHO: i32 = 1;
/// Drops its responder.
const FORGET: i32 = 2;
/// Answers with a large body.
const LARGE: i32 = 3;
/// Is kept until the test answers it.
const HOLD: i32 = 4;
/// Has its connection reset.
const RESET: i32 = 5;

const LARGE_BYTES: usize = 256 << 10;
const WAIT: Duration = Duration::from_secs(60);

struct Handler {
    handled: AtomicUsize,
    held: Mutex<Vec<Request>>,
    events: mpsc::Sender<Event>,
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Handled(i32),
    Closed(u64),
}

impl Handler {
    fn new() -> (Arc<Self>, mpsc::Receiver<Event>) {
        let (events, receiver) = mpsc::channel(1 << 16);
        let handled = AtomicUsize::new(0);
        (Arc::new(Self { handled, held: Mutex::default(), events }), receiver)
    }
}

impl RequestHandler for Handler {
    fn handle(&self, request: Request) {
        self.handled.fetch_add(1, Ordering::SeqCst);
        let code = request.command.code;
        match code {
            ECHO => {
                let body = request.command.body.clone();
                request.responder.respond_parts(0, None, &[body], |ext| {
                    ext.put_some("k", request.command.ext_fields.get("k"));
                });
            }
            FORGET => drop(request),
            LARGE => request.responder.respond_body(0, Bytes::from(vec![b'x'; LARGE_BYTES])),
            HOLD => self.held.lock().push(request),
            RESET => request.connection.close_with_reset(),
            _ => request.responder.respond_error(3, format!(" request type {code} not supported")),
        }
        self.events.try_send(Event::Handled(code)).unwrap();
    }

    fn connection_closed(&self, connection: &Arc<Connection>) {
        self.events.try_send(Event::Closed(connection.id())).unwrap();
    }
}

struct Bench {
    server: RemotingServer,
    handler: Arc<Handler>,
    events: mpsc::Receiver<Event>,
}

impl Bench {
    async fn start(options: ServerOptions) -> Self {
        let (handler, events) = Handler::new();
        let addr = "127.0.0.1:0".parse().unwrap();
        let server = RemotingServer::bind(addr, handler.clone(), options).await.unwrap();
        Self { server, handler, events }
    }

    fn addr(&self) -> String {
        self.server.local_addr().to_string()
    }

    async fn raw(&self) -> Raw {
        Raw { stream: TcpStream::connect(self.addr()).await.unwrap(), buffer: BytesMut::new() }
    }

    async fn event(&mut self) -> Event {
        tokio::time::timeout(WAIT, self.events.recv()).await.unwrap().unwrap()
    }
}

/// A peer that writes and reads frames by itself.
struct Raw {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Raw {
    async fn send(&mut self, code: i32, opaque: i32, flag: i32) {
        let mut command = RemotingCommand::request(code).with_ext("k", "v").with_body("body");
        command.opaque = opaque;
        command.flag = flag;
        self.send_command(&command).await;
    }

    async fn send_command(&mut self, command: &RemotingCommand) {
        let mut out = BytesMut::new();
        frame::encode(command, &mut out);
        self.stream.write_all(&out).await.unwrap();
    }

    /// The next frame; `None` at the end of the stream.
    async fn receive(&mut self) -> std::io::Result<Option<RemotingCommand>> {
        loop {
            if let Some(command) = frame::decode(&mut self.buffer, &FrameLimits::default()).unwrap()
            {
                return Ok(Some(command));
            }
            let read = tokio::time::timeout(WAIT, self.stream.read_buf(&mut self.buffer));
            if read.await.unwrap()? == 0 {
                return Ok(None);
            }
        }
    }
}

fn client() -> RemotingClient {
    RemotingClient::new(ClientOptions::default(), None)
}

#[tokio::test]
async fn pipelined_requests_are_answered_with_their_numbers() {
    let bench = Bench::start(ServerOptions::default()).await;
    let mut raw = bench.raw().await;
    for opaque in 0..100 {
        raw.send(ECHO, opaque, 0).await;
    }
    for opaque in 0..100 {
        let answer = raw.receive().await.unwrap().unwrap();
        assert_eq!((answer.code, answer.opaque, answer.flag), (0, opaque, 1));
        assert_eq!(answer.ext_fields.get("k"), Some("v"));
        assert_eq!(answer.body, "body");
        assert_eq!(answer.version, command::VERSION);
    }
}

#[tokio::test]
async fn one_way_requests_are_not_answered_and_forgotten_ones_are() {
    let bench = Bench::start(ServerOptions::default()).await;
    let mut raw = bench.raw().await;
    for code in [ECHO, FORGET, LARGE, 99] {
        raw.send(code, 1, 2).await;
    }
    raw.send(FORGET, 2, 0).await;
    let answer = raw.receive().await.unwrap().unwrap();
    assert_eq!((answer.opaque, answer.code), (2, 1));
    assert_eq!(answer.remark.as_deref(), Some("not set any response code"));
    assert_eq!(bench.handler.handled.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn the_answer_has_the_form_of_the_request() {
    let bench = Bench::start(ServerOptions::default()).await;
    let mut raw = bench.raw().await;
    let mut command = RemotingCommand::request(ECHO);
    command.serialize_type = SerializeType::RocketMq;
    raw.send_command(&command).await;
    let answer = raw.receive().await.unwrap().unwrap();
    assert_eq!(answer.serialize_type, SerializeType::RocketMq);
    // What we ask such a peer has its form too.
    let connection = bench.server.connections().remove(0);
    assert!(connection.send_oneway(RemotingCommand::request(40)));
    let notice = raw.receive().await.unwrap().unwrap();
    assert_eq!((notice.code, notice.serialize_type), (40, SerializeType::RocketMq));
    assert!(notice.is_oneway());
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_not_read_from() {
    const BOUND: usize = 1 << 20;
    const REQUESTS: usize = 400;
    let options = ServerOptions { outbound_bytes_max: BOUND, ..ServerOptions::default() };
    let mut bench = Bench::start(options).await;
    let mut raw = bench.raw().await;
    for opaque in 0..REQUESTS {
        raw.send(LARGE, i32::try_from(opaque).unwrap(), 0).await;
    }
    // The bound, what one more answer adds, and what the kernel's buffers take.
    let answers_max = (BOUND + LARGE_BYTES + (16 << 20)) / LARGE_BYTES;
    while let Ok(Some(event)) =
        tokio::time::timeout(Duration::from_millis(300), bench.events.recv()).await
    {
        assert_eq!(event, Event::Handled(LARGE));
    }
    let handled = bench.handler.handled.load(Ordering::SeqCst);
    assert!(handled <= answers_max, "{handled} answers were made for a peer that read none");
    for opaque in 0..REQUESTS {
        let answer = raw.receive().await.unwrap().unwrap();
        assert_eq!(answer.opaque, i32::try_from(opaque).unwrap());
        assert_eq!(answer.body.len(), LARGE_BYTES);
    }
    assert_eq!(bench.handler.handled.load(Ordering::SeqCst), REQUESTS);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let mut bench = Bench::start(ServerOptions::default()).await;
    let mut raw = bench.raw().await;
    raw.send(ECHO, 1, 0).await;
    raw.receive().await.unwrap().unwrap();
    // Not before: what is on its way through the system looks like nothing to do.
    tokio::time::pause();
    let begin = tokio::time::Instant::now();
    let mut byte = [0];
    assert_eq!(raw.stream.read(&mut byte).await.unwrap(), 0);
    let idle = begin.elapsed();
    tokio::time::resume();
    assert!(idle >= Duration::from_secs(100), "closed after {idle:?}");
    assert!(idle <= Duration::from_secs(160), "closed after {idle:?}");
    assert_eq!(bench.event().await, Event::Handled(ECHO));
    assert_eq!(bench.event().await, Event::Closed(1));
}

#[tokio::test]
async fn what_is_no_frame_ends_the_connection_and_only_it() {
    let mut bench = Bench::start(ServerOptions::default()).await;
    for (index, bytes) in [
        &b"\x16\x03\x01\x00\xa5"[..],
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"\x7f\xff\xff\xff",
        b"\x00\x00\x00\x08\x00\x00\x00\x09xxxx",
        b"\x00\x00\x00\x08\x00\x00\x00\x04xxxx",
    ]
    .into_iter()
    .enumerate()
    {
        let mut raw = bench.raw().await;
        raw.stream.write_all(bytes).await.unwrap();
        // An orderly end, or a reset because bytes remained unread.
        assert!(!matches!(raw.receive().await, Ok(Some(_))));
        assert_eq!(bench.event().await, Event::Closed(index as u64 + 1));
    }
    let mut raw = bench.raw().await;
    raw.send(ECHO, 1, 0).await;
    assert!(raw.receive().await.unwrap().is_some());
}

#[tokio::test]
async fn the_end_of_a_connection_is_told_once() {
    let mut bench = Bench::start(ServerOptions::default()).await;
    let mut raw = bench.raw().await;
    raw.send(HOLD, 1, 0).await;
    assert_eq!(bench.event().await, Event::Handled(HOLD));
    drop(raw);
    assert_eq!(bench.event().await, Event::Closed(1));
    // Too late, and harmless.
    let held = bench.handler.held.lock().pop().unwrap();
    assert!(!held.connection.send_oneway(RemotingCommand::request(40)));
    held.responder.respond_with(0, |_| {});
    let invoked = held.connection.invoke(RemotingCommand::request(1), WAIT).await;
    assert_eq!(invoked.unwrap_err(), InvokeError::Closed);
    bench.server.shutdown().await;
    assert!(bench.events.try_recv().is_err(), "told once");
}

#[tokio::test]
async fn a_stopping_server_answers_what_it_has_read() {
    let mut bench = Bench::start(ServerOptions::default()).await;
    let mut raw = bench.raw().await;
    raw.send(HOLD, 7, 0).await;
    assert_eq!(bench.event().await, Event::Handled(HOLD));
    let held = bench.handler.held.lock().pop().unwrap();
    let addr = bench.addr();
    let ((), ()) = tokio::join!(bench.server.shutdown(), async {
        while TcpStream::connect(&addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
        held.responder.respond_with(0, |ext| ext.put("late", true));
    });
    let answer = raw.receive().await.unwrap().unwrap();
    assert_eq!((answer.opaque, answer.ext_fields.get("late")), (7, Some("true")));
    assert!(raw.receive().await.unwrap().is_none(), "then an orderly end");
}

#[tokio::test]
async fn what_cannot_be_answered_is_reset() {
    let mut bench = Bench::start(ServerOptions::default()).await;
    let mut raw = bench.raw().await;
    raw.send(HOLD, 7, 0).await;
    assert_eq!(bench.event().await, Event::Handled(HOLD));
    bench.server.shutdown().await;
    let error = raw.receive().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn one_connection_more_than_allowed_is_closed() {
    let options = ServerOptions { connections_max: 1, ..ServerOptions::default() };
    let bench = Bench::start(options).await;
    let mut first = bench.raw().await;
    first.send(ECHO, 1, 0).await;
    assert!(first.receive().await.unwrap().is_some());
    assert!(!matches!(bench.raw().await.receive().await, Ok(Some(_))));
    first.send(ECHO, 2, 0).await;
    assert!(first.receive().await.unwrap().is_some());
}

#[tokio::test]
async fn a_client_shares_one_connection_and_keeps_answers_apart() {
    let bench = Bench::start(ServerOptions::default()).await;
    let client = client();
    let addr = bench.addr();
    let (sender, mut receiver) = mpsc::channel(1000);
    for number in 0..500usize {
        let sender = sender.clone();
        let command = RemotingCommand::request(ECHO).with_ext("k", number);
        client.invoke_with(&addr, command, WAIT, move |outcome| {
            let answer = outcome.unwrap();
            sender.try_send((number, answer.ext_fields.get("k").unwrap().to_owned())).unwrap();
        });
    }
    for _ in 0..500 {
        let (number, text) = receiver.recv().await.unwrap();
        assert_eq!(number.to_string(), text);
    }
    assert_eq!(bench.server.connections().len(), 1);
    let answer = client.invoke(&addr, RemotingCommand::request(99), WAIT).await.unwrap();
    assert_eq!(answer.remark.as_deref(), Some(" request type 99 not supported"));
}

#[tokio::test]
async fn a_template_is_sent_under_a_new_number_each_time() {
    let bench = Bench::start(ServerOptions::default()).await;
    let client = client();
    let addr = bench.addr();
    let template = RequestTemplate::new(&RemotingCommand::request(ECHO).with_ext("k", "v"));
    for body in ["one", "two", "three"] {
        let (sender, receiver) = oneshot::channel();
        client.invoke_template(&addr, &template, Bytes::from(body), WAIT, |outcome| {
            sender.send(outcome.unwrap()).unwrap();
        });
        let answer = receiver.await.unwrap();
        assert_eq!((&answer.body[..], answer.ext_fields.get("k")), (body.as_bytes(), Some("v")));
    }
}

#[tokio::test]
async fn refused_connections_say_so() {
    // Bound, so that nobody else gets it, and not listened on.
    let unused = TcpSocket::new_v4().unwrap();
    unused.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = unused.local_addr().unwrap().to_string();
    let outcome = client().invoke(&addr, RemotingCommand::request(ECHO), WAIT).await;
    assert!(matches!(outcome, Err(InvokeError::Connect { addr: to, .. }) if to == addr));
}

#[tokio::test]
async fn a_lost_connection_fails_what_is_in_flight_and_the_next_request_reconnects() {
    let mut bench = Bench::start(ServerOptions::default()).await;
    let client = client();
    let addr = bench.addr();
    let mut closed = client.subscribe_closed();
    let (sender, mut receiver) = mpsc::channel(10);
    for _ in 0..3 {
        let sender = sender.clone();
        client.invoke_with(&addr, RemotingCommand::request(HOLD), WAIT, move |outcome| {
            sender.try_send(outcome.map(|_| ())).unwrap();
        });
        assert_eq!(bench.event().await, Event::Handled(HOLD));
    }
    client.invoke_oneway(&addr, RemotingCommand::request(RESET));
    for _ in 0..3 {
        assert_eq!(receiver.recv().await.unwrap(), Err(InvokeError::Closed));
    }
    assert_eq!(closed.recv().await.unwrap(), addr);
    bench.handler.held.lock().clear();
    client.invoke(&addr, RemotingCommand::request(ECHO), WAIT).await.unwrap();
}

#[tokio::test]
async fn an_orderly_close_fails_what_is_in_flight_too() {
    let mut bench = Bench::start(ServerOptions::default()).await;
    let client = client();
    let addr = bench.addr();
    let request = client.invoke(&addr, RemotingCommand::request(HOLD), WAIT);
    let (outcome, ()) = tokio::join!(request, async {
        assert_eq!(bench.event().await, Event::Handled(HOLD));
        bench.handler.held.lock()[0].connection.close();
    });
    assert_eq!(outcome.unwrap_err(), InvokeError::Closed);
}

#[tokio::test]
async fn a_request_nobody_answers_times_out_and_others_go_on() {
    let bench = Bench::start(ServerOptions::default()).await;
    let client = client();
    let addr = bench.addr();
    let silent = client.invoke(&addr, RemotingCommand::request(HOLD), WAIT / 2);
    let (silent, answered) = tokio::join!(silent, async {
        let mut answered = Vec::new();
        for _ in 0..20 {
            answered.push(client.invoke(&addr, RemotingCommand::request(ECHO), WAIT).await);
        }
        // Nothing is to be done now but to let the time pass.
        tokio::time::pause();
        answered
    });
    tokio::time::resume();
    assert_eq!(silent.unwrap_err(), InvokeError::Timeout);
    assert!(answered.iter().all(Result::is_ok));
    assert_eq!(bench.server.connections().len(), 1, "the peer was heard of: it stays connected");
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let client = client();
    let (first, mut stream) =
        tokio::join!(client.invoke(&addr, RemotingCommand::request(1), WAIT), async {
            let (stream, _) = listener.accept().await.unwrap();
            stream.readable().await.unwrap();
            // The request is there, and nothing is to be done but to let the time pass.
            tokio::time::pause();
            stream
        });
    tokio::time::resume();
    assert_eq!(first.unwrap_err(), InvokeError::Timeout);
    let mut received = Vec::new();
    let error = stream.read_to_end(&mut received).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_waits_for_a_connection_in_vain_was_not_sent() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    // Nobody accepts, so there is room for this one only.
    let _first = TcpStream::connect(&addr).await.unwrap();
    let outcome = client().invoke(&addr, RemotingCommand::request(1), WAIT / 100).await;
    let reason = "no connection in time".to_owned();
    assert_eq!(outcome.unwrap_err(), InvokeError::Connect { addr, reason });
}

#[tokio::test]
async fn a_server_asks_its_clients() {
    let mut bench = Bench::start(ServerOptions::default()).await;
    let (handler, mut client_events) = Handler::new();
    let client = RemotingClient::new(ClientOptions::default(), Some(handler));
    let addr = bench.addr();
    client.invoke(&addr, RemotingCommand::request(ECHO), WAIT).await.unwrap();
    let connection = bench.server.connections().remove(0);
    assert_eq!(bench.server.connection(connection.id()).unwrap().id(), connection.id());
    let asked = RemotingCommand::request(ECHO).with_ext("k", "from the server");
    let answer = connection.invoke(asked, WAIT).await.unwrap();
    assert_eq!(answer.ext_fields.get("k"), Some("from the server"));
    assert_eq!(client_events.recv().await, Some(Event::Handled(ECHO)));
    let held = connection.invoke(RemotingCommand::request(HOLD), Duration::from_millis(10)).await;
    assert_eq!(held.unwrap_err(), InvokeError::Timeout);
    assert_eq!(client_events.recv().await, Some(Event::Handled(HOLD)));

    client.shutdown();
    assert_eq!(bench.event().await, Event::Handled(ECHO));
    assert_eq!(bench.event().await, Event::Closed(1));
    let late = client.invoke(&addr, RemotingCommand::request(ECHO), WAIT).await;
    assert_eq!(late.unwrap_err(), InvokeError::Closed);
}

#[tokio::test]
async fn a_client_without_handler_says_that_it_supports_nothing() {
    let bench = Bench::start(ServerOptions::default()).await;
    let client = client();
    client.invoke(&bench.addr(), RemotingCommand::request(ECHO), WAIT).await.unwrap();
    let connection = bench.server.connections().remove(0);
    let answer = connection.invoke(RemotingCommand::request(307), WAIT).await.unwrap();
    assert_eq!(answer.code, 3);
}

#[tokio::test]
async fn dropping_a_client_closes_its_connections() {
    let mut bench = Bench::start(ServerOptions::default()).await;
    let client = client();
    client.invoke(&bench.addr(), RemotingCommand::request(ECHO), WAIT).await.unwrap();
    drop(client);
    assert_eq!(bench.event().await, Event::Handled(ECHO));
    assert_eq!(bench.event().await, Event::Closed(1));
}
