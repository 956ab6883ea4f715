//! Answers: success with fields or a body, failure with a code and a remark that says what to do.

use bytes::Bytes;

use crate::protocol::code::response;
use crate::remoting::{FieldError, RemotingCommand};
use crate::replication::machine::Refusal;
use crate::store::StoreError;

/// A request that was not carried out, as the client will see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Response code.
    pub code: i32,
    /// What happened and what to do.
    pub remark: String,
    /// The request certainly had no effect here because this member does not lead: another member
    /// may carry it out.
    pub not_leader: bool,
    /// Which setting forbids a pull: 1 the broker's, 2 the group's, 3 the topic's, 4 broadcasting.
    pub forbidden_type: Option<i32>,
}

/// What a processor hands back.
pub type Outcome = Result<RemotingCommand, Failure>;

impl Failure {
    /// Any failure.
    pub fn new(code: i32, remark: impl Into<String>) -> Failure {
        Failure { code, remark: remark.into(), not_leader: false, forbidden_type: None }
    }

    /// A failure the client retries, here or elsewhere.
    pub fn unavailable(remark: impl Into<String>) -> Failure {
        Failure::new(response::SERVICE_NOT_AVAILABLE, remark)
    }

    /// A request field that is missing or makes no sense.
    pub fn invalid(remark: impl Into<String>) -> Failure {
        Failure::new(response::INVALID_PARAMETER, remark)
    }

    /// No such topic.
    pub fn no_topic(topic: &str) -> Failure {
        let remark = format!("topic[{topic}] not exist, apply first please!");
        Failure::new(response::TOPIC_NOT_EXIST, remark)
    }

    /// No such group.
    pub fn no_group(group: &str) -> Failure {
        let remark = format!("subscription group [{group}] does not exist");
        Failure::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        match refusal {
            Refusal::NotLeader { .. } => {
                Failure { not_leader: true, ..Failure::unavailable(refusal.to_string()) }
            }
            Refusal::Overloaded => Failure::new(
                response::SYSTEM_BUSY,
                "[OVERLOAD]system busy, start flow control for a while",
            ),
            Refusal::TooLarge => Failure::new(
                response::MESSAGE_ILLEGAL,
                "the message is larger than a log entry may be; send smaller messages or batches",
            ),
            Refusal::Unknown | Refusal::ShuttingDown => {
                Failure::unavailable(format!("{refusal}; send it again"))
            }
        }
    }
}

impl From<FieldError> for Failure {
    fn from(error: FieldError) -> Failure {
        Failure::invalid(error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        // Of damage the log itself has told, once.
        if !matches!(error, StoreError::Damaged { .. }) {
            tracing::error!(%error, "derived data cannot be read");
        }
        Failure::new(response::SYSTEM_ERROR, error.to_string())
    }
}

/// Success without anything to say.
pub fn success() -> RemotingCommand {
    RemotingCommand::response(response::SUCCESS)
}

/// Success with a body.
pub fn success_with(body: impl Into<Bytes>) -> RemotingCommand {
    let mut command = success();
    command.body = body.into();
    command
}

/// Success with a body that is JSON.
pub fn success_json<T: serde::Serialize>(body: &T) -> Outcome {
    let body = serde_json::to_vec(body)
        .map_err(|error| Failure::new(response::SYSTEM_ERROR, format!("answer body: {error}")))?;
    Ok(success_with(body))
}
