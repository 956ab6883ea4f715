//! The simulation's command line: one seed, many seeds, or one story.
//!
//! Invariant: the exit code says whether all was well. The last line of one run is the hash of its
//! trace, or, when something was found, the command that plays it again.

#[cfg(madsim)]
mod command_line;

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    command_line::main()
}

#[cfg(not(madsim))]
fn main() {}
