//! What can be wrong with a configuration. Every message names the key, its value, and what to
//! write instead.

use std::io;

use thiserror::Error;

use super::properties::PropertiesError;

/// A configuration that cannot be used.
#[derive(Debug, Error)]
#[error("{origin}: {problem}")]
pub struct ConfigError {
    /// The file, or what else the text came from.
    pub origin: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a configuration.
#[derive(Debug, Error)]
pub enum Problem {
    /// The file could not be read.
    #[error("cannot be read: {0}; check the path given with -c")]
    Unreadable(#[from] io::Error),
    /// Not a properties file.
    #[error(transparent)]
    Syntax(#[from] PropertiesError),
    /// A value that its key does not take.
    #[error("{key}={value} is not usable: expected {expected}")]
    Value {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What would be taken.
        expected: String,
    },
    /// A key without which nothing can start.
    #[error("{key} is missing; {fix}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What to write.
        fix: String,
    },
    /// Keys that cannot both be meant.
    #[error("{key}={value} contradicts the rest: {reason}; {fix}")]
    Contradiction {
        /// The key to change.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it contradicts.
        reason: String,
        /// What to write.
        fix: String,
    },
}
