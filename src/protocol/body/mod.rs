//! Bodies of requests and answers that travel as JSON.
//!
//! Invariant: each has exactly RocketMQ's keys. Maps keyed by queue are written in fastjson's form,
//! everything else is strict; both forms are read.

mod client_tables;
mod direct;
mod raft_status;
mod register;
mod replicas;
mod running_info;
mod stats;
mod upkeep;

pub use client_tables::*;
pub use direct::*;
pub use raft_status::*;
pub use register::*;
pub use replicas::*;
pub use running_info::*;
pub use stats::*;
pub use upkeep::*;
