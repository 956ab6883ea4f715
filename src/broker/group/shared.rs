//! What the sequencer, the machine and the views of one group share.
//!
//! Invariant: only the machine changes it. For each entry it takes the records into the extents
//! first and into the state afterwards, so an offset below a queue's next one is always indexed.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::RwLock;
use raft_log::Position;

use super::lease_clock::LeaseClock;
use crate::metrics::traffic::Traffic;
use crate::protocol::topic::TopicConfig;
use crate::state::State;
use crate::store::extent::Extents;
use crate::store::hash::FastMap;
use crate::store::log::CommittedLog;

/// A topic as processors see it; cheap to hand around.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicRef {
    /// Its name.
    pub name: Arc<str>,
    /// Its settings.
    pub config: Arc<TopicConfig>,
    /// Where its present life began.
    pub created_position: Position,
}

pub(super) struct Shared {
    pub(super) state: RwLock<State>,
    /// The topics of the state for lookups by every send and pull, which so never wait for an entry
    /// that is being applied.
    pub(super) topics: RwLock<FastMap<Arc<str>, Arc<TopicRef>>>,
    pub(super) extents: Extents,
    pub(super) log: Arc<dyn CommittedLog>,
    /// What passes.
    pub(super) traffic: Arc<Traffic>,
    pub(super) lease_clock: LeaseClock,
    /// Index of the last applied entry.
    pub(super) applied: AtomicU64,
    /// Position behind it.
    pub(super) applied_end: AtomicU64,
}

impl Shared {
    /// Takes a changed topic over from the state.
    pub(super) fn publish_topics(&self, names: &[Arc<str>]) {
        let state = self.state.read();
        let mut topics = self.topics.write();
        for name in names {
            match state.topics().get(name) {
                Some(topic) => {
                    let topic = TopicRef {
                        name: Arc::clone(name),
                        config: Arc::clone(&topic.config),
                        created_position: topic.created_position,
                    };
                    topics.insert(Arc::clone(name), Arc::new(topic));
                }
                None => drop(topics.remove(name)),
            }
        }
    }

    /// Takes all topics over from the state.
    pub(super) fn publish_all_topics(&self) {
        self.topics.write().clear();
        let names: Vec<Arc<str>> =
            self.state.read().topics().iter().map(|(name, _)| Arc::clone(name)).collect();
        self.publish_topics(&names);
    }
}
