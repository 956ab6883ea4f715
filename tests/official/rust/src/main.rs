//! The Rust client against a running cluster: `suite NAME_SERVERS`, one line a case.

// The client's futures are nested deeper than the compiler's own limit.
#![recursion_limit = "512"]
#![allow(deprecated, reason = "the classic pull consumer is one of the kinds")]

mod cases;
mod clients;
mod failover;
mod kinds;
mod messaging;
mod retry;

use std::process::ExitCode;

use rocketmq_client_rust::{ClientRuntime, ClientRuntimeConfig, TelemetryHandle};
use rocketmq_runtime::{RuntimeConfig, RuntimeOwner};

use cases::{Cases, Outcome};
use clients::Clients;
use kinds::Kinds;
use messaging::Messaging;
use retry::Retry;

/// Found in this client's sources; none of them is the broker's.
const LACKS: [(&str, &str); 3] = [
    ("listens-while-busy", "a delivery that finds its queue of calls full fails without a call"),
    ("tags-apart-by-blanks", "`A || B` is subscribed to with the hashes of `A ` and ` B`"),
    ("broadcast-resumes", "the folder for its offsets is never created, so none are kept"),
];

/// As on a machine with so many cores, so that no queue of calls is full.
const PARALLELISM: usize = 32;

fn main() -> ExitCode {
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN);
    log.with_writer(std::io::stderr).with_ansi(false).init();
    let mut cases = Cases::default();
    let result = runtime().and_then(|owner| {
        let clients = clients(&owner)?;
        owner.block_on(run(&clients, &mut cases))
    });
    if let Err(problem) = result {
        // What happens between the cases is none, unless it fails.
        cases::say(&format!("FAIL set-up {problem} {problem:?}"));
        return ExitCode::FAILURE;
    }
    if cases.failed() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn runtime() -> Outcome<RuntimeOwner> {
    let plan = RuntimeOwner::plan(RuntimeConfig::for_parallelism("suite", PARALLELISM));
    Ok(plan.map_err(|problem| format!("{problem:?}"))?.build()?)
}

fn clients(owner: &RuntimeOwner) -> Outcome<Clients> {
    let name_servers = std::env::args().nth(1).ok_or("usage: suite NAME_SERVERS")?;
    let runtime = ClientRuntime::try_new(
        owner.root_context().component("suite"),
        ClientRuntimeConfig::default(),
        TelemetryHandle::noop(),
    )?;
    Ok(Clients::new(runtime, name_servers))
}

async fn run(clients: &Clients, cases: &mut Cases) -> Outcome {
    for (name, why) in LACKS {
        cases::say(&format!("LACKS {name}: {why}"));
    }
    let mut messaging = Messaging::new(clients).await?;
    let retry = Retry::start(clients, &mut messaging).await?;
    messaging.run(cases).await;
    Kinds::new(clients, &mut messaging).await?.run(cases).await;
    retry.run(cases).await;
    failover::run(clients, &mut messaging, cases).await
}
