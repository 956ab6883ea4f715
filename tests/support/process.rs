//! One child process: its output line by line, its end by SIGKILL at the latest when dropped.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::poll;

const LOG_TAIL_LINES: usize = 40;
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A running child. Standard output can be awaited; both outputs are kept in a file.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    lines: Receiver<String>,
}

impl Process {
    /// Starts the command; what it says goes to `log`, after what an earlier process said there.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Process {
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file.try_clone().unwrap());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || copy_lines(output, file, |line| sender.send(line).is_ok()));
        Process { name: name.to_owned(), child, log: log.to_owned(), lines }
    }

    /// The next line that contains `part`. Panics if the process ends or the time is over first.
    pub fn await_line(&self, part: &str, limit: Duration) -> String {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(part) => return line,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{}: no line with {part:?} after {limit:?}\n{}", self.name, self.tail())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{} ended before it said {part:?}\n{}", self.name, self.tail())
                }
            }
        }
    }

    /// The next line, or `None` once the process closed its output. Panics when the time is over.
    pub fn next_line(&self, deadline: Instant) -> Option<String> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{} took too long\n{}", self.name, self.tail())
            }
        }
    }

    /// Writes one line to the process.
    pub fn say(&mut self, line: &str) {
        let input: &mut ChildStdin = self.child.stdin.as_mut().unwrap();
        writeln!(input, "{line}").unwrap();
        input.flush().unwrap();
    }

    /// SIGKILL without waiting for the end: several can be sent before the first is reaped.
    pub fn send_kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// SIGKILL, and waits until the process is gone and its ports are free.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// SIGTERM: the orderly stop that an operator asks for.
    pub fn terminate(&mut self) {
        self.signal("TERM");
    }

    /// SIGSTOP, and waits until no thread of the process runs any more.
    pub fn pause(&mut self) {
        self.signal("STOP");
        poll::until("the process is stopped", STOP_LIMIT, || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
            // The name in parentheses may hold anything; the state follows it.
            stat.rsplit(')').next().unwrap().trim_start().starts_with('T').then_some(())
        });
    }

    /// SIGSTOP for a process whose watchdog kills it then.
    pub fn send_pause(&mut self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.signal("CONT");
    }

    fn signal(&mut self, name: &str) {
        signal(name, self.child.id());
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// How the process ended, once it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it, or an earlier process with the same log, said until now.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Whether it, or an earlier process with the same log, said something.
    pub fn said(&self, part: &str) -> bool {
        self.output().contains(part)
    }

    /// The end of what the process said.
    pub fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
        format!("--- {}, last lines ---\n{tail}\n", self.name)
    }
}

/// Sends a signal by its name.
pub fn signal(name: &str, process: u32) {
    let status = Command::new("kill").args([format!("-{name}"), process.to_string()]).status();
    assert!(status.unwrap().success(), "SIG{name} for process {process}");
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
    }
}

fn copy_lines(output: impl BufRead, mut file: File, mut pass_on: impl FnMut(String) -> bool) {
    for line in output.split(b'\n') {
        let Ok(line) = line else { return };
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let _ = writeln!(file, "{line}");
        // Nobody awaits lines any more, but the pipe must still be emptied.
        pass_on(line);
    }
}
