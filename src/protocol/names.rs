//! Which topic and group names are valid, and which mean something of their own.
//!
//! Invariant: every name that passes [`validate_topic`] fits the record's signed one-byte length.

/// Topic of a group's messages that wait for their next attempt.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Topic of a group's messages that ran out of attempts.
pub const DEAD_LETTER_PREFIX: &str = "%DLQ%";
/// The topic whose configuration new topics inherit.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Delayed messages wait here.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Half messages wait here.
pub const TRANSACTION_HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Marks of half messages that were settled.
pub const TRANSACTION_OP_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Message trace.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// Every topic that starts so belongs to the system.
pub const SYSTEM_TOPIC_PREFIX: &str = "rmq_sys_";
/// Every group that starts so belongs to the system.
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";
/// The producer group inside every client.
pub const CLIENT_INNER_PRODUCER_GROUP: &str = "CLIENT_INNER_PRODUCER";
/// The group of command line tools.
pub const TOOLS_CONSUMER_GROUP: &str = "TOOLS_CONSUMER";

/// Longest topic name: the record keeps its length in a signed byte.
pub const TOPIC_BYTES_MAX: usize = 127;
/// Longest group name: with its retry prefix it still is a topic.
pub const GROUP_BYTES_MAX: usize = 120;

const SYSTEM_TOPICS: [&str; 10] = [
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    "BenchmarkTest",
    TRANSACTION_HALF_TOPIC,
    TRANSACTION_OP_TOPIC,
    TRACE_TOPIC,
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
    "CHECKPOINT_TOPIC",
];

const TOPICS_CLOSED_TO_CLIENTS: [&str; 6] = [
    SCHEDULE_TOPIC,
    TRANSACTION_HALF_TOPIC,
    TRANSACTION_OP_TOPIC,
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
];

/// Groups that exist on every broker from its start.
pub const SYSTEM_GROUPS: [&str; 8] = [
    TOOLS_CONSUMER_GROUP,
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];

/// Why a name is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty or blank.
    #[error("the specified {kind} is blank")]
    Blank {
        /// `topic` or `group`.
        kind: &'static str,
    },
    /// Too long.
    #[error("the specified {kind} is longer than {bytes_max} bytes")]
    TooLong {
        /// `topic` or `group`.
        kind: &'static str,
        /// The limit.
        bytes_max: usize,
    },
    /// A character outside the allowed set.
    #[error("the specified {kind} contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")]
    IllegalCharacter {
        /// `topic` or `group`.
        kind: &'static str,
    },
}

/// Checks the name of a topic, also of a retry or dead letter topic.
///
/// # Errors
/// What is wrong with it.
pub fn validate_topic(name: &str) -> Result<(), NameError> {
    validate(name, "topic", TOPIC_BYTES_MAX)
}

/// Checks the name of a group.
///
/// # Errors
/// What is wrong with it.
pub fn validate_group(name: &str) -> Result<(), NameError> {
    validate(name, "group", GROUP_BYTES_MAX)
}

fn validate(name: &str, kind: &'static str, bytes_max: usize) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Blank { kind });
    }
    if name.len() > bytes_max {
        return Err(NameError::TooLong { kind, bytes_max });
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"%|_-".contains(&byte);
    if !name.bytes().all(allowed) {
        return Err(NameError::IllegalCharacter { kind });
    }
    Ok(())
}

/// A topic that is part of the machinery: it cannot be created, changed or deleted by request.
pub fn is_system_topic(name: &str) -> bool {
    SYSTEM_TOPICS.contains(&name) || name.starts_with(SYSTEM_TOPIC_PREFIX)
}

/// A topic to which no client may send.
pub fn is_closed_to_clients(name: &str) -> bool {
    TOPICS_CLOSED_TO_CLIENTS.contains(&name)
}

/// A group that is part of the machinery.
pub fn is_system_group(name: &str) -> bool {
    SYSTEM_GROUPS.contains(&name) || name.starts_with(SYSTEM_GROUP_PREFIX)
}

/// The retry topic of a group.
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// The dead letter topic of a group.
pub fn dead_letter_topic(group: &str) -> String {
    format!("{DEAD_LETTER_PREFIX}{group}")
}

/// The group of a retry topic.
pub fn group_of_retry_topic(topic: &str) -> Option<&str> {
    topic.strip_prefix(RETRY_PREFIX)
}

/// Whether a topic is some group's retry topic.
pub fn is_retry_topic(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX)
}

/// Whether a topic is some group's dead letter topic.
pub fn is_dead_letter_topic(topic: &str) -> bool {
    topic.starts_with(DEAD_LETTER_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(validate_topic("Order_1-%RETRY%|x"), Ok(()));
        assert_eq!(validate_topic(" "), Err(NameError::Blank { kind: "topic" }));
        assert_eq!(validate_topic("a b"), Err(NameError::IllegalCharacter { kind: "topic" }));
        assert_eq!(validate_topic("ä"), Err(NameError::IllegalCharacter { kind: "topic" }));
        assert!(validate_topic(&"t".repeat(127)).is_ok());
        assert!(validate_topic(&"t".repeat(128)).is_err());
        assert!(validate_group(&"g".repeat(120)).is_ok());
        assert!(validate_group(&"g".repeat(121)).is_err());
        assert!(validate_topic(&retry_topic(&"g".repeat(120))).is_ok());
    }

    #[test]
    fn prefixes_are_cut_once() {
        assert_eq!(group_of_retry_topic("%RETRY%NS%g"), Some("NS%g"));
        assert_eq!(group_of_retry_topic("%DLQ%g"), None);
        assert!(is_system_topic("rmq_sys_wheel_timer"));
        assert!(is_closed_to_clients(SCHEDULE_TOPIC));
        assert!(!is_closed_to_clients(AUTO_CREATE_TOPIC));
        assert!(is_system_group("CID_RMQ_SYS_x"));
    }
}
