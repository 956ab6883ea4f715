//! Administration of a broker: topics, groups, inspection, leadership.
//!
//! Invariant: field names and defaults are those of the official tools.

use super::request_header;

request_header! {
    /// 17: creates or changes a topic.
    pub struct CreateTopicHeader {
        /// Name.
        topic: String = "topic" required,
        /// Topic after which it is made; not used.
        default_topic: String = "defaultTopic" (String::new()),
        /// Queues consumers see.
        read_queue_nums: i32 = "readQueueNums" required,
        /// Queues producers see.
        write_queue_nums: i32 = "writeQueueNums" required,
        /// Permission bits.
        perm: i32 = "perm" required,
        /// `SINGLE_TAG` or `MULTI_TAG`.
        topic_filter_type: String = "topicFilterType" ("SINGLE_TAG".to_owned()),
        /// Bits: 1 unit, 2 unit subscription.
        topic_sys_flag: i32 = "topicSysFlag" (0),
        /// Whether the topic is globally ordered.
        order: bool = "order" (false),
        /// `+key=value` or `-key`, separated by commas.
        attributes: String = "attributes" optional,
        /// Changes what is otherwise refused.
        force: bool = "force" (false),
    }
}

request_header! {
    /// 202, 215, 300 and 351: about one topic.
    pub struct TopicHeader {
        /// Name.
        topic: String = "topic" required,
    }
}

request_header! {
    /// 207: deletes a group.
    pub struct DeleteGroupHeader {
        /// Name.
        group_name: String = "groupName" required,
        /// Its offsets go too.
        clean_offset: bool = "cleanOffset" (false),
    }
}

request_header! {
    /// 352: about one group.
    pub struct GroupHeader {
        /// Name.
        group: String = "group" required,
    }
}

request_header! {
    /// 204: about one group of producers.
    pub struct ProducerGroupHeader {
        /// Name.
        producer_group: String = "producerGroup" required,
    }
}

request_header! {
    /// 208: how far a group is.
    pub struct ConsumeStatsHeader {
        /// Group.
        consumer_group: String = "consumerGroup" required,
        /// Only this topic.
        topic: String = "topic" optional,
        /// Only these topics, separated by semicolons.
        topic_list: String = "topicList" optional,
    }
}

request_header! {
    /// 222: sets a group's offsets back or forth.
    pub struct ResetOffsetHeader {
        /// Topic.
        topic: String = "topic" required,
        /// Group.
        group: String = "group" required,
        /// Milliseconds, -1 for the end.
        timestamp: i64 = "timestamp" required,
        /// Also forwards.
        is_force: bool = "isForce" (false),
        /// Only this queue, -1 for all.
        queue_id: i32 = "queueId" (-1),
        /// This offset in place of one by time.
        offset: i64 = "offset" optional,
    }
}

request_header! {
    /// 9002: hands leadership over.
    pub struct TransferLeaderHeader {
        /// Raft id of the new leader; absent lets the leader choose.
        target: i64 = "target" optional,
    }
}
