//! Messages as applications see them.
//!
//! Invariant: what is sent as properties comes back as the same properties; the separators of the
//! property string cannot be smuggled in through a key or a value.

use bytes::Bytes;

use crate::protocol::message_id::OffsetMessageId;
use crate::protocol::names;
use crate::protocol::properties::{self, NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR};
use crate::protocol::queue::MessageQueue;
use crate::protocol::record::RecordView;
use crate::protocol::sysflag;

use super::error::ClientError;

/// A message to send.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Topic.
    pub topic: String,
    /// Body.
    pub body: Bytes,
    /// The application's own flag, opaque to brokers.
    pub flag: i32,
    properties: Vec<(String, String)>,
}

impl Message {
    /// A message without tag or keys.
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Message {
        Message { topic: topic.into(), body: body.into(), ..Message::default() }
    }

    /// With a tag, by which consumers filter.
    #[must_use]
    pub fn with_tag(self, tag: &str) -> Message {
        self.with_property(properties::TAGS, tag)
    }

    /// With a key, by which it can be queried.
    #[must_use]
    pub fn with_key(self, key: &str) -> Message {
        self.with_property(properties::KEYS, key)
    }

    /// With a delay level of the broker's `messageDelayLevel`, the first one being 1: consumers see it
    /// when its delay has passed. It cannot be part of a batch.
    #[must_use]
    pub fn with_delay_level(self, level: u32) -> Message {
        self.with_property(properties::DELAY, &level.to_string())
    }

    /// With a property; replaces an earlier one of the same name.
    #[must_use]
    pub fn with_property(mut self, name: &str, value: &str) -> Message {
        self.properties.retain(|(known, _)| known != name);
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The property string to send, with the message's unique id.
    ///
    /// # Errors
    /// When the topic's name is not one, or a property holds a separator.
    pub(super) fn encode_properties(&self, unique_id: &str) -> Result<String, ClientError> {
        let illegal = |what: String| Err(ClientError::IllegalMessage(what));
        if let Err(error) = names::validate_topic(&self.topic) {
            return illegal(error.to_string());
        }
        let mut text = String::with_capacity(96);
        let own = [(properties::UNIQ_KEY, unique_id), (properties::WAIT, "true")];
        let given = self.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let reserved = |name: &str| own.iter().any(|(known, _)| *known == name);
        for (name, value) in own.into_iter().chain(given.filter(|(name, _)| !reserved(name))) {
            let separator = |byte: u8| byte == NAME_VALUE_SEPARATOR || byte == PROPERTY_SEPARATOR;
            if name.bytes().chain(value.bytes()).any(separator) {
                return illegal(format!("property {name} holds a separator (byte 1 or 2)"));
            }
            if name.is_empty() || value.is_empty() {
                return illegal(format!("property `{name}` has an empty name or value"));
            }
            text.push_str(name);
            text.push(char::from(NAME_VALUE_SEPARATOR));
            text.push_str(value);
            text.push(char::from(PROPERTY_SEPARATOR));
        }
        if text.len() > properties::PROPERTIES_BYTES_MAX {
            return illegal(format!("properties of {} bytes exceed 32767", text.len()));
        }
        Ok(text)
    }
}

/// How safely a message was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendStatus {
    /// As safely as the broker is configured to.
    SendOk,
    /// Stored, but not flushed in time.
    FlushDiskTimeout,
    /// Stored, but not replicated in time.
    FlushSlaveTimeout,
    /// Stored, but there was no replica to copy it to.
    SlaveNotAvailable,
}

impl SendStatus {
    /// As RocketMQ calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            SendStatus::SendOk => "SEND_OK",
            SendStatus::FlushDiskTimeout => "FLUSH_DISK_TIMEOUT",
            SendStatus::FlushSlaveTimeout => "FLUSH_SLAVE_TIMEOUT",
            SendStatus::SlaveNotAvailable => "SLAVE_NOT_AVAILABLE",
        }
    }
}

/// Where a message was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendResult {
    /// How safely.
    pub status: SendStatus,
    /// Its unique id, given by this client.
    pub message_id: String,
    /// Where it lies in the log, as an id.
    pub offset_message_id: String,
    /// Its queue.
    pub queue: MessageQueue,
    /// Its offset in the queue; of a batch, the first one's.
    pub queue_offset: i64,
    /// How often it was sent. What became of the earlier ones is unknown: up to this many copies may be
    /// stored.
    pub attempts: u32,
}

/// A message as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// Topic; for a retried message, the one it was first sent to.
    pub topic: String,
    /// Name of the broker group it came from.
    pub broker_name: String,
    /// Queue within the topic.
    pub queue_id: i32,
    /// Offset within the queue.
    pub queue_offset: i64,
    /// Position in the log.
    pub physical_offset: i64,
    /// The application's own flag.
    pub flag: i32,
    /// System flags.
    pub sys_flag: i32,
    /// When it was made, by the producer's clock.
    pub born_timestamp_ms: i64,
    /// Where it came from.
    pub born_host: std::net::SocketAddr,
    /// When it was stored.
    pub store_timestamp_ms: i64,
    /// Where it was stored.
    pub store_host: std::net::SocketAddr,
    /// Failed attempts to consume it so far.
    pub reconsume_times: i32,
    /// Body, inflated if it was compressed with zlib.
    pub body: Bytes,
    properties: Bytes,
}

impl ReceivedMessage {
    /// Copies a record out of a pull answer.
    pub(super) fn from_record(view: &RecordView<'_>, broker_name: &str) -> ReceivedMessage {
        let original_topic = view.property(properties::RETRY_TOPIC);
        let topic = original_topic.filter(|_| names::is_retry_topic(view.topic));
        ReceivedMessage {
            topic: topic.unwrap_or(view.topic).to_owned(),
            broker_name: broker_name.to_owned(),
            queue_id: view.queue_id,
            queue_offset: view.queue_offset,
            physical_offset: view.physical_offset,
            flag: view.flag,
            sys_flag: view.sys_flag,
            born_timestamp_ms: view.born_timestamp_ms,
            born_host: view.born_host,
            store_timestamp_ms: view.store_timestamp_ms,
            store_host: view.store_host,
            reconsume_times: view.reconsume_times,
            body: inflate(view),
            properties: Bytes::copy_from_slice(view.properties),
        }
    }

    /// A property.
    pub fn property(&self, name: &str) -> Option<&str> {
        properties::get(&self.properties, name)
    }

    /// Every property, in the order they were stored.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = |(name, value)| {
            Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
        };
        properties::iter(&self.properties).filter_map(text)
    }

    /// Its tag.
    pub fn tag(&self) -> Option<&str> {
        self.property(properties::TAGS)
    }

    /// Its unique id, or its offset id if the producer gave it none.
    pub fn message_id(&self) -> String {
        self.property(properties::UNIQ_KEY).map_or_else(|| self.offset_message_id(), str::to_owned)
    }

    /// The system flags that say how its body is compressed, which it still is.
    pub(super) fn compression(&self) -> i32 {
        if is_inflated(self.sys_flag) {
            return 0;
        }
        self.sys_flag & (sysflag::COMPRESSED | sysflag::COMPRESSION_TYPE_MASK)
    }

    /// Where it lies in the log, as an id.
    pub fn offset_message_id(&self) -> String {
        OffsetMessageId { store_host: self.store_host, offset: self.physical_offset }.to_string()
    }
}

/// Whether a body with these flags is shown as it was before compression.
fn is_inflated(sys_flag: i32) -> bool {
    const ZLIB: [i32; 2] = [0, 0x300];
    let compressed = sys_flag & sysflag::COMPRESSED != 0;
    compressed && ZLIB.contains(&(sys_flag & sysflag::COMPRESSION_TYPE_MASK))
}

/// The body as it was before compression. Bodies in formats other than zlib stay as they are.
fn inflate(view: &RecordView<'_>) -> Bytes {
    use std::io::Read as _;
    if is_inflated(view.sys_flag) {
        let mut body = Vec::new();
        if flate2::read::ZlibDecoder::new(view.body).read_to_end(&mut body).is_ok() {
            return Bytes::from(body);
        }
    }
    Bytes::copy_from_slice(view.body)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_encoded_once_each() {
        let message = Message::new("T", "b").with_tag("A").with_key("k").with_tag("B");
        let text = message.encode_properties("ID").unwrap();
        assert_eq!(text, "UNIQ_KEY\u{1}ID\u{2}WAIT\u{1}true\u{2}KEYS\u{1}k\u{2}TAGS\u{1}B\u{2}");
        let smuggled = Message::new("T", "b").with_property("UNIQ_KEY", "other");
        assert_eq!(
            properties::get(smuggled.encode_properties("ID").unwrap().as_bytes(), "UNIQ_KEY"),
            Some("ID")
        );
    }

    #[test]
    fn a_body_that_is_still_compressed_is_known_as_such() {
        let host = "127.0.0.1:1".parse().unwrap();
        let compression = |sys_flag| {
            let received = ReceivedMessage {
                topic: "T".to_owned(),
                broker_name: "b".to_owned(),
                queue_id: 0,
                queue_offset: 0,
                physical_offset: 0,
                flag: 0,
                sys_flag,
                born_timestamp_ms: 0,
                born_host: host,
                store_timestamp_ms: 0,
                store_host: host,
                reconsume_times: 0,
                body: Bytes::new(),
                properties: Bytes::new(),
            };
            received.compression()
        };
        let (zlib, lz4) = (sysflag::COMPRESSED, sysflag::COMPRESSED | 0x100);
        assert_eq!([sysflag::MULTI_TAGS, zlib, zlib | 0x300].map(compression), [0, 0, 0]);
        assert_eq!(compression(lz4 | sysflag::MULTI_TAGS | sysflag::BORN_HOST_V6), lz4);
    }

    #[test]
    fn separators_and_bad_topics_are_refused() {
        let bad = Message::new("T", "b").with_property("a", "x\u{1}y");
        assert!(matches!(bad.encode_properties("I"), Err(ClientError::IllegalMessage(_))));
        assert!(Message::new("no spaces", "b").encode_properties("I").is_err());
        assert!(Message::new("T", "b").with_property("a", "").encode_properties("I").is_err());
    }
}
