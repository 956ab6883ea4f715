//! A change of a topic that was acknowledged is kept (S22), whoever leads and whatever machines fail.
//!
//! One client changes these topics, one change after the other. So in the end each is as was acknowledged
//! last, or as asked for by a change without an answer: that one may have arrived any time later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use raftmq::state::State;

use super::Findings;

const INVARIANT: &str = "an acknowledged change of a topic is kept";

/// Queues of a topic; none when it is not there.
type Queues = Option<i32>;

#[derive(Default)]
struct Topic {
    acknowledged: Queues,
    /// As often as it was asked for.
    unknown: Vec<Queues>,
}

/// What topics must be like; clones share it.
#[derive(Clone, Default)]
pub struct KeptTopics {
    topics: Arc<Mutex<BTreeMap<String, Topic>>>,
}

impl KeptTopics {
    fn change(&self, topic: &str, change: impl FnOnce(&mut Topic)) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        change(topics.entry(topic.to_owned()).or_default());
    }

    /// A change is asked for.
    pub fn asked(&self, topic: &str, queues: Queues) {
        self.change(topic, |topic| topic.unknown.push(queues));
    }

    /// The change asked for last was acknowledged.
    pub fn acknowledged(&self, topic: &str, queues: Queues) {
        self.change(topic, |topic| {
            let asked = topic.unknown.iter().rposition(|unknown| *unknown == queues);
            asked.map(|at| topic.unknown.remove(at));
            topic.acknowledged = queues;
        });
    }

    /// Compares them with what the log gives.
    pub fn judge(&self, state: &State, findings: &Findings) {
        for (name, topic) in &*self.topics.lock().unwrap_or_else(PoisonError::into_inner) {
            let known = state.topics().get(name);
            let found: Queues = known.map(|topic| topic.config.write_queue_nums);
            if found != topic.acknowledged && !topic.unknown.contains(&found) {
                let Topic { acknowledged, unknown } = topic;
                let what = format!(
                    "{name} has {found:?} queues; {acknowledged:?} was acknowledged, {unknown:?} may be"
                );
                findings.report(INVARIANT, what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_was_acknowledged_and_is_gone_is_found() {
        let (findings, check) = (Findings::default(), KeptTopics::default());
        check.asked("a", Some(4));
        check.judge(&State::default(), &findings);
        assert!(findings.is_empty(), "it may never have arrived");
        check.acknowledged("a", Some(4));
        check.judge(&State::default(), &findings);
        assert_eq!(findings.all().len(), 1);
        check.asked("a", None);
        check.judge(&State::default(), &findings);
        assert_eq!(findings.all().len(), 1, "it may have been removed since");
    }
}
