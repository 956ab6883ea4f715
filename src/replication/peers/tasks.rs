//! Tasks that end together.
//!
//! Invariant: after [`Tasks::abort_all`] none of them runs on, and none that is spawned later starts.

use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::AbortHandle;

/// Finished tasks are forgotten whenever this many more were spawned.
const SWEEP_EVERY: usize = 64;

#[derive(Default)]
struct Inner {
    stopped: bool,
    running: Vec<AbortHandle>,
    spawned_since_sweep: usize,
}

/// A group of tasks.
#[derive(Clone, Default)]
pub(super) struct Tasks(Arc<Mutex<Inner>>);

impl Tasks {
    /// Starts a task in the group.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let mut inner = self.0.lock();
        if inner.stopped {
            return;
        }
        inner.spawned_since_sweep += 1;
        if inner.spawned_since_sweep >= SWEEP_EVERY {
            inner.spawned_since_sweep = 0;
            inner.running.retain(|task| !task.is_finished());
        }
        inner.running.push(tokio::spawn(future).abort_handle());
    }

    /// Ends all of them at their next await.
    pub fn abort_all(&self) {
        let mut inner = self.0.lock();
        inner.stopped = true;
        for task in inner.running.drain(..) {
            task.abort();
        }
    }
}
