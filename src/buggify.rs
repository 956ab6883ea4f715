//! Places where a simulation has the broker choose what it could have chosen anyway: smaller, earlier,
//! later.
//!
//! Invariant: this module and the lines that ask it are compiled for simulations only, and whatever it
//! chooses may happen in production too: there it comes from the load, the settings and the scheduler.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use madsim::rand::{Rng as _, thread_rng};
use tokio::time::{Duration, sleep};

/// A place with a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// A committed batch waits before it is applied.
    LateApply,
    /// An entry is closed before it is full.
    SmallEntry,
    /// An entry is proposed before enough for it has gathered.
    EarlyEntry,
    /// Raft's clock ticks late.
    LateTick,
    /// The state's checkpoint is saved before enough was applied.
    EarlyCheckpoint,
    /// A member's messages to its peers are small, and few of them are on their way.
    SmallAppends,
}

impl Point {
    /// All of them.
    pub const ALL: &'static [Point] = &[
        Point::LateApply,
        Point::SmallEntry,
        Point::EarlyEntry,
        Point::LateTick,
        Point::EarlyCheckpoint,
        Point::SmallAppends,
    ];

    /// As a simulation prints it.
    pub fn name(self) -> &'static str {
        match self {
            Point::LateApply => "late-apply",
            Point::SmallEntry => "small-entry",
            Point::EarlyEntry => "early-entry",
            Point::LateTick => "late-tick",
            Point::EarlyCheckpoint => "early-checkpoint",
            Point::SmallAppends => "small-appends",
        }
    }

    /// Once in so many times it is chosen.
    fn one_in(self) -> u32 {
        match self {
            Point::SmallAppends => 2,
            Point::LateApply | Point::SmallEntry | Point::EarlyEntry => 8,
            Point::LateTick | Point::EarlyCheckpoint => 32,
        }
    }
}

thread_local! {
    /// A simulation lives on one thread.
    static APPLY_LAG_MS: Cell<u64> = const { Cell::new(0) };
    static CHOOSES: Cell<bool> = const { Cell::new(false) };
    static CHOSEN: RefCell<BTreeMap<Point, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// How long applying a batch may wait from now on, and whether the other choices are made at all.
pub fn begin(longest_ms: u64, chooses: bool) {
    APPLY_LAG_MS.set(longest_ms);
    CHOOSES.set(chooses);
    drop(CHOSEN.take());
}

/// How often each place was chosen since the beginning.
pub fn chosen() -> BTreeMap<Point, u64> {
    CHOSEN.with_borrow(Clone::clone)
}

/// Whether it is chosen now.
fn choose(point: Point) -> bool {
    let chosen = thread_rng().gen_ratio(1, point.one_in());
    if chosen {
        CHOSEN.with_borrow_mut(|all| *all.entry(point).or_default() += 1);
    }
    chosen
}

/// Before a batch is applied.
pub(crate) async fn apply_lag() {
    let longest_ms = APPLY_LAG_MS.get();
    if longest_ms > 0 && choose(Point::LateApply) {
        sleep(Duration::from_millis(thread_rng().gen_range(0..=longest_ms))).await;
    }
}

/// The size at which the next entry is closed.
pub(crate) fn entry_bytes(usual: usize) -> usize {
    let smaller = CHOOSES.get() && choose(Point::SmallEntry);
    if smaller { thread_rng().gen_range(1..=usual) } else { usual }
}

/// How much has to have gathered for the next entry.
pub(crate) fn gathered_bytes(usual: usize) -> usize {
    if usual > 1 && CHOOSES.get() && choose(Point::EarlyEntry) { 1 } else { usual }
}

/// The time until the next tick.
pub(crate) fn tick_ms(usual: u64) -> u64 {
    let late = CHOOSES.get() && choose(Point::LateTick);
    if late { thread_rng().gen_range(usual..=usual * 4) } else { usual }
}

/// Whether a checkpoint is saved although not enough was applied.
pub(crate) fn early_checkpoint() -> bool {
    CHOOSES.get() && choose(Point::EarlyCheckpoint)
}

/// The size of a message to a peer, and how many may be on their way.
pub(crate) fn appends((bytes, in_flight): (u64, usize)) -> (u64, usize) {
    if CHOOSES.get() && choose(Point::SmallAppends) {
        let mut random = thread_rng();
        return (random.gen_range(1..=bytes.min(4 << 10)), random.gen_range(1..=in_flight));
    }
    (bytes, in_flight)
}
