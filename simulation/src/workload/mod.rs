//! What clients do while things go wrong: send and consume, with the shipped client.

mod bookkeeper;
mod consumer;
mod consumers;
mod locker;
pub mod message;
mod operator;
mod polled;
mod producer;
mod resetter;

pub use bookkeeper::{KeepBooks, keep_books};
pub use consumer::{Consume, GivenUp, Kind};
pub use consumers::Consumers;
pub use locker::{Lock, lock_queues};
pub use operator::{Operate, make_topic, operate, transfer_leader};
pub use producer::{Produce, produce};
pub use resetter::{SetBack, set_back};

use std::time::Duration;

use raftmq::client::ClientOptions;

/// The topic.
pub const TOPIC: &str = "orders";
/// The consumers' group.
pub const CONSUMER_GROUP: &str = "billing";
/// The group of those that consume in order.
pub const IN_ORDER_GROUP: &str = "shipping";
/// The group of those that are polled.
pub const POLLED_GROUP: &str = "auditing";
/// How often clients look at the routes. A group that came back is sent to again only then.
const ROUTE_INTERVAL: Duration = Duration::from_secs(5);

fn client_options(name_server: &str, instance: &str) -> ClientOptions {
    let mut options = ClientOptions::new(name_server).with_instance_name(instance);
    options.route_interval = ROUTE_INTERVAL;
    options
}

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
