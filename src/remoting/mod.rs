//! RocketMQ's remoting protocol over TCP: frames, headers, the server's and the client's ends.
//!
//! Invariant: nothing a peer sends makes this panic or allocate more than the peer has sent, and
//! nothing a peer fails to read makes memory grow beyond the bound of its connection.

pub mod binary_header;
pub mod client;
pub mod command;
pub mod connection;
pub mod encode;
pub mod ext_fields;
pub mod frame;
pub mod header;
pub mod json_header;
pub mod limits;
mod outbound;
mod pending;
pub mod responder;
pub mod server;
mod socket;
#[cfg(test)]
mod tests;

pub use client::{ClientOptions, RemotingClient, RequestTemplate};
pub use command::{Language, RemotingCommand, SerializeType};
pub use connection::{Connection, InvokeError, Request, RequestHandler};
pub use encode::{ExtValue, ExtWriter};
pub use ext_fields::{ExtFields, FieldError};
pub use frame::{FrameError, FrameLimits};
pub use responder::Responder;
pub use server::{RemotingServer, ServerOptions};
