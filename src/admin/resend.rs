//! A message that is sent again, with its own id and properties, to the topic that it is stored in.

use super::contents::name_of;
use super::{AdminError, send};
use crate::client::{Admin, Producer, ProducerOptions, SendResult, StoredMessage};

/// As which it is sent.
const GROUP: &str = "ReSendMsgById";

pub(super) fn producer(admin: &Admin) -> Result<Producer, AdminError> {
    Ok(Producer::start(admin.client(), ProducerOptions::new(GROUP))?)
}

/// A message by the id that was asked for, and what became of it.
pub(super) struct SentAgain {
    id: String,
    sent: SendResult,
}

impl SentAgain {
    pub(super) async fn by(
        producer: &Producer,
        id: &str,
        stored: &StoredMessage,
    ) -> Result<SentAgain, AdminError> {
        Ok(SentAgain { id: id.to_owned(), sent: producer.send_again(stored).await? })
    }

    /// As mqadmin prints it, which says the first half before it sends.
    pub(super) fn line(&self) -> String {
        format!("prepare resend msg. originalMsgId={}{}\n", self.id, as_java(&self.sent))
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let mut shown = send::json(&self.sent);
        shown["originalMsgId"] = self.id.as_str().into();
        shown
    }
}

/// As Java writes what became of a send.
pub(super) fn as_java(sent: &SendResult) -> String {
    format!(
        "SendResult [sendStatus={}, msgId={}, offsetMsgId={}, messageQueue={}, queueOffset={}, \
         recallHandle=null]",
        sent.status.as_str(),
        sent.message_id,
        sent.offset_message_id,
        name_of(&sent.queue),
        sent.queue_offset
    )
}
