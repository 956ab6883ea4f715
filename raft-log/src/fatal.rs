//! Why a process that owns a log must stop, and the exit code that says so.
//!
//! Invariant: after one of these the log refuses every further write, because what is on the disk
//! can no longer be told from what is in memory. The caller ends the process; it never retries.

use std::fmt;

/// A condition that ends the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Fatal {
    /// A sync failed. The kernel marks the pages clean all the same, so nothing may be written on top.
    FsyncFailed = 2,
    /// Bytes that were once durable are damaged or gone.
    LogCorrupt = 3,
    /// The file system is full, or a quota is used up.
    DiskFull = 4,
    /// The disk refused a read or a write.
    DiskFailed = 5,
    /// The directory belongs to another member, group or cluster, or was created with other settings.
    WrongIdentity = 6,
    /// Another process owns the directory.
    AlreadyRunning = 7,
    /// A newer program has written the directory.
    NewerFormat = 8,
    /// A page under a map cannot be read. It is noted, so the next start mends it: the only one of these that a
    /// start cures.
    PageUnreadable = 9,
}

impl Fatal {
    /// The exit code of the process.
    pub fn exit_code(self) -> i32 {
        self as i32
    }

    /// What the operator should do now.
    pub fn advice(self) -> &'static str {
        match self {
            Self::FsyncFailed => {
                "check the device and the kernel log; restart only when the disk is sound, the log recovers by itself"
            }
            Self::LogCorrupt => {
                "keep the directory for inspection, start this member with an empty one and let it fetch the log from its peers"
            }
            Self::DiskFull => "free space on the file system of the store directory, then restart",
            Self::DiskFailed => "check the device and the kernel log, replace the disk if need be",
            Self::WrongIdentity => {
                "point the configuration at the directory of this very member, or correct the member, group and cluster names"
            }
            Self::NewerFormat => {
                "start the version that ran here last, or a newer one; nothing in the directory was changed"
            }
            Self::PageUnreadable => {
                "start again, the page is then fetched from the other members, or made again; when it happens often, replace the disk"
            }
            Self::AlreadyRunning => "stop the other process that uses the directory",
        }
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} (exit code {}): {}", self.exit_code(), self.advice())
    }
}
