//! Where a broadcast consumer stands: in a file of this machine, since brokers keep one offset for a
//! whole group.
//!
//! The file has the form and the place of the Java client's: `DIRECTORY/INSTANCE/GROUP/offsets.json`.
//!
//! Invariant: the file is replaced, never written to, and what was there before is kept beside it; a
//! file that cannot be read is passed over, so that it never keeps a consumer from starting.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use raft_log::{Disk, DiskFile, RealDisk};

use super::ClientError;
use crate::protocol::body::ResetOffsetBody;
use crate::protocol::queue::{MessageQueue, QueueMap};

const FILE: &str = "offsets.json";

/// Offsets of one group on this machine.
pub(super) struct LocalOffsets {
    directory: PathBuf,
    offsets: Mutex<BTreeMap<MessageQueue, i64>>,
}

impl LocalOffsets {
    /// Those of the group, as this instance left them.
    ///
    /// # Errors
    /// When the instance's name is no name of a folder, or there cannot be such a folder.
    pub(super) fn open(
        directory: &Path,
        instance: &str,
        group: &str,
    ) -> Result<LocalOffsets, ClientError> {
        if instance.is_empty() || instance.contains(['/', '\\']) || instance.starts_with('.') {
            let what = format!("instance name {instance:?} does not name a folder for offsets");
            return Err(ClientError::IllegalArgument(what));
        }
        let directory = directory.join(instance).join(group);
        RealDisk::new().create_dir_all(&directory).map_err(|error| {
            let what = format!("no folder {} for offsets: {error}", directory.display());
            ClientError::IllegalArgument(what)
        })?;
        let readable = [FILE.to_owned(), format!("{FILE}.bak")]
            .iter()
            .find_map(|name| read(&directory.join(name)));
        Ok(LocalOffsets { directory, offsets: Mutex::new(readable.unwrap_or_default()) })
    }

    pub(super) fn get(&self, queue: &MessageQueue) -> Option<i64> {
        self.offsets.lock().get(queue).copied()
    }

    /// Remembers an offset; in the file it is with the next [`LocalOffsets::store`].
    pub(super) fn set(&self, queue: &MessageQueue, offset: i64) {
        self.offsets.lock().insert(queue.clone(), offset);
    }

    /// Writes the file. A few kilobytes every few seconds: waiting for the disk here stops nothing else
    /// for long.
    pub(super) fn store(&self) {
        let offsets = QueueMap(self.offsets.lock().clone());
        if let Err(error) = self.replace(&ResetOffsetBody { offset_table: offsets }.encode()) {
            let directory = self.directory.display();
            tracing::warn!(%directory, %error, "offsets not written: more is consumed again");
        }
    }

    fn replace(&self, content: &[u8]) -> std::io::Result<()> {
        let (disk, path) = (RealDisk::new(), self.directory.join(FILE));
        let (new, old) = (path.with_extension("json.tmp"), path.with_extension("json.bak"));
        let removed = disk.remove(&new);
        if let Err(error) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let file = disk.create(&new)?;
        file.write_at(content, 0)?;
        file.sync_now()?;
        match disk.rename(&path, &old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        disk.rename(&new, &path)?;
        disk.sync_dir(&self.directory)
    }
}

fn read(path: &Path) -> Option<BTreeMap<MessageQueue, i64>> {
    let file = RealDisk::new().open(path).ok()?;
    let mut content = vec![0; usize::try_from(file.len().ok()?).ok()?];
    file.read_at(&mut content, 0).ok()?;
    ResetOffsetBody::decode(&content)
        .inspect_err(|error| tracing::warn!(file = %path.display(), %error, "offsets passed over"))
        .ok()
        .map(|body| body.offset_table.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn queue(queue_id: i32) -> MessageQueue {
        MessageQueue { broker_name: "b".into(), queue_id, topic: "T".into() }
    }

    #[test]
    fn offsets_outlive_the_process_and_a_damaged_file() {
        let folder = tempfile::tempdir().unwrap();
        let open = || LocalOffsets::open(folder.path(), "DEFAULT", "g").unwrap();
        let offsets = open();
        assert_eq!(offsets.get(&queue(0)), None);
        offsets.set(&queue(0), 7);
        offsets.store();
        offsets.set(&queue(1), 9);
        offsets.store();
        let again = open();
        assert_eq!((again.get(&queue(0)), again.get(&queue(1))), (Some(7), Some(9)));
        let file = folder.path().join("DEFAULT/g/offsets.json");
        #[allow(clippy::disallowed_methods, reason = "damages a file")]
        std::fs::write(&file, b"{\"offsetTable\":").unwrap();
        let before = open();
        assert_eq!((before.get(&queue(0)), before.get(&queue(1))), (Some(7), None));
    }

    #[test]
    fn an_instance_is_a_folder_and_no_path() {
        let folder = tempfile::tempdir().unwrap();
        for wrong in ["", "..", "a/b"] {
            assert!(LocalOffsets::open(folder.path(), wrong, "g").is_err(), "{wrong:?}");
        }
    }
}
