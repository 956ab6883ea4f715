//! What can go wrong with a log, in words an operator can act on.
//!
//! Invariant: an error either leaves the log as it was (the caller asked for something it may not
//! have), or [`LogError::fatal`] names the reason to stop and the log refuses all further writes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fatal::Fatal;
use crate::types::{LogIndex, Position};

/// Any failure of the log. Cloneable, because a latched failure is answered to every later caller.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// Durable bytes are damaged or missing. Nothing was cut: other members have the truth.
    #[error("{} is damaged at position {position}: {reason}", file.display())]
    Corrupt {
        /// The file concerned.
        file: PathBuf,
        /// Where in the log.
        position: Position,
        /// What was found there.
        reason: String,
    },
    /// A sync failed; the log accepts no further writes in this process.
    #[error("cannot make {} durable, no further write is accepted: {source}", file.display())]
    SyncFailed {
        /// The file concerned.
        file: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// There is no room for what was to be written.
    #[error("no space left to write {}: {source}", file.display())]
    NoSpace {
        /// The file concerned.
        file: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// Any other failure of the disk.
    #[error("cannot {action} {}: {source}", file.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file concerned.
        file: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// The directory is not this member's.
    #[error("{} is not this member's log: {reason}", dir.display())]
    WrongIdentity {
        /// The log's directory.
        dir: PathBuf,
        /// Which field differs, and how.
        reason: String,
    },
    /// A newer program wrote something here that this one cannot read. Nothing was changed.
    #[error(
        "{} has format {version}, which this program does not know: a newer one has run here",
        file.display()
    )]
    NewerFormat {
        /// The file concerned.
        file: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Another process holds the directory's lock.
    #[error("{} is in use by another process", dir.display())]
    Locked {
        /// The log's directory.
        dir: PathBuf,
    },
    /// The options contradict themselves.
    #[error("log options: {0}")]
    Options(String),
    /// An entry does not fit into a segment.
    #[error("an entry of {payload_bytes} bytes exceeds the {payload_bytes_max} a segment can hold")]
    EntryTooLarge {
        /// Size of the entry's payload.
        payload_bytes: usize,
        /// The largest payload possible.
        payload_bytes_max: usize,
    },
    /// The entries handed to append do not continue the log.
    #[error("entries cannot be appended: {0}")]
    BadAppend(String),
    /// A snapshot cannot be installed or read.
    #[error("snapshot: {0}")]
    BadSnapshot(String),
    /// What was asked for is older than the log's first entry.
    #[error("position {position} (index {index}) was compacted away")]
    Compacted {
        /// The first index still here.
        index: LogIndex,
        /// The first position still here.
        position: Position,
    },
    /// What was asked for is not in the log (yet).
    #[error("{what} {number} is not in the log")]
    Unavailable {
        /// `position` or `index`.
        what: &'static str,
        /// Its value.
        number: u64,
    },
    /// The log was closed while the work was waiting.
    #[error("the log is closed")]
    Closed,
}

impl LogError {
    /// The reason to end the process, when there is one.
    pub fn fatal(&self) -> Option<Fatal> {
        match self {
            Self::Corrupt { .. } => Some(Fatal::LogCorrupt),
            Self::SyncFailed { .. } => Some(Fatal::FsyncFailed),
            Self::NoSpace { .. } => Some(Fatal::DiskFull),
            Self::Io { .. } => Some(Fatal::DiskFailed),
            Self::WrongIdentity { .. } => Some(Fatal::WrongIdentity),
            Self::NewerFormat { .. } => Some(Fatal::NewerFormat),
            Self::Locked { .. } => Some(Fatal::AlreadyRunning),
            Self::Options(_)
            | Self::EntryTooLarge { .. }
            | Self::BadAppend(_)
            | Self::BadSnapshot(_)
            | Self::Compacted { .. }
            | Self::Unavailable { .. }
            | Self::Closed => None,
        }
    }

    pub(crate) fn io(action: &'static str, file: &Path, source: io::Error) -> Self {
        let (file, source) = (file.to_path_buf(), Arc::new(source));
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { file, source }
            }
            _ => Self::Io { action, file, source },
        }
    }

    pub(crate) fn sync(file: &Path, source: io::Error) -> Self {
        Self::SyncFailed { file: file.to_path_buf(), source: Arc::new(source) }
    }

    pub(crate) fn corrupt(file: &Path, position: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt {
            file: file.to_path_buf(),
            position: Position(position),
            reason: reason.into(),
        }
    }
}

/// Gives an [`io::Result`] the file and the deed it belongs to.
pub(crate) trait IoContext<T> {
    fn during(self, action: &'static str, file: &Path) -> Result<T, LogError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn during(self, action: &'static str, file: &Path) -> Result<T, LogError> {
        self.map_err(|source| LogError::io(action, file, source))
    }
}
