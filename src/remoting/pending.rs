//! Requests of ours that wait for their answer on one connection.
//!
//! Invariant: each callback is called exactly once: with the answer, when its time is up, or when the
//! connection ends. Callbacks run without the lock held.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::command::RemotingCommand;
use super::connection::InvokeError;
use super::limits::IN_FLIGHT_MAX;

/// Receives the outcome of a request.
pub(super) type Callback = Box<dyn FnOnce(Result<RemotingCommand, InvokeError>) + Send>;

/// Numbers that count up need no more than this to spread.
#[derive(Default)]
pub(super) struct OpaqueHasher(u64);

impl Hasher for OpaqueHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_i32(&mut self, number: i32) {
        self.write_u32(number.cast_unsigned());
    }
}

#[derive(Default)]
pub(super) struct PendingTable {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    // Looked up by key; iterated only to expire or fail entries, in order of their numbers.
    waiting: HashMap<i32, Waiting, BuildHasherDefault<OpaqueHasher>>,
    earliest: Option<Instant>,
    is_over: bool,
}

struct Waiting {
    deadline: Option<Instant>,
    /// How many reads the connection had seen when the request was sent.
    reads_before: u32,
    callback: Callback,
}

/// What became of requests whose time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// None, or the peer was heard of in the meantime.
    PeerAlive,
    /// Nothing at all has come from the peer since one of them was sent.
    PeerSilent,
}

impl PendingTable {
    /// Enters a request; hands the callback back when there is no room or no connection any more.
    pub(super) fn insert(
        &self,
        opaque: i32,
        deadline: Option<Instant>,
        reads_before: u32,
        callback: Callback,
    ) -> Result<(), (Callback, InvokeError)> {
        let mut inner = self.inner.lock();
        if inner.is_over {
            return Err((callback, InvokeError::Closed));
        }
        if inner.waiting.len() >= IN_FLIGHT_MAX {
            return Err((callback, InvokeError::Overloaded));
        }
        if let Some(deadline) = deadline {
            inner.earliest = Some(inner.earliest.map_or(deadline, |early| early.min(deadline)));
        }
        let entry = Waiting { deadline, reads_before, callback };
        let replaced = inner.waiting.insert(opaque, entry);
        drop(inner);
        if let Some(replaced) = replaced {
            // The numbers have gone round while this one was still waiting.
            (replaced.callback)(Err(InvokeError::Timeout));
        }
        Ok(())
    }

    /// The answer came. False when nobody waits for it any more.
    pub(super) fn complete(&self, answer: RemotingCommand) -> bool {
        let entry = self.inner.lock().waiting.remove(&answer.opaque);
        let Some(entry) = entry else { return false };
        (entry.callback)(Ok(answer));
        true
    }

    /// Nobody waits for this answer any more.
    pub(super) fn forget(&self, opaque: i32) {
        let entry = self.inner.lock().waiting.remove(&opaque);
        drop(entry);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inner.lock().waiting.is_empty()
    }

    /// Fails the requests whose time is up.
    pub(super) fn expire(&self, now: Instant, reads: u32) -> Expiry {
        let mut inner = self.inner.lock();
        if inner.earliest.is_none_or(|earliest| earliest > now) {
            return Expiry::PeerAlive;
        }
        let is_late = |entry: &Waiting| entry.deadline.is_some_and(|deadline| deadline <= now);
        let mut late: Vec<i32> = inner
            .waiting
            .iter()
            .filter(|(_, entry)| is_late(entry))
            .map(|(opaque, _)| *opaque)
            .collect();
        late.sort_unstable();
        let entries: Vec<Waiting> =
            late.iter().filter_map(|opaque| inner.waiting.remove(opaque)).collect();
        inner.earliest = inner.waiting.values().filter_map(|entry| entry.deadline).min();
        drop(inner);
        let mut expiry = Expiry::PeerAlive;
        for entry in entries {
            if entry.reads_before == reads {
                expiry = Expiry::PeerSilent;
            }
            (entry.callback)(Err(InvokeError::Timeout));
        }
        expiry
    }

    /// The connection ended: fails everything, now and from now on.
    pub(super) fn fail_all(&self) {
        let mut inner = self.inner.lock();
        inner.is_over = true;
        let mut entries: Vec<_> = std::mem::take(&mut inner.waiting).into_iter().collect();
        drop(inner);
        entries.sort_unstable_by_key(|(opaque, _)| *opaque);
        for (_, entry) in entries {
            (entry.callback)(Err(InvokeError::Closed));
        }
    }
}
