//! What became of the demo's messages.
//!
//! Invariant: counted from both ends by unique id: a message is lost if its send was acknowledged
//! and the consumer never saw it, whatever the broker says of itself.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// Answers of the dead leader may still be read for this long after its death.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The ledger of the demo.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Unique ids of acknowledged messages, with how often each was consumed.
    messages: HashMap<String, Entry>,
    pub failed: u64,
    last_acknowledged: Option<Instant>,
    killed_at: Option<Instant>,
    /// End and length of the longest wait for an acknowledgement that began with the kill.
    longest_wait: Option<(Instant, Duration)>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Entry {
    acknowledged: bool,
    consumed: u32,
}

/// The ledger, summed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    pub sent: u64,
    pub acknowledged: u64,
    pub consumed: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub failover: Option<Duration>,
}

impl Ledger {
    /// The broker acknowledged a message.
    pub(super) fn acknowledged(&mut self, id: &str, now: Instant) {
        self.messages.entry(id.to_owned()).or_default().acknowledged = true;
        if let (Some(last), Some(killed_at)) = (self.last_acknowledged, self.killed_at)
            && now > killed_at
            && last < killed_at + LAST_WORDS
        {
            let wait = now - last;
            if self.longest_wait.is_none_or(|(_, longest)| wait > longest) {
                self.longest_wait = Some((now, wait));
            }
        }
        self.last_acknowledged = Some(now);
    }

    /// The listener was given a message.
    pub(super) fn consumed(&mut self, id: &str) {
        self.messages.entry(id.to_owned()).or_default().consumed += 1;
    }

    /// The leader is dead from here on.
    pub(super) fn killed(&mut self, now: Instant) {
        self.killed_at = Some(now);
    }

    pub(super) fn acknowledgements(&self) -> u64 {
        self.messages.values().filter(|entry| entry.acknowledged).count() as u64
    }

    pub(super) fn summary(&self, sent: u64) -> Summary {
        let count = |which: fn(&Entry) -> bool| {
            self.messages.values().filter(|entry| which(entry)).count() as u64
        };
        let failover = match (self.killed_at, self.longest_wait) {
            (Some(killed_at), Some((end, _))) => Some(end - killed_at),
            _ => None,
        };
        Summary {
            sent,
            acknowledged: self.acknowledgements(),
            consumed: count(|entry| entry.consumed > 0),
            lost: count(|entry| entry.acknowledged && entry.consumed == 0),
            duplicated: count(|entry| entry.consumed > 1),
            failover,
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let failover = match self.failover {
            Some(failover) => format!("{} ms", failover.as_millis()),
            None => "not measured".to_owned(),
        };
        writeln!(f, "sent          {:>8}", self.sent)?;
        writeln!(f, "acknowledged  {:>8}", self.acknowledged)?;
        writeln!(f, "consumed      {:>8}", self.consumed)?;
        writeln!(f, "lost          {:>8}", self.lost)?;
        writeln!(f, "duplicated    {:>8}", self.duplicated)?;
        write!(f, "failover      {failover:>8}  (leader killed to next acknowledgement)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lost_and_duplicated_are_told_apart() {
        let mut ledger = Ledger::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        ledger.acknowledged("a", at(0));
        ledger.acknowledged("b", at(1));
        ledger.killed(at(2));
        ledger.acknowledged("c", at(3));
        ledger.acknowledged("d", at(250));
        ledger.acknowledged("e", at(260));
        // A pause of whatever other cause.
        ledger.acknowledged("f", at(9000));
        for id in ["a", "c", "c", "d", "e", "f", "unacknowledged"] {
            ledger.consumed(id);
        }
        let summary = ledger.summary(7);
        assert_eq!((summary.sent, summary.acknowledged, summary.consumed), (7, 6, 6));
        assert_eq!((summary.lost, summary.duplicated), (1, 1));
        // An answer that was already on its way when the leader died does not end the failover.
        assert_eq!(summary.failover, Some(Duration::from_millis(248)));
    }
}
