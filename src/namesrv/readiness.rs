//! When a name server that just started may say that a topic does not exist.
//!
//! It knows nothing at first, and "no such topic" makes new clients fail although the topic is
//! there. Until brokers had time to report it answers `name server not ready` instead, on which
//! clients keep the route they have and ask again. The template topic of automatic creation is
//! known as soon as a broker is, so that the first use of a new topic never waits for this.
//!
//! Invariant: the grace ends, at the latest after one registration period.

use crate::config::NamesrvConfig;

/// What decides whether a missing topic is missing.
#[derive(Debug)]
pub struct Readiness {
    started_ms: i64,
    last_new_member_ms: Option<i64>,
}

impl Readiness {
    /// Of a name server that starts now.
    pub fn new(now_ms: i64) -> Readiness {
        Readiness { started_ms: now_ms, last_new_member_ms: None }
    }

    /// A broker registered that was not known before.
    pub fn member_joined(&mut self, now_ms: i64) {
        self.last_new_member_ms = Some(now_ms);
    }

    /// Whether routes are answered at all.
    pub fn serves(&self, now_ms: i64, config: &NamesrvConfig) -> bool {
        let waited_ms = now_ms - self.started_ms;
        !config.need_wait_for_service
            || waited_ms >= signed(config.wait_seconds_for_service * 1_000)
    }

    /// Whether an unknown topic does not exist, as opposed to not being reported yet.
    pub fn knows_all(&self, now_ms: i64, config: &NamesrvConfig) -> bool {
        let settled = self
            .last_new_member_ms
            .is_some_and(|joined_ms| now_ms - joined_ms >= signed(config.route_settle_ms));
        settled || now_ms - self.started_ms >= signed(config.route_grace_ms)
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Configuration;

    #[test]
    fn grace_ends_when_brokers_have_reported() {
        let config = NamesrvConfig::from_text("").unwrap();
        let mut readiness = Readiness::new(0);
        assert!(readiness.serves(0, &config));
        assert!(!readiness.knows_all(29_999, &config));
        assert!(readiness.knows_all(30_000, &config));
        readiness.member_joined(1_000);
        assert!(!readiness.knows_all(2_999, &config));
        readiness.member_joined(2_000);
        assert!(!readiness.knows_all(3_999, &config), "another broker prolongs it");
        assert!(readiness.knows_all(4_000, &config));
    }

    #[test]
    fn waiting_for_service_is_rocketmqs() {
        let config = NamesrvConfig::from_text("needWaitForService=true").unwrap();
        let readiness = Readiness::new(0);
        assert!(!readiness.serves(44_999, &config));
        assert!(readiness.serves(45_000, &config));
    }
}
