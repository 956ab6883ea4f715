//! What a process has open on the fault-injecting disk.
//!
//! Invariant: it is of no use to a later life of the machine.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use super::{SimDisk, World};
use crate::disk::{DiskFile, DiskMap, PAGE_BYTES};

/// A file of a [`SimDisk`].
pub struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) inode: u64,
    pub(super) life: u64,
}

impl SimFile {
    fn call<T>(&self, deed: impl FnOnce(&mut World) -> io::Result<T>) -> io::Result<T> {
        self.disk.call(self.life, deed)
    }
}

impl DiskFile for SimFile {
    type Map = SimMap;

    fn len(&self) -> io::Result<u64> {
        self.call(|world| Ok(world.file(self.inode).live.len() as u64))
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.call(|world| {
            let file = world.file(self.inode);
            assert!(bytes >= file.live.len() as u64, "files only grow");
            file.live.resize(bytes as usize, 0);
            Ok(())
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.call(|world| world.read(self.inode, buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.call(|world| world.write(self.inode, bytes, offset))
    }

    /// The write and its sync are two calls, so that the power can go between them.
    fn write_pages(&self, pages: &[u8], offset: u64, durable: bool) -> io::Result<()> {
        let whole = [offset, pages.len() as u64, pages.as_ptr() as u64];
        assert!(whole.iter().all(|of| of.is_multiple_of(PAGE_BYTES)), "whole pages: {whole:?}");
        self.write_at(pages, offset)?;
        if durable { self.sync_now() } else { Ok(()) }
    }

    fn write_zeros(&self, range: Range<u64>) -> io::Result<()> {
        self.write_at(&vec![0; (range.end - range.start) as usize], range.start)
    }

    fn map(&self, bytes: u64) -> io::Result<SimMap> {
        self.call(|world| {
            let fits = bytes <= world.file(self.inode).live.len() as u64;
            if fits { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        })?;
        Ok(SimMap { disk: self.disk.clone(), inode: self.inode, life: self.life })
    }

    fn sync_now(&self) -> io::Result<()> {
        self.call(|world| world.sync(self.inode))
    }

    fn next_data(&self, from: u64) -> io::Result<Option<u64>> {
        self.call(|world| Ok((from < world.file(self.inode).live.len() as u64).then_some(from)))
    }
}

/// A view of a [`SimFile`]; its slices are copies.
pub struct SimMap {
    disk: SimDisk,
    inode: u64,
    life: u64,
}

impl DiskMap for SimMap {
    fn slice(&self, range: Range<u64>) -> Bytes {
        self.with(range, Bytes::copy_from_slice)
    }

    fn with<R>(&self, range: Range<u64>, look: impl FnOnce(&[u8]) -> R) -> R {
        let mut world = self.disk.world();
        assert_eq!(world.life, self.life, "a map does not survive its process");
        world.touch(self.inode, &range);
        look(&world.inodes[&self.inode].live[range.start as usize..range.end as usize])
    }

    fn will_need(&self, _range: Range<u64>) {}

    fn has_slices(&self) -> bool {
        self.disk.world().slices_alive
    }
}
