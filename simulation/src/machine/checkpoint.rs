//! The checkpoint's home: a store that loses what it pleases when power goes.
//!
//! Invariant: it gives back some earlier save as a whole, or nothing, as the real one may; nor does it take
//! anything while it cannot be read; and a save by a process that has ended does nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_log::LogIndex;
use raftmq::state::Change;
use raftmq::store::StoreError;
use raftmq::store::checkpoint::{Checkpoint, CheckpointStore};

use crate::dice::Dice;

/// Earlier saves that power loss may bring back.
const KEPT: usize = 3;

type Content = (LogIndex, BTreeMap<Vec<u8>, Vec<u8>>);

/// A copy of what a [`Home`] kept.
pub struct Saved(Vec<Content>);

/// What one machine keeps; clones share it.
#[derive(Clone, Default)]
pub struct Home {
    /// Newest last.
    saved: Arc<Mutex<Vec<Content>>>,
    life: Arc<AtomicU64>,
    /// The disk cannot read it any more.
    unreadable: Arc<AtomicBool>,
}

impl Home {
    fn saved(&self) -> MutexGuard<'_, Vec<Content>> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a process that starts now.
    pub fn open(&self) -> SimCheckpoint {
        SimCheckpoint { home: self.clone(), life: self.life.load(Ordering::Relaxed) }
    }

    /// The process that used it is gone.
    pub fn process_ended(&self) {
        self.life.fetch_add(1, Ordering::Relaxed);
    }

    /// Everything is gone.
    pub fn lose(&self) {
        self.saved().clear();
        self.unreadable.store(false, Ordering::Relaxed);
    }

    /// Pages of it cannot be read any more, until it is begun anew.
    pub fn lose_pages(&self) {
        self.unreadable.store(true, Ordering::Relaxed);
    }

    /// What is kept at present, for [`Home::put_back`].
    pub fn copy(&self) -> Saved {
        Saved(self.saved().clone())
    }

    /// What was kept some time ago is kept again.
    pub fn put_back(&self, copy: &Saved) {
        self.saved().clone_from(&copy.0);
    }

    /// Power went: what comes back is the newest, an older one, or none.
    pub fn lose_power(&self, dice: &mut Dice) {
        let mut saved = self.saved();
        let keep = dice.below(saved.len() + 1);
        saved.truncate(keep);
    }
}

/// A process's handle on a [`Home`].
pub struct SimCheckpoint {
    home: Home,
    life: u64,
}

impl SimCheckpoint {
    fn alive(&self) -> bool {
        self.home.life.load(Ordering::Relaxed) == self.life
    }

    fn is_readable(&self) -> bool {
        !self.home.unreadable.load(Ordering::Relaxed)
    }
}

impl CheckpointStore for SimCheckpoint {
    fn load(&mut self) -> Option<Checkpoint> {
        let saved = self.home.saved();
        let (applied, entries) = saved.last().filter(|_| self.is_readable())?;
        let entries = entries.iter().map(|(key, value)| (key.clone(), value.clone()));
        Some(Checkpoint { applied: *applied, entries: entries.collect() })
    }

    fn save(&mut self, changes: &[Change], applied: LogIndex) -> Result<(), StoreError> {
        if !self.alive() {
            return Ok(());
        }
        if !self.is_readable() {
            let (name, message) = ("checkpoint".to_owned(), "a page cannot be read".to_owned());
            return Err(StoreError::File { name, message });
        }
        let mut saved = self.home.saved();
        let mut entries = saved.last().map(|(_, entries)| entries.clone()).unwrap_or_default();
        for (key, value) in changes {
            match value {
                Some(value) => drop(entries.insert(key.clone(), value.clone())),
                None => drop(entries.remove(key)),
            }
        }
        saved.push((applied, entries));
        if saved.len() > KEPT {
            saved.remove(0);
        }
        Ok(())
    }

    fn wipe(&mut self) -> Result<(), StoreError> {
        if self.alive() {
            self.home.lose();
        }
        Ok(())
    }
}
