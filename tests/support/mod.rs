//! What the black-box tests share: real processes of the built program, and a client of their own.
//!
//! Nothing here uses the library under test: the processes are reached over their sockets, by a
//! small second implementation of the wire format, so an error in ours cannot hide itself.

#![allow(dead_code, reason = "each test program uses its part of this module")]

pub mod admin;
pub mod cluster;
pub mod load;
pub mod nodes;
pub mod official;
pub mod poll;
pub mod ports;
pub mod process;
pub mod steady;
pub mod wire;
