//! A checkpoint in memory, for tests and simulations.
//!
//! Invariant: handles made by cloning share one content, so that a restart can be played.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use raft_log::LogIndex;

use super::{Checkpoint, CheckpointStore};
use crate::state::Change;
use crate::store::StoreError;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct MemoryCheckpoint {
    content: Arc<Mutex<Option<Content>>>,
}

#[derive(Debug, Default)]
struct Content {
    applied: LogIndex,
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl CheckpointStore for MemoryCheckpoint {
    fn load(&mut self) -> Option<Checkpoint> {
        let content = self.content.lock();
        let content = content.as_ref()?;
        let entries = content.entries.iter().map(|(key, value)| (key.clone(), value.clone()));
        Some(Checkpoint { applied: content.applied, entries: entries.collect() })
    }

    fn save(&mut self, changes: &[Change], applied: LogIndex) -> Result<(), StoreError> {
        let mut content = self.content.lock();
        let content = content.get_or_insert_default();
        content.applied = applied;
        for (key, value) in changes {
            match value {
                Some(value) => drop(content.entries.insert(key.clone(), value.clone())),
                None => drop(content.entries.remove(key)),
            }
        }
        Ok(())
    }

    fn wipe(&mut self) -> Result<(), StoreError> {
        *self.content.lock() = None;
        Ok(())
    }
}
