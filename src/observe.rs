//! What a simulation sees of the inside of brokers: every entry at the moment it is applied.
//!
//! Invariant: this module and the line that calls it are compiled for simulations only, and nothing is
//! changed by looking.

use std::cell::RefCell;

use madsim::task::NodeId;

use crate::replication::machine::Committed;
use crate::store::log::LogEntry;

thread_local! {
    /// A simulation lives on one thread.
    static APPLIED: RefCell<Vec<(NodeId, LogEntry)>> = const { RefCell::new(Vec::new()) };
}

/// An entry is about to be applied by the present node.
pub(crate) fn applied(entry: &Committed) {
    let entry = LogEntry {
        index: entry.index,
        term: entry.term,
        position: entry.position,
        payload_position: entry.payload_position,
        payload: entry.payload.clone(),
    };
    APPLIED.with_borrow_mut(|applied| applied.push((madsim::plugin::node(), entry)));
}

/// All entries applied since this was last asked, in the order of time.
pub fn take_applied() -> Vec<(NodeId, LogEntry)> {
    APPLIED.take()
}
