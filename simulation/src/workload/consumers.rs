//! The consumers' processes, which come and go: each time the others share their queues out anew.
//!
//! Invariant: as for members, every operation may be asked for at any time, and does nothing when the
//! process is not in the state for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use madsim::runtime::Handle;
use madsim::task::NodeId;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::consumer::{Consume, consume};
use crate::cluster::Running;

/// How long a consumer may take to leave in good order.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// One consumer's process.
struct Process {
    node: NodeId,
    with: Consume,
    running: Mutex<Running>,
    life: Mutex<Life>,
}

/// What one life of a process is asked and tells. The next one has its own, so that nothing that nobody
/// heard is left to it.
#[derive(Clone, Default)]
struct Life {
    stop: Arc<Notify>,
    stopped: Arc<Notify>,
}

impl Process {
    fn set_running(&self, from: Running, to: Running) -> bool {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let is_from = *running == from;
        if is_from {
            *running = to;
        }
        is_from
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All consumers' processes; clones share them.
#[derive(Clone)]
pub struct Consumers {
    processes: Arc<Vec<Process>>,
}

impl Consumers {
    /// On these nodes, not started yet.
    pub fn new(nodes: &[NodeId], with: impl Fn(usize) -> Consume) -> Consumers {
        let process = |(number, &node): (usize, &NodeId)| Process {
            node,
            with: with(number),
            running: Mutex::new(Running::Down),
            life: Mutex::default(),
        };
        Consumers { processes: Arc::new(nodes.iter().enumerate().map(process).collect()) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.processes.len()
    }

    /// Starts the process of one that is down.
    pub fn start(&self, number: usize) {
        let process = &self.processes[number];
        if !process.set_running(Running::Down, Running::Up) {
            return;
        }
        process.with.trace.tell(format_args!("consumer {number} starts"));
        Handle::current().restart(process.node);
        let node = Handle::current().get_node(process.node).expect("it was made");
        let (with, life) = (process.with.clone(), Life::default());
        *process.life() = life.clone();
        drop(node.spawn(async move {
            consume(with, &life.stop).await;
            life.stopped.notify_one();
            std::future::pending::<()>().await;
        }));
    }

    /// Starts or resumes whichever does not run.
    pub fn start_all(&self) {
        for number in 0..self.count() {
            self.resume(number);
            self.start(number);
        }
    }

    /// The process ends at once. Whether it ran.
    pub fn kill(&self, number: usize) -> bool {
        let process = &self.processes[number];
        let ran = process.set_running(Running::Up, Running::Down);
        if ran {
            process.with.trace.tell(format_args!("consumer {number} is killed"));
            Handle::current().kill(process.node);
        }
        ran
    }

    /// The process is asked to leave its group and end. Whether it ran.
    pub async fn stop(&self, number: usize) -> bool {
        let process = &self.processes[number];
        if !process.set_running(Running::Up, Running::Down) {
            return false;
        }
        process.with.trace.tell(format_args!("consumer {number} is asked to stop"));
        let life = process.life().clone();
        life.stop.notify_one();
        let in_time = timeout(STOP_LIMIT, life.stopped.notified()).await.is_ok();
        let how = if in_time { "has stopped" } else { "does not stop, and is killed" };
        process.with.trace.tell(format_args!("consumer {number} {how}"));
        Handle::current().kill(process.node);
        true
    }

    /// The process gets no time any more. Whether it ran.
    pub fn pause(&self, number: usize) -> bool {
        let process = &self.processes[number];
        let ran = process.set_running(Running::Up, Running::Paused);
        if ran {
            process.with.trace.tell(format_args!("consumer {number} is stopped (SIGSTOP)"));
            Handle::current().pause(process.node);
        }
        ran
    }

    /// A paused process goes on.
    pub fn resume(&self, number: usize) {
        let process = &self.processes[number];
        if process.set_running(Running::Paused, Running::Up) {
            process.with.trace.tell(format_args!("consumer {number} goes on"));
            Handle::current().resume(process.node);
        }
    }

    /// All end for good.
    pub fn end(&self) {
        self.processes.iter().for_each(|process| Handle::current().kill(process.node));
    }
}
