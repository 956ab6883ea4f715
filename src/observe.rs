//! What a simulation sees of the inside: every entry at the moment it is applied, at some indexes the state
//! after it, and every registration that a name server takes in.
//!
//! Invariant: this module and the lines that call it are compiled for simulations only, and nothing is
//! changed by looking.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use madsim::task::NodeId;
use raft_log::LogIndex;

use crate::namesrv::Registration;
use crate::protocol::route::MASTER_ID;
use crate::replication::machine::Committed;
use crate::store::log::LogEntry;

/// A member of a group: its machine's node and the group's name.
pub type Place = (NodeId, Arc<str>);

/// A name server took a leader's registration in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mastery {
    /// Which life of the name server.
    pub life: u64,
    /// The broker's name.
    pub broker_name: String,
    /// In which term it says that it leads.
    pub term: Option<i64>,
    /// Its address.
    pub address: String,
}

/// Bytes that a group's member holds in its queues, each at its highest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Proposals that wait.
    pub waiting: usize,
    /// Entries not committed.
    pub uncommitted: usize,
    /// Entries not applied.
    pub unapplied: usize,
    /// The newest entries.
    pub tail: usize,
    /// Messages that wait for one peer.
    pub peer_queue: usize,
}

/// States are looked at every so many entries: at the same ones on every member, so that each look can
/// be compared.
const DIGEST_EVERY: u64 = 32;

thread_local! {
    /// A simulation lives on one thread.
    static APPLIED: RefCell<Vec<(Place, LogEntry)>> = const { RefCell::new(Vec::new()) };
    static MASTERIES: RefCell<Vec<Mastery>> = const { RefCell::new(Vec::new()) };
    static ROUTE_TABLES: Cell<u64> = const { Cell::new(0) };
    static DIGESTS: RefCell<Vec<(Place, LogIndex, u32)>> = const { RefCell::new(Vec::new()) };
    static HELD: RefCell<BTreeMap<Place, Held>> = const { RefCell::new(BTreeMap::new()) };
    /// Whose entry is being applied.
    static APPLYING: RefCell<Option<Place>> = const { RefCell::new(None) };
}

/// An entry is about to be applied by the present node's member of a group.
pub(crate) fn applied(group: &Arc<str>, entry: &Committed) {
    let entry = LogEntry {
        index: entry.index,
        term: entry.term,
        position: entry.position,
        payload_position: entry.payload_position,
        payload: entry.payload.clone(),
    };
    let place = (madsim::plugin::node(), Arc::clone(group));
    APPLYING.set(Some(place.clone()));
    APPLIED.with_borrow_mut(|applied| applied.push((place, entry)));
}

/// The state after that entry, which is the one that is being applied.
pub(crate) fn state(index: LogIndex, digest: impl FnOnce() -> u32) {
    if index.0.is_multiple_of(DIGEST_EVERY) {
        let Some(place) = APPLYING.with_borrow(Clone::clone) else { return };
        let seen = (place, index, digest());
        DIGESTS.with_borrow_mut(|digests| digests.push(seen));
    }
}

/// A name server begins with nothing; the number of that life.
pub(crate) fn new_route_table() -> u64 {
    ROUTE_TABLES.set(ROUTE_TABLES.get() + 1);
    ROUTE_TABLES.get()
}

/// A registration holds from now on.
pub(crate) fn registered(life: u64, registration: &Registration) {
    if registration.broker_id == MASTER_ID {
        let mastery = Mastery {
            life,
            broker_name: registration.broker_name.clone(),
            term: registration.raft_term,
            address: registration.broker_addr.clone(),
        };
        MASTERIES.with_borrow_mut(|masteries| masteries.push(mastery));
    }
}

/// The present node's member of a group holds so much.
pub(crate) fn held(group: &str, now: Held) {
    let place = (madsim::plugin::node(), Arc::from(group));
    HELD.with_borrow_mut(|held| {
        let most = held.entry(place).or_default();
        most.waiting = most.waiting.max(now.waiting);
        most.uncommitted = most.uncommitted.max(now.uncommitted);
        most.unapplied = most.unapplied.max(now.unapplied);
        most.tail = most.tail.max(now.tail);
        most.peer_queue = most.peer_queue.max(now.peer_queue);
    });
}

/// The most that each member held since this was last asked.
pub fn take_held() -> BTreeMap<Place, Held> {
    HELD.take()
}

/// All leaders' registrations taken in since this was last asked, in the order of time.
pub fn take_masteries() -> Vec<Mastery> {
    MASTERIES.take()
}

/// All entries applied since this was last asked, in the order of time.
pub fn take_applied() -> Vec<(Place, LogEntry)> {
    APPLIED.take()
}

/// All states looked at since this was last asked, in the order of time.
pub fn take_digests() -> Vec<(Place, LogIndex, u32)> {
    DIGESTS.take()
}
