//! Key-value settings that tools store in the name server, such as the queues of ordered topics.
//!
//! Invariant: the file on disk is always a complete version. It is written beside its final name,
//! synced and renamed; a crash leaves the old or the new one.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use raft_log::{Disk, DiskFile};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Namespace of the queues that ordered topics are fixed to.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Why the settings could not be read or kept.
#[derive(Debug, Error)]
pub enum KvError {
    /// The file or its directory refused.
    #[error("{path}: {source}; check kvConfigPath and its permissions")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what this wrote.
    #[error("{path} is not a key-value file: {source}; repair it, or move it away to start empty")]
    Content {
        /// The file.
        path: PathBuf,
        /// Where it differs.
        source: serde_json::Error,
    },
}

/// Namespace to key to value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KvConfig {
    #[serde(default)]
    config_table: BTreeMap<String, BTreeMap<String, String>>,
}

impl KvConfig {
    /// Reads the file at `path`; without one there are no settings.
    pub fn load<D: Disk>(disk: &D, path: &Path) -> Result<KvConfig, KvError> {
        let io_error = |source| KvError::Io { path: path.to_owned(), source };
        if !disk.exists(path).map_err(io_error)? {
            return Ok(KvConfig::default());
        }
        let file = disk.open(path).map_err(io_error)?;
        let length = file.len().map_err(io_error)?;
        let mut text = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_at(&mut text, 0).map_err(io_error)?;
        let content_error = |source| KvError::Content { path: path.to_owned(), source };
        serde_json::from_slice(&text).map_err(content_error)
    }

    /// Makes the settings durable at `path`.
    pub fn save<D: Disk>(&self, disk: &D, path: &Path) -> Result<(), KvError> {
        let text = serde_json::to_vec_pretty(self).expect("keys of the maps are text");
        replace_file(disk, path, &text)
            .map_err(|source| KvError::Io { path: path.to_owned(), source })
    }

    /// One value.
    pub fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        self.config_table.get(namespace)?.get(key).map(String::as_str)
    }

    /// All values of a namespace.
    pub fn namespace(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.config_table.get(namespace)
    }

    /// Sets a value.
    pub fn put(&mut self, namespace: &str, key: &str, value: &str) {
        let values = self.config_table.entry(namespace.to_owned()).or_default();
        values.insert(key.to_owned(), value.to_owned());
    }

    /// Removes a value.
    pub fn delete(&mut self, namespace: &str, key: &str) {
        if let Some(values) = self.config_table.get_mut(namespace) {
            values.remove(key);
        }
    }
}

/// Replaces the file at `path` by `content`, all or nothing.
pub fn replace_file<D: Disk>(disk: &D, path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    disk.create_dir_all(directory)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    if disk.exists(&beside)? {
        disk.remove(&beside)?;
    }
    let file = disk.create(&beside)?;
    file.write_at(content, 0)?;
    file.sync_now()?;
    disk.rename(&beside, path)?;
    disk.sync_dir(directory)
}
