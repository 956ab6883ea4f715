//! The settings that can be changed while a broker runs (25), and what they are now.
//!
//! A change holds for the member that was asked, until its process ends: files are its operator's.
//! Reading one is an atomic load, no more than reading a field.
//!
//! Invariant: a change is made as a whole or not at all, and only to values that a file could have.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};

use super::answer::{Failure, Outcome, success};
use super::core::Core;
use crate::config::{BrokerConfig, KeySpec, Problem, Properties, Setting};
use crate::remoting::RemotingCommand;

/// Largest body of a change.
const CHANGE_BYTES_MAX: usize = 64 << 10;

/// See the module.
pub struct LiveSettings {
    broker_permission: AtomicI32,
    auto_create_topic_enable: AtomicBool,
    auto_create_subscription_group: AtomicBool,
    file_reserved_time_hours: AtomicU64,
    long_polling_enable: AtomicBool,
}

/// One key with its new value.
enum Change {
    Permission(i32),
    AutoCreateTopic(bool),
    AutoCreateGroup(bool),
    ReservedHours(u64),
    LongPolling(bool),
}

impl LiveSettings {
    /// As the file has them.
    pub fn new(config: &BrokerConfig) -> LiveSettings {
        LiveSettings {
            broker_permission: config.broker_permission.into(),
            auto_create_topic_enable: config.auto_create_topic_enable.into(),
            auto_create_subscription_group: config.auto_create_subscription_group.into(),
            file_reserved_time_hours: config.file_reserved_time_hours.into(),
            long_polling_enable: config.long_polling_enable.into(),
        }
    }

    /// What the broker allows on top of each topic's permission.
    pub fn broker_permission(&self) -> i32 {
        self.broker_permission.load(Relaxed)
    }

    /// Whether a send may create its topic.
    pub fn auto_create_topic_enable(&self) -> bool {
        self.auto_create_topic_enable.load(Relaxed)
    }

    /// Whether a group is created when it first appears.
    pub fn auto_create_subscription_group(&self) -> bool {
        self.auto_create_subscription_group.load(Relaxed)
    }

    /// How long messages are kept.
    pub fn file_reserved_time_hours(&self) -> u64 {
        self.file_reserved_time_hours.load(Relaxed)
    }

    /// Whether pulls wait as long as their client asks.
    pub fn long_polling_enable(&self) -> bool {
        self.long_polling_enable.load(Relaxed)
    }

    /// The value in force of a key that can be changed.
    pub fn value(&self, key: &str) -> Option<String> {
        Some(match key {
            "brokerPermission" => self.broker_permission().render(),
            "autoCreateTopicEnable" => self.auto_create_topic_enable().render(),
            "autoCreateSubscriptionGroup" => self.auto_create_subscription_group().render(),
            "fileReservedTime" => self.file_reserved_time_hours().render(),
            "longPollingEnable" => self.long_polling_enable().render(),
            _ => return None,
        })
    }

    fn make(&self, change: &Change) {
        match *change {
            Change::Permission(value) => self.broker_permission.store(value, Relaxed),
            Change::AutoCreateTopic(value) => self.auto_create_topic_enable.store(value, Relaxed),
            Change::AutoCreateGroup(value) => {
                self.auto_create_subscription_group.store(value, Relaxed);
            }
            Change::ReservedHours(value) => self.file_reserved_time_hours.store(value, Relaxed),
            Change::LongPolling(value) => self.long_polling_enable.store(value, Relaxed),
        }
    }

    /// Makes all changes of a text, or none.
    fn update(&self, text: &str) -> Result<(), Failure> {
        let properties =
            Properties::parse(text).map_err(|error| Failure::invalid(error.to_string()))?;
        let changes: Result<Vec<Change>, Failure> =
            properties.iter().map(|(key, _)| change(key, &properties)).collect();
        let changes = changes?;
        if changes.is_empty() {
            return Err(Failure::invalid("the request names no key"));
        }
        changes.iter().for_each(|change| self.make(change));
        Ok(())
    }
}

fn change(key: &str, properties: &Properties) -> Result<Change, Failure> {
    let spec = BrokerConfig::KEYS.iter().find(|spec| spec.names().any(|name| name == key));
    let Some(spec) = spec else {
        return Err(Failure::invalid(format!("{key} is no key of this broker")));
    };
    match spec.key {
        "brokerPermission" => read(spec, properties).map(Change::Permission),
        "autoCreateTopicEnable" => read(spec, properties).map(Change::AutoCreateTopic),
        "autoCreateSubscriptionGroup" => read(spec, properties).map(Change::AutoCreateGroup),
        "fileReservedTime" => read(spec, properties).map(Change::ReservedHours),
        "longPollingEnable" => read(spec, properties).map(Change::LongPolling),
        key => Err(Failure::invalid(format!(
            "{key} cannot be changed while the broker runs; change it in its file and restart it"
        ))),
    }
}

fn read<T: Setting>(spec: &KeySpec, properties: &Properties) -> Result<T, Failure> {
    spec.read(properties).map_err(|problem: Problem| Failure::invalid(problem.to_string()))
}

/// Changes settings of this member.
pub fn update(core: &Core, command: &RemotingCommand) -> Outcome {
    if command.body.len() > CHANGE_BYTES_MAX {
        let remark = format!("the change is longer than {CHANGE_BYTES_MAX} bytes");
        return Err(Failure::invalid(remark));
    }
    let text = std::str::from_utf8(&command.body)
        .map_err(|error| Failure::invalid(format!("the change is no text: {error}")))?;
    core.live.update(text)?;
    tracing::warn!(
        broker = core.config.broker_name,
        change = text.trim(),
        "settings changed by an operator, on this member and until it ends; its file is as it was"
    );
    Ok(success())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Configuration as _;

    fn settings() -> LiveSettings {
        let text = "dLegerGroup=g\nbrokerName=g\ndLegerPeers=n0-h:1\ndLegerSelfId=n0";
        LiveSettings::new(&BrokerConfig::from_text(text).unwrap())
    }

    #[test]
    fn what_can_be_changed_is_changed_and_shown() {
        let live = settings();
        live.update("brokerPermission=4\nautoCreateTopicEnable=false\nfileReservedTime=9").unwrap();
        assert_eq!((live.broker_permission(), live.file_reserved_time_hours()), (4, 9));
        live.update("autoCreateSubscriptionGroup=false\nlongPollingEnable=false").unwrap();
        for (key, value) in [
            ("brokerPermission", "4"),
            ("autoCreateTopicEnable", "false"),
            ("autoCreateSubscriptionGroup", "false"),
            ("fileReservedTime", "9"),
            ("longPollingEnable", "false"),
        ] {
            assert_eq!(live.value(key).as_deref(), Some(value), "{key}");
        }
        assert_eq!(live.value("listenPort"), None);
    }

    #[test]
    fn a_change_is_made_as_a_whole_or_not_at_all() {
        let live = settings();
        for (text, named) in [
            ("brokerPermission=4\nlistenPort=1", "listenPort cannot be changed"),
            ("brokerPermission=4\nnoSuchKey=1", "noSuchKey is no key"),
            ("autoCreateTopicEnable=false\nbrokerPermission=9", "brokerPermission"),
            ("fileReservedTime=soon", "fileReservedTime"),
            ("", "no key"),
        ] {
            let failure = live.update(text).unwrap_err();
            assert!(failure.remark.contains(named), "{}", failure.remark);
        }
        assert_eq!(live.broker_permission(), 6);
        assert!(live.auto_create_topic_enable());
    }
}
