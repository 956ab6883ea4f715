//! What the leader expects the state to be once everything it proposed in its term is applied.
//!
//! Invariant: for a topic, queue or delay level it has touched, the overlay is the applied state plus this term's
//! entries in flight; for any other, no entry is in flight and the applied state is right.

use std::sync::Arc;

use crate::state::{Command, Kind, State};
use crate::store::hash::FastMap;

/// Topics that the leader touched in its term.
#[derive(Default)]
pub(super) struct Overlay {
    ids: FastMap<Arc<str>, u32>,
    topics: Vec<TopicOverlay>,
    /// Where delay levels will stand, by queue id.
    schedule: FastMap<i32, i64>,
}

/// One such topic.
struct TopicOverlay {
    name: Arc<str>,
    exists: bool,
    write_queue_nums: i32,
    /// Next offsets by queue id, none where the applied state is to be asked.
    next: Vec<Option<i64>>,
    /// Created by an entry in flight: its queues begin at zero, whatever the applied state says.
    fresh: bool,
    /// Next queue for messages that name none.
    turn: u32,
}

impl Overlay {
    pub(super) fn clear(&mut self) {
        *self = Overlay::default();
    }

    /// Number of the topic in the overlay.
    pub(super) fn topic(&mut self, topic: &str, state: impl FnOnce() -> Option<i32>) -> u32 {
        if let Some(id) = self.ids.get(topic) {
            return *id;
        }
        let id = u32::try_from(self.topics.len()).expect("topics are far fewer");
        let name: Arc<str> = Arc::from(topic);
        let write_queue_nums = state();
        self.topics.push(TopicOverlay {
            name: Arc::clone(&name),
            exists: write_queue_nums.is_some(),
            write_queue_nums: write_queue_nums.unwrap_or(0),
            next: Vec::new(),
            fresh: false,
            turn: 0,
        });
        self.ids.insert(name, id);
        id
    }

    pub(super) fn exists(&self, id: u32) -> bool {
        self.topics[id as usize].exists
    }

    /// The queue for a message: the one it names, or the next in turn.
    pub(super) fn queue_id(&mut self, id: u32, wanted: i32) -> i32 {
        if wanted >= 0 {
            return wanted;
        }
        let topic = &mut self.topics[id as usize];
        topic.turn = topic.turn.wrapping_add(1);
        let queues = topic.write_queue_nums.max(1).cast_unsigned();
        (topic.turn % queues).cast_signed()
    }

    /// Assigns `count` offsets of a queue; the first.
    pub(super) fn assign(
        &mut self,
        id: u32,
        queue_id: i32,
        count: usize,
        state: &dyn Fn(&str, i32) -> i64,
    ) -> i64 {
        let topic = &mut self.topics[id as usize];
        let at = usize::try_from(queue_id).expect("a negative one was replaced");
        if topic.next.len() <= at {
            topic.next.resize(at + 1, None);
        }
        let first = match topic.next[at] {
            Some(next) => next,
            None if topic.fresh => 0,
            None => state(&topic.name, queue_id),
        };
        topic.next[at] = Some(first + count as i64);
        first
    }

    /// Where a delay level will stand, if an entry of this term moves it.
    pub(super) fn schedule(&self, queue_id: i32) -> Option<i64> {
        self.schedule.get(&queue_id).copied()
    }

    /// An entry in flight moves a delay level.
    pub(super) fn advance_schedule(&mut self, queue_id: i32, until: i64) {
        self.schedule.insert(queue_id, until);
    }

    /// Follows what a command will do to topics.
    pub(super) fn command(&mut self, command: &Command, state: &State) {
        let known = |topic: &str| state.topics().get(topic).map(|t| t.config.write_queue_nums);
        match &command.kind {
            Some(Kind::UpsertTopic(settings)) => {
                let id = self.topic(&settings.topic, || known(&settings.topic));
                self.create(id, write_queue_nums(&settings.config_json), true);
            }
            Some(Kind::CreateTopicIfAbsent(settings)) => {
                let id = self.topic(&settings.topic, || known(&settings.topic));
                self.create(id, write_queue_nums(&settings.config_json), false);
            }
            Some(Kind::DeleteTopic(delete)) => {
                let id = self.topic(&delete.topic, || known(&delete.topic));
                let topic = &mut self.topics[id as usize];
                topic.exists = false;
                topic.next.clear();
                topic.fresh = true;
            }
            _ => {}
        }
    }

    fn create(&mut self, id: u32, write_queue_nums: i32, replace: bool) {
        let topic = &mut self.topics[id as usize];
        if !topic.exists {
            topic.exists = true;
            topic.fresh = true;
            topic.next.clear();
            topic.write_queue_nums = write_queue_nums;
        } else if replace {
            topic.write_queue_nums = write_queue_nums;
        }
    }
}

fn write_queue_nums(config_json: &[u8]) -> i32 {
    serde_json::from_slice::<crate::protocol::topic::TopicConfig>(config_json)
        .map_or(0, |config| config.write_queue_nums)
}
