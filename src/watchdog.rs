//! Ends this process when it stands still.
//!
//! A process that is stopped, or starved of its machine, keeps its connections: the system goes on taking what
//! clients send, and they wait for answers until their own time is over, with none left for another broker. A
//! process that is gone is noticed at once. So a second, small process hears a beat from this one, and kills
//! it when there was none for too long; whoever runs brokers starts it again. As a watchdog does in other
//! systems where one leads: better no leader than one that stands still.
//!
//! Invariant: the second process does not outlive the first, and time in which it stood still itself, as when
//! the whole machine is suspended, does not count.

use std::io::{self, Write as _};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, getppid, kill_process};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout};

/// The subcommand that runs the second process.
pub const SUBCOMMAND: &str = "watchdog";

/// So many beats within the time that a silence may last.
const BEATS: u32 = 10;
/// The kernel keeps its namespace's own processes from killing it.
const FIRST_PROCESS: u32 = 1;
/// How long after a second process's end the next one is started.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Has this process killed when it stands still for `limit`.
///
/// # Errors
/// When the second process, or the thread that beats, cannot be started.
pub fn start(limit: Duration) -> io::Result<()> {
    if std::process::id() == FIRST_PROCESS {
        let why = "the first process of a container cannot be killed from within; give it an init";
        return Err(io::Error::other(why));
    }
    let mut watcher = Watcher::spawn(limit)?;
    let beat = move || {
        loop {
            thread::park_timeout(limit / BEATS);
            if let Err(error) = watcher.beat() {
                tracing::warn!(%error, "the watchdog has ended; another one is started");
                watcher = watcher.succeed(limit);
            }
        }
    };
    thread::Builder::new().name("watchdog".to_owned()).spawn(beat)?;
    tracing::info!(?limit, "a watchdog kills this process when it stands still");
    Ok(())
}

/// The second process, as the first one sees it.
struct Watcher {
    process: Child,
    beats: Option<ChildStdin>,
}

impl Watcher {
    fn spawn(limit: Duration) -> io::Result<Watcher> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([SUBCOMMAND, &limit.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Watcher { beats: process.stdin.take(), process })
    }

    fn beat(&mut self) -> io::Result<()> {
        match &mut self.beats {
            Some(beats) => beats.write_all(&[0]),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Another one in its place.
    fn succeed(mut self, limit: Duration) -> Watcher {
        loop {
            // Its exit code says nothing that its last line did not.
            let _ = self.process.wait();
            thread::park_timeout(RESTART_PAUSE);
            match Watcher::spawn(limit) {
                Ok(watcher) => return watcher,
                Err(error) => tracing::error!(%error, "no watchdog can be started"),
            }
        }
    }
}

/// The second process: hears beats from standard input until it ends, and kills the first when none come.
pub fn run(limit: Duration) -> ExitCode {
    let Some(watched) = getppid() else { return ExitCode::FAILURE };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let silent = runtime.and_then(|runtime| runtime.block_on(hear(limit)));
    match silent {
        Ok(Heard::End) => ExitCode::SUCCESS,
        Ok(Heard::Silence) => {
            kill(watched, limit);
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(%error, "the watchdog hears nothing and ends");
            ExitCode::FAILURE
        }
    }
}

/// How it ended.
enum Heard {
    /// The first process is gone.
    End,
    /// There was no beat for as long as there may be none.
    Silence,
}

async fn hear(limit: Duration) -> io::Result<Heard> {
    // They are for the process that is watched; this one ends when that has.
    let _ignored = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let mut beats =
        Receiver::from_owned_fd(std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned()?)?;
    let slice = limit / BEATS;
    let mut silence = Silence { slice, lasted: Duration::ZERO };
    let mut heard = [0; 64];
    while silence.lasted < limit {
        let began = Instant::now();
        match timeout(slice, beats.read(&mut heard)).await {
            Ok(Ok(0)) | Ok(Err(_)) => return Ok(Heard::End),
            Ok(Ok(_)) => silence.lasted = Duration::ZERO,
            Err(_) => silence.goes_on(began.elapsed()),
        }
    }
    Ok(Heard::Silence)
}

/// A silence, as far as somebody listened.
struct Silence {
    slice: Duration,
    lasted: Duration,
}

impl Silence {
    /// Nothing was heard in a slice that took this long: if that is more than a slice, nobody listened.
    fn goes_on(&mut self, took: Duration) {
        self.lasted += took.min(2 * self.slice);
    }
}

fn kill(watched: Pid, limit: Duration) {
    if getppid() != Some(watched) {
        return;
    }
    tracing::error!(process = %watched, ?limit, "the broker stands still and is killed");
    if let Err(error) = kill_process(watched, Signal::KILL) {
        tracing::error!(%error, "it cannot be killed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_in_which_nobody_listened_does_not_count() {
        let slice = Duration::from_millis(50);
        let mut silence = Silence { slice, lasted: Duration::ZERO };
        silence.goes_on(slice);
        assert_eq!(silence.lasted, slice);
        silence.goes_on(Duration::from_secs(3600));
        assert_eq!(silence.lasted, 3 * slice);
    }
}
