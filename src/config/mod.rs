//! Configuration: RocketMQ's properties files, read into typed settings.
//!
//! Every key is one row of a table (`broker.rs`, `namesrv.rs`), from which come the typed field,
//! the range check, the reference in `conf/` and the warning about keys that nobody knows. A
//! RocketMQ user's files start unchanged: keys that mean nothing here are named in the log and
//! skipped; only what would be unsafe to skip is refused.
//!
//! Invariant: a configuration that could be read satisfies every rule between its keys.

use std::collections::BTreeMap;
use std::path::Path;

mod broker;
mod broker_rules;
mod budget;
mod delay_levels;
mod environment;
mod error;
mod finding;
mod ignored;
mod namesrv;
mod properties;
mod reference;
mod setting;
mod table;

pub use broker::{BrokerConfig, IMPORTANT_KEYS, MEMBER_KEYS, ROLE_FACTS};
pub use budget::MemoryShares;
pub use delay_levels::DelayLevels;
pub use environment::Environment;
pub use error::{ConfigError, Problem};
pub use finding::Finding;
pub use namesrv::{LOCKED_KEYS, NamesrvConfig, RESTART_KEYS};
pub use properties::{Properties, PropertiesError, replace_line};
pub use reference::{effective, reference};
pub use setting::{
    FlushDiskType, Hours, MemberIds, MetricsExporterType, PeerAddress, Setting, split_host_port,
};
pub use table::{Allowed, KeySpec};

/// A configuration read from properties.
pub trait Configuration: Sized {
    /// Reads `properties` and checks the rules between keys.
    fn from_properties(
        properties: &Properties,
        environment: &Environment,
    ) -> Result<(Self, Vec<Finding>), Problem>;

    /// Reads `text` without anything from this machine: what tests and embedders want.
    fn from_text(text: &str) -> Result<Self, ConfigError> {
        read("text", text, &[], &Environment::fixed())
    }

    /// Reads the file at `path`, with `overrides` from the command line on top.
    fn load(path: &Path, overrides: &[(&str, &str)]) -> Result<Self, ConfigError> {
        let origin = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError { origin: origin.clone(), problem: error.into() })?;
        read(&origin, &text, overrides, &Environment::of_process())
    }

    /// What holds without a file.
    fn without_file(overrides: &[(&str, &str)]) -> Result<Self, ConfigError> {
        read("command line", "", overrides, &Environment::of_process())
    }
}

impl Configuration for BrokerConfig {
    fn from_properties(
        properties: &Properties,
        environment: &Environment,
    ) -> Result<(Self, Vec<Finding>), Problem> {
        BrokerConfig::from_properties(properties, environment)
    }
}

impl Configuration for NamesrvConfig {
    fn from_properties(
        properties: &Properties,
        environment: &Environment,
    ) -> Result<(Self, Vec<Finding>), Problem> {
        NamesrvConfig::from_properties(properties, environment)
    }
}

fn read<C: Configuration>(
    origin: &str,
    text: &str,
    overrides: &[(&str, &str)],
    environment: &Environment,
) -> Result<C, ConfigError> {
    let in_origin = |problem| ConfigError { origin: origin.to_owned(), problem };
    let mut properties =
        Properties::parse(text).map_err(|problem| in_origin(Problem::Syntax(problem)))?;
    for (key, value) in overrides {
        properties.set(key, value);
    }
    let (config, findings) = C::from_properties(&properties, environment).map_err(in_origin)?;
    for finding in &findings {
        finding.log(origin);
    }
    Ok(config)
}

/// Checks brokers that are to run in one process: they may share neither ports nor directories.
pub fn check_together(brokers: &[(String, BrokerConfig)]) -> Result<(), ConfigError> {
    let mut ports: BTreeMap<u16, &str> = BTreeMap::new();
    let mut directories = BTreeMap::new();
    for (origin, config) in brokers {
        let clash = |key, value: String, other: &str, fix: &str| ConfigError {
            origin: origin.clone(),
            problem: Problem::Contradiction {
                key,
                value,
                reason: format!("{other} has the same"),
                fix: fix.to_owned(),
            },
        };
        let exported = config.metrics_exporter_type == MetricsExporterType::Prom;
        let own = [
            ("listenPort", config.listen_port),
            ("dLegerPeers", config.own_peer().port),
            (
                "metricsPromExporterPort",
                if exported { config.metrics_prom_exporter_port } else { 0 },
            ),
        ];
        for (key, port) in own {
            if port == 0 {
                continue;
            }
            if let Some(other) = ports.insert(port, origin) {
                let fix = "give each broker of this process ports of its own";
                return Err(clash(key, port.to_string(), other, fix));
            }
        }
        let directory = &config.store_path_root_dir;
        if let Some(other) = directories.insert(directory.clone(), origin) {
            let fix = "give each broker of this process a directory of its own";
            return Err(clash("storePathRootDir", directory.display().to_string(), other, fix));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
