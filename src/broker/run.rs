//! Brokers as a process: all of its configurations started, stopped together.

use std::io::Write as _;

use super::lifecycle::{Broker, BrokerError};
use crate::config::BrokerConfig;

/// Runs the brokers until a stop is requested.
///
/// # Errors
/// When one of them cannot start; those that did are stopped first.
pub async fn run(
    configs: Vec<BrokerConfig>,
    stop_requested: impl Future<Output = ()>,
) -> Result<(), BrokerError> {
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
    stop_requested.await;
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
