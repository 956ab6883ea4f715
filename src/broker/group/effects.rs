//! Who hears of what was applied.
//!
//! Invariant: told after the effect is visible to readers, once for each batch of entries, on the
//! task that applies them: a sink only notes and wakes.

use std::sync::Arc;

/// A queue that got messages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    /// The topic.
    pub topic: Arc<str>,
    /// The queue.
    pub queue_id: i32,
    /// Offset of the next message of the queue.
    pub max_offset: i64,
}

/// Hears of effects.
pub trait EffectsSink: Send + Sync + 'static {
    /// Messages became visible; at most one arrival for each queue.
    fn messages_arrived(&self, _arrivals: &[Arrival]) {}

    /// Topics were created, changed or removed.
    fn topics_changed(&self, _topics: &[Arc<str>]) {}

    /// Groups were created, changed or removed.
    fn groups_changed(&self, _groups: &[Arc<str>]) {}

    /// The whole state was replaced by a snapshot.
    fn state_replaced(&self) {}
}

/// For those whom nothing interests.
impl EffectsSink for () {}
