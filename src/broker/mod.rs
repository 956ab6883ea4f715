//! The broker: what clients, tools and other members may ask of a member of a broker group.
//!
//! A request enters at [`dispatch`]. The families of requests have a file each: [`send`],
//! [`send_back`], [`pull`], [`offsets`], [`offset_admin`], [`view`], [`topic_admin`], [`group_admin`],
//! [`client_admin`], [`client_asked`], [`queue_locks`], [`broker_admin`]. What only the leader may do
//! goes through [`forward`] when another member is asked. [`group`] is the replicated state,
//! [`client_manager`] and [`long_polling`] are what this member alone knows of its clients. [`duties`],
//! [`schedule`], [`namesrv_client`], [`preferred_leader`] and [`retention`] act without being asked;
//! [`lifecycle`] starts and stops all of it.

mod answer;
mod attributes;
mod broker_admin;
mod catch_up;
mod client_admin;
mod client_asked;
mod client_manager;
mod commits;
mod consumer_ids;
mod core;
mod delayed;
mod dispatch;
mod duties;
// It listens for those who watch; a simulation has none.
#[cfg(not(madsim))]
mod exporter;
mod fields;
mod forward;
pub mod group;
mod group_admin;
mod host;
mod lifecycle;
mod live;
mod long_polling;
#[cfg(not(madsim))]
mod metrics;
mod namesrv_client;
mod offset_admin;
mod offsets;
mod preferred_leader;
mod pull;
mod queue_locks;
mod replication_admin;
mod reset_news;
mod retention;
// It takes signals; a simulation has none.
#[cfg(not(madsim))]
mod run;
mod schedule;
mod send;
mod send_back;
mod statistics;
mod stats;
mod topic_admin;
mod upkeep;
mod view;

pub use host::{Host, ThisMachine};
pub use lifecycle::{Broker, BrokerError};
#[cfg(not(madsim))]
pub use run::run;
