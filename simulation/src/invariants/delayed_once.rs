//! A delayed message comes to its queue once, and not before its time (S14), whoever leads and whatever
//! leaders' clocks do.
//!
//! Looked at in the end, in the log. A message waits in the queue of its level and comes as another
//! record: of the records that wait at one level for one queue with the same message and attempt, as many
//! come, one after the other, each with a store timestamp that is at least its level's delay later. What
//! retention gave up while it waited need not come, nor what still waits: a send that nobody hears of any
//! more may be stored when all that was acknowledged has come.

use std::collections::BTreeMap;

use raftmq::protocol::names::SCHEDULE_TOPIC;
use raftmq::state::Schedule;

use super::Findings;
use super::equal_logs::Stored;
use crate::history::{Outcome, Send};

const LOST: &str = "an acknowledged message that is delayed is stored";
const ONCE: &str = "a delayed message comes once";
const EARLY: &str = "a delayed message does not come before its time";
const MISSING: &str = "a delayed message comes";

/// The records of one group's log.
pub struct Delayed<'a> {
    /// In the order of their positions.
    pub stored: &'a [Stored],
    /// Delays of the levels.
    pub levels_ms: [i64; 3],
    /// Retention gave up what lies below.
    pub given_up: i64,
    /// How far the levels are.
    pub schedule: &'a Schedule,
    /// The number of the message with that body.
    pub number_of: &'a dyn Fn(&[u8]) -> Option<u64>,
}

/// Level, topic, queue, attempt and number of a message.
type Coming<'a> = (i32, &'a str, i32, i32, u64);

impl Delayed<'_> {
    /// Compares what waits with what came.
    pub fn judge(&self, group: usize, sends: &[Send], findings: &Findings) {
        let mut waiting: BTreeMap<Coming<'_>, Vec<&Stored>> = BTreeMap::new();
        let mut came: BTreeMap<Coming<'_>, Vec<&Stored>> = BTreeMap::new();
        let mut at = BTreeMap::new();
        for record in self.stored {
            let Some(level) = record.delay_level else { continue };
            let number = (self.number_of)(&record.body);
            match (&record.waits_for, number) {
                (Some((topic, queue_id)), Some(number)) => {
                    let key = (level, topic.as_str(), *queue_id, record.reconsume_times, number);
                    waiting.entry(key).or_default().push(record);
                    at.insert(record.position, number);
                }
                (None, Some(number)) if record.topic != SCHEDULE_TOPIC => {
                    let (topic, queue_id) = (record.topic.as_str(), record.queue_id);
                    let key = (level, topic, queue_id, record.reconsume_times, number);
                    came.entry(key).or_default().push(record);
                }
                _ => findings.report(LOST, format!("{record:?} is no message that waits")),
            }
        }
        for send in sends {
            let Outcome::Waits { group: of, position } = send.outcome else { continue };
            if of == group && at.get(&position) != Some(&send.message) {
                let found = at.get(&position);
                let what = format!("message {} at {position}: {found:?} is there", send.message);
                findings.report(LOST, what);
            }
        }
        for (key, came) in &came {
            let waiting = waiting.get(key).map_or(&[][..], Vec::as_slice);
            self.compare(key, waiting, came, findings);
        }
        for (key, waiting) in &waiting {
            let came = came.get(key).map_or(0, Vec::len);
            let excused = |record: &&&Stored| {
                record.position < self.given_up
                    || record.offset >= self.schedule.next(record.queue_id)
            };
            if came + waiting.iter().filter(excused).count() < waiting.len() {
                let what = format!("{key:?} waited {} times and came {came} times", waiting.len());
                findings.report(MISSING, what);
            }
        }
    }

    fn compare(
        &self,
        key: &Coming<'_>,
        waiting: &[&Stored],
        came: &[&Stored],
        findings: &Findings,
    ) {
        if came.len() > waiting.len() {
            let what = format!("{key:?} waited {} times, came {}", waiting.len(), came.len());
            findings.report(ONCE, what);
        }
        for (waited, came) in waiting.iter().zip(came) {
            // The first level's queue is the first.
            let level =
                usize::try_from(waited.queue_id).ok().filter(|_| waited.queue_id == key.0 - 1);
            let Some(delay_ms) = level.and_then(|level| self.levels_ms.get(level)) else {
                findings.report(EARLY, format!("{key:?} waits at another level: {waited:?}"));
                continue;
            };
            let waited_ms = came.store_timestamp_ms - waited.store_timestamp_ms;
            if waited_ms < *delay_ms || came.position <= waited.position {
                let what = format!("{key:?} came after {waited_ms} ms, not {delay_ms}");
                findings.report(EARLY, what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(position: i64, time_s: i64, waits: bool) -> Stored {
        Stored {
            topic: if waits { SCHEDULE_TOPIC } else { "t" }.to_owned(),
            queue_id: 1,
            offset: 0,
            position,
            store_timestamp_ms: time_s * 1_000,
            reconsume_times: 0,
            delay_level: Some(2),
            waits_for: waits.then(|| ("t".to_owned(), 1)),
            origin: None,
            body: vec![7],
        }
    }

    fn found(stored: &[Stored], given_up: i64, next: i64) -> Vec<&'static str> {
        let (findings, number_of) = (Findings::default(), |body: &[u8]| Some(u64::from(body[0])));
        let levels_ms = [1_000, 2_000, 3_000];
        let schedule = Schedule::from(vec![0, next]);
        let delayed =
            Delayed { stored, levels_ms, given_up, schedule: &schedule, number_of: &number_of };
        let send = |message, position| Send {
            message,
            called: Default::default(),
            returned: Default::default(),
            outcome: Outcome::Waits { group: 0, position },
        };
        delayed.judge(0, &[send(7, 1)], &findings);
        findings.all().iter().map(|finding| finding.invariant).collect()
    }

    #[test]
    fn what_comes_twice_early_or_never_is_found() {
        let waits = record(1, 10, true);
        assert!(found(&[waits.clone(), record(2, 12, false)], 0, 1).is_empty());
        assert_eq!(found(&[waits.clone(), record(2, 11, false)], 0, 1), [EARLY]);
        let twice = [waits.clone(), record(2, 12, false), record(3, 12, false)];
        assert_eq!(found(&twice, 0, 1), [ONCE]);
        assert_eq!(found(std::slice::from_ref(&waits), 0, 1), [MISSING]);
        assert!(found(std::slice::from_ref(&waits), 2, 1).is_empty(), "it was given up");
        assert!(found(&[waits], 0, 0).is_empty(), "it still waits");
        assert_eq!(found(&[record(2, 12, false)], 0, 1), [LOST, ONCE]);
    }
}
