//! Every bound of the remoting layer, in one place.
//!
//! Invariant: each is checked before the memory it bounds is allocated.

use std::time::Duration;

/// Largest frame, its length field included: what Java's decoder takes.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// Deepest nesting of values in a JSON header, known keys or not.
pub const HEADER_DEPTH_MAX: usize = 16;
/// Most ext fields of one header; official clients send fewer than thirty.
pub const EXT_FIELDS_MAX: usize = 256;
/// A connection's first read buffer: thousands of quiet connections must stay cheap.
pub const READ_BUFFER_BYTES_MIN: usize = 8 << 10;
/// What it grows to while reads fill it, so that one read brings many frames.
pub const READ_BUFFER_BYTES_MAX: usize = 256 << 10;
/// Bodies of at least this size are queued as they are; smaller ones are copied behind their header.
pub const BODY_BYTES_QUEUED: usize = 32 << 10;
/// Above this many unsent bytes a connection's requests are no longer read.
pub const OUTBOUND_BYTES_MAX: usize = 16 << 20;
/// An outbound buffer that grew beyond this is given back once it is empty.
pub const OUTBOUND_BUFFER_BYTES_KEPT: usize = 256 << 10;
/// A connection on which nothing moves for this long is closed.
pub const IDLE_CLOSE: Duration = Duration::from_secs(120);
/// Sweeps per idle period: a connection is closed at most one sweep later than it should.
pub const IDLE_SWEEPS: u32 = 8;
/// Connections of one server.
pub const CONNECTIONS_MAX: usize = 65_536;
/// Pending connections of a listening socket.
pub const LISTEN_BACKLOG: u32 = 1024;
/// How long a server that stops waits for answers, and for peers to take them.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// How long accepting pauses when the process is out of file descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connecting may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a client looks for requests that have waited too long.
pub const TIMEOUT_SWEEP: Duration = Duration::from_millis(20);
/// Requests in flight on one connection.
pub const IN_FLIGHT_MAX: usize = 65_536;
