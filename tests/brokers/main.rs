//! Brokers in this process, asked over their sockets: one alone, three as a group, a group that
//! loses its leader, and messages that wait.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ask;
mod cluster;
mod delayed;
mod failover;
mod group_of_three;
mod one_broker;
#[path = "../support/ports.rs"]
mod ports;
mod progress;
mod routes;
#[path = "../support/steady.rs"]
mod steady;
mod upkeep;
