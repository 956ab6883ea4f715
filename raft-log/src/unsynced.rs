//! Whether entries may have been acknowledged from this directory that only the page cache held.
//!
//! Who answers for entries before they are synced leaves a small file that names the machine's boot.
//! As long as the boot is the same, whatever the process died of, the page cache survived it. In
//! another boot the end of the log may be missing, and the member must hear what it can have been:
//! [`Standing::Doubtful`].
//!
//! Invariants: the file is durable before the first entry is acknowledged unsynced, and goes only when
//! all entries are synced; one that cannot be read names no boot, so it raises the doubt.

use std::path::Path;

use crate::disk::Disk;
use crate::error::LogError;
use crate::files;
use crate::sealed_text;
use crate::standing::Standing;

pub(crate) const TITLE: &str = "raftmq unsynced, format 1";

fn encode(boot: &str) -> String {
    sealed_text::seal(TITLE, &format!("boot={boot}\n"))
}

fn decode(content: &[u8]) -> Option<&str> {
    sealed_text::open(TITLE, std::str::from_utf8(content).ok()?)?.next("boot")
}

/// How a member stands whose directory says `standing`, in a machine's boot of this name; an empty
/// name stands for a boot that nobody can tell from another.
pub(crate) fn judge<D: Disk>(
    disk: &D,
    dir: &Path,
    standing: Standing,
    boot: &str,
) -> Result<Standing, LogError> {
    let path = dir.join(files::UNSYNCED);
    if !files::exists(disk, &path)? {
        return Ok(standing);
    }
    let content = files::read_if_readable(disk, &path)?.unwrap_or_default();
    if !boot.is_empty() && decode(&content) == Some(boot) {
        return Ok(standing);
    }
    let doubtful = standing.without_end();
    if doubtful != standing {
        tracing::warn!(
            dir = %dir.display(), ?standing,
            "the machine was started anew, and entries had been acknowledged before they were \
             synced: the end of this member's log may be missing"
        );
        doubtful.store(disk, dir)?;
    }
    Ok(doubtful)
}

/// From now on entries may be acknowledged unsynced. Durable on return.
pub(crate) fn begin<D: Disk>(disk: &D, dir: &Path, boot: &str) -> Result<(), LogError> {
    let path = dir.join(files::UNSYNCED);
    files::replace_with(disk, dir, &path, &[encode(boot).as_bytes()]).map(drop)
}

/// All entries are synced, and from now on they are before they are acknowledged.
pub(crate) fn end<D: Disk>(disk: &D, dir: &Path) -> Result<(), LogError> {
    files::remove_durably(disk, dir, &dir.join(files::UNSYNCED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_survives_its_text_and_damage_is_seen() {
        let text = encode("5f0c-1");
        assert_eq!(decode(text.as_bytes()), Some("5f0c-1"));
        for at in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), None, "byte {at} of {text:?}");
        }
    }
}
