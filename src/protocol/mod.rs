//! RocketMQ's data formats: codes, stored records, properties, names, and the JSON of bodies.
//!
//! Invariant: everything here is a pure function of its input. No I/O, no clock, no iteration order
//! that differs between two runs; what is read from the network is bounds-checked and never panics.

pub mod batch;
pub mod body;
pub mod code;
pub mod data_version;
pub mod fastjson;
pub mod group;
pub mod heartbeat;
mod lenient;
pub mod message_id;
pub mod names;
pub mod properties;
pub mod queue;
pub mod record;
pub mod route;
pub mod sysflag;
pub mod tags;
pub mod topic;
pub mod version;
