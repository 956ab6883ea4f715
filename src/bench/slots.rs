//! Requests in flight on one connection, by slot number.
//!
//! Invariant: a slot is either free or holds exactly one unanswered request; its number is the
//! request's opaque on the wire, so an answer finds its request by index.

/// What is known of requests in flight.
pub(super) struct Slots<T> {
    held: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Slots<T> {
    pub(super) fn new(capacity: usize) -> Slots<T> {
        let held = (0..capacity).map(|_| None).collect();
        Slots { held, free: (0..capacity).rev().collect() }
    }

    /// Whether every slot is taken.
    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// How many requests are in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.held.len() - self.free.len()
    }

    /// Takes a free slot for `request`.
    pub(super) fn take(&mut self, request: T) -> Option<usize> {
        let slot = self.free.pop()?;
        self.held[slot] = Some(request);
        Some(slot)
    }

    /// The request that an answer belongs to; `None` for an answer nobody waits for.
    pub(super) fn answer(&mut self, slot: usize) -> Option<T> {
        let request = self.held.get_mut(slot)?.take()?;
        self.free.push(slot);
        Some(request)
    }

    /// Gives up every request in flight, in slot order.
    pub(super) fn abandon(&mut self) -> Vec<T> {
        let abandoned = self.held.iter_mut().filter_map(Option::take).collect();
        self.free = (0..self.held.len()).rev().collect();
        abandoned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_reused_only_after_its_answer() {
        let mut slots = Slots::new(2);
        let (first, second) = (slots.take('a').unwrap(), slots.take('b').unwrap());
        assert_ne!(first, second);
        assert!(slots.is_full() && slots.take('c').is_none());
        assert_eq!(slots.answer(first), Some('a'));
        assert_eq!(slots.answer(first), None);
        assert_eq!(slots.answer(99), None);
        assert_eq!(slots.take('c'), Some(first));
        let mut left = slots.abandon();
        left.sort_unstable();
        assert_eq!((left, slots.in_flight()), (vec!['b', 'c'], 0));
    }
}
