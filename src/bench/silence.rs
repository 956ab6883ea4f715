//! Notices when a broker falls silent, and that it is another member of its group that speaks again.
//!
//! Invariant: silence is time in which a success was waited for and none came. A connection with
//! nothing in flight waits for nothing.

use std::time::Duration;

use tokio::time::Instant;

/// Shorter waits for an answer are latency.
const SILENCE_MIN: Duration = Duration::from_millis(200);

/// A stretch in which a broker name answered no send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Silence {
    pub broker: String,
    pub from: Instant,
    pub to: Instant,
    /// Whether it ended with an answer; otherwise with the run.
    pub ended: bool,
    /// Who led before, and who answered afterwards.
    pub leaders: (String, String),
}

impl Silence {
    /// Whether another connection tells of the same event.
    pub(super) fn is_the_same(&self, other: &Silence) -> bool {
        self.broker == other.broker && self.from <= other.to && other.from <= self.to
    }

    /// Takes in what another connection saw: as long as any of them waited.
    pub(super) fn merge(&mut self, other: Silence) {
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.ended &= other.ended;
        if other.leader_changed() {
            self.leaders = other.leaders;
        }
    }

    pub(super) fn leader_changed(&self) -> bool {
        self.leaders.0 != self.leaders.1
    }

    pub(super) fn length(&self) -> Duration {
        self.to - self.from
    }
}

/// Watches one connection.
#[derive(Debug)]
pub(super) struct Watch {
    broker: String,
    leader: String,
    /// Who led when the connection was lost, if nobody has answered since.
    lost: Option<String>,
    last_success: Instant,
}

impl Watch {
    pub(super) fn new(broker: &str, leader: &str, now: Instant) -> Watch {
        let (broker, leader) = (broker.to_owned(), leader.to_owned());
        Watch { broker, leader, lost: None, last_success: now }
    }

    /// A success came, for a send that had begun at `begun`.
    pub(super) fn heard(&mut self, now: Instant, begun: Instant) -> Option<Silence> {
        let last = std::mem::replace(&mut self.last_success, now);
        let lost = self.lost.take();
        let from = if lost.is_some() { last } else { last.max(begun) };
        if lost.is_none() && now.saturating_duration_since(from) < SILENCE_MIN {
            return None;
        }
        let leaders = (lost.unwrap_or_else(|| self.leader.clone()), self.leader.clone());
        Some(Silence { broker: self.broker.clone(), from, to: now, ended: true, leaders })
    }

    /// The connection was lost; `leader` is who it goes to now.
    pub(super) fn reconnected(&mut self, leader: &str) {
        let before = std::mem::replace(&mut self.leader, leader.to_owned());
        self.lost.get_or_insert(before);
    }

    /// The run ends while `oldest`, the begin of the oldest unanswered send, waits.
    pub(super) fn end(&self, now: Instant, oldest: Option<Instant>) -> Option<Silence> {
        let from = self.last_success.max(oldest?);
        if now.saturating_duration_since(from) < SILENCE_MIN {
            return None;
        }
        let before = self.lost.as_ref().unwrap_or(&self.leader).clone();
        let leaders = (before, self.leader.clone());
        Some(Silence { broker: self.broker.clone(), from, to: now, ended: false, leaders })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn a_pause_is_silence_only_when_something_waits() {
        let start = Instant::now();
        let mut watch = Watch::new("a", "h:1", start);
        assert_eq!(watch.heard(start + 10 * MS, start + 5 * MS), None);
        // Nothing was sent for a second.
        assert_eq!(watch.heard(start + 1010 * MS, start + 1005 * MS), None);
        let silence = watch.heard(start + 1500 * MS, start + 1020 * MS).unwrap();
        assert_eq!((silence.from, silence.length()), (start + 1020 * MS, 480 * MS));
        assert!(!silence.leader_changed() && silence.ended);
    }

    #[tokio::test]
    async fn another_leader_is_always_told() {
        let start = Instant::now();
        let mut watch = Watch::new("a", "h:1", start);
        watch.heard(start + 10 * MS, start);
        watch.reconnected("h:1");
        watch.reconnected("h:2");
        let silence = watch.heard(start + 60 * MS, start + 59 * MS).unwrap();
        assert_eq!(silence.leaders, ("h:1".to_owned(), "h:2".to_owned()));
        assert_eq!(silence.length(), 50 * MS);
        assert_eq!(watch.heard(start + 61 * MS, start + 60 * MS), None);
    }

    #[tokio::test]
    async fn what_connections_see_of_one_event_is_one_silence() {
        let start = Instant::now();
        let see = |from: u32, to: u32, leader: &str| Silence {
            broker: "a".into(),
            from: start + from * MS,
            to: start + to * MS,
            ended: true,
            leaders: ("h:1".into(), leader.into()),
        };
        let mut one = see(100, 400, "h:1");
        assert!(one.is_the_same(&see(300, 500, "h:2")) && !one.is_the_same(&see(401, 500, "h:1")));
        one.merge(see(90, 500, "h:2"));
        assert_eq!(one, see(90, 500, "h:2"));
    }

    #[tokio::test]
    async fn a_run_may_end_in_silence() {
        let start = Instant::now();
        let mut watch = Watch::new("a", "h:1", start);
        watch.heard(start + 10 * MS, start);
        assert_eq!(watch.end(start + 900 * MS, None), None);
        let silence = watch.end(start + 900 * MS, Some(start + 20 * MS)).unwrap();
        assert!(!silence.ended && silence.length() == 880 * MS);
    }
}
