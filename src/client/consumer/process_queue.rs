//! What has been pulled from one queue and not been consumed yet.
//!
//! Invariant: the offset to commit is never beyond a message that is still being consumed, whatever
//! the order in which messages finish.

use std::collections::BTreeMap;

/// Messages of one queue in flight between pull and listener.
#[derive(Debug, Default)]
pub(super) struct ProcessQueue {
    /// Bytes of each message in flight, by offset.
    in_flight: BTreeMap<i64, usize>,
    bytes: usize,
    /// Everything below was pulled or filtered out.
    next_offset: i64,
    /// What was last reported to the broker.
    committed: Option<i64>,
}

impl ProcessQueue {
    /// Nothing pulled yet; the first pull starts at `next_offset`, which is also what is committed
    /// if the broker said so.
    pub(super) fn new(next_offset: i64, committed: Option<i64>) -> ProcessQueue {
        ProcessQueue { next_offset, committed, ..ProcessQueue::default() }
    }

    /// A pull brought these messages; the next one starts at `next_offset`.
    pub(super) fn pulled(
        &mut self,
        messages: impl Iterator<Item = (i64, usize)>,
        next_offset: i64,
    ) {
        for (offset, bytes) in messages {
            if self.in_flight.insert(offset, bytes).is_none() {
                self.bytes += bytes;
            }
        }
        self.next_offset = next_offset;
    }

    /// The broker put the group elsewhere. What is in flight says nothing of progress any more: committed
    /// after a move back, it would skip what was to be consumed again.
    pub(super) fn moved(&mut self, next_offset: i64) {
        self.in_flight.clear();
        self.bytes = 0;
        self.next_offset = next_offset;
        self.committed = None;
    }

    /// These messages need not be delivered again.
    pub(super) fn consumed(&mut self, offsets: impl Iterator<Item = i64>) {
        for offset in offsets {
            if let Some(bytes) = self.in_flight.remove(&offset) {
                self.bytes -= bytes;
            }
        }
    }

    /// Whether this message is still to be consumed.
    pub(super) fn is_in_flight(&self, offset: i64) -> bool {
        self.in_flight.contains_key(&offset)
    }

    /// Where the next pull starts.
    pub(super) fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Messages in flight.
    pub(super) fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// From the first to the last offset in flight: how much would be consumed twice after a crash.
    pub(super) fn span(&self) -> i64 {
        match (self.in_flight.first_key_value(), self.in_flight.last_key_value()) {
            (Some((first, _)), Some((last, _))) => last - first,
            _ => 0,
        }
    }

    /// What can be committed and is not yet.
    pub(super) fn to_commit(&self) -> Option<i64> {
        let first_in_flight = self.in_flight.first_key_value().map(|(offset, _)| *offset);
        let offset = first_in_flight.unwrap_or(self.next_offset);
        (self.committed != Some(offset)).then_some(offset)
    }

    /// The broker has stored this offset.
    pub(super) fn committed(&mut self, offset: i64) {
        self.committed = Some(offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_unfinished_message_holds_the_commit() {
        let mut queue = ProcessQueue::new(10, Some(10));
        assert_eq!(queue.to_commit(), None);
        queue.pulled([(10, 5), (11, 5), (13, 5)].into_iter(), 15);
        assert_eq!((queue.len(), queue.bytes(), queue.span()), (3, 15, 3));
        queue.consumed([11, 13].into_iter());
        assert_eq!(queue.to_commit(), None, "10 is still being consumed");
        queue.consumed([10].into_iter());
        assert_eq!(queue.to_commit(), Some(15), "12 and 14 were filtered out");
        queue.committed(15);
        assert_eq!((queue.to_commit(), queue.bytes(), queue.span()), (None, 0, 0));
    }

    #[test]
    fn a_message_counts_once() {
        let mut queue = ProcessQueue::new(0, None);
        queue.pulled([(0, 5)].into_iter(), 1);
        queue.pulled([(0, 5)].into_iter(), 1);
        assert_eq!(queue.bytes(), 5);
        queue.consumed([0, 0].into_iter());
        assert_eq!((queue.bytes(), queue.to_commit()), (0, Some(1)));
    }

    #[test]
    fn what_was_in_flight_before_a_move_is_not_committed() {
        let mut queue = ProcessQueue::new(480, Some(480));
        queue.pulled([(490, 5), (491, 5)].into_iter(), 500);
        queue.moved(100);
        assert_eq!((queue.next_offset(), queue.len(), queue.bytes()), (100, 0, 0));
        assert_eq!(queue.to_commit(), Some(100));
        queue.committed(100);
        queue.pulled([(100, 5)].into_iter(), 101);
        queue.consumed([490, 491].into_iter());
        assert_eq!(queue.to_commit(), None, "100 is still being consumed");
        queue.consumed([100].into_iter());
        assert_eq!(queue.to_commit(), Some(101));
    }

    #[test]
    fn a_start_without_stored_offset_is_committed() {
        assert_eq!(ProcessQueue::new(7, None).to_commit(), Some(7));
    }
}
