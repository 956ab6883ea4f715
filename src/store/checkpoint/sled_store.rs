//! The checkpoint in a sled database.
//!
//! Invariant: sled is trusted with nothing. Its flush does not survive a power failure and its open
//! may fail after an abrupt stop; both cost a replay of the log, not a message. It flushes by no
//! thread of its own and caches little, because the whole state is in memory anyway. A database that
//! somebody holds is never taken for a broken one.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use raft_log::LogIndex;

use super::{Checkpoint, CheckpointStore};
use crate::state::Change;
use crate::store::StoreError;

/// Under which the applied index is kept. No piece of the state has this key.
const APPLIED_KEY: &[u8] = b"\xffapplied";
/// sled's file in the directory, which it locks while it is open.
const LOCKED_FILE: &str = "db";
/// Pages that sled may keep, in bytes.
const CACHE_BYTES: u64 = 8 << 20;

/// See the module.
pub struct SledCheckpoint {
    dir: PathBuf,
    database: Option<sled::Db>,
}

impl SledCheckpoint {
    /// Opens the database in `dir`, as soon as its former holder has let go of it; one that does not
    /// open then is removed and begun anew.
    ///
    /// # Errors
    /// When a new one cannot be made either.
    pub fn open(dir: &Path) -> Result<SledCheckpoint, StoreError> {
        await_holder(dir);
        let mut store = SledCheckpoint { dir: dir.to_owned(), database: None };
        match open_database(dir) {
            Ok(database) => store.database = Some(database),
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "checkpoint does not open: made again");
                store.wipe()?;
            }
        }
        Ok(store)
    }

    fn error(&self, error: &dyn std::fmt::Display) -> StoreError {
        StoreError::File { name: self.dir.display().to_string(), message: error.to_string() }
    }
}

impl CheckpointStore for SledCheckpoint {
    fn load(&mut self) -> Option<Checkpoint> {
        let database = self.database.as_ref()?;
        let mut checkpoint = Checkpoint::default();
        let mut applied = None;
        for entry in database.iter() {
            let (key, value) = entry
                .inspect_err(|error| tracing::warn!(%error, "checkpoint does not read: made again"))
                .ok()?;
            if key == APPLIED_KEY {
                applied = value.as_ref().try_into().ok().map(u64::from_be_bytes);
            } else {
                checkpoint.entries.push((key.to_vec(), value.to_vec()));
            }
        }
        checkpoint.applied = LogIndex(applied?);
        Some(checkpoint)
    }

    fn save(&mut self, changes: &[Change], applied: LogIndex) -> Result<(), StoreError> {
        let Some(database) = &self.database else { return Ok(()) };
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&key[..], &value[..]),
                None => batch.remove(&key[..]),
            }
        }
        batch.insert(APPLIED_KEY, &applied.0.to_be_bytes());
        database.apply_batch(batch).map_err(|error| self.error(&error))?;
        database.flush().map_err(|error| self.error(&error))?;
        Ok(())
    }

    fn wipe(&mut self) -> Result<(), StoreError> {
        self.database = None;
        match std::fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(self.error(&error));
            }
            _ => {}
        }
        self.database = Some(open_database(&self.dir).map_err(|error| self.error(&error))?);
        Ok(())
    }
}

/// Waits until nobody holds the database. sled's own threads keep the file for a moment after a
/// database is dropped, and a process that is just being forked keeps whatever its parent had open.
/// Other processes are kept away by the lock of the data directory.
fn await_holder(dir: &Path) {
    #[allow(clippy::disallowed_methods)] // sled's file, which no Disk knows
    let Ok(file) = File::open(dir.join(LOCKED_FILE)) else { return };
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        tracing::info!(dir = %dir.display(), "checkpoint is still held: waits for its holder");
        // What keeps the system from waiting keeps sled from opening, which tells of it.
        let _ = file.lock();
    }
    // Not left to the drop: a child that is just being forked would keep it locked.
    let _ = file.unlock();
}

fn open_database(dir: &Path) -> sled::Result<sled::Db> {
    sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc::RecvTimeoutError;
    use std::time::Duration;

    use super::*;

    fn change(key: &str, value: Option<&str>) -> Change {
        (key.as_bytes().to_vec(), value.map(|value| value.as_bytes().to_vec()))
    }

    #[test]
    fn what_was_saved_is_loaded_after_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let mut store = SledCheckpoint::open(&path).unwrap();
        assert_eq!(store.load(), None);
        store.save(&[change("a", Some("1")), change("b", Some("2"))], LogIndex(7)).unwrap();
        store.save(&[change("a", None)], LogIndex(9)).unwrap();
        drop(store);
        let mut store = SledCheckpoint::open(&path).unwrap();
        let expected =
            Checkpoint { applied: LogIndex(9), entries: vec![(b"b".to_vec(), b"2".to_vec())] };
        assert_eq!(store.load(), Some(expected));
        store.wipe().unwrap();
        assert_eq!(store.load(), None);
        store.save(&[], LogIndex(1)).unwrap();
        assert_eq!(store.load().unwrap().applied, LogIndex(1));
    }

    #[test]
    fn what_somebody_still_holds_is_waited_for_and_not_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let mut store = SledCheckpoint::open(&path).unwrap();
        store.save(&[], LogIndex(7)).unwrap();
        drop(store);
        #[allow(clippy::disallowed_methods)]
        let holder = File::open(path.join(LOCKED_FILE)).unwrap();
        holder.lock().unwrap();
        let (loaded, result) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| loaded.send(SledCheckpoint::open(&path).unwrap().load()).unwrap());
            let early = result.recv_timeout(Duration::from_millis(200));
            holder.unlock().unwrap();
            assert_eq!(early, Err(RecvTimeoutError::Timeout));
            assert_eq!(result.recv().unwrap().unwrap().applied, LogIndex(7));
        });
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // sled's files, which no Disk knows
    fn what_is_damaged_is_given_as_it_was_once_or_not_at_all_and_begun_anew() {
        const PAGE: usize = 4096;
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("whole");
        let mut store = SledCheckpoint::open(&whole).unwrap();
        let value = |n: u64| vec![n as u8; 100 + n as usize % 400];
        let mut saved = Vec::new();
        for round in 0..3 {
            let changes: Vec<Change> = (0..300)
                .map(|n| (format!("key {n}").into_bytes(), Some(value(n * (round + 1)))))
                .collect();
            store.save(&changes, LogIndex(round + 1)).unwrap();
            saved.push(store.load());
        }
        drop(store);
        await_holder(&whole);
        let files: Vec<_> = std::fs::read_dir(&whole).unwrap().map(|file| file.unwrap()).collect();
        let files: Vec<_> =
            files.iter().filter(|file| file.metadata().unwrap().is_file()).collect();
        let mut damaged = 0;
        for file in &files {
            let bytes = std::fs::read(file.path()).unwrap();
            let pages = bytes.len().div_ceil(PAGE);
            for page in (0..pages).step_by(pages.div_ceil(16)) {
                let path = dir.path().join(format!("damaged {damaged}"));
                std::fs::create_dir(&path).unwrap();
                for other in &files {
                    std::fs::copy(other.path(), path.join(other.file_name())).unwrap();
                }
                let mut bytes = bytes.clone();
                let end = bytes.len().min((page + 1) * PAGE);
                bytes[page * PAGE..end].fill(0x5a);
                std::fs::write(path.join(file.file_name()), bytes).unwrap();
                let mut store = SledCheckpoint::open(&path).unwrap();
                let loaded = store.load();
                let place = format!("page {page} of {:?}", file.file_name());
                let as_of = loaded.as_ref().map(|checkpoint| checkpoint.applied);
                assert!(loaded.is_none() || saved.contains(&loaded), "{place}: {as_of:?}");
                store.wipe().unwrap();
                store.save(&[change("a", Some("1"))], LogIndex(9)).unwrap();
                assert_eq!(store.load().unwrap().applied, LogIndex(9), "{place}");
                damaged += 1;
            }
        }
        assert!(damaged > 8, "{damaged} pages");
    }

    #[test]
    fn a_directory_that_is_no_database_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        std::fs::create_dir_all(&path).unwrap();
        #[allow(clippy::disallowed_methods)]
        std::fs::write(path.join("conf"), b"no configuration of sled").unwrap();
        let mut store = SledCheckpoint::open(&path).unwrap();
        assert_eq!(store.load(), None);
        store.save(&[change("a", Some("1"))], LogIndex(2)).unwrap();
        assert_eq!(store.load().unwrap().applied, LogIndex(2));
    }
}
