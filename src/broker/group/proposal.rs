//! What processors propose to the group, and what they hear of it.
//!
//! Invariant: each proposal is answered exactly once, by its `reply`: with its outcome after it was
//! applied here, or with a refusal. Only [`Refusal::Unknown`] leaves open whether it took effect.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use raft_log::{LogIndex, Position};
use smallvec::SmallVec;

use super::delivery::{DeliveryOutcome, DeliveryProposal};
use crate::protocol::record;
use crate::protocol::topic::TopicConfig;
use crate::replication::machine::Refusal;
use crate::state::Command;

/// What a proposal keeps in memory beside its bytes, about.
const OVERHEAD_BYTES: usize = 256;

/// Hears how sending went; runs where entries are applied, so it must not block.
pub type SendReply = Box<dyn FnOnce(SendOutcome) + Send>;
/// Hears how a command went; must not block either.
pub type CommandReply = Box<dyn FnOnce(CommandOutcome) + Send>;

/// A change that the group is to make.
pub enum Proposal {
    /// Stores messages.
    Messages(MessagesProposal),
    /// Delivers delayed messages.
    Delivery(DeliveryProposal),
    /// Changes the state.
    Command {
        /// The change.
        command: Command,
        /// Hears of it.
        reply: CommandReply,
    },
}

/// Messages for one queue, stored in their order and in one entry.
pub struct MessagesProposal {
    /// The topic.
    pub topic: Arc<str>,
    /// Creates these topics in the same entry if they do not exist: the one above, or the one for which
    /// the messages wait.
    pub create_topics: Vec<Arc<TopicConfig>>,
    /// The messages, at least one.
    pub messages: SmallVec<[NewMessage; 1]>,
    /// The queue; negative lets the leader take one in turn.
    pub queue_id: i32,
    /// Hears of it.
    pub reply: SendReply,
}

/// A message that has no place yet.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// The user's flag, opaque.
    pub flag: i32,
    /// System flags; the address bits are set when it is stored.
    pub sys_flag: i32,
    /// When the producer made it.
    pub born_timestamp_ms: i64,
    /// Where the producer connected from.
    pub born_host: SocketAddr,
    /// Address of this broker.
    pub store_host: SocketAddr,
    /// Failed attempts to consume it.
    pub reconsume_times: i32,
    /// Position of the half message of a transaction, zero otherwise.
    pub prepared_transaction_offset: i64,
    /// Body.
    pub body: Bytes,
    /// Property string.
    pub properties: Bytes,
}

/// How sending went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendOutcome {
    /// Committed, and visible to consumers.
    Stored(Stored),
    /// The topic does not exist and was not to be created. Nothing was written.
    TopicNotFound,
    /// See the refusal.
    Refused(Refusal),
}

/// Where messages were stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The queue.
    pub queue_id: i32,
    /// Queue offset of the first; the others follow on.
    pub first_queue_offset: i64,
    /// Position of the first.
    pub first_position: Position,
    /// Positions of the others.
    pub more_positions: Vec<Position>,
    /// When.
    pub store_timestamp_ms: i64,
}

impl Stored {
    /// Position of each message.
    pub fn positions(&self) -> impl Iterator<Item = Position> + '_ {
        std::iter::once(self.first_position).chain(self.more_positions.iter().copied())
    }
}

/// How a command went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandOutcome {
    /// It is in the state, as of this entry.
    Applied {
        /// The entry.
        index: LogIndex,
    },
    /// See the refusal.
    Refused(Refusal),
}

/// Who waits for an entry.
#[derive(Default)]
pub struct GroupPending {
    pub(super) sends: Vec<(SendReply, Stored)>,
    pub(super) commands: Vec<CommandReply>,
}

impl GroupPending {
    /// Answers all: the entry is applied.
    pub(super) fn applied(self, index: LogIndex) {
        for (reply, stored) in self.sends {
            reply(SendOutcome::Stored(stored));
        }
        for reply in self.commands {
            reply(CommandOutcome::Applied { index });
        }
    }

    /// Answers all: the entry is not known to be.
    pub(super) fn refused(self, refusal: &Refusal) {
        for (reply, _) in self.sends {
            reply(SendOutcome::Refused(refusal.clone()));
        }
        for reply in self.commands {
            reply(CommandOutcome::Refused(refusal.clone()));
        }
    }
}

impl Proposal {
    /// About how many bytes it keeps in memory.
    pub(super) fn weight(&self) -> usize {
        match self {
            Proposal::Messages(messages) => messages.messages.iter().map(NewMessage::weight).sum(),
            Proposal::Delivery(delivery) => delivery.weight(),
            Proposal::Command { command, .. } => command.encoded_len() + OVERHEAD_BYTES,
        }
    }

    /// Answers its owner.
    pub(super) fn refused(self, refusal: Refusal) {
        match self {
            Proposal::Messages(messages) => (messages.reply)(SendOutcome::Refused(refusal)),
            Proposal::Delivery(delivery) => (delivery.reply)(DeliveryOutcome::Refused(refusal)),
            Proposal::Command { reply, .. } => reply(CommandOutcome::Refused(refusal)),
        }
    }
}

impl MessagesProposal {
    /// Bytes of its records; none when some part does not fit a record.
    pub(super) fn records_bytes(&self) -> Option<usize> {
        records_bytes(&self.topic, &self.messages)
    }
}

/// Bytes of the records that messages become in a topic; none when some part does not fit a record.
pub(super) fn records_bytes(topic: &str, messages: &[NewMessage]) -> Option<usize> {
    messages.iter().try_fold(0, |sum, message| {
        let parts = message.parts(topic);
        parts.check().ok()?;
        Some(sum + parts.encoded_len())
    })
}

impl NewMessage {
    /// A message like a stored one, for this broker to store again. `stored` holds the record.
    pub fn like(record: &record::RecordView<'_>, stored: &Bytes, store_host: SocketAddr) -> Self {
        NewMessage {
            flag: record.flag,
            sys_flag: record.sys_flag,
            born_timestamp_ms: record.born_timestamp_ms,
            born_host: record.born_host,
            store_host,
            reconsume_times: record.reconsume_times,
            prepared_transaction_offset: record.prepared_transaction_offset,
            body: stored.slice_ref(record.body),
            properties: stored.slice_ref(record.properties),
        }
    }

    /// About how many bytes it keeps in memory.
    pub(super) fn weight(&self) -> usize {
        self.body.len() + self.properties.len() + OVERHEAD_BYTES
    }

    /// The record it becomes, but for its place.
    pub(super) fn parts<'a>(&'a self, topic: &'a str) -> record::RecordParts<'a> {
        record::RecordParts {
            queue_id: 0,
            flag: self.flag,
            queue_offset: 0,
            physical_offset: 0,
            sys_flag: self.sys_flag,
            born_timestamp_ms: self.born_timestamp_ms,
            born_host: self.born_host,
            store_timestamp_ms: 0,
            store_host: self.store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body: &self.body,
            topic,
            properties: &self.properties,
        }
    }
}
