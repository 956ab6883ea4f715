//! The official clients' programs: built when their sources changed, absent only outside the gate.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::Process;

pub fn suites() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official")
}

/// Builds a suite if that was not done before; `None` where a program it needs is absent.
pub fn prepared(suite: &str, programs: &[&str]) -> Option<PathBuf> {
    for program in programs {
        // Whatever it makes of the option: a program that is there starts.
        if Command::new(program).arg("--version").output().is_err() {
            say(&format!("NOT RUN: official client suite {suite}: no {program} on this machine"));
            let in_gate = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!in_gate, "the gate must run the official client suite {suite}");
            return None;
        }
    }
    let output = Command::new(suites().join("prepare")).arg(suite).output().unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "preparing suite {suite}: {problem}");
    Some(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()))
}

/// What Java may take for a program that remembers little.
const HEAP_MIB: usize = 256;

/// A program of the Java suite at `home`; what the client leaves behind goes into `directory`.
pub fn java(home: &Path, program: &str, directory: &Path, name_servers: &str) -> Command {
    java_within(HEAP_MIB, home, program, directory, name_servers)
}

/// The same with more memory.
pub fn java_within(
    heap_mib: usize,
    home: &Path,
    program: &str,
    directory: &Path,
    name_servers: &str,
) -> Command {
    let mut command = Command::new("java");
    command.arg(format!("-Duser.home={}", directory.display())).current_dir(directory);
    let class_path = format!("{0}/official.jar:{0}/lib/*", home.display());
    command.args([
        &*format!("-Xmx{heap_mib}m"),
        "-Dfile.encoding=UTF-8",
        "-Dstdout.encoding=UTF-8",
    ]);
    command.args(["-cp", &class_path, &format!("org.raftmq.official.{program}")]);
    command.arg(name_servers);
    command
}

/// The programs that use the newest Java client; `None` as in [`prepared`].
pub fn prepared_java() -> Option<PathBuf> {
    prepared("java-5.3.3", &["java", "mvn"])
}

/// Stock mqadmin in one process that waits for commands; what it leaves behind goes into `directory`.
pub fn mqadmin(home: &Path, directory: &Path, name_servers: &str) -> Process {
    let own = directory.join("mqadmin");
    std::fs::create_dir(&own).unwrap();
    let mut command = java(home, "Mqadmin", &own, name_servers);
    // Ours prints moments in UTC.
    command.env("TZ", "UTC");
    Process::spawn("mqadmin", command, &directory.join("mqadmin.log"))
}

/// Past the test harness, which keeps what passing tests print to itself.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
