//! The newest entries, kept in memory: appliers, consumers at the end of a queue and followers that
//! keep up read from here and touch no file.
//!
//! Invariant: an entry that no file holds yet is here. What is here was checked when it was appended;
//! its payload is the very buffer that raft was given, so keeping it copies nothing.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use raft::eraftpb::Entry;

use crate::entry::{ENTRY_HEADER_BYTES, EntryKind, HEADER, StoredEntry, stored_bytes};
use crate::types::{LogIndex, Position, Term};

/// One entry with its header as it is, or will be, in the file.
pub(crate) struct TailEntry {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) kind: EntryKind,
    pub(crate) position: u64,
    pub(crate) header: [u8; HEADER],
    pub(crate) payload: Bytes,
}

impl TailEntry {
    /// Where the entry ends, alignment included.
    pub(crate) fn end(&self) -> u64 {
        self.position + stored_bytes(self.payload.len() as u64)
    }

    pub(crate) fn stored(&self) -> StoredEntry {
        StoredEntry {
            index: LogIndex(self.index),
            term: Term(self.term),
            kind: self.kind,
            position: Position(self.position),
            payload_position: Position(self.position + ENTRY_HEADER_BYTES),
            payload: self.payload.clone(),
        }
    }

    pub(crate) fn to_raft(&self) -> Entry {
        let mut entry = Entry::default();
        entry.set_entry_type(self.kind.to_raft().expect("the tail holds no padding"));
        entry.term = self.term;
        entry.index = self.index;
        entry.data = self.payload.clone();
        entry
    }

    /// Adds what the entry stores of `from..to`, which must begin inside it.
    fn copy_into(&self, from: u64, to: u64, out: &mut BytesMut) {
        let mut at = from;
        let payload_begin = self.position + ENTRY_HEADER_BYTES;
        let payload_end = payload_begin + self.payload.len() as u64;
        for (begin, end, bytes) in [
            (self.position, payload_begin, &self.header[..]),
            (payload_begin, payload_end, &self.payload[..]),
            (payload_end, self.end(), &[0; 8][..(self.end() - payload_end) as usize]),
        ] {
            let stop = to.min(end);
            if at < stop {
                out.extend_from_slice(&bytes[(at - begin) as usize..(stop - begin) as usize]);
                at = stop;
            }
        }
    }
}

/// A gapless run of entries that ends where the log ends.
pub(crate) struct Tail {
    entries: VecDeque<TailEntry>,
    payload_bytes: usize,
    payload_bytes_max: usize,
}

impl Tail {
    /// Bytes of all payloads.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// Keeps written entries as long as all payloads together stay within `payload_bytes_max`.
    pub(crate) fn new(payload_bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), payload_bytes: 0, payload_bytes_max }
    }

    /// What lies before is in files only. The greatest position there is when the tail is empty.
    pub(crate) fn first_position(&self) -> u64 {
        self.entries.front().map_or(u64::MAX, |first| first.position)
    }

    /// Index of its first entry; the greatest there is when the tail is empty.
    pub(crate) fn first_index(&self) -> u64 {
        self.entries.front().map_or(u64::MAX, |first| first.index)
    }

    pub(crate) fn push(&mut self, entry: TailEntry) {
        if let Some(last) = self.entries.back() {
            assert_eq!(entry.index, last.index + 1, "the tail has no gaps");
        }
        self.payload_bytes += entry.payload.len();
        self.entries.push_back(entry);
    }

    /// The entries from this index on.
    pub(crate) fn starting_at_index(&self, index: u64) -> impl Iterator<Item = &TailEntry> {
        let skipped = index.saturating_sub(self.first_index());
        self.entries.range(self.entries.len().min(usize::try_from(skipped).unwrap_or(usize::MAX))..)
    }

    /// The entries whose headers are at or behind this position.
    pub(crate) fn starting_at(&self, position: u64) -> impl Iterator<Item = &TailEntry> {
        self.entries.range(self.entries.partition_point(|entry| entry.position < position)..)
    }

    /// The stored bytes `from..to`, when all of them are here: a slice of one payload as a rule, a
    /// copy when they are more than that.
    pub(crate) fn bytes(&self, from: u64, to: u64) -> Option<Bytes> {
        let nth = self.entries.partition_point(|entry| entry.position <= from).checked_sub(1)?;
        let first = &self.entries[nth];
        let payload_begin = first.position + ENTRY_HEADER_BYTES;
        if from >= payload_begin && to <= payload_begin + first.payload.len() as u64 {
            let begin = (from - payload_begin) as usize;
            return Some(first.payload.slice(begin..begin + (to - from) as usize));
        }
        let mut out = BytesMut::with_capacity((to - from) as usize);
        for entry in self.entries.range(nth..) {
            let at = from + out.len() as u64;
            if at >= to || at < entry.position || at >= entry.end() {
                break;
            }
            entry.copy_into(at, to, &mut out);
        }
        (out.len() as u64 == to - from).then(|| out.freeze())
    }

    /// Lets go of the oldest entries while there are too many, as far as files hold them and the
    /// padding between them and the next.
    pub(crate) fn shrink(&mut self, written_to: u64) {
        while self.payload_bytes > self.payload_bytes_max
            && let [first, second] = [self.entries.front(), self.entries.get(1)]
            && second.is_some_and(|second| second.position <= written_to)
        {
            self.payload_bytes -= first.map_or(0, |first| first.payload.len());
            self.entries.pop_front();
        }
    }

    /// Drops the entries at and behind a position.
    pub(crate) fn cut(&mut self, position: u64) {
        while self.entries.back().is_some_and(|last| last.position >= position) {
            self.payload_bytes -= self.entries.pop_back().map_or(0, |last| last.payload.len());
        }
    }

    pub(crate) fn clear(&mut self) {
        self.cut(0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tail(sizes: &[usize], payload_bytes_max: usize) -> Tail {
        let mut tail = Tail::new(payload_bytes_max);
        let mut position = 4096;
        for (nth, &size) in sizes.iter().enumerate() {
            let index = nth as u64 + 1;
            let payload = Bytes::from(vec![index as u8; size]);
            let header = [0xf0 + index as u8; HEADER];
            let kind = EntryKind::Normal;
            tail.push(TailEntry { index, term: 1, kind, position, header, payload });
            position = tail.entries.back().unwrap().end();
        }
        tail
    }

    #[test]
    fn a_part_of_a_payload_is_a_slice_of_it() {
        let tail = tail(&[100, 50], 1000);
        let second = tail.entries[1].position;
        let slice = tail.bytes(second + 48 + 10, second + 48 + 50).unwrap();
        assert_eq!(slice.as_ptr(), tail.entries[1].payload[10..].as_ptr());
        assert_eq!(slice.len(), 40);
    }

    #[test]
    fn a_range_over_headers_and_alignment_is_copied_as_the_file_holds_it() {
        let tail = tail(&[9, 5], 1000);
        let (first, end) = (tail.first_position(), tail.entries[1].end());
        let mut stored = Vec::new();
        for entry in &tail.entries {
            stored.extend_from_slice(&entry.header);
            stored.extend_from_slice(&entry.payload);
            stored.resize(stored.len().next_multiple_of(8), 0);
        }
        for from in first..end {
            for to in from + 1..=end {
                let wanted = &stored[(from - first) as usize..(to - first) as usize];
                assert_eq!(tail.bytes(from, to).unwrap(), wanted, "{from}..{to}");
            }
        }
        assert!(tail.bytes(first - 1, end).is_none() && tail.bytes(first, end + 1).is_none());
    }

    #[test]
    fn only_what_files_hold_is_let_go_of() {
        let mut tail = tail(&[100, 100, 100], 150);
        tail.shrink(0);
        assert_eq!(tail.first_index(), 1, "nothing is written yet");
        let second_end = tail.entries[1].end();
        tail.shrink(second_end - 1);
        assert_eq!(tail.first_index(), 2);
        tail.shrink(second_end);
        assert_eq!((tail.first_index(), tail.payload_bytes), (3, 100));
        tail.cut(second_end);
        assert_eq!((tail.first_position(), tail.payload_bytes), (u64::MAX, 0));
        assert_eq!(tail.starting_at_index(3).count() + tail.starting_at(0).count(), 0);
    }
}
