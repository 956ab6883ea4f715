//! Requests and answers in the client's own terms, on top of the remoting client.

use std::time::Duration;

use bytes::Bytes;

use crate::protocol::code::response;
use crate::remoting::{InvokeError, RemotingClient, RemotingCommand};

use super::error::ClientError;

/// A request before it has an opaque.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    code: i32,
    fields: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Ask {
    /// A request without fields or body.
    pub(super) fn new(code: i32) -> Ask {
        Ask { code, fields: Vec::new(), body: Bytes::new() }
    }

    /// With a field.
    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Ask {
        self.fields.push((name, value.to_string()));
        self
    }

    /// With a field if there is a value for it.
    pub(super) fn with_some(self, name: &'static str, value: Option<impl ToString>) -> Ask {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With a body.
    pub(super) fn with_body(mut self, body: Bytes) -> Ask {
        self.body = body;
        self
    }

    fn command(&self) -> RemotingCommand {
        let mut command = RemotingCommand::request(self.code);
        for (name, value) in &self.fields {
            command.ext_fields.insert(name, value);
        }
        command.body = self.body.clone();
        command
    }
}

/// An answer and who gave it.
#[derive(Debug)]
pub(super) struct Answer {
    pub address: String,
    pub command: RemotingCommand,
}

impl Answer {
    /// Response code.
    pub(super) fn code(&self) -> i32 {
        self.command.code
    }

    /// The body.
    pub(super) fn body(&self) -> &Bytes {
        &self.command.body
    }

    /// A field as text.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.command.ext_fields.get(field)
    }

    /// A field as a number.
    pub(super) fn number(&self, field: &'static str) -> Result<i64, ClientError> {
        let value = self.text(field).and_then(|text| text.parse().ok());
        value.ok_or_else(|| ClientError::Field { address: self.address.clone(), field })
    }

    /// The answer, if it is a success.
    pub(super) fn success(self) -> Result<Answer, ClientError> {
        if self.code() == response::SUCCESS { Ok(self) } else { Err(self.refusal()) }
    }

    /// The answer as an error.
    pub(super) fn refusal(&self) -> ClientError {
        ClientError::Refused {
            address: self.address.clone(),
            code: self.command.code,
            remark: self.command.remark.clone().unwrap_or_default(),
        }
    }

    /// Reads the body with `decode`.
    pub(super) fn decode<T>(
        &self,
        decode: impl FnOnce(&[u8]) -> Result<T, crate::protocol::fastjson::BodyError>,
    ) -> Result<T, ClientError> {
        let address = || self.address.clone();
        decode(self.body()).map_err(|source| ClientError::Body { address: address(), source })
    }
}

/// Sends requests to addresses.
pub(super) struct Remote {
    client: RemotingClient,
    timeout: Duration,
}

impl Remote {
    pub(super) fn new(client: RemotingClient, timeout: Duration) -> Remote {
        Remote { client, timeout }
    }

    /// How long requests usually may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks and waits for whatever answer, as long as requests usually may take.
    pub(super) async fn ask(&self, address: &str, ask: &Ask) -> Result<Answer, ClientError> {
        self.ask_within(address, ask, self.timeout).await
    }

    /// Asks and waits for whatever answer.
    pub(super) async fn ask_within(
        &self,
        address: &str,
        ask: &Ask,
        timeout: Duration,
    ) -> Result<Answer, ClientError> {
        match self.client.invoke(address, ask.command(), timeout).await {
            Ok(command) => Ok(Answer { address: address.to_owned(), command }),
            Err(error) => {
                let (address, reason) = (address.to_owned(), error.to_string());
                Err(match error {
                    InvokeError::Connect { .. } | InvokeError::Overloaded => {
                        ClientError::Unreachable { address, reason }
                    }
                    InvokeError::Timeout | InvokeError::Closed => {
                        ClientError::Transport { address, reason }
                    }
                })
            }
        }
    }

    /// Sends without expecting an answer, or hearing of a failure.
    pub(super) fn tell(&self, address: &str, ask: &Ask) {
        self.client.invoke_oneway(address, ask.command());
    }
}
