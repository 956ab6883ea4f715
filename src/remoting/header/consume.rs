//! Pulling, offsets, membership.
//!
//! Invariant: an answer to a pull always carries all four offsets; clients commit what they read.

use super::{EncodeHeader, FieldSink, request_header};
use crate::remoting::encode::{ExtValue, ExtWriter};
use crate::remoting::ext_fields::{ExtFields, FieldError, parse_i32, parse_i64};

/// The fields of a pull (11 and 361), borrowed from the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullHeader<'a> {
    /// Group.
    pub consumer_group: &'a str,
    /// Topic.
    pub topic: &'a str,
    /// Queue.
    pub queue_id: i32,
    /// Where to begin.
    pub queue_offset: i64,
    /// Messages wanted at most.
    pub max_msg_nums: i32,
    /// Bits of [`crate::protocol::sysflag::pull`].
    pub sys_flag: i32,
    /// Offset to commit, if the flags say so.
    pub commit_offset: i64,
    /// How long the broker may wait for messages.
    pub suspend_timeout_ms: i64,
    /// Version of the subscription.
    pub sub_version: i64,
    /// Expression, if the flags say so.
    pub subscription: Option<&'a str>,
    /// `TAG` or `SQL92`.
    pub expression_type: &'a str,
    /// Bytes wanted at most.
    pub max_msg_bytes: Option<i32>,
    /// Broker name the request is meant for.
    pub broker_name: Option<&'a str>,
}

#[derive(Default)]
struct FoundPull<'a> {
    consumer_group: Option<&'a str>,
    topic: Option<&'a str>,
    queue_id: Option<i32>,
    queue_offset: Option<i64>,
    max_msg_nums: Option<i32>,
    sys_flag: Option<i32>,
    commit_offset: Option<i64>,
    suspend_timeout_ms: Option<i64>,
    sub_version: Option<i64>,
    subscription: Option<&'a str>,
    expression_type: Option<&'a str>,
    max_msg_bytes: Option<i32>,
    broker_name: Option<&'a str>,
}

impl<'a> FoundPull<'a> {
    fn of(fields: &'a ExtFields) -> Result<Self, FieldError> {
        let mut found = Self::default();
        for (key, value) in fields.iter() {
            match key {
                "consumerGroup" => found.consumer_group = Some(value),
                "topic" => found.topic = Some(value),
                "queueId" => found.queue_id = parse_i32("queueId", value)?,
                "queueOffset" => found.queue_offset = parse_i64("queueOffset", value)?,
                "maxMsgNums" => found.max_msg_nums = parse_i32("maxMsgNums", value)?,
                "sysFlag" => found.sys_flag = parse_i32("sysFlag", value)?,
                "commitOffset" => found.commit_offset = parse_i64("commitOffset", value)?,
                "suspendTimeoutMillis" => {
                    found.suspend_timeout_ms = parse_i64("suspendTimeoutMillis", value)?;
                }
                "subVersion" => found.sub_version = parse_i64("subVersion", value)?,
                "subscription" => found.subscription = Some(value),
                "expressionType" => found.expression_type = Some(value),
                "maxMsgBytes" => found.max_msg_bytes = parse_i32("maxMsgBytes", value)?,
                "bname" => found.broker_name = Some(value),
                _ => {}
            }
        }
        Ok(found)
    }
}

impl<'a> PullHeader<'a> {
    /// Reads the fields of a pull, in one pass over them.
    ///
    /// # Errors
    /// The field that is missing or wrong.
    pub fn decode(fields: &'a ExtFields) -> Result<Self, FieldError> {
        let found = FoundPull::of(fields)?;
        let missing = |field| FieldError::Missing { field };
        Ok(Self {
            consumer_group: found.consumer_group.ok_or_else(|| missing("consumerGroup"))?,
            topic: found.topic.ok_or_else(|| missing("topic"))?,
            queue_id: found.queue_id.ok_or_else(|| missing("queueId"))?,
            queue_offset: found.queue_offset.ok_or_else(|| missing("queueOffset"))?,
            max_msg_nums: found.max_msg_nums.ok_or_else(|| missing("maxMsgNums"))?,
            sys_flag: found.sys_flag.ok_or_else(|| missing("sysFlag"))?,
            commit_offset: found.commit_offset.unwrap_or(0),
            suspend_timeout_ms: found.suspend_timeout_ms.unwrap_or(0),
            sub_version: found.sub_version.unwrap_or(0),
            subscription: found.subscription,
            expression_type: found.expression_type.filter(|t| !t.is_empty()).unwrap_or("TAG"),
            max_msg_bytes: found.max_msg_bytes,
            broker_name: found.broker_name,
        })
    }
}

impl EncodeHeader for PullHeader<'_> {
    fn encode(&self, sink: &mut dyn FieldSink) {
        sink.text("consumerGroup", self.consumer_group);
        sink.text("topic", self.topic);
        let mut put = |key, value: i64| value.with_text(|text| sink.text(key, text));
        put("queueId", i64::from(self.queue_id));
        put("queueOffset", self.queue_offset);
        put("maxMsgNums", i64::from(self.max_msg_nums));
        put("sysFlag", i64::from(self.sys_flag));
        put("commitOffset", self.commit_offset);
        put("suspendTimeoutMillis", self.suspend_timeout_ms);
        put("subVersion", self.sub_version);
        if let Some(max_msg_bytes) = self.max_msg_bytes {
            put("maxMsgBytes", i64::from(max_msg_bytes));
        }
        if let Some(subscription) = self.subscription {
            sink.text("subscription", subscription);
        }
        sink.text("expressionType", self.expression_type);
        if let Some(broker_name) = self.broker_name {
            sink.text("bname", broker_name);
        }
    }
}

/// The fields of every answer to a pull that reached the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PullResponseHeader {
    /// Broker id to pull from next.
    pub suggest_which_broker_id: i64,
    /// Where to go on.
    pub next_begin_offset: i64,
    /// First offset kept.
    pub min_offset: i64,
    /// Offset of the next message.
    pub max_offset: i64,
}

impl PullResponseHeader {
    /// Writes the fields.
    pub fn write(&self, ext: &mut ExtWriter<'_>) {
        ext.put("suggestWhichBrokerId", self.suggest_which_broker_id);
        ext.put("nextBeginOffset", self.next_begin_offset);
        ext.put("minOffset", self.min_offset);
        ext.put("maxOffset", self.max_offset);
    }

    /// Reads the fields.
    ///
    /// # Errors
    /// The field that is missing or wrong.
    pub fn decode(fields: &ExtFields) -> Result<Self, FieldError> {
        let required = |field| Ok(fields.get_i64(field)?.ok_or(FieldError::Missing { field }));
        Ok(Self {
            suggest_which_broker_id: fields.get_i64("suggestWhichBrokerId")?.unwrap_or(0),
            next_begin_offset: required("nextBeginOffset")??,
            min_offset: required("minOffset")??,
            max_offset: required("maxOffset")??,
        })
    }
}

request_header! {
    /// 14: the committed offset of a group.
    pub struct QueryConsumerOffsetHeader {
        /// Group.
        consumer_group: String = "consumerGroup" required,
        /// Topic.
        topic: String = "topic" required,
        /// Queue.
        queue_id: i32 = "queueId" required,
        /// Whether zero may be answered where nothing was committed.
        set_zero_if_not_found: bool = "setZeroIfNotFound" optional,
    }
}

request_header! {
    /// 15: commits an offset.
    pub struct UpdateConsumerOffsetHeader {
        /// Group.
        consumer_group: String = "consumerGroup" required,
        /// Topic.
        topic: String = "topic" required,
        /// Queue.
        queue_id: i32 = "queueId" required,
        /// Offset of the next message to consume.
        commit_offset: i64 = "commitOffset" required,
    }
}

/// Which of the messages around a time is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Boundary {
    /// The first one stored at the time or later.
    #[default]
    Lower,
    /// The last one stored at the time or earlier.
    Upper,
}

request_header! {
    /// 29: the offset at a time.
    pub struct SearchOffsetHeader {
        /// Topic.
        topic: String = "topic" required,
        /// Queue.
        queue_id: i32 = "queueId" required,
        /// Milliseconds.
        timestamp: i64 = "timestamp" required,
        /// `LOWER` or `UPPER`, in any case.
        boundary_type: String = "boundaryType" optional,
    }
}

impl SearchOffsetHeader {
    /// The boundary asked for.
    pub fn boundary(&self) -> Boundary {
        let is_upper =
            self.boundary_type.as_deref().is_some_and(|text| text.eq_ignore_ascii_case("UPPER"));
        if is_upper { Boundary::Upper } else { Boundary::Lower }
    }
}

request_header! {
    /// 30: the offset of the next message.
    pub struct GetMaxOffsetHeader {
        /// Topic.
        topic: String = "topic" required,
        /// Queue.
        queue_id: i32 = "queueId" required,
        /// Only what is committed counts.
        committed: bool = "committed" (true),
    }
}

request_header! {
    /// 31 and 32: the first message of a queue.
    pub struct QueueHeader {
        /// Topic.
        topic: String = "topic" required,
        /// Queue.
        queue_id: i32 = "queueId" required,
    }
}

request_header! {
    /// 12: messages by key.
    pub struct QueryMessageHeader {
        /// Topic.
        topic: String = "topic" required,
        /// Key.
        key: String = "key" required,
        /// Messages wanted at most.
        max_num: i32 = "maxNum" required,
        /// Not before.
        begin_timestamp: i64 = "beginTimestamp" required,
        /// Not after.
        end_timestamp: i64 = "endTimestamp" required,
        /// The key is a unique id.
        is_unique_key: bool = "_UNIQUE_KEY_QUERY" (false),
    }
}

request_header! {
    /// 33: one message by its position.
    pub struct ViewMessageHeader {
        /// Position.
        offset: i64 = "offset" required,
        /// Topic.
        topic: String = "topic" optional,
    }
}

request_header! {
    /// 35: a client leaves its groups.
    pub struct UnregisterClientHeader {
        /// Client.
        client_id: String = "clientID" required,
        /// Group it produced for.
        producer_group: String = "producerGroup" optional,
        /// Group it consumed in.
        consumer_group: String = "consumerGroup" optional,
    }
}

request_header! {
    /// 38, 40 and 203: about one consumer group.
    pub struct ConsumerGroupHeader {
        /// Group.
        consumer_group: String = "consumerGroup" required,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_comes_back() {
        let header = PullHeader {
            consumer_group: "g",
            topic: "T",
            queue_id: 1,
            queue_offset: 2,
            max_msg_nums: 32,
            sys_flag: 7,
            commit_offset: 3,
            suspend_timeout_ms: 15_000,
            sub_version: 4,
            subscription: Some("a || b"),
            expression_type: "TAG",
            max_msg_bytes: Some(5),
            broker_name: Some("broker-a"),
        };
        let command = header.request(11);
        assert_eq!(PullHeader::decode(&command.ext_fields).unwrap(), header);
    }

    #[test]
    fn cpp_leaves_the_expression_type_out() {
        let mut fields = ExtFields::default();
        for key in ["queueId", "queueOffset", "maxMsgNums", "sysFlag"] {
            fields.insert(key, 1);
        }
        fields.insert("topic", "T");
        assert_eq!(
            PullHeader::decode(&fields).unwrap_err(),
            FieldError::Missing { field: "consumerGroup" }
        );
        fields.insert("consumerGroup", "g");
        let header = PullHeader::decode(&fields).unwrap();
        assert_eq!((header.expression_type, header.subscription), ("TAG", None));
    }
}
