//! Brokers in this process, asked over their sockets: one alone, three as a group, and a group that
//! loses its leader.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ask;
mod cluster;
mod failover;
mod group_of_three;
mod one_broker;
mod routes;
