//! What must always hold, a file each, and what was found not to.
//!
//! Invariant: a check looks at what a run left behind (disks, histories, states), never at what a
//! member says was done; and it only ever adds findings.

pub mod bounded_memory;
pub mod delayed_once;
pub mod derived_files;
pub mod durable_votes;
pub mod equal_logs;
pub mod equal_state;
pub mod honest_progress;
pub mod kept_progress;
pub mod kept_topics;
pub mod newest_registration;
pub mod no_gap;
pub mod not_mistaken;
pub mod one_holder;
pub mod one_leader;
pub mod ordered_time;
pub mod quorum_durable;
pub mod taken_back;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Findings kept of one run; the first ones tell most.
const KEPT: usize = 20;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was broken.
    pub invariant: &'static str,
    /// How.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// The findings of one run; clones share them.
#[derive(Clone, Default)]
pub struct Findings {
    inner: Arc<Mutex<Vec<Finding>>>,
}

impl Findings {
    fn inner(&self) -> MutexGuard<'_, Vec<Finding>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one.
    pub fn report(&self, invariant: &'static str, what: String) {
        let mut findings = self.inner();
        if findings.len() < KEPT {
            findings.push(Finding { invariant, what });
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.inner().is_empty()
    }

    /// All that were kept.
    pub fn all(&self) -> Vec<Finding> {
        self.inner().clone()
    }
}
