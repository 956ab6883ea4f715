//! A disk in memory that loses power, tears writes, fails and fills up, all from a seed.
//!
//! What it models. Written bytes live in a cache of 512-byte sectors until their file is synced; when
//! power is lost every unsynced sector is lost or kept by itself. Names are durable only after a sync
//! of their directory; unsynced creations, renames and removals are each lost or kept. A sync that
//! fails leaves its sectors clean and not durable, so that a later sync succeeds without them: what
//! Linux does. A page may become unreadable, until all of it is written at once and that write reaches the
//! medium; a write of a part of it has to read the rest first, and fails. Who meets it under a map gets what the
//! cache had, or, if asked for, ends: it leaves the note that a real process leaves, and whoever plays the
//! process is told. Everything is counted in disk
//! calls, so power can be cut at any of them, and the same calls with the same seed give the same disk.
//!
//! Invariant: it is never kinder than the contract of [`Disk`], and never breaks it unless told to.

mod file;
mod inode;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::file::{SimFile, SimMap};
use self::inode::Inode;
use super::{Disk, Lane};
use crate::noted::{LINE_TITLE, NOTE};

const SECTOR_BYTES: usize = 512;
const BLOCK_BYTES: usize = 4096;

/// What becomes of unsynced sectors and names when power is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All of it is lost.
    All,
    /// Nothing is lost yet: the process died, the machine did not. What was not synced still is not.
    Nothing,
    /// Each sector and each name by itself, from this seed; some files wholly.
    Torn(u64),
}

/// Numbers from a seed (splitmix64).
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn coin(&mut self) -> bool {
        self.roll() & 1 == 1
    }
}

/// Files by their paths, as text: comparing paths part by part takes many times as long.
type Names = BTreeMap<OsString, u64>;

fn name_of(path: &Path) -> OsString {
    path.as_os_str().to_os_string()
}

/// A change of names that no directory sync has made durable yet.
enum Renaming {
    Create { path: PathBuf, inode: u64 },
    Remove { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf, inode: u64 },
}

impl Renaming {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Create { path, inode } => drop(names.insert(name_of(path), *inode)),
            Self::Remove { path } => drop(names.remove(path.as_os_str())),
            Self::Rename { from, to, inode } => {
                names.remove(from.as_os_str());
                names.insert(name_of(to), *inode);
            }
        }
    }

    fn inode(&self) -> Option<u64> {
        match self {
            Self::Create { inode, .. } | Self::Rename { inode, .. } => Some(*inode),
            Self::Remove { .. } => None,
        }
    }

    fn dir(&self) -> PathBuf {
        let path = match self {
            Self::Create { path, .. } | Self::Remove { path } | Self::Rename { to: path, .. } => {
                path
            }
        };
        path.parent().unwrap_or(path).to_path_buf()
    }
}

#[derive(Default)]
struct World {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: Names,
    durable_names: Names,
    /// By directory.
    renamings: BTreeMap<PathBuf, Vec<Renaming>>,
    locks: BTreeSet<PathBuf>,
    /// Counts power losses; a handle of an earlier life is dead.
    life: u64,
    calls: u64,
    syncs: u64,
    power_off_at: Option<u64>,
    powered_off: bool,
    fail_sync_at: Option<u64>,
    fail_next_write: bool,
    /// Blocks that may be taken.
    capacity: Option<usize>,
    slices_alive: bool,
    /// Who reads a lost page under a map ends.
    maps_end: bool,
    bus_error: Option<BusError>,
    /// Inodes and blocks that ended a process since they were lost.
    ended_by: BTreeSet<(u64, usize)>,
}

/// A page under a map could not be read, so the process that read it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusError {
    /// The file.
    pub file: PathBuf,
    /// The page's first byte.
    pub offset: u64,
    /// The same page has ended a process before, and was not lost again since.
    pub again: bool,
}

impl World {
    /// Somebody reads bytes of a file under a map.
    fn touch(&mut self, inode: u64, range: &Range<u64>) {
        if !self.maps_end || self.bus_error.is_some() {
            return;
        }
        let Some(block) = self.inodes[&inode].first_unreadable(range) else { return };
        let path = self.names.iter().find(|(_, named)| **named == inode);
        let Some(file) = path.map(|(path, _)| PathBuf::from(path)) else { return };
        let offset = (block * BLOCK_BYTES) as u64;
        let again = !self.ended_by.insert((inode, block));
        self.leave_note(&file, offset);
        self.bus_error = Some(BusError { file, offset, again });
    }

    /// What a process does that ends by a bus error; durable on return.
    fn leave_note(&mut self, file: &Path, offset: u64) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let line = format!("\n{LINE_TITLE} {offset} {BLOCK_BYTES} {name}\n");
        let note = file.with_file_name(NOTE.to_string_lossy().as_ref());
        let named = self.names.get(note.as_os_str()).copied();
        let inode = named.unwrap_or_else(|| {
            self.next_inode += 1;
            self.inodes.insert(self.next_inode, Inode::default());
            self.rename(Renaming::Create { path: note.clone(), inode: self.next_inode });
            self.next_inode
        });
        let end = self.inodes[&inode].live.len();
        self.file(inode).write(line.as_bytes(), end);
        self.file(inode).sync();
        self.sync_names(note.parent().unwrap_or(&note));
    }

    fn sync_names(&mut self, dir: &Path) {
        for renaming in self.renamings.remove(dir).unwrap_or_default() {
            renaming.apply(&mut self.durable_names);
        }
    }

    /// Every call passes here first. `true` means: do it, then the power goes.
    fn enter(&mut self, life: u64) -> io::Result<bool> {
        if self.powered_off || life != self.life {
            return Err(power_lost());
        }
        self.calls += 1;
        if self.power_off_at == Some(self.calls) {
            self.powered_off = true;
            return Ok(true);
        }
        Ok(false)
    }

    fn inode(&mut self, path: &Path) -> io::Result<u64> {
        self.names.get(path.as_os_str()).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&mut self, inode: u64) -> &mut Inode {
        self.inodes.get_mut(&inode).expect("inodes live as long as their handles' life")
    }

    fn used(&self) -> usize {
        self.inodes.values().map(|inode| inode.allocated.len()).sum()
    }

    /// Takes space for a write and says how many of its bytes find room.
    fn allocate(&mut self, inode: u64, offset: usize, bytes: usize) -> usize {
        let blocks = offset / BLOCK_BYTES..(offset + bytes).div_ceil(BLOCK_BYTES);
        let Some(capacity) = self.capacity else {
            self.file(inode).allocated.extend(blocks);
            return bytes;
        };
        let mut left = capacity.saturating_sub(self.used());
        let file = self.file(inode);
        for block in blocks {
            if file.allocated.contains(&block) {
                continue;
            }
            if left == 0 {
                return (block * BLOCK_BYTES).saturating_sub(offset).min(bytes);
            }
            file.allocated.insert(block);
            left -= 1;
        }
        bytes
    }

    fn write(&mut self, inode: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        if std::mem::take(&mut self.fail_next_write) {
            // Half of it may be there.
            self.file(inode).write(&bytes[..bytes.len() / 2], offset);
            return Err(eio());
        }
        if self.file(inode).would_read_unreadable(offset, bytes.len()) {
            return Err(unreadable());
        }
        let fits = self.allocate(inode, offset, bytes.len());
        self.file(inode).write(&bytes[..fits], offset);
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read(&self, inode: u64, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let begin = usize::try_from(offset).map_err(io::Error::other)?;
        if self.inodes[&inode].is_unreadable(begin, buffer.len()) {
            return Err(unreadable());
        }
        let live = &self.inodes[&inode].live;
        let bytes = live.get(begin..begin + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, inode: u64) -> io::Result<()> {
        self.syncs += 1;
        if self.fail_sync_at == Some(self.syncs) {
            self.file(inode).dirty.clear();
            return Err(eio());
        }
        self.file(inode).sync();
        Ok(())
    }

    fn rename(&mut self, renaming: Renaming) {
        renaming.apply(&mut self.names);
        self.renamings.entry(renaming.dir()).or_default().push(renaming);
    }
}

fn power_lost() -> io::Error {
    io::Error::other("power lost")
}

/// What a failing device answers.
#[derive(Debug, thiserror::Error)]
#[error("input/output error (injected)")]
struct Injected;

fn eio() -> io::Error {
    io::Error::other(Injected)
}

/// What the kernel says of a sector that its device cannot read.
fn unreadable() -> io::Error {
    rustix::io::Errno::IO.into()
}

/// Whether the error is one that a test or simulation asked for, other than a loss of power.
pub fn is_injected(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Injected>())
}

/// A hostile disk. Clones share it. Work for [`Lane::Prepare`] is done at once, work for
/// [`Lane::Sync`] when its future is first polled.
#[derive(Clone, Default)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

impl SimDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call<T>(&self, life: u64, deed: impl FnOnce(&mut World) -> io::Result<T>) -> io::Result<T> {
        let mut world = self.world();
        let power_goes = world.enter(life)?;
        let done = deed(&mut world);
        if power_goes { Err(power_lost()) } else { done }
    }

    fn now<T>(&self, deed: impl FnOnce(&mut World) -> io::Result<T>) -> io::Result<T> {
        let life = self.world().life;
        self.call(life, deed)
    }

    /// How many calls the disk has seen.
    pub fn calls(&self) -> u64 {
        self.world().calls
    }

    /// How many file syncs the disk has seen.
    pub fn syncs(&self) -> u64 {
        self.world().syncs
    }

    /// Cuts the power during the `nth` call from now on. That call's change may or may not survive.
    pub fn power_off_at_call(&self, nth: u64) {
        let mut world = self.world();
        world.power_off_at = Some(world.calls + nth);
    }

    /// Whether the power is gone.
    pub fn is_powered_off(&self) -> bool {
        self.world().powered_off
    }

    /// Loses power, if that has not happened yet, and starts again with what survived. Handles from
    /// before are dead. Planned faults are forgotten, the capacity stays.
    pub fn restart(&self, loss: Loss) {
        let mut world = self.world();
        let mut dice = Dice(if let Loss::Torn(seed) = loss { seed } else { 0 });
        if loss != Loss::Nothing {
            for renaming in std::mem::take(&mut world.renamings).into_values().flatten() {
                if matches!(loss, Loss::Torn(_)) && dice.coin() {
                    renaming.apply(&mut world.durable_names);
                }
            }
            world.names = world.durable_names.clone();
        }
        let named = world.names.values().chain(world.durable_names.values());
        let pending = world.renamings.values().flatten().filter_map(Renaming::inode);
        let named: BTreeSet<u64> = named.copied().chain(pending).collect();
        world.inodes.retain(|inode, _| named.contains(inode));
        for inode in world.inodes.values_mut() {
            inode.lose_power(loss, &mut dice);
        }
        world.locks.clear();
        world.life += 1;
        world.powered_off = false;
        world.power_off_at = None;
        world.fail_sync_at = None;
        world.fail_next_write = false;
        world.bus_error = None;
    }

    /// Whether a process that reads a lost page under a map ends, from now on.
    pub fn end_by_maps(&self, maps_end: bool) {
        self.world().maps_end = maps_end;
    }

    /// Whether the present process met a lost page, of which nobody has been told yet.
    pub fn has_bus_error(&self) -> bool {
        self.world().bus_error.is_some()
    }

    /// What ends the present process, if it met a lost page.
    pub fn take_bus_error(&self) -> Option<BusError> {
        self.world().bus_error.take()
    }

    /// A copy of what this disk would hold if power went right now and took everything that it may.
    pub fn medium(&self) -> SimDisk {
        let copy = SimDisk::new();
        {
            let (world, mut other) = (self.world(), copy.world());
            for (name, inode) in &world.durable_names {
                let durable = world.inodes[inode].durable.clone();
                let file = Inode { live: durable.clone(), durable, ..Inode::default() };
                other.inodes.insert(*inode, file);
                other.names.insert(name.clone(), *inode);
                other.durable_names.insert(name.clone(), *inode);
            }
            other.next_inode = world.next_inode;
        }
        copy
    }

    /// Everything on the disk is gone, for good. Handles from before are dead.
    pub fn wipe(&self) {
        let mut world = self.world();
        let (life, calls, syncs) = (world.life + 1, world.calls, world.syncs);
        let (capacity, maps_end) = (world.capacity, world.maps_end);
        *world = World { life, calls, syncs, capacity, maps_end, ..World::default() };
    }

    /// Makes the `nth` file sync from now on fail: its bytes count as clean and are not durable.
    pub fn fail_sync(&self, nth: u64) {
        let mut world = self.world();
        world.fail_sync_at = Some(world.syncs + nth);
    }

    /// Makes the next write fail halfway.
    pub fn fail_next_write(&self) {
        self.world().fail_next_write = true;
    }

    /// Plans nothing any more but a loss of power.
    pub fn forget_failures(&self) {
        let mut world = self.world();
        world.fail_sync_at = None;
        world.fail_next_write = false;
    }

    /// Another disk that holds, durably, what some directories of this one do, each under another name.
    pub fn copy_of(&self, renamed: &[(&Path, &Path)]) -> SimDisk {
        let copy = SimDisk::new();
        {
            let (world, mut other) = (self.world(), copy.world());
            for (path, inode) in &world.names {
                let moved = renamed
                    .iter()
                    .find_map(|(from, to)| Some(to.join(Path::new(path).strip_prefix(from).ok()?)));
                let Some(moved) = moved else { continue };
                let name = name_of(&moved);
                let live = world.inodes[inode].live.clone();
                let file = Inode { durable: live.clone(), live, ..Inode::default() };
                other.inodes.insert(*inode, file);
                other.names.insert(name.clone(), *inode);
                other.durable_names.insert(name, *inode);
            }
            other.next_inode = world.next_inode;
        }
        copy
    }

    /// Everything on the disk is gone, and what another holds, durably, is in its place. Handles from
    /// before are dead.
    pub fn become_copy_of(&self, other: &SimDisk) {
        self.wipe();
        let copied = other.copy_of(&[(Path::new("/"), Path::new("/"))]);
        let (mut world, mut copied) = (self.world(), copied.world());
        world.inodes = std::mem::take(&mut copied.inodes);
        world.names = std::mem::take(&mut copied.names);
        world.durable_names = std::mem::take(&mut copied.durable_names);
        world.next_inode = copied.next_inode;
    }

    /// Checksums of all files, by name, as a reader sees them now.
    pub fn contents(&self) -> BTreeMap<OsString, u32> {
        let world = self.world();
        let checksum = |inode: &u64| crc32fast::hash(&world.inodes[inode].live);
        world.names.iter().map(|(name, inode)| (name.clone(), checksum(inode))).collect()
    }

    /// Makes the page of a file in which a byte lies unreadable, until it is written whole and synced. What a
    /// cache had of it is gone. False when there is no such byte.
    pub fn lose_page(&self, path: &Path, offset: u64) -> bool {
        let mut world = self.world();
        let Some(inode) = world.names.get(path.as_os_str()).copied() else { return false };
        let (file, at) = (world.file(inode), offset as usize);
        if at >= file.live.len() {
            return false;
        }
        file.unreadable.insert(at / BLOCK_BYTES);
        file.rewritten.remove(&(at / BLOCK_BYTES));
        world.ended_by.remove(&(inode, at / BLOCK_BYTES));
        true
    }

    /// Whether the medium lacks some page of a file.
    pub fn has_lost_pages(&self, path: &Path) -> bool {
        let world = self.world();
        let inode = world.names.get(path.as_os_str());
        inode.is_some_and(|inode| !world.inodes[inode].unreadable.is_empty())
    }

    /// The files that lack some page and are there, or are there again when power goes now.
    pub fn files_with_lost_pages(&self) -> BTreeSet<PathBuf> {
        let world = self.world();
        let named = world.names.iter().chain(&world.durable_names);
        let lost = named.filter(|(_, inode)| !world.inodes[*inode].unreadable.is_empty());
        lost.map(|(name, _)| PathBuf::from(name)).collect()
    }

    /// Bounds the space that files may take beyond what they take now, in blocks of 4096 bytes; `None`
    /// for no bound. What was written once may be written again without room.
    pub fn set_capacity_bytes(&self, more: Option<u64>) {
        let mut world = self.world();
        world.capacity = more.map(|bytes| world.used() + bytes as usize / BLOCK_BYTES);
    }

    /// Inverts one bit of a file, on the medium and in the cache. False when there is no such byte.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u32) -> bool {
        let mut world = self.world();
        let Some(inode) = world.names.get(path.as_os_str()).copied() else { return false };
        let (file, at) = (world.file(inode), offset as usize);
        let Some(byte) = file.live.get_mut(at) else { return false };
        *byte ^= 1 << (bit % 8);
        if let Some(byte) = file.durable.get_mut(at) {
            *byte ^= 1 << (bit % 8);
        }
        true
    }

    /// What maps answer to [`super::DiskMap::has_slices`].
    pub fn set_slices_alive(&self, alive: bool) {
        self.world().slices_alive = alive;
    }

    /// Lends what a range of a file, or the part of it that there is, would be if power went right now.
    pub fn durable<R>(
        &self,
        path: &Path,
        range: Range<u64>,
        look: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        let world = self.world();
        let durable = &world.inodes[world.durable_names.get(path.as_os_str())?].durable;
        let end = usize::try_from(range.end).ok()?.min(durable.len());
        Some(look(durable.get(usize::try_from(range.start).ok()?..end)?))
    }

    /// The bytes of a file as a reader sees them now.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let world = self.world();
        let inode = world.names.get(path.as_os_str())?;
        Some(world.inodes[inode].live.clone())
    }
}

/// Holds a lock until dropped or the power goes.
pub struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    life: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        if world.life == self.life {
            world.locks.remove(&self.path);
        }
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        self.now(|_| Ok(()))
    }

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        let (life, inode) = self.now(|world| {
            if world.names.contains_key(path.as_os_str()) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            world.next_inode += 1;
            let inode = world.next_inode;
            world.inodes.insert(inode, Inode::default());
            world.rename(Renaming::Create { path: path.to_path_buf(), inode });
            Ok((world.life, inode))
        })?;
        Ok(SimFile { disk: self.clone(), inode, life })
    }

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        let (life, inode) = self.now(|world| Ok((world.life, world.inode(path)?)))?;
        Ok(SimFile { disk: self.clone(), inode, life })
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.now(|world| Ok(world.names.contains_key(path.as_os_str())))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.now(|world| {
            let mut prefix = name_of(dir);
            if !prefix.as_encoded_bytes().ends_with(b"/") {
                prefix.push("/");
            }
            let below = world.names.range(prefix.clone()..).map(|(path, _)| path);
            let inside = below
                .map_while(|path| path.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes()));
            let names = inside.filter(|name| !name.contains(&b'/'));
            Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.now(|world| {
            world.inode(path)?;
            world.rename(Renaming::Remove { path: path.to_path_buf() });
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.now(|world| {
            let inode = world.inode(from)?;
            let (from, to) = (from.to_path_buf(), to.to_path_buf());
            world.rename(Renaming::Rename { from, to, inode });
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.now(|world| {
            world.sync_names(dir);
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<SimLock> {
        let life = self.now(|world| match world.locks.insert(path.to_path_buf()) {
            true => Ok(world.life),
            false => Err(io::ErrorKind::WouldBlock.into()),
        })?;
        Ok(SimLock { disk: self.clone(), path: path.to_path_buf(), life })
    }

    fn offload<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = io::Result<T>> + Send + 'static {
        let (done, waiting) = match lane {
            Lane::Prepare => (Some(work()), None),
            Lane::Sync => (None, Some(work)),
        };
        async move {
            match (done, waiting) {
                (Some(done), _) => Ok(done),
                (None, Some(work)) => Ok(work()),
                (None, None) => Err(power_lost()),
            }
        }
    }
}
