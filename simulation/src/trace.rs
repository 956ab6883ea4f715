//! What happened in a run, as a running hash and, if asked for, as text.
//!
//! Invariant: two runs of one seed with the same program give the same hash. Virtual time is part of
//! every event, so that a difference shows even when the events are the same. Nothing that differs
//! from one process to the next (addresses, task ids, hash order) may be noted.

use std::fmt;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::record::Record;

/// How much of a run is printed while it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Telling {
    /// Nothing.
    Silent,
    /// What a reader of the story wants to know.
    Story,
    /// Every event that goes into the hash.
    Everything,
}

struct Inner {
    /// SipHash with keys fixed in the standard library.
    hash: DefaultHasher,
    events: u64,
    began: Instant,
    telling: Telling,
    record: Record,
}

/// The events of one run; clones share them.
#[derive(Clone)]
pub struct Trace {
    inner: Arc<Mutex<Inner>>,
}

impl Trace {
    /// Begins at the present virtual time; the record outlives the run.
    pub fn begin(telling: Telling, record: Record) -> Trace {
        let (hash, began) = (DefaultHasher::new(), Instant::now());
        let inner = Inner { hash, events: 0, began, telling, record };
        Trace { inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Virtual time since the beginning.
    pub fn elapsed(&self) -> Duration {
        let began = self.inner().began;
        began.elapsed()
    }

    /// An event that only the hash and a detailed reader care for.
    pub fn note(&self, event: fmt::Arguments<'_>) {
        self.put(event, Telling::Everything);
    }

    /// An event of the story.
    pub fn tell(&self, event: fmt::Arguments<'_>) {
        self.put(event, Telling::Story);
    }

    fn put(&self, event: fmt::Arguments<'_>, from: Telling) {
        let at = self.elapsed();
        let text = event.to_string();
        let mut inner = self.inner();
        inner.events += 1;
        inner.hash.write_u128(at.as_nanos());
        inner.hash.write(text.as_bytes());
        if inner.telling >= from {
            println!("{:>10.3} s  {text}", at.as_secs_f64());
        }
        inner.record.add(at, text, from == Telling::Story);
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.inner().hash.clone().finish()
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.inner().events
    }
}
