//! What a member holds in its queues stays within the parts of its memory budget (S24).
//!
//! Members show it at every tick; the most of each part is compared in the end. A queue takes one more
//! entry of any size when it was within its bound before, so that is allowed on top; and what no file
//! holds yet stays in the tail beyond its part.

use raftmq::config::MemoryShares;
use raftmq::observe::Held;

use super::Findings;

const INVARIANT: &str = "what a member holds in memory is bounded";

/// Compares the most that a member held with its parts of the budget.
pub fn check(member: &str, held: &Held, shares: &MemoryShares, findings: &Findings) {
    let entry = shares.entry_bytes_max;
    let parts = [
        ("sends that wait", held.waiting, shares.waiting_bytes),
        ("entries not committed", held.uncommitted, shares.uncommitted_bytes),
        ("entries not applied", held.unapplied, shares.unapplied_bytes + shares.uncommitted_bytes),
        ("the newest entries", held.tail, shares.tail_bytes + shares.uncommitted_bytes),
        ("messages for one peer", held.peer_queue, shares.peer_queue_bytes),
    ];
    for (what, bytes, bound) in parts {
        if bytes > bound + entry {
            let what =
                format!("{member}: {what} were {bytes} bytes, {bound} and an entry are allowed");
            findings.report(INVARIANT, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_beyond_its_bound_is_found() {
        let shares = MemoryShares {
            waiting_bytes: 100,
            uncommitted_bytes: 100,
            unapplied_bytes: 100,
            tail_bytes: 100,
            peer_queue_bytes: 100,
            entry_bytes_max: 10,
            append_bytes: 10,
            appends_in_flight: 1,
        };
        let (findings, within) = (Findings::default(), Held { waiting: 110, ..Held::default() });
        check("n0", &within, &shares, &findings);
        assert!(findings.is_empty());
        check("n0", &Held { waiting: 111, tail: 211, ..Held::default() }, &shares, &findings);
        assert_eq!(findings.all().len(), 2);
    }
}
