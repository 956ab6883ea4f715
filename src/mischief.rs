//! What a simulation does to messages between members, beyond what its network can: it loses, repeats and
//! reorders them, slows a link down, and hides that a connection has ended.
//!
//! Raft takes any of it: a message that was true once stays harmless. What is tested is that nothing
//! around raft relies on more.
//!
//! Invariant: this module and the lines that ask it are compiled for simulations only; while nothing is
//! set they change nothing there either. Nothing is held back from one connection to the next.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use madsim::rand::{Rng as _, thread_rng};
use madsim::task::NodeId;
use raft::eraftpb::Message;
use tokio::time::{Duration, sleep};

/// Messages of one link that wait for later ones to go before them.
const HELD_MAX: usize = 4;

/// How many of a thousand messages are upset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mischief {
    /// Sent twice.
    pub repeated_permille: u32,
    /// Sent behind later ones.
    pub reordered_permille: u32,
    /// Not sent.
    pub lost_permille: u32,
}

type Link = (NodeId, u64);
/// From a node to an address.
type Connection = (NodeId, String);

thread_local! {
    /// A simulation lives on one thread.
    static MADE: Cell<Mischief> = const {
        Cell::new(Mischief { repeated_permille: 0, reordered_permille: 0, lost_permille: 0 })
    };
    static HELD: RefCell<BTreeMap<Connection, Vec<Message>>> = const { RefCell::new(BTreeMap::new()) };
    static SLOW_MS: RefCell<BTreeMap<Link, u64>> = const { RefCell::new(BTreeMap::new()) };
    static ENDS_HIDDEN: Cell<bool> = const { Cell::new(false) };
}

/// Upsets messages like this from now on.
pub fn set(mischief: Mischief) {
    MADE.set(mischief);
}

/// Makes everything from a node to a member of that number wait from now on; zero for no longer.
pub fn slow(from: NodeId, to: u64, longest_ms: u64) {
    SLOW_MS.with_borrow_mut(|slow| {
        slow.insert((from, to), longest_ms);
    });
}

/// Hides from members, or no longer, that connections between them have ended.
pub fn hide_ends(hidden: bool) {
    ENDS_HIDDEN.set(hidden);
}

/// Nothing is upset any more.
pub fn stop() {
    set(Mischief::default());
    SLOW_MS.take();
    hide_ends(false);
}

/// What becomes of a message to the peer at that address.
pub(crate) fn upset(to: &str, message: Message) -> Vec<Message> {
    let Mischief { repeated_permille, reordered_permille, lost_permille } = MADE.get();
    let connection = (madsim::plugin::node(), to.to_owned());
    let happens = |permille| permille > 0 && thread_rng().gen_ratio(permille, 1_000);
    if happens(lost_permille) {
        return Vec::new();
    }
    HELD.with_borrow_mut(|held| {
        let held = held.entry(connection).or_default();
        if happens(reordered_permille) && held.len() < HELD_MAX {
            held.push(message);
            return Vec::new();
        }
        let repeated = happens(repeated_permille).then(|| message.clone());
        let mut sent = vec![message];
        sent.extend(repeated);
        sent.append(held);
        sent
    })
}

/// A connection to the peer at that address is new.
pub(crate) fn connected(to: &str) {
    HELD.with_borrow_mut(|held| drop(held.remove(&(madsim::plugin::node(), to.to_owned()))));
}

/// Before something is written to that member.
pub(crate) async fn link_delay(to: u64) {
    let link = (madsim::plugin::node(), to);
    let longest_ms = SLOW_MS.with_borrow(|slow| slow.get(&link).copied().unwrap_or(0));
    if longest_ms > 0 {
        sleep(Duration::from_millis(thread_rng().gen_range(1..=longest_ms))).await;
    }
}

/// Returns at once unless the end of a connection is to stay hidden: then whoever waits has to notice by
/// the silence.
pub(crate) async fn connection_ended() {
    if ENDS_HIDDEN.get() {
        std::future::pending::<()>().await;
    }
}

/// Whether a write to a connection that has ended is to seem well.
pub(crate) fn ends_hidden() -> bool {
    ENDS_HIDDEN.get()
}
