//! The next offset of each queue of one topic.
//!
//! Invariant: offsets of a queue are dense: the record applied next carries exactly the offset that
//! is stored here, from zero on.

/// Next offsets by queue id; queues that never had a message are not stored or zero.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueOffsets(Vec<i64>);

impl QueueOffsets {
    /// Offset that the queue's next message gets.
    pub fn next(&self, queue_id: i32) -> i64 {
        usize::try_from(queue_id).ok().and_then(|id| self.0.get(id)).copied().unwrap_or(0)
    }

    /// Takes `count` messages into the queue, the first at `first_offset`.
    ///
    /// # Panics
    /// When the offsets do not follow on: the log then holds what no leader may have written, and
    /// going on would hand out one offset twice.
    pub fn advance(&mut self, queue_id: i32, first_offset: i64, count: u32) {
        let id = usize::try_from(queue_id).expect("a leader assigns no negative queue id");
        if self.0.len() <= id {
            self.0.resize(id + 1, 0);
        }
        let next = &mut self.0[id];
        assert_eq!(
            *next, first_offset,
            "the log assigns offset {first_offset} of queue {queue_id}, but {next} is next"
        );
        *next += i64::from(count);
    }

    /// Next offsets, index = queue id.
    pub fn as_slice(&self) -> &[i64] {
        &self.0
    }
}

impl From<Vec<i64>> for QueueOffsets {
    fn from(next: Vec<i64>) -> QueueOffsets {
        QueueOffsets(next)
    }
}
