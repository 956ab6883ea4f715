//! The right and the duty to answer one request.
//!
//! Invariant: a request is answered exactly once, a one-way request never. Whoever drops the
//! responder without answering has the peer told so.

use std::sync::Arc;

use bytes::Bytes;

use super::command::{FLAG_RESPONSE, RemotingCommand, SerializeType};
use super::connection::Connection;
use super::encode::{ExtWriter, HeaderParts};
use super::frame;
use crate::protocol::code::response;

/// Answers one request; usable from any thread.
pub struct Responder {
    /// Absent once answered, and for one-way requests.
    connection: Option<Arc<Connection>>,
    opaque: i32,
    serialize_type: SerializeType,
}

impl Responder {
    pub(super) fn new(connection: &Arc<Connection>, request: &RemotingCommand) -> Self {
        let is_answered = !request.is_oneway();
        if is_answered {
            connection.request_begins();
        }
        Self {
            connection: is_answered.then(|| Arc::clone(connection)),
            opaque: request.opaque,
            serialize_type: request.serialize_type,
        }
    }

    /// Whether the request must not be answered; answers are then dropped.
    pub fn is_oneway(&self) -> bool {
        self.connection.is_none()
    }

    /// Whether more waits to be written to the client than it may leave unread.
    pub fn is_congested(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.is_congested())
    }

    /// Answers with a command built by the caller.
    pub fn respond(mut self, mut command: RemotingCommand) {
        let Some(connection) = self.connection.take() else { return };
        command.opaque = self.opaque;
        command.flag |= FLAG_RESPONSE;
        command.serialize_type = self.serialize_type;
        let body_bytes = command.body.len();
        connection.push(std::slice::from_ref(&command.body), |out| {
            frame::encode_header(&command, body_bytes, out);
        });
        connection.request_ends();
    }

    /// Answers with fields only, written straight into the outbound buffer.
    pub fn respond_with(self, code: i32, fill: impl FnOnce(&mut ExtWriter<'_>)) {
        self.respond_parts(code, None, &[], fill);
    }

    /// Answers with fields and a body in pieces, which are not joined. Large pieces are not copied.
    pub fn respond_parts(
        mut self,
        code: i32,
        remark: Option<&str>,
        bodies: &[Bytes],
        fill: impl FnOnce(&mut ExtWriter<'_>),
    ) {
        let Some(connection) = self.connection.take() else { return };
        send(&connection, self.serialize_type, self.opaque, code, remark, bodies, fill);
        connection.request_ends();
    }

    /// Answers with a body only.
    pub fn respond_body(self, code: i32, body: Bytes) {
        self.respond_parts(code, None, &[body], |_| {});
    }

    /// Answers that something went wrong.
    pub fn respond_error(self, code: i32, remark: impl AsRef<str>) {
        self.respond_parts(code, Some(remark.as_ref()), &[], |_| {});
    }
}

fn send(
    connection: &Connection,
    serialize_type: SerializeType,
    opaque: i32,
    code: i32,
    remark: Option<&str>,
    bodies: &[Bytes],
    fill: impl FnOnce(&mut ExtWriter<'_>),
) {
    let body_bytes = bodies.iter().map(Bytes::len).sum();
    connection.push(bodies, |out| {
        let parts = HeaderParts::response(code, opaque, remark);
        frame::put_frame(out, serialize_type, &parts, body_bytes, fill);
    });
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let remark = Some("not set any response code");
            let code = response::SYSTEM_ERROR;
            send(&connection, self.serialize_type, self.opaque, code, remark, &[], |_| {});
            connection.request_ends();
        }
    }
}
