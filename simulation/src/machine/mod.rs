//! A simulated machine: a disk, the checkpoints' homes, and the process that lives on it for a while.
//!
//! Invariant: when a process ends, what it wrote stays in the machine's cache; when power goes, only
//! what was synced is sure to stay. Nothing else survives.

mod checkpoint;
mod disk;
mod flaw;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_log::Fatal;
use raft_log::fault::{Loss, SimDisk};
use raftmq::broker::Host;
use raftmq::replication::FatalHandler;
use raftmq::store::StoreError;
use raftmq::store::checkpoint::CheckpointStore;
use raftmq::store::worker::Worker;

pub use checkpoint::{Home, Saved};
pub use disk::{Pace, Pacemaker, TimedDisk};
pub use flaw::Flaw;

use crate::dice::Dice;

/// Memory that every simulated machine says it has.
const MEMORY_BYTES: u64 = 1 << 30;
const CORES: u64 = 2;

/// A machine; clones are the same one.
#[derive(Clone)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Its disk, as whoever examines it sees it.
    pub disk: SimDisk,
    /// How fast the disk is.
    pub pace: Pacemaker,
    /// By directory.
    checkpoints: Arc<Mutex<BTreeMap<PathBuf, Home>>>,
    checkpoint_interval_bytes: u64,
    /// A mistake put in on purpose.
    flaw: Option<Flaw>,
    dice: Arc<Mutex<Dice>>,
    /// How full the disk says it is.
    used_percent: Arc<AtomicU8>,
    /// Another machine's disk in the place of its own.
    foreign: Arc<Mutex<Option<SimDisk>>>,
    /// How often power went.
    boots: Arc<AtomicU64>,
    /// What it answers for may be in its cache only.
    answers_unsynced: bool,
    /// Why its process said it must end.
    fatal: Arc<Mutex<Option<Fatal>>>,
    /// By group; nothing at first.
    memories: Arc<Mutex<Vec<Memory>>>,
    /// What its medium held each time that it lost something of what it may have promised, until it remembers
    /// everything again.
    lost: Arc<Mutex<Vec<SimDisk>>>,
}

/// How much of what its member promised to a group a machine's disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Memory {
    /// For a while after the disk was lost.
    Nothing,
    /// For a while after the power went where entries are acknowledged from the cache.
    Votes,
    All,
}

impl Machine {
    /// A new one with an empty disk, for members of so many groups.
    pub fn new(
        name: &str,
        groups: usize,
        seed: u64,
        pace: Pace,
        checkpoint_interval_bytes: u64,
        answers_unsynced: bool,
        flaw: Option<Flaw>,
    ) -> Machine {
        let disk = SimDisk::new();
        disk.end_by_maps(true);
        Machine {
            name: name.to_owned(),
            disk,
            pace: Pacemaker::new(pace, Dice::of(seed, &format!("disk of {name}"))),
            checkpoints: Arc::default(),
            checkpoint_interval_bytes,
            flaw,
            dice: Arc::new(Mutex::new(Dice::of(seed, &format!("power of {name}")))),
            used_percent: Arc::default(),
            foreign: Arc::default(),
            boots: Arc::default(),
            answers_unsynced,
            fatal: Arc::default(),
            memories: Arc::new(Mutex::new(vec![Memory::Nothing; groups])),
            lost: Arc::default(),
        }
    }

    /// What one broker of a process that starts now runs on.
    pub fn boot(&self) -> Boot {
        let disk = self.foreign().clone().unwrap_or_else(|| self.disk.clone());
        Boot { disk: TimedDisk::new(disk, self.pace.clone(), self.flaw), machine: self.clone() }
    }

    fn checkpoints(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Home>> {
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memories(&self) -> MutexGuard<'_, Vec<Memory>> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> MutexGuard<'_, Vec<SimDisk>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what the medium holds now, because some of it is about to be lost.
    fn note_loss(&self) {
        let medium = self.disk.medium();
        self.lost().push(medium);
    }

    /// Its disk, and what that held each time before it lost something that it may have promised and has not
    /// got back yet.
    pub fn disks(&self) -> Vec<SimDisk> {
        let mut disks = vec![self.disk.clone()];
        disks.extend(self.lost().iter().cloned());
        disks
    }

    /// Its process starts. One that lacks something may give up the rest of it.
    pub fn process_starts(&self) {
        if !self.remembers_all() {
            self.note_loss();
        }
    }

    fn foreign(&self) -> MutexGuard<'_, Option<SimDisk>> {
        self.foreign.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts another machine's disk in the place of its own, or its own back; for the next process.
    pub fn mount(&self, foreign: Option<SimDisk>) {
        *self.foreign() = foreign;
    }

    /// Whether another machine's disk is in the place of its own.
    pub fn has_foreign_disk(&self) -> bool {
        self.foreign().is_some()
    }

    /// Sets how full the disk says it is.
    pub fn fill(&self, used_percent: u8) {
        self.used_percent.store(used_percent, Ordering::Relaxed);
    }

    /// Its process ended; the machine did not.
    pub fn process_ended(&self) {
        self.checkpoints().values().for_each(Home::process_ended);
        self.disk.restart(Loss::Nothing);
        if let Some(foreign) = &*self.foreign() {
            foreign.restart(Loss::Nothing);
        }
    }

    /// Its disk, and all that was on it, is gone; there is an empty one in its place.
    pub fn lose_disk(&self) {
        self.note_loss();
        for home in self.checkpoints().values() {
            home.process_ended();
            home.lose();
        }
        self.disk.wipe();
        self.memories().fill(Memory::Nothing);
    }

    /// Its disk does not hold all votes of its member of a group any more.
    pub fn forgot(&self, group: usize) {
        self.note_loss();
        self.memories()[group] = Memory::Nothing;
    }

    /// The disk cannot read the checkpoint of the broker in that directory any more. False when there is none.
    pub fn lose_checkpoint(&self, root: &Path) -> bool {
        let homes = self.checkpoints();
        let home = homes.get(&root.join("checkpoint"));
        home.inspect(|home| home.lose_pages()).is_some()
    }

    /// A copy of all that is on its disk, as after the end of its process.
    pub fn back_up(&self) -> Backup {
        let disk = self.disk.copy_of(&[(Path::new("/"), Path::new("/"))]);
        let homes = self.checkpoints();
        let homes = homes.iter().map(|(dir, home)| (dir.clone(), home.copy())).collect();
        Backup { disk, checkpoints: homes }
    }

    /// An earlier copy of its disk is in the place of the newest.
    pub fn restore(&self, backup: &Backup) {
        self.note_loss();
        for (dir, home) in &*self.checkpoints() {
            home.process_ended();
            match backup.checkpoints.get(dir) {
                Some(saved) => home.put_back(saved),
                None => home.lose(),
            }
        }
        self.disk.become_copy_of(&backup.disk);
        self.memories().fill(Memory::Nothing);
    }

    /// Its member of a group was seen to take part like any other.
    pub fn remembered(&self, group: usize) {
        self.memories()[group] = Memory::All;
        if self.remembers_all() {
            self.lost().clear();
        }
    }

    /// Whether its disk holds all that its member of a group ever promised.
    pub fn remembers(&self, group: usize) -> bool {
        self.memories()[group] == Memory::All
    }

    /// Whether it holds everything, for all groups.
    pub fn remembers_all(&self) -> bool {
        self.memories().iter().all(|memory| *memory == Memory::All)
    }

    /// Power went and came back.
    pub fn lose_power(&self) {
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        for home in self.checkpoints().values() {
            home.process_ended();
            home.lose_power(&mut dice);
        }
        // The hardest case often, the mixed ones in all their variety.
        let loss = if dice.one_in(3) { Loss::All } else { Loss::Torn(dice.roll()) };
        self.disk.restart(loss);
        self.boots.fetch_add(1, Ordering::Relaxed);
        if self.answers_unsynced {
            let mut memories = self.memories();
            memories.iter_mut().for_each(|memory| *memory = (*memory).min(Memory::Votes));
        }
    }

    /// Why the process must end, if it said so since the last time.
    pub fn take_fatal(&self) -> Option<Fatal> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A copy of what a machine's disk held.
pub struct Backup {
    disk: SimDisk,
    checkpoints: BTreeMap<PathBuf, Saved>,
}

/// A machine from one start of its process on.
pub struct Boot {
    disk: TimedDisk,
    machine: Machine,
}

impl Host for Boot {
    type Disk = TimedDisk;

    fn disk(&self) -> TimedDisk {
        self.disk.clone()
    }

    fn open_checkpoint(&self, dir: &Path) -> Result<Box<dyn CheckpointStore>, StoreError> {
        Ok(Box::new(self.machine.checkpoints().entry(dir.to_path_buf()).or_default().open()))
    }

    fn checkpoint_interval_bytes(&self) -> u64 {
        self.machine.checkpoint_interval_bytes
    }

    fn start_worker(&self) -> std::io::Result<Worker> {
        Ok(Worker::inline())
    }

    fn memory_bytes(&self) -> u64 {
        MEMORY_BYTES
    }

    fn cores(&self) -> u64 {
        CORES
    }

    fn boot(&self) -> String {
        if self.machine.flaw == Some(Flaw::BootsAlike) {
            return "always".to_owned();
        }
        self.machine.boots.load(Ordering::Relaxed).to_string()
    }

    fn disk_gauge(&self) -> impl Fn(&Path) -> u8 + Send + Sync + 'static {
        let used_percent = Arc::clone(&self.machine.used_percent);
        move |_| used_percent.load(Ordering::Relaxed)
    }

    fn on_fatal(&self) -> FatalHandler {
        let fatal = Arc::clone(&self.machine.fatal);
        Arc::new(move |reason| {
            *fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        })
    }
}
