//! Brokers as a process: all of its configurations started, stopped together on a signal.

use std::io::Write as _;

use tokio::signal::unix::{SignalKind, signal};

use super::lifecycle::{Broker, BrokerError};
use crate::config::BrokerConfig;

/// Runs the brokers until the process is told to stop.
///
/// # Errors
/// When one of them cannot start; those that did are stopped first.
pub async fn run(configs: Vec<BrokerConfig>) -> Result<(), BrokerError> {
    let no_signals = |source| BrokerError::System { action: "take signals".into(), source };
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut brokers = Vec::new();
    for config in configs {
        match Broker::start(config).await {
            Ok(broker) => {
                announce(&broker.boot_line());
                brokers.push(broker);
            }
            Err(error) => {
                stop(brokers).await;
                return Err(error);
            }
        }
    }
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping on a signal");
    stop(brokers).await;
    Ok(())
}

async fn stop(brokers: Vec<Broker>) {
    futures_util::future::join_all(brokers.into_iter().map(Broker::shutdown)).await;
}

/// Scripts read it from a pipe, so it must not stay in a buffer.
fn announce(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody may be reading; the broker runs all the same.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
