//! The version of a table that one side keeps a copy of.
//!
//! Invariant: two tables with equal versions are equal; the counter decides, the timestamp tells
//! tables apart that were counted from zero again.

use serde::{Deserialize, Serialize};

use super::fastjson::JsonBody;
use super::lenient;

/// Version of a topic or group table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    /// Changes since the beginning.
    #[serde(deserialize_with = "lenient::integer")]
    pub counter: i64,
    /// Version of the role that wrote it; larger wins at the NameServer.
    #[serde(deserialize_with = "lenient::integer")]
    pub state_version: i64,
    /// When it changed last, in milliseconds.
    #[serde(deserialize_with = "lenient::integer")]
    pub timestamp: i64,
}

impl JsonBody for DataVersion {
    const WHAT: &'static str = "data version";
}
