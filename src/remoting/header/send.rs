//! Sending: two spellings of one header, and sending back.
//!
//! Invariant: the spelling follows the code (10 and 324 have whole names, all others one letter), and
//! whether it is a batch follows the field, never the code: C++ sends batches under 310.

use super::{EncodeHeader, FieldSink, Fresh, request_header};
use crate::protocol::code::request;
use crate::remoting::encode::ExtValue;
use crate::remoting::ext_fields::{ExtFields, FieldError, parse_bool, parse_i32, parse_i64};

/// The fields of a send, borrowed from the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendHeader<'a> {
    /// Group of the producer.
    pub producer_group: &'a str,
    /// Topic.
    pub topic: &'a str,
    /// Topic after which an unknown one is created.
    pub default_topic: &'a str,
    /// Queues an unknown topic gets at most.
    pub default_topic_queue_nums: i32,
    /// Queue; negative lets the broker choose.
    pub queue_id: i32,
    /// System flags.
    pub sys_flag: i32,
    /// When the message was made.
    pub born_timestamp_ms: i64,
    /// The user's flag.
    pub flag: i32,
    /// Property string; of a batch, what holds for it as a whole.
    pub properties: &'a str,
    /// Failed attempts to consume it.
    pub reconsume_times: i32,
    /// Obsolete.
    pub unit_mode: bool,
    /// Attempts allowed.
    pub max_reconsume_times: Option<i32>,
    /// The body holds several messages.
    pub batch: bool,
    /// Broker name the request is meant for.
    pub broker_name: Option<&'a str>,
}

/// Names of the fields in one of the two spellings.
struct Names {
    producer_group: &'static str,
    topic: &'static str,
    default_topic: &'static str,
    default_topic_queue_nums: &'static str,
    queue_id: &'static str,
    sys_flag: &'static str,
    born_timestamp: &'static str,
    flag: &'static str,
    properties: &'static str,
    reconsume_times: &'static str,
    unit_mode: &'static str,
    max_reconsume_times: &'static str,
    batch: &'static str,
    broker_name: &'static str,
}

static WHOLE: Names = Names {
    producer_group: "producerGroup",
    topic: "topic",
    default_topic: "defaultTopic",
    default_topic_queue_nums: "defaultTopicQueueNums",
    queue_id: "queueId",
    sys_flag: "sysFlag",
    born_timestamp: "bornTimestamp",
    flag: "flag",
    properties: "properties",
    reconsume_times: "reconsumeTimes",
    unit_mode: "unitMode",
    max_reconsume_times: "maxReconsumeTimes",
    batch: "batch",
    broker_name: "bname",
};

static LETTERS: Names = Names {
    producer_group: "a",
    topic: "b",
    default_topic: "c",
    default_topic_queue_nums: "d",
    queue_id: "e",
    sys_flag: "f",
    born_timestamp: "g",
    flag: "h",
    properties: "i",
    reconsume_times: "j",
    unit_mode: "k",
    max_reconsume_times: "l",
    batch: "m",
    broker_name: "n",
};

fn names_of(code: i32) -> &'static Names {
    match code {
        request::SEND_MESSAGE | request::SEND_REPLY_MESSAGE => &WHOLE,
        _ => &LETTERS,
    }
}

/// What was found so far of a [`SendHeader`].
#[derive(Default)]
struct Found<'a> {
    producer_group: Option<&'a str>,
    topic: Option<&'a str>,
    default_topic: Option<&'a str>,
    default_topic_queue_nums: Option<i32>,
    queue_id: Option<i32>,
    sys_flag: Option<i32>,
    born_timestamp_ms: Option<i64>,
    flag: Option<i32>,
    properties: Option<&'a str>,
    reconsume_times: Option<i32>,
    unit_mode: Option<bool>,
    max_reconsume_times: Option<i32>,
    batch: Option<bool>,
    broker_name: Option<&'a str>,
}

impl<'a> Found<'a> {
    fn by_letter(&mut self, key: u8, value: &'a str) -> Result<(), FieldError> {
        match key {
            b'a' => self.producer_group = Some(value),
            b'b' => self.topic = Some(value),
            b'c' => self.default_topic = Some(value),
            b'd' => self.default_topic_queue_nums = parse_i32("d", value)?,
            b'e' => self.queue_id = parse_i32("e", value)?,
            b'f' => self.sys_flag = parse_i32("f", value)?,
            b'g' => self.born_timestamp_ms = parse_i64("g", value)?,
            b'h' => self.flag = parse_i32("h", value)?,
            b'i' => self.properties = Some(value),
            b'j' => self.reconsume_times = parse_i32("j", value)?,
            b'k' => self.unit_mode = parse_bool("k", value)?,
            b'l' => self.max_reconsume_times = parse_i32("l", value)?,
            b'm' => self.batch = parse_bool("m", value)?,
            b'n' => self.broker_name = Some(value),
            _ => {}
        }
        Ok(())
    }

    fn by_name(&mut self, key: &str, value: &'a str) -> Result<(), FieldError> {
        match key {
            "producerGroup" => self.producer_group = Some(value),
            "topic" => self.topic = Some(value),
            "defaultTopic" => self.default_topic = Some(value),
            "defaultTopicQueueNums" => {
                self.default_topic_queue_nums = parse_i32("defaultTopicQueueNums", value)?;
            }
            "queueId" => self.queue_id = parse_i32("queueId", value)?,
            "sysFlag" => self.sys_flag = parse_i32("sysFlag", value)?,
            "bornTimestamp" => self.born_timestamp_ms = parse_i64("bornTimestamp", value)?,
            "flag" => self.flag = parse_i32("flag", value)?,
            "properties" => self.properties = Some(value),
            "reconsumeTimes" => self.reconsume_times = parse_i32("reconsumeTimes", value)?,
            "unitMode" => self.unit_mode = parse_bool("unitMode", value)?,
            "maxReconsumeTimes" => {
                self.max_reconsume_times = parse_i32("maxReconsumeTimes", value)?;
            }
            "batch" => self.batch = parse_bool("batch", value)?,
            "bname" => self.broker_name = Some(value),
            _ => {}
        }
        Ok(())
    }
}

impl<'a> SendHeader<'a> {
    /// Reads the fields of a send with this code, in one pass over them.
    ///
    /// # Errors
    /// The field that is missing or wrong.
    pub fn decode(code: i32, fields: &'a ExtFields) -> Result<Self, FieldError> {
        let names = names_of(code);
        let is_whole = std::ptr::eq(names, &WHOLE);
        let mut found = Found::default();
        for (key, value) in fields.iter() {
            if is_whole {
                found.by_name(key, value)?;
            } else if let [letter] = key.as_bytes() {
                found.by_letter(*letter, value)?;
            }
        }
        let missing = |field| FieldError::Missing { field };
        Ok(Self {
            producer_group: found.producer_group.ok_or_else(|| missing(names.producer_group))?,
            topic: found.topic.ok_or_else(|| missing(names.topic))?,
            default_topic: found.default_topic.ok_or_else(|| missing(names.default_topic))?,
            default_topic_queue_nums: found
                .default_topic_queue_nums
                .ok_or_else(|| missing(names.default_topic_queue_nums))?,
            queue_id: found.queue_id.ok_or_else(|| missing(names.queue_id))?,
            sys_flag: found.sys_flag.ok_or_else(|| missing(names.sys_flag))?,
            born_timestamp_ms: found
                .born_timestamp_ms
                .ok_or_else(|| missing(names.born_timestamp))?,
            flag: found.flag.ok_or_else(|| missing(names.flag))?,
            properties: found.properties.unwrap_or_default(),
            reconsume_times: found.reconsume_times.unwrap_or(0),
            unit_mode: found.unit_mode.unwrap_or(false),
            max_reconsume_times: found.max_reconsume_times,
            batch: found.batch.unwrap_or(false),
            broker_name: found.broker_name,
        })
    }

    /// Writes the fields in the spelling of this code.
    pub fn encode(&self, code: i32, sink: &mut dyn FieldSink) {
        let names = names_of(code);
        sink.text(names.producer_group, self.producer_group);
        sink.text(names.topic, self.topic);
        sink.text(names.default_topic, self.default_topic);
        let mut put = |key, value: i64| value.with_text(|text| sink.text(key, text));
        put(names.default_topic_queue_nums, i64::from(self.default_topic_queue_nums));
        put(names.queue_id, i64::from(self.queue_id));
        put(names.sys_flag, i64::from(self.sys_flag));
        put(names.born_timestamp, self.born_timestamp_ms);
        put(names.flag, i64::from(self.flag));
        put(names.reconsume_times, i64::from(self.reconsume_times));
        if let Some(max_reconsume_times) = self.max_reconsume_times {
            put(names.max_reconsume_times, i64::from(max_reconsume_times));
        }
        sink.text(names.properties, self.properties);
        self.unit_mode.with_text(|text| sink.text(names.unit_mode, text));
        self.batch.with_text(|text| sink.text(names.batch, text));
        if let Some(broker_name) = self.broker_name {
            sink.text(names.broker_name, broker_name);
        }
    }

    /// A request of this code with these fields and no body yet.
    pub fn request(&self, code: i32) -> crate::remoting::RemotingCommand {
        let mut command = crate::remoting::RemotingCommand::request(code);
        self.encode(code, &mut Fresh(&mut command.ext_fields));
        command
    }
}

request_header! {
    /// 36: a consumer could not process a message and sends it back.
    pub struct SendBackHeader {
        /// Position of the message.
        offset: i64 = "offset" required,
        /// Group that could not process it.
        group: String = "group" required,
        /// Zero lets the broker choose, negative means to give up.
        delay_level: i32 = "delayLevel" required,
        /// Id of the message.
        origin_msg_id: String = "originMsgId" optional,
        /// Topic of the message.
        origin_topic: String = "originTopic" optional,
        /// Obsolete.
        unit_mode: bool = "unitMode" (false),
        /// Attempts allowed, in place of the group's.
        max_reconsume_times: i32 = "maxReconsumeTimes" optional,
    }
}

request_header! {
    /// The fields of a send's answer.
    pub struct SendResponseHeader {
        /// Offset message id; of a batch, all of them, separated by commas.
        msg_id: String = "msgId" required,
        /// Queue it was stored in.
        queue_id: i32 = "queueId" required,
        /// Offset of the first message in it.
        queue_offset: i64 = "queueOffset" required,
        /// The unique id of the request.
        transaction_id: String = "transactionId" optional,
    }
}

impl SendBackHeader {
    /// A request with these fields.
    pub fn to_request(&self) -> crate::remoting::RemotingCommand {
        self.request(request::CONSUMER_SEND_MSG_BACK)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn header() -> SendHeader<'static> {
        SendHeader {
            producer_group: "pg",
            topic: "T",
            default_topic: "TBW102",
            default_topic_queue_nums: 4,
            queue_id: -1,
            sys_flag: 1,
            born_timestamp_ms: 1_700_000_000_000,
            flag: 9,
            properties: "TAGS\u{1}a\u{2}",
            reconsume_times: 2,
            unit_mode: false,
            max_reconsume_times: Some(16),
            batch: true,
            broker_name: Some("broker-a"),
        }
    }

    #[test]
    fn both_spellings_come_back() {
        for code in [10, 310, 320, 324, 325] {
            let command = header().request(code);
            assert_eq!(SendHeader::decode(code, &command.ext_fields).unwrap(), header(), "{code}");
        }
        assert_eq!(header().request(310).ext_fields.get("b"), Some("T"));
        assert_eq!(header().request(10).ext_fields.get("topic"), Some("T"));
    }

    #[test]
    fn the_code_decides_the_spelling() {
        let command = header().request(310);
        assert_eq!(
            SendHeader::decode(10, &command.ext_fields).unwrap_err(),
            FieldError::Missing { field: "producerGroup" }
        );
        let command = header().request(10);
        assert_eq!(
            SendHeader::decode(320, &command.ext_fields).unwrap_err(),
            FieldError::Missing { field: "a" }
        );
    }

    #[test]
    fn go_leaves_out_what_is_optional() {
        let mut fields = ExtFields::default();
        for (key, value) in [
            ("producerGroup", "pg"),
            ("topic", "T"),
            ("defaultTopic", "TBW102"),
            ("defaultTopicQueueNums", "4"),
            ("queueId", "0"),
            ("sysFlag", "0"),
            ("bornTimestamp", "5"),
            ("flag", "0"),
            ("maxReconsumeTimes", ""),
            ("unknown", "x"),
        ] {
            fields.insert(key, value);
        }
        let read = SendHeader::decode(10, &fields).unwrap();
        assert_eq!((read.properties, read.batch, read.max_reconsume_times), ("", false, None));
        fields.insert("queueId", "x");
        assert!(matches!(
            SendHeader::decode(10, &fields),
            Err(FieldError::Invalid { field: "queueId", .. })
        ));
    }
}
