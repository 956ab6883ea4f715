//! `raftmq admin`: the everyday commands of RocketMQ's admin tool, with its flags and its columns.

mod arguments;

use std::process::ExitCode;

pub use arguments::{AdminArgs, AdminCommand};

/// Runs one admin command. Exit code 0 on success, 1 with a message on standard error otherwise.
pub fn run(arguments: AdminArgs) -> ExitCode {
    let _ = arguments;
    eprintln!("admin: not built yet");
    ExitCode::FAILURE
}
