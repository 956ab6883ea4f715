//! The units of an extent in memory: all queues' in one list, in log order.
//!
//! A cluster may have ten thousand queues, and an extent a handful of messages of each. A list of its own
//! for each queue would cost an allocation for hardly any message, and a cache line that nobody has
//! touched for long. Here a message costs a place at the list's end and its queue's record.
//!
//! Invariant: each unit leads to the one before it in its run, and every sixteenth of a run is marked, so
//! that any unit is found from a mark in at most fifteen steps.

use std::ops::Range;

use raft_log::Position;

use super::unit::Unit;

/// Units of a run from one mark to the next.
const STRIDE: usize = 16;

/// Units of any number of runs.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Position of the extent's first byte.
    start: u64,
    links: Vec<Link>,
}

/// A unit, and the one before it in its run.
#[derive(Debug, Clone, Copy)]
struct Link {
    /// From the extent's start.
    distance: u32,
    size: u32,
    tag_hash: i32,
    /// Where the one before it is; means nothing for a run's first.
    previous: u32,
}

/// Neighbouring offsets of one queue, whose units are in a chain.
#[derive(Debug)]
pub(super) struct ChainedRun {
    pub(super) first_offset: i64,
    count: u32,
    /// Where its first and its last unit are.
    oldest: u32,
    newest: u32,
    /// Where the last units of its full strides are.
    marks: Vec<u32>,
}

impl Chain {
    /// An empty one of the extent that starts there, with room for as many units.
    pub(super) fn new(start: u64, room: usize) -> Chain {
        Chain { start, links: Vec::with_capacity(room) }
    }

    /// Units of all runs together.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// Adds a unit, which is behind all others in the log, to a run of this chain.
    pub(super) fn append(&mut self, run: &mut ChainedRun, unit: Unit) {
        let at = self.links.len() as u32;
        self.links.push(Link {
            distance: (unit.position.0 - self.start) as u32,
            size: unit.size,
            tag_hash: unit.tag_hash,
            previous: run.newest,
        });
        if run.count == 0 {
            run.oldest = at;
        }
        run.newest = at;
        run.count += 1;
        if run.len().is_multiple_of(STRIDE) {
            run.marks.push(at);
        }
    }

    /// A run's unit of that number.
    pub(super) fn get(&self, run: &ChainedRun, number: usize) -> Unit {
        self.unit(self.place(run, number))
    }

    /// Shows units of a run, numbered, oldest first, until told to stop.
    pub(super) fn visit(
        &self,
        run: &ChainedRun,
        range: Range<usize>,
        mut visit: impl FnMut(usize, Unit) -> bool,
    ) {
        let mut next = range.start;
        while next < range.end {
            let end = ((next / STRIDE + 1) * STRIDE).min(range.end);
            let mut places = [0; STRIDE];
            let mut at = self.place(run, end - 1);
            for place in places[..end - next].iter_mut().rev() {
                *place = at;
                at = self.links[at as usize].previous;
            }
            for (number, place) in (next..end).zip(places) {
                if !visit(number, self.unit(place)) {
                    return;
                }
            }
            next = end;
        }
    }

    fn unit(&self, place: u32) -> Unit {
        let link = &self.links[place as usize];
        Unit {
            position: Position(self.start + u64::from(link.distance)),
            size: link.size,
            tag_hash: link.tag_hash,
        }
    }

    fn place(&self, run: &ChainedRun, number: usize) -> u32 {
        assert!(number < run.len(), "a run has no unit behind its end");
        if number == 0 {
            return run.oldest;
        }
        let stride = number / STRIDE;
        let (from, mut place) = match run.marks.get(stride) {
            Some(mark) => (stride * STRIDE + STRIDE - 1, *mark),
            None => (run.len() - 1, run.newest),
        };
        for _ in number..from {
            place = self.links[place as usize].previous;
        }
        place
    }
}

impl ChainedRun {
    /// An empty one.
    pub(super) fn begin(first_offset: i64) -> ChainedRun {
        ChainedRun { first_offset, count: 0, oldest: 0, newest: 0, marks: Vec::new() }
    }

    /// Its units.
    pub(super) fn len(&self) -> usize {
        self.count as usize
    }

    /// Offset of the record that would continue it.
    pub(super) fn next_offset(&self) -> i64 {
        self.first_offset + i64::from(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs whose units lie among each other's.
    fn filled(counts: &[usize]) -> (Chain, Vec<ChainedRun>, Vec<Vec<Unit>>) {
        let mut chain = Chain::new(1 << 33, 0);
        let mut runs: Vec<_> = counts.iter().map(|_| ChainedRun::begin(7)).collect();
        let mut units = vec![Vec::new(); counts.len()];
        let mut at = 0;
        while runs.iter().zip(counts).any(|(run, count)| run.len() < *count) {
            for (number, run) in runs.iter_mut().enumerate() {
                if run.len() < counts[number] {
                    at += 10;
                    let position = Position((1 << 33) + at);
                    let unit = Unit { position, size: at as u32, tag_hash: -(at as i32) };
                    chain.append(run, unit);
                    units[number].push(unit);
                }
            }
        }
        (chain, runs, units)
    }

    #[test]
    fn each_run_gives_back_its_own_units() {
        let (chain, runs, units) = filled(&[1, 2, STRIDE - 1, STRIDE, STRIDE + 1, 5 * STRIDE + 3]);
        assert_eq!(chain.len(), units.iter().map(Vec::len).sum::<usize>());
        for (run, units) in runs.iter().zip(&units) {
            assert_eq!(run.next_offset(), 7 + units.len() as i64);
            for (number, unit) in units.iter().enumerate() {
                assert_eq!(chain.get(run, number), *unit);
            }
        }
    }

    #[test]
    fn any_stretch_of_a_run_is_shown_in_its_order() {
        let (chain, runs, units) = filled(&[3 * STRIDE + 5, 2 * STRIDE]);
        for (run, units) in runs.iter().zip(&units) {
            for start in 0..=units.len() {
                for end in start..=units.len() {
                    let mut shown = Vec::new();
                    chain.visit(run, start..end, |number, unit| {
                        assert_eq!(number, start + shown.len());
                        shown.push(unit);
                        true
                    });
                    assert_eq!(shown, units[start..end]);
                }
            }
        }
    }

    #[test]
    fn nothing_is_shown_once_told_to_stop() {
        let (chain, runs, _) = filled(&[3 * STRIDE]);
        let mut shown = 0;
        chain.visit(&runs[0], 1..3 * STRIDE, |_, _| {
            shown += 1;
            shown < STRIDE + 2
        });
        assert_eq!(shown, STRIDE + 2);
    }
}
