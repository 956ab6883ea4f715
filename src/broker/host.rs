//! What a broker takes from the machine it runs on.
//!
//! Invariant: a broker reaches disk, derived files, memory and the end of its process only through
//! this, so that several can live in one process, each on a machine of its own.

use std::path::Path;
use std::sync::Arc;

use raft_log::{Disk, RealDisk};

use crate::replication::{FatalHandler, exit};
use crate::store::StoreError;
use crate::store::checkpoint::{CheckpointStore, SledCheckpoint};
use crate::store::worker::Worker;

const CHECKPOINT_INTERVAL_BYTES: u64 = 16 << 20;

/// One machine, as a broker sees it.
pub trait Host {
    /// Its disk.
    type Disk: Disk;

    /// Where the log and the extents' indexes are.
    fn disk(&self) -> Self::Disk;

    /// The home of the state's checkpoint. Asked for only by whoever holds the log's lock.
    ///
    /// # Errors
    /// When neither an old one can be used nor a new one made.
    fn open_checkpoint(&self, dir: &Path) -> Result<Box<dyn CheckpointStore>, StoreError>;

    /// Bytes of log between two checkpoints: about what a restart replays.
    fn checkpoint_interval_bytes(&self) -> u64 {
        CHECKPOINT_INTERVAL_BYTES
    }

    /// Who writes derived files.
    ///
    /// # Errors
    /// When the system has no thread to give.
    fn start_worker(&self) -> std::io::Result<Worker>;

    /// Memory in bytes.
    fn memory_bytes(&self) -> u64;

    /// Cores that this process may use.
    fn cores(&self) -> u64;

    /// Another name after every loss of power; empty when there is none to be had.
    fn boot(&self) -> String;

    /// Tells how full the disk that holds a directory is, in percent.
    fn disk_gauge(&self) -> impl Fn(&Path) -> u8 + Send + Sync + 'static;

    /// What ends the process when the member cannot go on.
    fn on_fatal(&self) -> FatalHandler;
}

/// The machine that this process runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThisMachine;

impl Host for ThisMachine {
    type Disk = RealDisk;

    fn disk(&self) -> RealDisk {
        RealDisk::default()
    }

    fn open_checkpoint(&self, dir: &Path) -> Result<Box<dyn CheckpointStore>, StoreError> {
        Ok(Box::new(SledCheckpoint::open(dir)?))
    }

    fn start_worker(&self) -> std::io::Result<Worker> {
        Worker::start("store")
    }

    /// A gibibyte if the system does not say.
    fn memory_bytes(&self) -> u64 {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.map_or(1 << 30, |kib| kib << 10)
    }

    /// One if the system does not say.
    fn cores(&self) -> u64 {
        std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64)
    }

    /// The kernel draws one at every boot. A directory that moved to another machine is in another boot
    /// too, as it must be.
    fn boot(&self) -> String {
        let drawn = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        drawn.trim().to_owned()
    }

    fn disk_gauge(&self) -> impl Fn(&Path) -> u8 + Send + Sync + 'static {
        used_percent
    }

    fn on_fatal(&self) -> FatalHandler {
        Arc::new(exit)
    }
}

/// Used space of the file system in percent; zero when it cannot be found out.
fn used_percent(directory: &Path) -> u8 {
    let Ok(stat) = rustix::fs::statvfs(directory) else { return 0 };
    // What is reserved for root counts as used: this process cannot have it.
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let usable = used + stat.f_bavail;
    let percent = (used * 100).checked_div(usable).unwrap_or(0);
    u8::try_from(percent.min(100)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_use_is_a_percentage() {
        assert!(used_percent(Path::new("/")) <= 100);
        assert_eq!(used_percent(Path::new("/no/such/directory")), 0);
    }
}
