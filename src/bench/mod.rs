//! `raftmq bench`: a load generator for any broker that speaks RocketMQ's remoting protocol.
//!
//! It shares its machine with the brokers it measures, so it is built to be light: one thread, one
//! task a connection that both writes and reads, request frames encoded once and patched, answers
//! looked at only as far as code and opaque.
//!
//! Invariant: a figure counts only what was answered with success inside the measured window;
//! whatever was refused or lost on the way is reported beside it, never silently dropped.

mod arguments;

use std::process::ExitCode;

pub use arguments::{BenchArgs, BenchCommand};

/// Runs one benchmark and prints its report.
pub fn run(arguments: BenchArgs) -> ExitCode {
    let _ = arguments;
    eprintln!("bench: not built yet");
    ExitCode::FAILURE
}
