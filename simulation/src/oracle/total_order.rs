//! See the parent: one pass for each kind of fault over lists sorted once.
//!
//! Invariant: every message is looked at, none is assumed to be right because its neighbours are.

use std::collections::{BTreeMap, BTreeSet};

use super::Placed;
use crate::history::{Delivery, Outcome, Queue, Send};
use crate::invariants::Findings;

const LOST: &str = "no acknowledged message is lost";
const DUPLICATED: &str = "no more copies than attempts";
const REORDERED: &str = "a queue keeps the order of its sends";
const GAP: &str = "a queue has no gaps";
const PHANTOM: &str = "nothing is stored that was not sent";
const REASSIGNED: &str = "an offset holds one message for ever";
const UNDELIVERED: &str = "every acknowledged message is delivered";

/// Judges the history; `placed` is the whole log of each group, in the order of its positions, of which
/// retention gave up what lies below the group's `given_up`.
pub fn judge(
    sends: &[Send],
    deliveries: &[Delivery],
    placed: &[Placed],
    given_up: &[i64],
    findings: &Findings,
) {
    let by_place = places(placed, findings);
    copies(sends, placed, findings);
    acknowledged(sends, &by_place, findings);
    order(sends, findings);
    delivered(deliveries, &by_place, findings);
    undelivered(sends, deliveries, given_up, findings);
}

type Places = BTreeMap<(Queue, i64), u64>;

/// Which message is where; finds gaps and places taken twice.
fn places(placed: &[Placed], findings: &Findings) -> Places {
    let mut next: BTreeMap<Queue, i64> = BTreeMap::new();
    let mut places = Places::new();
    for Placed { message, queue, offset, .. } in placed {
        let next = next.entry(*queue).or_insert(0);
        if offset != next {
            findings.report(GAP, format!("{queue}:{offset} follows {queue}:{}", *next - 1));
        }
        *next = offset + 1;
        match message {
            Some(message) => drop(places.insert((*queue, *offset), *message)),
            None => findings.report(PHANTOM, format!("{queue}:{offset} is no message's body")),
        }
    }
    places
}

/// Counts each message's copies.
fn copies(sends: &[Send], placed: &[Placed], findings: &Findings) {
    let mut copies = vec![0u32; sends.len()];
    for Placed { message, queue, offset, .. } in placed {
        let Some(message) = message else { continue };
        match copies.get_mut(*message as usize) {
            Some(count) => *count += 1,
            None => {
                let what = format!("{queue}:{offset} is message {message}, which nobody sent");
                findings.report(PHANTOM, what);
            }
        }
    }
    for (send, copies) in sends.iter().zip(copies) {
        match &send.outcome {
            Outcome::Failed if copies > 0 => {
                findings.report(PHANTOM, format!("message {} was refused", send.message));
            }
            Outcome::Stored { attempts, .. } if copies > *attempts => {
                let what = format!("message {}: {copies} of {attempts} attempts", send.message);
                findings.report(DUPLICATED, what);
            }
            _ => {}
        }
    }
}

/// Looks each acknowledged message up where it was said to be.
fn acknowledged(sends: &[Send], places: &Places, findings: &Findings) {
    let mut told = BTreeMap::new();
    for send in sends {
        let Outcome::Stored { queue, offset, .. } = send.outcome else { continue };
        let message = send.message;
        if let Some(other) = told.insert((queue, offset), message) {
            let what = format!("{queue}:{offset} was told for {other} and for {message}");
            findings.report(REASSIGNED, what);
        }
        match places.get(&(queue, offset)) {
            Some(found) if *found == message => {}
            Some(found) => {
                let what = format!("{queue}:{offset} was {message} and is {found}");
                findings.report(REASSIGNED, what);
            }
            None => findings.report(LOST, format!("message {message} at {queue}:{offset}")),
        }
    }
}

/// A send that was called after another of its queue had returned lies behind it.
fn order(sends: &[Send], findings: &Findings) {
    let mut queues: BTreeMap<Queue, Vec<(&Send, i64)>> = BTreeMap::new();
    for send in sends {
        if let Outcome::Stored { queue, offset, .. } = send.outcome {
            queues.entry(queue).or_default().push((send, offset));
        }
    }
    for (queue, stored) in queues {
        let (mut calls, mut returns) = (stored.clone(), stored);
        calls.sort_by_key(|(send, _)| send.called);
        returns.sort_by_key(|(send, _)| send.returned);
        let mut returned = returns.into_iter().peekable();
        let mut last: Option<(&Send, i64)> = None;
        for (send, offset) in calls {
            while let Some(earlier) = returned.next_if(|(other, _)| other.returned < send.called) {
                if last.is_none_or(|(_, highest)| earlier.1 > highest) {
                    last = Some(earlier);
                }
            }
            if let Some((earlier, before)) = last
                && before >= offset
            {
                let what = format!(
                    "message {} at {queue}:{offset} was called after {} at {queue}:{before} \
                     had returned",
                    send.message, earlier.message
                );
                findings.report(REORDERED, what);
            }
        }
    }
}

/// Compares deliveries with the log.
fn delivered(deliveries: &[Delivery], places: &Places, findings: &Findings) {
    for Delivery { message, queue, offset, .. } in deliveries {
        match places.get(&(*queue, *offset)) {
            Some(found) if found == message => {}
            Some(found) => {
                let what = format!("{queue}:{offset} delivered {message} and is {found}");
                findings.report(REASSIGNED, what);
            }
            None => {
                let what = format!("{queue}:{offset} delivered {message}, the log has nothing");
                findings.report(PHANTOM, what);
            }
        }
    }
}

/// Looks for acknowledged messages without a delivery.
fn undelivered(sends: &[Send], deliveries: &[Delivery], given_up: &[i64], findings: &Findings) {
    let delivered: BTreeSet<u64> = deliveries.iter().map(|delivery| delivery.message).collect();
    for send in sends {
        if let Some((group, position)) = send.acknowledged()
            && position >= given_up.get(group).copied().unwrap_or(0)
            && !delivered.contains(&send.message)
        {
            findings.report(UNDELIVERED, format!("message {}", send.message));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn send(message: u64, called: u64, returned: u64, outcome: Outcome) -> Send {
        let time = Duration::from_millis;
        Send { message, called: time(called), returned: time(returned), outcome }
    }

    fn queue(id: i32) -> Queue {
        Queue { group: 0, id }
    }

    fn stored(queue_id: i32, offset: i64) -> Outcome {
        let queue = queue(queue_id);
        Outcome::Stored { queue, offset, position: offset, attempts: 1 }
    }

    fn placed(message: u64, queue_id: i32, offset: i64) -> Placed {
        Placed { message: Some(message), queue: queue(queue_id), offset, position: offset }
    }

    fn delivery(message: u64, queue_id: i32, offset: i64) -> Delivery {
        Delivery { message, queue: queue(queue_id), offset, position: 0 }
    }

    /// What is found, each kind once.
    fn found(sends: &[Send], deliveries: &[Delivery], log: &[Placed]) -> Vec<&'static str> {
        let findings = Findings::default();
        judge(sends, deliveries, log, &[0], &findings);
        let mut found: Vec<_> = findings.all().iter().map(|finding| finding.invariant).collect();
        found.dedup();
        found
    }

    fn two_sends() -> Vec<Send> {
        vec![send(0, 0, 1, stored(0, 0)), send(1, 2, 3, stored(0, 1))]
    }

    fn two_deliveries() -> Vec<Delivery> {
        vec![delivery(1, 0, 1), delivery(0, 0, 0), delivery(0, 0, 0)]
    }

    #[test]
    fn a_correct_run_has_nothing() {
        let log = [placed(0, 0, 0), placed(1, 0, 1)];
        assert!(found(&two_sends(), &two_deliveries(), &log).is_empty());
        let unknown = [send(0, 0, 9, Outcome::Unknown)];
        assert!(found(&unknown, &[], &[]).is_empty());
        assert!(found(&unknown, &[], &[placed(0, 0, 0), placed(0, 0, 1)]).is_empty());
    }

    #[test]
    fn a_lost_message_is_found() {
        let sends = two_sends();
        assert_eq!(found(&sends, &two_deliveries()[1..], &[placed(0, 0, 0)]), [LOST, UNDELIVERED]);
    }

    #[test]
    fn a_copy_too_many_is_found() {
        let log = [placed(0, 0, 0), placed(1, 0, 1), placed(1, 0, 2)];
        assert_eq!(found(&two_sends(), &two_deliveries(), &log), [DUPLICATED]);
    }

    #[test]
    fn an_order_that_time_forbids_is_found() {
        let sends = [send(0, 0, 1, stored(0, 1)), send(1, 2, 3, stored(0, 0))];
        let deliveries = [delivery(1, 0, 0), delivery(0, 0, 1)];
        let log = [placed(1, 0, 0), placed(0, 0, 1)];
        assert_eq!(found(&sends, &deliveries, &log), [REORDERED]);
        // At the same time either may come first.
        let at_once = [send(0, 0, 3, stored(0, 1)), send(1, 2, 3, stored(0, 0))];
        assert!(found(&at_once, &deliveries, &log).is_empty());
    }

    #[test]
    fn a_gap_and_a_place_taken_twice_are_found() {
        let sends = [send(0, 0, 1, Outcome::Unknown), send(1, 0, 1, Outcome::Unknown)];
        assert_eq!(found(&sends, &[], &[placed(0, 0, 0), placed(1, 0, 2)]), [GAP]);
        assert_eq!(found(&sends, &[], &[placed(0, 0, 0), placed(1, 0, 0)]), [GAP]);
    }

    #[test]
    fn phantoms_are_found() {
        let refused = [send(0, 0, 1, Outcome::Failed)];
        assert_eq!(found(&refused, &[], &[placed(0, 0, 0)]), [PHANTOM]);
        assert_eq!(found(&[], &[], &[placed(5, 0, 0)]), [PHANTOM]);
        assert_eq!(found(&[], &[], &[Placed { message: None, ..placed(0, 0, 0) }]), [PHANTOM]);
        let unknown = [send(0, 0, 1, Outcome::Unknown)];
        assert_eq!(found(&unknown, &[delivery(0, 0, 0)], &[]), [PHANTOM]);
    }

    #[test]
    fn an_offset_with_two_messages_is_found() {
        let sends = [send(0, 0, 9, stored(0, 0)), send(1, 0, 9, stored(0, 0))];
        let both = [delivery(0, 0, 0), delivery(1, 0, 0)];
        assert_eq!(found(&sends, &both, &[placed(0, 0, 0)]), [REASSIGNED]);
    }

    #[test]
    fn an_undelivered_message_is_found() {
        let log = [placed(0, 0, 0), placed(1, 0, 1)];
        assert_eq!(found(&two_sends(), &two_deliveries()[..1], &log), [UNDELIVERED]);
    }

    #[test]
    fn what_retention_gave_up_need_not_be_delivered() {
        let (findings, log) = (Findings::default(), [placed(0, 0, 0), placed(1, 0, 1)]);
        judge(&two_sends(), &two_deliveries()[..1], &log, &[1], &findings);
        assert!(findings.is_empty(), "{:?}", findings.all());
    }

    #[test]
    fn a_million_messages_take_seconds() {
        const MESSAGES: u64 = 1_000_000;
        let place = |message: u64| ((message % 8) as i32, (message / 8) as i64);
        let sends: Vec<Send> = (0..MESSAGES)
            .map(|message| {
                let (queue, offset) = place(message);
                send(message, 2 * message, 2 * message + 1, stored(queue, offset))
            })
            .collect();
        let log: Vec<Placed> = (0..MESSAGES)
            .map(|message| placed(message, place(message).0, place(message).1))
            .collect();
        let deliveries: Vec<Delivery> = (0..MESSAGES)
            .map(|message| delivery(message, place(message).0, place(message).1))
            .collect();
        let began = std::time::Instant::now();
        assert!(found(&sends, &deliveries, &log).is_empty());
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}
