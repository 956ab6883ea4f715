//! The replicated CommitLog: a segmented, checksummed, crash-safe log that is raft's `Storage`.
//!
//! Where things are:
//! - [`Disk`]: what is asked of a disk. [`RealDisk`] is one, [`fault::SimDisk`] a hostile one.
//! - [`entry`]: the stored form of an entry. [`Position`]s are bytes since the log's first byte.
//! - `segment`, `index`, `hard_state`, `standing`, `unsynced`, `heard`, `snapshot`, `identity`: one
//!   kind of file each.
//! - [`Log`]: the writing half (`log` appends, `truncate` takes back, `persist` syncs, `prepare` works
//!   ahead, `install` replaces and compacts, `recovery` opens, `storage` is raft's view).
//! - [`LogReader`]: the reading half, for any thread.
//! - `damage` and `repair`: what is damaged in a log when it is opened, and mending it with what a peer
//!   gives; `fork`: with what a peer shows that is not so far; `later_start`: beginning behind it;
//!   `headless`: the same for the snapshot at its start; `scrub` and `mend`: for single entries of a log in
//!   use; `noted`: for what a process ended by.
//! - `unsafe` stands in `disk/` alone: reading maps (`real`), and what a bad sector under them does
//!   (`bus_error`).
//!
//! The invariant all of it serves: what a finished sync covered is there after any crash, unchanged
//! and in order, or opening the log fails and says where; and what was taken back never returns.
#![deny(missing_docs)]

mod anew;
mod damage;
mod disk;
pub mod entry;
mod error;
mod fatal;
mod files;
mod fork;
mod format;
#[cfg(test)]
mod golden;
mod group;
mod hard_state;
mod headless;
mod heard;
mod identity;
mod index;
mod install;
mod later_start;
mod log;
mod mend;
mod noted;
mod options;
mod pages;
mod persist;
mod prepare;
mod read_ahead;
mod reader;
mod recovery;
mod repair;
mod scan;
mod scrub;
mod sealed_text;
mod segment;
mod shared;
mod snapshot;
mod standing;
mod storage;
mod table;
mod tail;
mod truncate;
mod types;
mod unsynced;

pub use damage::{Damage, DamageEnd, DamagedLog};
pub use disk::{
    Disk, DiskFile, DiskMap, Lane, PAGE_BYTES, RealDisk, RealFile, WATCHED_MAPS_MAX, fault,
    touch_what_the_kernel_could_not_read,
};
pub use entry::{ENTRY_HEADER_BYTES, EntryKind, StoredEntry};
pub use error::LogError;
pub use fatal::Fatal;
pub use hard_state::term_and_vote;
pub use headless::HeadlessLog;
pub use heard::{Claim, Heard, HeardFile, HeardOf, heard_claims};
pub use log::{Log, Opened};
pub use mend::{MendError, Mended};
pub use noted::remove_unreadable_files;
pub use options::{LogOptions, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, payload_bytes_max};
pub use persist::SyncTicket;
pub use reader::LogReader;
pub use repair::{Fetched, Patch, PatchRefused, Patched};
pub use scrub::{DamagedEntry, Scrubbed};
pub use snapshot::{BoundarySnapshot, SnapshotStore};
pub use standing::{Past, Standing};
pub use table::Boundary;
pub use types::{LogIndex, Position, Term};
