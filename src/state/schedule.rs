//! How far the delivery of delayed messages is.
//!
//! Messages of a delay level wait in a queue of their own in the schedule topic. An entry that brings
//! some of them to their topics also moves the level on, so that each leaves its level once, whoever
//! leads.
//!
//! Invariant: a level moves on from exactly where it stands. An entry that says otherwise would
//! deliver a second time, or pass over what was not delivered.

/// For each queue of the schedule topic, the offset of the first message that was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schedule(Vec<i64>);

impl Schedule {
    /// Offset in a level's queue of the first message that was not delivered.
    pub fn next(&self, queue_id: i32) -> i64 {
        usize::try_from(queue_id).ok().and_then(|id| self.0.get(id)).copied().unwrap_or(0)
    }

    /// The same for each queue, index = queue id; queues behind the last one are at zero.
    pub fn as_slice(&self) -> &[i64] {
        &self.0
    }

    /// Everything below `until` has left the level.
    ///
    /// # Panics
    /// When the level does not stand at `from`: the log then holds what no leader may have written.
    pub(super) fn advance(&mut self, queue_id: i32, from: i64, until: i64) {
        let id = usize::try_from(queue_id).expect("a leader delivers from no negative queue id");
        if self.0.len() <= id {
            self.0.resize(id + 1, 0);
        }
        let next = &mut self.0[id];
        assert!(
            *next == from && from < until,
            "the log delivers {from}..{until} of delay queue {queue_id}, but {next} is next"
        );
        *next = until;
    }
}

impl From<Vec<i64>> for Schedule {
    fn from(next: Vec<i64>) -> Schedule {
        Schedule(next)
    }
}
