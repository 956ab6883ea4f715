//! raftmq: a message broker that speaks RocketMQ's protocols and keeps its messages in a Raft log.

pub mod admin;
mod alarm;
pub mod bench;
pub mod broker;
#[cfg(madsim)]
pub mod buggify;
mod calendar;
pub mod client;
pub mod clock;
pub mod config;
pub mod metrics;
#[cfg(madsim)]
pub mod mischief;
#[cfg(madsim)]
pub mod mistake;
pub mod namesrv;
#[cfg(madsim)]
pub mod observe;
pub mod process;
mod progress;
pub mod protocol;
// It starts processes; a simulation has none.
#[cfg(not(madsim))]
pub mod quickstart;
pub mod remoting;
pub mod replication;
pub mod state;
// It waits for the signals and the standard input of a process.
#[cfg(not(madsim))]
pub mod stop;
pub mod store;
#[cfg(not(madsim))]
pub mod watchdog;
