//! Runs a command of `raftmq admin`.

use std::ffi::OsStr;
use std::process::Command;

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub printed: String,
    /// What it said on standard error.
    pub problem: String,
}

impl Answer {
    pub fn success(&self) -> bool {
        self.code == 0
    }
}

/// With the name servers that the words themselves name, if any.
pub fn run(words: &[impl AsRef<OsStr>]) -> Answer {
    answer(command(words))
}

/// With these name servers where the words name none.
pub fn run_at(name_servers: &str, words: &[impl AsRef<OsStr>]) -> Answer {
    let mut command = command(words);
    command.env("NAMESRV_ADDR", name_servers);
    answer(command)
}

fn command(words: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftmq"));
    command.arg("admin").args(words);
    command
}

fn answer(mut command: Command) -> Answer {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap_or_else(|| panic!("{command:?}: {}", output.status));
    Answer { code, printed: text(output.stdout), problem: text(output.stderr) }
}
