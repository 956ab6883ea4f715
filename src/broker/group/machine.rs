//! The group's side that applies committed entries.
//!
//! Invariant: an entry's records are indexed, then it is in the state, then those who proposed it
//! are answered, then, once for a batch, those who wait for messages are woken. What was stored is
//! counted by who proposed it, before it is answered. An entry that cannot
//! be read stops the member: skipping it would let members differ.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use raft_log::{LogIndex, Position};

use super::checkpointer::Checkpointer;
use super::effects::{Arrival, EffectsSink};
use super::proposal::GroupPending;
use super::shared::Shared;
use crate::metrics::traffic::{Gathered, TopicTraffic, Traffic};
use crate::replication::machine::{ApplyOutcome, Committed, Machine};
use crate::state::{QueueRun, State, payload};
use crate::store::extent::{RecordFacts, RecordSink};
use crate::store::hash::FastMap;
use crate::store::log::LogEntry;

/// Topic names remembered at most.
const NAMES: usize = 1 << 16;

/// See the module.
pub struct GroupMachine {
    shared: Arc<Shared>,
    checkpointer: Checkpointer,
    sink: Arc<dyn EffectsSink>,
    runs: RunCollector,
    arrivals: Vec<Arrival>,
    topics_changed: Vec<Arc<str>>,
    groups_changed: Vec<Arc<str>>,
}

/// Gathers an entry's records into runs.
struct RunCollector {
    runs: Vec<QueueRun>,
    /// What is to be counted of each run.
    gathered: Vec<(Arc<TopicTraffic>, Gathered)>,
    names: FastMap<Arc<str>, Arc<TopicTraffic>>,
    traffic: Arc<Traffic>,
}

impl GroupMachine {
    pub(super) fn new(
        shared: Arc<Shared>,
        checkpointer: Checkpointer,
        sink: Arc<dyn EffectsSink>,
    ) -> GroupMachine {
        let runs = RunCollector::new(Arc::clone(&shared.traffic));
        GroupMachine {
            shared,
            checkpointer,
            sink,
            runs,
            arrivals: Vec::new(),
            topics_changed: Vec::new(),
            groups_changed: Vec::new(),
        }
    }

    fn apply_payload(&mut self, entry: &LogEntry) -> Result<ApplyOutcome, String> {
        let payload = payload::parse(&entry.payload).map_err(|error| error.to_string())?;
        #[cfg(madsim)]
        let payload = clocked(payload);
        let effects =
            self.shared.state.write().apply(entry.position, &payload.batch, &self.runs.runs);
        if !effects.topics_changed.is_empty() {
            self.shared.publish_topics(&effects.topics_changed);
            self.runs.forget_gone(&effects.topics_changed, &self.shared);
            self.topics_changed.extend(effects.topics_changed);
        }
        self.groups_changed.extend(effects.groups_changed);
        if let Some(position) = effects.retain {
            self.shared.extents.drop_below(position);
        }
        for run in &self.runs.runs {
            self.arrivals.push(Arrival {
                topic: Arc::clone(&run.topic),
                queue_id: run.queue_id,
                max_offset: run.first_offset + i64::from(run.count),
            });
        }
        Ok(ApplyOutcome { compact_to: effects.retain })
    }

    fn applied_end(&self) -> Position {
        Position(self.shared.applied_end.load(Ordering::Acquire))
    }
}

impl Machine for GroupMachine {
    type Pending = GroupPending;

    fn applied(&self) -> LogIndex {
        LogIndex(self.shared.applied.load(Ordering::Acquire))
    }

    fn apply(&mut self, entry: Committed, pending: Option<GroupPending>) -> ApplyOutcome {
        let entry = LogEntry {
            index: entry.index,
            term: entry.term,
            position: entry.position,
            payload_position: entry.payload_position,
            payload: entry.payload,
        };
        self.runs.clear();
        let applied = self
            .shared
            .extents
            .index_entry(&entry, &mut self.runs)
            .map_err(|error| error.to_string())
            .and_then(|()| {
                if entry.payload.is_empty() {
                    return Ok(ApplyOutcome::default());
                }
                self.apply_payload(&entry)
            });
        let outcome = match applied {
            Ok(outcome) => outcome,
            Err(error) => panic!(
                "committed entry {} at {} cannot be applied: {error}. A newer version wrote it, or \
                 memory or disk are faulty: start this member with the version the others have",
                entry.index, entry.position
            ),
        };
        self.shared.applied_end.store(entry.end().0, Ordering::Release);
        self.shared.applied.store(entry.index.0, Ordering::Release);
        #[cfg(madsim)]
        crate::observe::state(entry.index, || self.shared.state.read().digest());
        if let Some(pending) = pending {
            self.runs.count();
            pending.applied(entry.index);
        }
        outcome
    }

    fn batch_applied(&mut self) {
        if !self.topics_changed.is_empty() {
            self.sink.topics_changed(&self.topics_changed);
            self.topics_changed.clear();
        }
        if !self.groups_changed.is_empty() {
            self.sink.groups_changed(&self.groups_changed);
            self.groups_changed.clear();
        }
        if !self.arrivals.is_empty() {
            keep_last_of_each_queue(&mut self.arrivals);
            self.sink.messages_arrived(&self.arrivals);
            self.arrivals.clear();
        }
        let applied_end = self.applied_end();
        if self.checkpointer.is_due(applied_end) {
            let applied = self.applied();
            self.checkpointer.save(&mut self.shared.state.write(), applied, applied_end);
        }
    }

    fn snapshot(&mut self) -> Vec<u8> {
        self.shared.state.read().snapshot()
    }

    fn restore(
        &mut self,
        index: LogIndex,
        log_start: Position,
        snapshot: &[u8],
    ) -> Result<(), String> {
        let mut state = if index == LogIndex(0) && snapshot.is_empty() {
            State::default()
        } else {
            State::restore(snapshot).map_err(|error| error.to_string())?
        };
        self.shared.extents.reset(log_start, index);
        self.checkpointer.replace(&mut state, index, log_start);
        *self.shared.state.write() = state;
        self.shared.publish_all_topics();
        self.runs.forget_all_gone(&self.shared);
        self.shared.applied_end.store(log_start.0, Ordering::Release);
        self.shared.applied.store(index.0, Ordering::Release);
        self.arrivals.clear();
        self.topics_changed.clear();
        self.groups_changed.clear();
        self.sink.state_replaced();
        Ok(())
    }
}

impl Drop for GroupMachine {
    fn drop(&mut self) {
        let (applied, applied_end) = (self.applied(), self.applied_end());
        self.checkpointer.save(&mut self.shared.state.write(), applied, applied_end);
    }
}

impl RecordSink for RunCollector {
    fn record(&mut self, record: &RecordFacts<'_>) {
        if let Some(run) = self.runs.last_mut()
            && run.queue_id == record.queue_id
            && run.first_offset + i64::from(run.count) == record.queue_offset
            && *run.topic == *record.topic
        {
            run.count += 1;
            let (_, gathered) = self.gathered.last_mut().expect("each run has its counts");
            gathered.add(record.size);
            return;
        }
        let traffic = match self.names.get(record.topic) {
            Some(traffic) => Arc::clone(traffic),
            None => self.first_seen(record.topic),
        };
        self.runs.push(QueueRun {
            topic: Arc::clone(&traffic.topic),
            queue_id: record.queue_id,
            first_offset: record.queue_offset,
            count: 1,
        });
        let mut gathered = Gathered::default();
        gathered.add(record.size);
        self.gathered.push((traffic, gathered));
    }
}

impl RunCollector {
    fn new(traffic: Arc<Traffic>) -> RunCollector {
        let names = FastMap::default();
        RunCollector { runs: Vec::new(), gathered: Vec::new(), names, traffic }
    }

    fn clear(&mut self) {
        self.runs.clear();
        self.gathered.clear();
    }

    fn first_seen(&mut self, topic: &str) -> Arc<TopicTraffic> {
        if self.names.len() >= NAMES {
            self.names.clear();
        }
        let traffic = self.traffic.of_topic(topic);
        self.names.insert(Arc::clone(&traffic.topic), Arc::clone(&traffic));
        traffic
    }

    /// Counts what the entry has stored.
    fn count(&self) {
        for (topic, gathered) in &self.gathered {
            self.traffic.stored(topic, gathered);
        }
    }

    /// Forgets those of the topics that the state no longer has.
    fn forget_gone(&mut self, changed: &[Arc<str>], shared: &Shared) {
        for topic in changed {
            if shared.topics.read().get(topic).is_none() {
                self.names.remove(topic);
                self.traffic.forget_topic(topic);
            }
        }
    }

    fn forget_all_gone(&mut self, shared: &Shared) {
        let known: Vec<Arc<str>> =
            self.traffic.topics().iter().map(|topic| Arc::clone(&topic.topic)).collect();
        self.forget_gone(&known, shared);
    }
}

/// Makes a mistake, if it is to be made: takes the time of applying for that of storing.
#[cfg(madsim)]
fn clocked(mut payload: payload::Payload) -> payload::Payload {
    if crate::mistake::made(crate::mistake::Mistake::AppliesWithClock) {
        payload.batch.store_timestamp_ms = crate::clock::now_ms();
    }
    payload
}

/// Leaves the arrival that came last for each queue.
fn keep_last_of_each_queue(arrivals: &mut Vec<Arrival>) {
    // Backwards, so that of equal queues the last one comes first and is kept: a topic that was
    // deleted and created again has a lower offset than before.
    arrivals.reverse();
    arrivals.sort_by(|a, b| (&a.topic, a.queue_id).cmp(&(&b.topic, b.queue_id)));
    arrivals.dedup_by(|later, kept| later.topic == kept.topic && later.queue_id == kept.queue_id);
}
