//! The directory of derived files.
//!
//! Invariant: a file appears under its name only when it was written to its end. It is not synced:
//! what a power failure leaves of it fails its checksum and is made again.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use raft_log::{Disk, DiskFile, DiskMap};

use super::StoreError;

/// Whole files, written once.
pub trait DerivedFiles: Send + Sync {
    /// Names of all files.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self) -> Result<Vec<String>, StoreError>;

    /// Writes a file under a temporary name and renames it.
    ///
    /// # Errors
    /// When the disk refuses; nothing is left under `name`.
    fn write(&self, name: &str, content: &[u8]) -> Result<(), StoreError>;

    /// The file's content, mapped where possible.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(&self, name: &str) -> Result<Bytes, StoreError>;

    /// Removes a file; readers keep what they opened.
    ///
    /// # Errors
    /// When the disk refuses.
    fn remove(&self, name: &str) -> Result<(), StoreError>;
}

/// A directory on a disk.
pub struct DirectoryFiles<D: Disk> {
    disk: D,
    dir: PathBuf,
}

impl<D: Disk> DirectoryFiles<D> {
    /// Uses `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(disk: D, dir: &Path) -> Result<DirectoryFiles<D>, StoreError> {
        let files = DirectoryFiles { disk, dir: dir.to_owned() };
        files.disk.create_dir_all(dir).map_err(|error| files.error("", &error))?;
        #[cfg(madsim)]
        if crate::mistake::made(crate::mistake::Mistake::PassesOverNotes) {
            return Ok(files);
        }
        raft_log::remove_unreadable_files(&files.disk, dir).map_err(|error| StoreError::File {
            name: dir.display().to_string(),
            message: error.to_string(),
        })?;
        Ok(files)
    }

    fn error(&self, name: &str, error: &std::io::Error) -> StoreError {
        let name = self.dir.join(name).display().to_string();
        StoreError::File { name, message: error.to_string() }
    }

    fn try_write(&self, name: &str, content: &[u8]) -> std::io::Result<()> {
        let temporary = self.dir.join(format!("{name}.tmp"));
        if self.disk.exists(&temporary)? {
            self.disk.remove(&temporary)?;
        }
        let file = self.disk.create(&temporary)?;
        file.write_at(content, 0)?;
        self.disk.rename(&temporary, &self.dir.join(name))
    }
}

impl<D: Disk> DerivedFiles for DirectoryFiles<D> {
    fn list(&self) -> Result<Vec<String>, StoreError> {
        self.disk.list(&self.dir).map_err(|error| self.error("", &error))
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        self.try_write(name, content).map_err(|error| self.error(name, &error))
    }

    fn open(&self, name: &str) -> Result<Bytes, StoreError> {
        let open = || {
            let file = self.disk.open(&self.dir.join(name))?;
            let bytes = file.len()?;
            if bytes == 0 {
                return Ok(Bytes::new());
            }
            // Nobody writes to a file that has its name.
            Ok(file.map(bytes)?.slice(0..bytes))
        };
        open().map_err(|error| self.error(name, &error))
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.disk.remove(&self.dir.join(name)).map_err(|error| self.error(name, &error))
    }
}
