//! What goes wrong, and how often it did.
//!
//! Invariant: every kind has a name that the command line prints and counts; a fault is counted when it
//! strikes, not when it is planned.

mod derived;
mod disks;
mod lost_disk;
mod messages;
mod nemesis;
mod older_copy;
mod rebalance;
mod rot;
mod tail;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub use nemesis::{heal, torment};
pub use rot::{Rot, lose_pages, rot};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The leader's process is killed.
    KillLeader,
    /// Some member's process is killed.
    KillMember,
    /// One machine loses power.
    PowerOne,
    /// All machines lose power at once.
    PowerAll,
    /// Power goes in the middle of a disk call.
    PowerAtCall,
    /// A disk finishes nothing for a while, and then the power goes.
    PowerWhileStalled,
    /// A machine loses power, and for a while its peers' connections seem open.
    HalfOpen,
    /// A process gets no time for a while.
    Pause,
    /// A member is asked to stop, and started again.
    Stop,
    /// Leadership is asked to go to some member, or to any.
    Transfer,
    /// The leader is cut off from everybody.
    IsolateLeader,
    /// The members fall into two parts.
    Split,
    /// A link works in one direction only.
    OneWay,
    /// Two members cannot reach each other, and all others can.
    Bridge,
    /// The network loses messages.
    Loss,
    /// A link comes and goes.
    Flap,
    /// Members' messages to each other arrive more than once.
    Repeated,
    /// Members' messages to each other overtake each other.
    Reordered,
    /// Members' messages to each other get lost one by one.
    Dropped,
    /// One member's messages to another take long.
    SlowLink,
    /// A machine's disk becomes slow.
    SlowDisk,
    /// A machine's disk finishes nothing for a while.
    StalledDisk,
    /// A disk fills up: the oldest messages are given up, or sends refused.
    FullDisk,
    /// A machine's disk is lost, and an empty one is in its place.
    LostDisk,
    /// A machine's disk is as it was some time ago.
    OlderCopy,
    /// A disk has no room left for a while.
    NoSpace,
    /// A sync fails: what it was to make durable counts as clean, and is not durable.
    SyncError,
    /// A write fails, half done.
    WriteError,
    /// A machine starts with another's disk.
    ForeignDisk,
    /// Bits change on a machine's disk.
    BitRot,
    /// Pages of a machine's disk cannot be read any more.
    Unreadable,
    /// The end of a log cannot be read any more.
    UnreadableTail,
    /// Indexes of extents, or a checkpoint, cannot be read any more.
    UnreadableDerived,
    /// The snapshot at which a log begins cannot be read any more.
    UnreadableSnapshot,
    /// A machine's wall clock jumps.
    ClockJump,
    /// The name server is killed, and comes back empty.
    NameServer,
    /// A consumer's process is killed, stopped or paused: its queues go to others.
    Rebalance,
}

impl Kind {
    /// All of them.
    pub const ALL: &'static [Kind] = &[
        Kind::KillLeader,
        Kind::KillMember,
        Kind::PowerOne,
        Kind::PowerAll,
        Kind::PowerAtCall,
        Kind::PowerWhileStalled,
        Kind::HalfOpen,
        Kind::Pause,
        Kind::Stop,
        Kind::Transfer,
        Kind::IsolateLeader,
        Kind::Split,
        Kind::OneWay,
        Kind::Bridge,
        Kind::Loss,
        Kind::Flap,
        Kind::Repeated,
        Kind::Reordered,
        Kind::Dropped,
        Kind::SlowLink,
        Kind::SlowDisk,
        Kind::StalledDisk,
        Kind::FullDisk,
        Kind::LostDisk,
        Kind::OlderCopy,
        Kind::NoSpace,
        Kind::SyncError,
        Kind::WriteError,
        Kind::ForeignDisk,
        Kind::BitRot,
        Kind::ClockJump,
        Kind::NameServer,
        Kind::Rebalance,
        Kind::Unreadable,
        Kind::UnreadableTail,
        Kind::UnreadableDerived,
        Kind::UnreadableSnapshot,
    ];

    /// Whether a machine loses what it had not synced.
    pub fn takes_power(self) -> bool {
        use Kind::{HalfOpen, PowerAll, PowerAtCall, PowerOne, PowerWhileStalled};
        matches!(self, PowerOne | PowerAll | PowerAtCall | PowerWhileStalled | HalfOpen)
    }

    /// As the command line prints it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::KillLeader => "kill-leader",
            Kind::KillMember => "kill-member",
            Kind::PowerOne => "power-one",
            Kind::PowerAll => "power-all",
            Kind::PowerAtCall => "power-at-call",
            Kind::PowerWhileStalled => "power-while-stalled",
            Kind::HalfOpen => "half-open",
            Kind::Pause => "pause",
            Kind::Stop => "stop",
            Kind::Transfer => "transfer",
            Kind::IsolateLeader => "isolate-leader",
            Kind::Split => "split",
            Kind::OneWay => "one-way",
            Kind::Bridge => "bridge",
            Kind::Loss => "loss",
            Kind::Flap => "flap",
            Kind::Repeated => "repeated",
            Kind::Reordered => "reordered",
            Kind::Dropped => "dropped",
            Kind::SlowLink => "slow-link",
            Kind::SlowDisk => "slow-disk",
            Kind::StalledDisk => "stalled-disk",
            Kind::FullDisk => "full-disk",
            Kind::LostDisk => "lost-disk",
            Kind::OlderCopy => "older-copy",
            Kind::NoSpace => "no-space",
            Kind::SyncError => "sync-error",
            Kind::WriteError => "write-error",
            Kind::ForeignDisk => "foreign-disk",
            Kind::BitRot => "bit-rot",
            Kind::Unreadable => "unreadable",
            Kind::UnreadableTail => "unreadable-tail",
            Kind::UnreadableDerived => "unreadable-derived",
            Kind::UnreadableSnapshot => "unreadable-snapshot",
            Kind::ClockJump => "clock-jump",
            Kind::NameServer => "name-server",
            Kind::Rebalance => "rebalance",
        }
    }
}

/// How often each kind struck; clones share it.
#[derive(Clone, Default)]
pub struct Counts {
    inner: Arc<Mutex<BTreeMap<Kind, u64>>>,
}

impl Counts {
    /// One more.
    pub fn struck(&self, kind: Kind) {
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let each: Vec<String> =
            counts.iter().map(|(kind, count)| format!("{}={count}", kind.name())).collect();
        f.write_str(&each.join(" "))
    }
}
