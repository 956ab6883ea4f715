//! How `memoryBudgetBytes` is divided among the queues of a broker.
//!
//! Invariant: the parts together are never more than the whole, each holds the largest message, and
//! what is on its way to one member fits the queue to it.

use super::BrokerConfig;

/// Parts of a hundred: sends that wait for replication, unless `sendQueueBytesMax` is written.
pub(super) const WAITING_PERCENT: usize = 25;
/// Entries that are proposed and not committed.
const UNCOMMITTED_PERCENT: usize = 25;
/// The log's tail in memory: the newest committed entries, of which those that are not applied are
/// never more.
const TAIL_PERCENT: usize = 25;
/// Messages that wait for the connections to the other members, all of them together.
const PEERS_PERCENT: usize = 25;
const _: () = assert!(WAITING_PERCENT + UNCOMMITTED_PERCENT + TAIL_PERCENT + PEERS_PERCENT == 100);

/// A written `sendQueueBytesMax` leaves at least this to the other parts.
pub(super) const OTHERS_PERCENT_MIN: usize = 50;
/// Append messages on their way to one member; each is as large as lets all of them wait there.
const APPENDS_IN_FLIGHT: usize = 64;
const APPEND_BYTES_MIN: usize = 16 << 10;
const APPEND_BYTES_MAX: usize = 1 << 20;
/// The largest entry, a batch of small messages with what is stored around each.
const ENTRY_BYTES_MAX: usize = 16 << 20;
/// What is stored around the messages of an ordinary entry.
const ENTRY_OVERHEAD_BYTES: usize = 1 << 20;

/// The parts of the budget, and the sizes that follow from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryShares {
    /// Sends that wait.
    pub waiting_bytes: usize,
    /// Entries not committed.
    pub uncommitted_bytes: usize,
    /// Entries not applied.
    pub unapplied_bytes: usize,
    /// The newest entries, which consumers at the end of a queue read; those not applied are among them.
    pub tail_bytes: usize,
    /// Messages that wait for one member.
    pub peer_queue_bytes: usize,
    /// The largest entry.
    pub entry_bytes_max: usize,
    /// Entries in one append message.
    pub append_bytes: usize,
    /// Append messages on their way to one member.
    pub appends_in_flight: usize,
}

impl BrokerConfig {
    /// How the budget is divided.
    pub fn memory_shares(&self) -> MemoryShares {
        let left = self.memory_budget_bytes.saturating_sub(self.send_queue_bytes_max);
        let part = |percent: usize| left / (100 - WAITING_PERCENT) * percent;
        let others = self.dleger_peers.len().saturating_sub(1).max(1);
        let (uncommitted_bytes, peer_queue_bytes) =
            (part(UNCOMMITTED_PERCENT), part(PEERS_PERCENT) / others);
        let entry_bytes_max = (uncommitted_bytes / 4).max(self.largest_entry_bytes());
        MemoryShares {
            waiting_bytes: self.send_queue_bytes_max,
            uncommitted_bytes,
            unapplied_bytes: part(TAIL_PERCENT),
            tail_bytes: part(TAIL_PERCENT),
            peer_queue_bytes,
            entry_bytes_max: entry_bytes_max.min(ENTRY_BYTES_MAX),
            append_bytes: (peer_queue_bytes / APPENDS_IN_FLIGHT)
                .clamp(APPEND_BYTES_MIN, APPEND_BYTES_MAX),
            appends_in_flight: APPENDS_IN_FLIGHT,
        }
    }

    /// What any one part must hold.
    pub(super) fn largest_entry_bytes(&self) -> usize {
        (self.max_message_size + ENTRY_OVERHEAD_BYTES)
            .max(self.raft_entry_bytes_max)
            .min(ENTRY_BYTES_MAX)
    }
}
