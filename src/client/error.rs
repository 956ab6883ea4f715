//! Why a client call failed, and what to do about it.

use std::time::Duration;

use crate::protocol::fastjson::BodyError;
use crate::protocol::record::RecordError;

/// Why a client call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No NameServer address was configured.
    #[error("no NameServer address: pass one or set NAMESRV_ADDR")]
    NoNameServer,
    /// There is no connection to the peer: the request was not sent.
    #[error("{address}: {reason}")]
    Unreachable {
        /// Who was to be asked.
        address: String,
        /// Why not.
        reason: String,
    },
    /// The connection broke, or time passed, before the peer answered: it may have acted.
    #[error("{address}: {reason}")]
    Transport {
        /// Who was asked.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The peer answered with an error.
    #[error("{address} answered code {code}: {remark}")]
    Refused {
        /// Who answered.
        address: String,
        /// Response code.
        code: i32,
        /// What it said.
        remark: String,
    },
    /// The NameServer does not know the topic, and it cannot be created by sending to it.
    #[error("topic {0} has no route: create it with updateTopic, or let the broker auto-create it")]
    NoRoute(String),
    /// The NameServer has just started and may not have heard of the topic yet.
    #[error("the NameServer has just started and does not know topic {0} yet")]
    NotReady(String),
    /// No member of the group is registered as its leader.
    #[error("broker {0} has no leader in the route")]
    NoLeader(String),
    /// The budget was used up.
    #[error("gave up after {waited:?} and {attempts} attempts; the last one said: {last}")]
    Budget {
        /// The whole budget.
        waited: Duration,
        /// Attempts made.
        attempts: u32,
        /// Why the last of them failed.
        last: Box<ClientError>,
    },
    /// An answer has no, or an unreadable, field.
    #[error("{address}: the answer has no usable field {field}")]
    Field {
        /// Who answered.
        address: String,
        /// Which field.
        field: &'static str,
    },
    /// An answer's body could not be read.
    #[error("{address}: {source}")]
    Body {
        /// Who answered.
        address: String,
        /// What is wrong with it.
        source: BodyError,
    },
    /// A pulled message could not be read.
    #[error("unreadable message: {0}")]
    Record(#[from] RecordError),
    /// The message cannot be sent as it is.
    #[error("illegal message: {0}")]
    IllegalMessage(String),
    /// The request itself makes no sense.
    #[error("{0}")]
    IllegalArgument(String),
}

impl ClientError {
    /// Whether the connection, and not the peer, failed.
    pub fn is_transport(&self) -> bool {
        self.is_unsent() || matches!(self, ClientError::Transport { .. })
    }

    /// Whether the peer cannot have heard of the request.
    pub fn is_unsent(&self) -> bool {
        matches!(self, ClientError::Unreachable { .. })
    }

    /// The peer's response code, if it answered.
    pub fn code(&self) -> Option<i32> {
        match self {
            ClientError::Refused { code, .. } => Some(*code),
            ClientError::Budget { last, .. } => last.code(),
            _ => None,
        }
    }
}
