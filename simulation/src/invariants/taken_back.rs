//! A message that a consumer sent back comes again or lies with the dead (S15), and progress covers only what
//! was consumed or taken back (S9, S10).
//!
//! Looked at in the end, in the log, against what listeners answered. An attempt is told by where the
//! message first lay and by how often consuming it has failed. Each answer other than success is sent
//! back, again until a broker says that it took the message; so of each attempt at most as many follow
//! as there were such answers, and at least as many as there are records of it which progress covers and
//! which no listener was done with. What retention gave up need not be covered by either.

use std::collections::BTreeMap;

use super::Findings;
use super::equal_logs::Stored;
use crate::history::{Answers, Queue};

const COVERED: &str = "progress covers only what was consumed or taken back";
const TOO_OFTEN: &str = "a message is taken back as often as it was sent back";
const DEAD: &str = "a message is dead after its last attempt or when it was given up";
const BEYOND: &str = "no message has more attempts than allowed";
const OTHER: &str = "what comes again is what was sent back";

/// What there is to be compared of one group.
pub struct TakenBack<'a> {
    /// Its number.
    pub group: usize,
    /// Its records, in the order of their positions.
    pub stored: &'a [Stored],
    /// The topic, the retry topic, and the dead letter topic.
    pub topics: [&'a str; 3],
    /// Progress in the topic and in the retry topic.
    pub progress: [BTreeMap<i32, i64>; 2],
    /// What listeners made of each record, by its position.
    pub answers: &'a BTreeMap<(usize, i64), Answers>,
    /// Attempts after the first.
    pub attempts_max: i32,
    /// Retention gave up what lies below.
    pub given_up: i64,
}

/// Where a message first lay, and how often consuming it has failed.
type Attempt = (i64, i32);

#[derive(Default)]
struct Tally {
    answers: Answers,
    /// Records that progress covers although nobody was done with them.
    owed: u32,
    /// Records of the attempt that followed: those that wait, and those that are dead.
    retried: u32,
    dead: u32,
}

impl TakenBack<'_> {
    /// Compares.
    pub fn judge(&self, findings: &Findings) {
        let mut tallies: BTreeMap<Attempt, Tally> = BTreeMap::new();
        let [topic, retry, dead] = self.topics;
        let mut bodies = BTreeMap::new();
        for record in self.stored {
            let is_first = record.topic == topic;
            let origin = if is_first { record.position } else { record.origin.unwrap_or(-1) };
            if is_first {
                bodies.insert(origin, &record.body);
            } else if record.topic == retry || record.topic == dead {
                self.compare_body(record, bodies.get(&origin).copied(), findings);
            }
            let times = record.reconsume_times;
            let waits = record.waits_for.as_ref().is_some_and(|(topic, _)| topic == retry);
            if waits || record.topic == dead {
                let before = tallies.entry((origin, times - 1)).or_default();
                before.retried += u32::from(waits);
                before.dead += u32::from(!waits);
            } else if is_first || record.topic == retry {
                let tally = tallies.entry((origin, times)).or_default();
                self.count(record, &self.progress[usize::from(!is_first)], tally);
            }
        }
        for (attempt, tally) in &tallies {
            self.weigh(*attempt, tally, findings);
        }
    }

    fn count(&self, record: &Stored, progress: &BTreeMap<i32, i64>, tally: &mut Tally) {
        let answers = self.answers.get(&(self.group, record.position)).copied().unwrap_or_default();
        tally.answers.consumed += answers.consumed;
        tally.answers.later += answers.later;
        tally.answers.given_up += answers.given_up;
        let is_covered = progress.get(&record.queue_id).is_some_and(|at| record.offset < *at);
        let is_owed = is_covered && answers.consumed == 0 && record.position >= self.given_up;
        tally.owed += u32::from(is_owed);
    }

    fn compare_body(&self, record: &Stored, first: Option<&Vec<u8>>, findings: &Findings) {
        if first != Some(&record.body) {
            let Queue { group, id } = Queue { group: self.group, id: record.queue_id };
            let what = format!("{}'s {group}/{id}:{} is another", record.topic, record.offset);
            findings.report(OTHER, what);
        }
    }

    fn weigh(&self, (origin, times): Attempt, tally: &Tally, findings: &Findings) {
        let Tally { answers, owed, retried, dead } = tally;
        let name = format!("attempt {times} of the message at {}:{origin}", self.group);
        if *owed > retried + dead {
            let what = format!("{name}: {owed} records are covered, {retried} follow, {dead} dead");
            findings.report(COVERED, what);
        }
        if retried + dead > answers.later + answers.given_up {
            let what = format!("{name}: {retried} follow, {dead} are dead, {answers:?}");
            findings.report(TOO_OFTEN, what);
        }
        let last = times >= self.attempts_max;
        if *dead > answers.given_up && !last {
            findings.report(DEAD, format!("{name}: {dead} are dead, {answers:?}"));
        }
        if *retried > 0 && last {
            findings.report(BEYOND, format!("{name}: {retried} follow"));
        }
    }
}

#[cfg(test)]
mod tests {
    use raftmq::protocol::names::SCHEDULE_TOPIC;

    use super::*;

    fn record(topic: &str, position: i64, reconsume_times: i32) -> Stored {
        Stored {
            topic: topic.to_owned(),
            queue_id: 0,
            offset: 0,
            position,
            store_timestamp_ms: 0,
            reconsume_times,
            delay_level: (topic == SCHEDULE_TOPIC).then_some(1),
            waits_for: (topic == SCHEDULE_TOPIC).then(|| ("r".to_owned(), 0)),
            origin: (topic != "t").then_some(1),
            body: Vec::new(),
        }
    }

    fn found(stored: &[Stored], answers: Answers, given_up: i64) -> Vec<&'static str> {
        let (findings, answers) = (Findings::default(), BTreeMap::from([((0, 1), answers)]));
        let progress = [BTreeMap::from([(0, 1)]), BTreeMap::new()];
        let (topics, attempts_max) = (["t", "r", "d"], 1);
        let check = TakenBack {
            group: 0,
            stored,
            topics,
            progress,
            answers: &answers,
            attempts_max,
            given_up,
        };
        check.judge(&findings);
        findings.all().iter().map(|finding| finding.invariant).collect()
    }

    #[test]
    fn what_is_neither_consumed_nor_taken_back_is_found() {
        let (first, again) = (record("t", 1, 0), record(SCHEDULE_TOPIC, 2, 1));
        let answers = |consumed, later, given_up| Answers { consumed, later, given_up };
        assert!(found(std::slice::from_ref(&first), answers(1, 0, 0), 0).is_empty());
        assert_eq!(found(std::slice::from_ref(&first), answers(0, 1, 0), 0), [COVERED]);
        assert!(found(std::slice::from_ref(&first), answers(0, 0, 0), 2).is_empty());
        assert!(found(&[first.clone(), again.clone()], answers(0, 1, 0), 0).is_empty());
        let twice = [first.clone(), again.clone(), record(SCHEDULE_TOPIC, 3, 1)];
        assert_eq!(found(&twice, answers(0, 1, 0), 0), [TOO_OFTEN]);
        assert!(found(&twice, answers(0, 2, 0), 0).is_empty());
    }

    #[test]
    fn the_dead_have_been_given_up_or_had_all_attempts() {
        let first = record("t", 1, 0);
        let answers = |later, given_up| Answers { consumed: 0, later, given_up };
        let dead = [first.clone(), record("d", 2, 1)];
        assert!(found(&dead, answers(0, 1), 0).is_empty());
        assert_eq!(found(&dead, answers(1, 0), 0), [DEAD]);
        let beyond = [first, record(SCHEDULE_TOPIC, 2, 1), record(SCHEDULE_TOPIC, 3, 2)];
        assert_eq!(found(&beyond, answers(1, 0), 0), [TOO_OFTEN, BEYOND]);
    }
}
