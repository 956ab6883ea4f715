//! Giving up a log that no member can make whole any more.
//!
//! The member keeps term and vote, and counts as one that lost what it acknowledged, until the leader has given
//! it everything anew.
//!
//! Invariants: before the first file goes the member has noted, durably, that it is lost, and nothing bears
//! witness to what goes; segments go from the newest on, so what a crash leaves is the log up to somewhere.

use std::path::Path;

use crate::disk::Disk;
use crate::error::{IoContext, LogError};
use crate::files::{self, FileKind};
use crate::hard_state::{HardStateFile, HardStateValue};
use crate::standing::Standing;

/// Removes the log in `dir`: recovery begins an empty one there, and removes what belongs to none. Every step
/// can be repeated.
pub(crate) fn give_up<D: Disk>(disk: &D, dir: &Path) -> Result<(), LogError> {
    tracing::error!(
        dir = %dir.display(),
        "this member's log is given up: it takes part again when the leader has given it everything"
    );
    Standing::Lost.store(disk, dir)?;
    if let Some(mut file) = HardStateFile::open(disk, dir)? {
        // It would bear witness to entries that are gone.
        let value = HardStateValue { commit: 0, ..file.durable() };
        file.store(value, true)?;
    }
    let names = disk.list(dir).during("list", dir)?;
    let is_index = |name: &&String| matches!(FileKind::of(name), FileKind::Index(_));
    let is_segment = |name: &&String| matches!(FileKind::of(name), FileKind::Segment(_));
    // An index whose segment is missing would bear witness too.
    for name in names.iter().filter(is_index).chain(names.iter().rev().filter(is_segment)) {
        files::remove_durably(disk, dir, &dir.join(name))?;
    }
    files::remove_durably(disk, dir, &dir.join(files::INSTALL))
}
