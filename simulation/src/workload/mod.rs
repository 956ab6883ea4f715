//! What clients do while things go wrong: send and consume, with the shipped client.

mod bookkeeper;
mod consumer;
pub mod message;
mod operator;
mod producer;

pub use bookkeeper::{KeepBooks, keep_books};
pub use consumer::{Consume, consume};
pub use operator::{Operate, make_topic, operate, transfer_leader};
pub use producer::{Produce, produce};

/// The topic.
pub const TOPIC: &str = "orders";
/// The consumers' group.
pub const CONSUMER_GROUP: &str = "billing";
/// The name of a part of a run that there is for each broker group; the first group's is that of a run with
/// one group.
fn part(name: &str, group: usize) -> String {
    match group {
        0 => name.to_owned(),
        _ => format!("{name} of {}", crate::cluster::group_name(group)),
    }
}

/// The producers' group.
pub const PRODUCER_GROUP: &str = "shop";
