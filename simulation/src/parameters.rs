//! What a run is like: everything that could be another way, drawn from the seed.
//!
//! Sizes are drawn small, so that segments roll, extents close and entries fill up many times a run.
//!
//! Invariant: drawing is all there is: the same seed gives the same parameters, and they are printed
//! before anything happens.

use std::fmt;

use crate::dice::Dice;
use crate::faults::Kind;
use crate::machine::{Flaw, Pace};

/// From this on old segments go whatever their age, and nothing is refused yet.
const LEAN_USED_PERCENT: u8 = 87;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// The seed.
    pub seed: u64,
    /// Broker groups.
    pub groups: usize,
    /// Machines; each has a member of every group.
    pub members: usize,
    /// Client processes that send.
    pub producers: usize,
    /// Client processes that consume, all of one group.
    pub consumers: usize,
    /// Queues of the topic.
    pub queues: i32,
    /// Shortest silence of a leader before an election.
    pub election_timeout_ms: u64,
    /// How often a leader shows that it lives.
    pub heartbeat_interval_ms: u64,
    /// Length of a segment.
    pub segment_bytes: u64,
    /// Length of an extent.
    pub extent_bytes: u64,
    /// Size at which an entry is closed.
    pub entry_bytes_max: u64,
    /// Memory for a broker's queues.
    pub memory_budget_bytes: usize,
    /// Log between two checkpoints.
    pub checkpoint_interval_bytes: u64,
    /// How long a committed entry may wait to be applied.
    pub apply_lag_ms: u64,
    /// The broker is made to choose what it usually would not.
    pub buggify: bool,
    /// Sends are answered before they are on disks: nothing is lost unless the power of a majority goes
    /// at once, which then it does at most in the end.
    pub flush_async: bool,
    /// In the end the power of all goes at once, with what only their caches had.
    pub ends_dark: bool,
    /// Messages an hour old, by the leader's clock, are given up: when a clock jumps, many.
    pub retention: bool,
    /// Disks are so full all the time that logs keep little more than their last segment: snapshots are taken
    /// and sent often.
    pub lean: bool,
    /// Longest message body.
    pub body_bytes_max: u64,
    /// Delays of the brokers' levels.
    pub delay_levels_s: [u64; 3],
    /// One send in so many is delayed; none where it is zero.
    pub delayed_one_in: u64,
    /// Attempts after the first of messages that consumers send back; without, they try again themselves.
    pub attempts_max: Option<i32>,
    /// Clients of each group that lock its queues.
    pub lockers: usize,
    /// Client processes that consume in order, all of one group.
    pub in_order: usize,
    /// Client processes that are polled, all of one group.
    pub polled: usize,
    /// Operators set groups back now and then.
    pub resets: bool,
    /// Longest pause of a producer between two sends.
    pub send_pause_ms: u64,
    /// Bounds of the network's delay.
    pub network_ms: (u64, u64),
    /// How fast disks are.
    pub disk: Pace,
    /// What may go wrong.
    pub faults: Vec<Kind>,
    /// Longest pause between two faults.
    pub fault_pause_ms: u64,
    /// How long things go wrong.
    pub safety_seconds: u64,
    /// A mistake put in on purpose.
    pub flaw: Option<Flaw>,
}

impl Parameters {
    /// Those of a seed.
    pub fn of(seed: u64) -> Parameters {
        let dice = &mut Dice::of(seed, "parameters");
        let heartbeat_interval_ms = dice.pick(&[20, 50, 100]);
        let segment_bytes = dice.pick(&[64 << 10, 64 << 10, 128 << 10, 256 << 10]);
        let least_us = dice.pick(&[100, 500, 1_000]);
        // Drawn apart: everything else of a seed is the same either way.
        let apart = [
            Kind::OlderCopy,
            Kind::Unreadable,
            Kind::UnreadableTail,
            Kind::UnreadableDerived,
            Kind::UnreadableSnapshot,
        ];
        let others = Kind::ALL.iter().copied().filter(|kind| !apart.contains(kind));
        let mut faults = dice.some(&others.collect::<Vec<_>>());
        // Not where bits flip: together they could hit every copy of an entry.
        let bits_flip = faults.contains(&Kind::BitRot);
        if !bits_flip && Dice::of(seed, "pages").one_in(2) {
            faults.push(Kind::Unreadable);
        }
        if !bits_flip && Dice::of(seed, "tail").one_in(2) {
            faults.push(Kind::UnreadableTail);
        }
        if Dice::of(seed, "derived files").one_in(2) {
            faults.push(Kind::UnreadableDerived);
        }
        if Dice::of(seed, "copies").one_in(3) {
            faults.push(Kind::OlderCopy);
        }
        let flush_async = Dice::of(seed, "flush").one_in(8);
        // With several groups a run is about as much work as with one.
        let groups = Dice::of(seed, "groups").pick(&[1, 1, 1, 2, 3]);
        let fewer_members = |members: usize| if groups > 1 { 3 } else { members };
        let shorter = |seconds: u64| seconds * 2 / (groups as u64 + 1);
        // Bits flip where every member keeps everything, which few seeds draw by themselves.
        let keeps_all = (faults.contains(&Kind::BitRot) && Dice::of(seed, "rot").one_in(4))
            || (faults.contains(&Kind::Unreadable) && Dice::of(seed, "pages kept").one_in(2));
        let of_all = |kind: &Kind| matches!(kind, Kind::PowerAll | Kind::PowerAtCall);
        let may_end_dark = flush_async && faults.iter().any(of_all);
        let ends_dark = may_end_dark && !Dice::of(seed, "dark").one_in(4);
        let survived = |kind: &Kind| {
            let takes_copy = matches!(kind, Kind::FullDisk | Kind::LostDisk | Kind::OlderCopy);
            let of_all = of_all(kind);
            (!flush_async || !of_all) && (!keeps_all || !takes_copy)
        };
        let lean = Dice::of(seed, "full disks").one_in(5) && !keeps_all;
        let mut parameters = Parameters {
            seed,
            groups,
            members: fewer_members(dice.pick(&[3, 3, 3, 5])),
            producers: dice.between(1, 3) as usize,
            consumers: dice.between(1, 3) as usize,
            queues: dice.pick(&[1, 2, 4, 8]),
            election_timeout_ms: heartbeat_interval_ms * dice.between(4, 12),
            heartbeat_interval_ms,
            segment_bytes,
            extent_bytes: segment_bytes / dice.pick(&[1, 2, 4]),
            entry_bytes_max: dice.pick(&[4 << 10, 8 << 10, 16 << 10]),
            memory_budget_bytes: Dice::of(seed, "memory").pick(&[6 << 20, 6 << 20, 32 << 20]),
            checkpoint_interval_bytes: dice.pick(&[8 << 10, 64 << 10, 16 << 20]),
            apply_lag_ms: dice.pick(&[0, 0, 20, 300]),
            buggify: !Dice::of(seed, "choices").one_in(3),
            flush_async,
            ends_dark,
            retention: dice.one_in(2) && !keeps_all,
            lean,
            body_bytes_max: dice.pick(&[64, 256, 1 << 10, 4 << 10]),
            delay_levels_s: Dice::of(seed, "levels").pick(&[[1, 2, 3], [1, 4, 8]]),
            delayed_one_in: Dice::of(seed, "delayed").pick(&[0, 4, 20]),
            attempts_max: Dice::of(seed, "attempts").pick(&[None, Some(1), Some(3)]),
            lockers: Dice::of(seed, "lockers").pick(&[0, 2, 3]),
            in_order: Dice::of(seed, "in order").pick(&[0, 0, 1, 2]),
            polled: Dice::of(seed, "lite pull").pick(&[0, 0, 1, 2]),
            resets: Dice::of(seed, "resets").one_in(2),
            send_pause_ms: dice.pick(&[5, 20, 50]),
            network_ms: dice.pick(&[(1, 2), (1, 5), (1, 20)]),
            disk: Pace { least_us, most_us: least_us * dice.between(1, 8), stalled: false },
            faults: faults.into_iter().filter(survived).collect(),
            fault_pause_ms: dice.pick(&[500, 2_000, 5_000]),
            safety_seconds: shorter(dice.between(20, 60)),
            flaw: None,
        };
        let begins_later =
            lean || parameters.retention || parameters.faults.contains(&Kind::FullDisk);
        if begins_later && (lean || Dice::of(seed, "snapshots").one_in(2)) {
            parameters.faults.push(Kind::UnreadableSnapshot);
        }
        parameters
    }

    /// How full disks say they are when nothing is wrong.
    pub fn used_percent(&self) -> u8 {
        if self.lean { LEAN_USED_PERCENT } else { 0 }
    }

    /// Three members, calm, nothing goes wrong by itself: what a scenario begins with.
    pub fn calm(seed: u64) -> Parameters {
        Parameters {
            groups: 1,
            members: 3,
            producers: 2,
            consumers: 2,
            queues: 4,
            election_timeout_ms: 500,
            heartbeat_interval_ms: 50,
            network_ms: (1, 2),
            send_pause_ms: 10,
            disk: Pace { least_us: 500, most_us: 1_000, stalled: false },
            faults: Vec::new(),
            buggify: false,
            flush_async: false,
            ends_dark: false,
            retention: false,
            lean: false,
            delayed_one_in: 0,
            attempts_max: None,
            lockers: 0,
            in_order: 0,
            polled: 0,
            resets: false,
            apply_lag_ms: 0,
            ..Parameters::of(seed)
        }
    }

    /// The same with about a hundred sends a second, and as many deliveries.
    pub fn unhurried(seed: u64) -> Parameters {
        Parameters { send_pause_ms: 32, ..Parameters::calm(seed) }
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<&str> = self.faults.iter().map(|kind| kind.name()).collect();
        write!(
            f,
            "seed {}: {} groups, {} members, choices {}, flush {}, {} producers, {} consumers, {} queues; \
             election {} ms, heartbeat {} ms; segment {} KiB, extent {} KiB, entry {} KiB, checkpoint {} KiB, \
             memory {} MiB, body up to {} B, apply lag up to {} ms, retention {}; \
             delays {:?} s, delayed one in {}, sent back {}, {} lockers, {} in order, {} polled, resets {}; \
             send pause up to {} ms, network {}-{} ms, disk {}-{} us; {} s of faults up to {} ms \
             apart: {}",
            self.seed,
            self.groups,
            self.members,
            if self.buggify { "odd" } else { "usual" },
            match (self.flush_async, self.ends_dark) {
                (true, true) => "later and dark in the end",
                (true, false) => "later",
                _ => "first",
            },
            self.producers,
            self.consumers,
            self.queues,
            self.election_timeout_ms,
            self.heartbeat_interval_ms,
            self.segment_bytes >> 10,
            self.extent_bytes >> 10,
            self.entry_bytes_max >> 10,
            self.checkpoint_interval_bytes >> 10,
            self.memory_budget_bytes >> 20,
            self.body_bytes_max,
            self.apply_lag_ms,
            match (self.lean, self.retention) {
                (true, _) => "next to nothing",
                (_, true) => "one hour",
                _ => "off",
            },
            self.delay_levels_s,
            self.delayed_one_in,
            self.attempts_max.map_or("never".to_owned(), |times| format!("{times} times")),
            self.lockers,
            self.in_order,
            self.polled,
            if self.resets { "some" } else { "none" },
            self.send_pause_ms,
            self.network_ms.0,
            self.network_ms.1,
            self.disk.least_us,
            self.disk.most_us,
            self.safety_seconds,
            self.fault_pause_ms,
            if faults.is_empty() { "none".to_owned() } else { faults.join(", ") },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_and_repeat() {
        assert_eq!(Parameters::of(7), Parameters::of(7));
        let texts: std::collections::BTreeSet<String> =
            (0..100).map(|seed| Parameters::of(seed).to_string()).collect();
        assert_eq!(texts.len(), 100);
    }

    #[test]
    fn every_fault_is_drawn_by_some_seed() {
        for kind in Kind::ALL {
            assert!((0..50).any(|seed| Parameters::of(seed).faults.contains(kind)), "{kind:?}");
        }
    }
}
