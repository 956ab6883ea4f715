//! A RocketMQ client: producer, push consumer and admin calls over the remoting protocol.
//!
//! One [`Client`] holds the connections, the routes and the heartbeat of everything a process does;
//! producers and consumers are built on it. It talks to the broker with id 0 of each broker name and
//! looks the route up again the moment a connection breaks or a broker says that it does not lead,
//! so that a change of leader costs what the group needs to elect one, and no polling interval.
//!
//! Invariant: a send that returns `Ok` was acknowledged by the broker; an offset is committed only
//! when every message before it was consumed.

mod admin;
mod consumer;
mod controller;
mod error;
mod instance;
mod message;
mod operate;
mod options;
mod patience;
mod producer;
mod remote;
mod route;
mod scan;
mod selector;
#[cfg(test)]
mod tests;
mod upkeep;

pub use admin::{Admin, BrokerAddress, StoredMessage};
pub(crate) use consumer::allocate_averagely;
pub use consumer::{
    ConsumeFrom, ConsumeResult, ConsumerOptions, LitePullConsumer, LitePullOptions, PushConsumer,
};
pub use controller::{ControllerMetadata, Elected};
pub use error::ClientError;
pub use instance::Client;
pub use message::{Message, ReceivedMessage, SendResult, SendStatus};
pub use operate::Upkeep;
pub use options::ClientOptions;
pub use producer::{Producer, ProducerOptions};
pub use scan::{STRETCH_MESSAGES, Stretch, StretchStatus};
pub use upkeep::{ResetOffsets, WritePermission};

pub use crate::protocol::heartbeat::MessageModel;
