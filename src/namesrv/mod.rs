//! The name server: who leads each broker group, and where each topic's queues are.
//!
//! Brokers register with every name server, clients ask any one; name servers do not talk to each
//! other and keep only the operators' key-value settings. `route_table` is the state, `service` the
//! requests, `server` the socket; only the last knows a clock, a file or a connection. What operators ask
//! of a controller, `controller` asks the brokers.
//!
//! Invariant: for a broker name, the highest Raft term owns id 0.

mod controller;
mod kv;
mod operator;
mod queries;
mod readiness;
mod registration;
mod route_table;
mod server;
mod service;

pub use kv::{KvError, ORDER_TOPIC_CONFIG};
pub use queries::UnitTopics;
pub use registration::Registration;
pub use route_table::{ConnectionId, Departure, Outcome, RouteTable};
pub use server::{NameServer, NamesrvError};
pub use service::RAFT_TERM;

#[cfg(test)]
mod route_table_tests;
#[cfg(test)]
mod server_tests;
