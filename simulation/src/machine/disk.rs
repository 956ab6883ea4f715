//! The fault-injecting disk with time: work takes as long as the machine's disk takes at present.
//!
//! Invariant: work of one lane is done in the order it was handed in, each piece after its own delay,
//! whether or not somebody still waits for it; work that the process did not live to see is not done.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raft_log::fault::{SimDisk, SimLock};
use raft_log::{Disk, Lane};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::flaw::{Flaw, FlawedFile};
use crate::dice::Dice;

/// How often a stalled disk is looked at again.
const STALL_LOOK: Duration = Duration::from_millis(10);

/// How fast a disk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// The shortest piece of work, in microseconds.
    pub least_us: u64,
    /// The longest.
    pub most_us: u64,
    /// Nothing is finished at present.
    pub stalled: bool,
}

/// How fast a machine's disk is at present; shared with whoever changes it.
#[derive(Clone)]
pub struct Pacemaker {
    inner: Arc<Mutex<(Pace, Dice)>>,
}

impl Pacemaker {
    /// With draws of its own.
    pub fn new(pace: Pace, dice: Dice) -> Pacemaker {
        Pacemaker { inner: Arc::new(Mutex::new((pace, dice))) }
    }

    fn inner(&self) -> MutexGuard<'_, (Pace, Dice)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes it.
    pub fn set(&self, change: impl FnOnce(&mut Pace)) {
        change(&mut self.inner().0);
    }

    async fn wait(&self) {
        let delay = {
            let (pace, dice) = &mut *self.inner();
            Duration::from_micros(dice.between(pace.least_us, pace.most_us))
        };
        sleep(delay).await;
        while self.inner().0.stalled {
            sleep(STALL_LOOK).await;
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// A task works on them.
    busy: bool,
}

/// One process's view of its machine's disk.
#[derive(Clone)]
pub struct TimedDisk {
    disk: SimDisk,
    pace: Pacemaker,
    flaw: Option<Flaw>,
    sync: Arc<Mutex<Queue>>,
    prepare: Arc<Mutex<Queue>>,
}

impl TimedDisk {
    /// For a process that starts now.
    pub fn new(disk: SimDisk, pace: Pacemaker, flaw: Option<Flaw>) -> TimedDisk {
        TimedDisk { disk, pace, flaw, sync: Arc::default(), prepare: Arc::default() }
    }
}

async fn work_off(queue: Arc<Mutex<Queue>>, pace: Pacemaker) {
    loop {
        let job = {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            let job = queue.jobs.pop_front();
            queue.busy = job.is_some();
            job
        };
        let Some(job) = job else { return };
        pace.wait().await;
        job();
    }
}

impl Disk for TimedDisk {
    type File = FlawedFile;
    type Lock = SimLock;

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<FlawedFile> {
        Ok(FlawedFile::new(self.disk.create(path)?, path, self.flaw))
    }

    fn open(&self, path: &Path) -> io::Result<FlawedFile> {
        Ok(FlawedFile::new(self.disk.open(path)?, path, self.flaw))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.flaw == Some(Flaw::NamesNotSynced) {
            return Ok(());
        }
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<SimLock> {
        self.disk.lock(path)
    }

    fn offload<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = io::Result<T>> + Send + 'static {
        let shared = match lane {
            Lane::Sync => &self.sync,
            Lane::Prepare => &self.prepare,
        };
        let (tell, told) = oneshot::channel();
        let idle = {
            let mut queue = shared.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever asked may have lost interest.
            queue.jobs.push_back(Box::new(move || drop(tell.send(work()))));
            !std::mem::replace(&mut queue.busy, true)
        };
        if idle {
            tokio::spawn(work_off(Arc::clone(shared), self.pace.clone()));
        }
        async move { told.await.map_err(|_| io::Error::other("the process ended first")) }
    }
}
