//! The topics and groups that a broker group has from its first leader on.
//!
//! Invariant: they are proposed like any others, so the state stays a function of the log; proposing
//! them again changes nothing.

use crate::protocol::group::SubscriptionGroupConfig;
use crate::protocol::names;
use crate::protocol::topic::{TopicConfig, permission};

/// What decides about the topics of a new broker group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultTopics<'a> {
    /// Name of the cluster.
    pub cluster_name: &'a str,
    /// Name of the broker group.
    pub broker_name: &'a str,
    /// Whether producers may create topics by sending to them.
    pub auto_create_topic_enable: bool,
    /// Most queues of a topic that a producer creates.
    pub default_topic_queue_nums: i32,
}

/// The topic in which delayed messages wait, a queue for each level.
pub fn schedule_topic() -> TopicConfig {
    TopicConfig::new(names::SCHEDULE_TOPIC, 18, permission::READ_WRITE)
}

/// Topics that exist from the start.
pub fn default_topics(settings: &DefaultTopics<'_>) -> Vec<TopicConfig> {
    let inherited = permission::READ_WRITE | permission::INHERIT;
    let system = |name: &str, queues| TopicConfig::new(name, queues, permission::READ_WRITE);
    let mut topics = vec![
        // Tools send to the topics named like the cluster and the broker to see whether they live.
        TopicConfig::new(settings.cluster_name, 16, inherited),
        TopicConfig::new(settings.broker_name, 1, inherited),
        system("SELF_TEST_TOPIC", 1),
        system("OFFSET_MOVED_EVENT", 1),
        system("BenchmarkTest", 1024),
        schedule_topic(),
        system(&format!("{}_REPLY_TOPIC", settings.cluster_name), 1),
        system(names::TRACE_TOPIC, 1),
        system(names::TRANSACTION_HALF_TOPIC, 1),
        system(names::TRANSACTION_OP_TOPIC, 1),
    ];
    if settings.auto_create_topic_enable {
        let queues = settings.default_topic_queue_nums;
        topics.push(TopicConfig::new(names::AUTO_CREATE_TOPIC, queues, inherited));
    }
    topics
}

/// Consumer groups that exist from the start.
pub fn default_groups() -> Vec<SubscriptionGroupConfig> {
    names::SYSTEM_GROUPS.into_iter().map(SubscriptionGroupConfig::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producers_may_create_topics_only_when_the_model_topic_exists() {
        let mut settings = DefaultTopics {
            cluster_name: "c",
            broker_name: "b",
            auto_create_topic_enable: true,
            default_topic_queue_nums: 8,
        };
        let model = |settings: &DefaultTopics<'_>| {
            default_topics(settings).into_iter().find(|t| t.topic_name == names::AUTO_CREATE_TOPIC)
        };
        let topic = model(&settings).expect("there when on");
        assert_eq!((topic.write_queue_nums, topic.perm), (8, 7));
        settings.auto_create_topic_enable = false;
        assert_eq!(model(&settings), None);
    }
}
