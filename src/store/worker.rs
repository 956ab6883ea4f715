//! Writes derived files off the path on which entries are applied.
//!
//! Invariant: at most [`QUEUE_JOBS`] jobs wait. A caller that may skip its job does so when it
//! would have to wait; one that may not does the job itself.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use parking_lot::Mutex;

/// Jobs that wait at most.
const QUEUE_JOBS: usize = 8;

type Job = Box<dyn FnOnce() + Send>;

/// A thread for blocking work, or none.
pub struct Worker {
    jobs: Option<SyncSender<Job>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(name: &str) -> std::io::Result<Worker> {
        let (jobs, queue) = sync_channel(QUEUE_JOBS);
        let thread =
            std::thread::Builder::new().name(name.to_owned()).spawn(move || run_jobs(&queue))?;
        Ok(Worker { jobs: Some(jobs), thread: Mutex::new(Some(thread)) })
    }

    /// Does each job at once where it is asked for: for simulations and tests.
    pub fn inline() -> Worker {
        Worker { jobs: None, thread: Mutex::new(None) }
    }

    /// Has the job done; here and now when too many wait already.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) {
        let Some(jobs) = &self.jobs else { return job() };
        match jobs.try_send(Box::new(job)) {
            Ok(()) => {}
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => job(),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("a thread that writes derived files panicked");
        }
    }
}

fn run_jobs(queue: &Receiver<Job>) {
    while let Ok(job) = queue.recv() {
        job();
    }
}
