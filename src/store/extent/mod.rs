//! Consume queues and key index, by extent.
//!
//! An extent is a fixed stretch of the log. The index of the newest one is in memory; when the log
//! has passed an extent's end its index is written once as a file. A record belongs to the extent
//! in which it starts.
//!
//! Invariant: an extent's index is a function of its own stretch of the log and of nothing else, so
//! any of them can be made again at any time, and deleting a topic rewrites none: whose life of a
//! topic a message belongs to follows from its position.

mod chain;
mod file;
mod open;
mod record;
mod recover;
mod search;
mod set;
mod unit;

pub use self::file::{ExtentFile, FileFault, encode};
pub use self::open::{EntryMark, OpenExtent};
pub use self::record::{RecordFacts, key_hash, store_timestamp_ms, topic_seed};
pub use self::search::QueueKey;
pub use self::set::{Extents, ExtentsOptions, RecordSink};
pub use self::unit::Unit;
