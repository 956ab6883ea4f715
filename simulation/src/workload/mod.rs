//! What clients do while things go wrong: send and consume, with the shipped client.

mod bookkeeper;
mod consumer;
pub mod message;
mod operator;
mod producer;

pub use bookkeeper::{KeepBooks, keep_books};
pub use consumer::{Consume, consume};
pub use operator::{Operate, operate, transfer_leader};
pub use producer::{Produce, produce};

/// The topic.
pub const TOPIC: &str = "orders";
/// The consumers' group.
pub const CONSUMER_GROUP: &str = "billing";
/// The producers' group.
pub const PRODUCER_GROUP: &str = "shop";
