//! What tells a server process to stop: SIGTERM, SIGINT, or the end of the process that owns it.
//!
//! Invariant: a process that has an owner does not outlive it, however the owner ends. The owner
//! holds the other end of this process's standard input and the system closes it for it.

use std::io;
use std::os::fd::AsFd as _;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for the reasons to stop, from its creation on.
pub struct StopRequest {
    signals: Option<(Signal, Signal)>,
    owner: Option<Receiver>,
}

impl StopRequest {
    /// Starts to listen; `owned` says that standard input is a pipe whose end is a reason to stop.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn listen(owned: bool) -> StopRequest {
        let signals = signal(SignalKind::terminate())
            .and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
        let signals = signals.inspect_err(|error| {
            tracing::warn!(%error, "signals cannot be caught; stop the process with SIGKILL");
        });
        let owner = owned.then(standard_input).and_then(|pipe| {
            let unwatched = |error: &io::Error| {
                tracing::warn!(%error, "standard input is no pipe; the owner is not watched");
            };
            pipe.inspect_err(unwatched).ok()
        });
        StopRequest { signals: signals.ok(), owner }
    }

    /// Waits for the first reason. After it, a signal ends the process at once.
    pub async fn received(self) {
        let StopRequest { mut signals, owner } = self;
        tokio::select! {
            biased;
            name = any_signal(&mut signals) => tracing::info!("{name}: stopping"),
            () = end_of(owner) => tracing::info!("the process that started this one is gone: stopping"),
        }
        tokio::spawn(async move {
            let name = any_signal(&mut signals).await;
            eprintln!("raftmq: stopped at once by a further {name}");
            std::process::exit(1);
        });
    }
}

/// Standard input as a pipe that is awaited, not read by a thread: that thread would keep the
/// process from ending as long as the pipe is open.
fn standard_input() -> io::Result<Receiver> {
    Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)
}

async fn any_signal(signals: &mut Option<(Signal, Signal)>) -> &'static str {
    let Some((terminate, interrupt)) = signals else { return std::future::pending().await };
    tokio::select! {
        biased;
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

async fn end_of(owner: Option<Receiver>) {
    let Some(mut owner) = owner else { return std::future::pending().await };
    let mut ignored = [0; 64];
    while owner.read(&mut ignored).await.is_ok_and(|bytes| bytes > 0) {}
}
