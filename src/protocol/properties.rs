//! A message's property string: `key \u0001 value \u0002 key \u0001 value \u0002 …`.
//!
//! Invariant: reading follows Java's reader: the last separator may be missing, a part without key
//! or value is skipped, and of two entries with the same key the last one counts. Writing never
//! produces an entry that such a reader would skip.

use bytes::{BufMut, BytesMut};
use memchr::memchr;

/// Between a key and its value.
pub const NAME_VALUE_SEPARATOR: u8 = 1;
/// After each entry.
pub const PROPERTY_SEPARATOR: u8 = 2;
/// The record stores the length as a signed 16-bit number.
pub const PROPERTIES_BYTES_MAX: usize = i16::MAX as usize;

/// User keys, separated by one blank.
pub const KEYS: &str = "KEYS";
/// The tag.
pub const TAGS: &str = "TAGS";
/// Whether the producer waits for the store.
pub const WAIT: &str = "WAIT";
/// Delay level, 1 to 18.
pub const DELAY: &str = "DELAY";
/// Original topic of a message in a retry topic.
pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
/// Real destination of a delayed or half message.
pub const REAL_TOPIC: &str = "REAL_TOPIC";
/// Queue of [`REAL_TOPIC`].
pub const REAL_QID: &str = "REAL_QID";
/// Marks a half message.
pub const TRAN_MSG: &str = "TRAN_MSG";
/// Producer group of a half message.
pub const PGROUP: &str = "PGROUP";
/// Unique id given by the producer's client: what users call the message id.
pub const UNIQ_KEY: &str = "UNIQ_KEY";
/// Id of the first message in a retry chain.
pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
/// Attempts so far, on a message its consumer sent back by itself.
pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
/// Attempts allowed, on a message its consumer sent back by itself.
pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
/// Region of the broker.
pub const MSG_REGION: &str = "MSG_REGION";
/// Whether message trace is on.
pub const TRACE_ON: &str = "TRACE_ON";
/// Transaction id.
pub const TRANSACTION_ID: &str = "__transactionId__";
/// Cluster of the broker that stored a request of request-reply.
pub const CLUSTER: &str = "CLUSTER";
/// Pairs a reply with its request.
pub const CORRELATION_ID: &str = "CORRELATION_ID";
/// Client that waits for a reply.
pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
/// How long a request waits for its reply.
pub const TTL: &str = "TTL";
/// `reply` on the answer of request-reply.
pub const MSG_TYPE: &str = "MSG_TYPE";
/// Check point of a popped message.
pub const POP_CK: &str = "POP_CK";
/// Relative delay in seconds.
pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
/// Relative delay in milliseconds.
pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
/// Absolute delivery time in milliseconds.
pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
/// Topic from which a message came to its dead letter topic.
pub const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
/// Id under which a message came to its dead letter topic.
pub const DLQ_ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";

/// Entries in order of appearance.
pub fn iter(properties: &[u8]) -> Iter<'_> {
    Iter { rest: properties }
}

/// See [`iter`].
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let entry = match memchr(PROPERTY_SEPARATOR, self.rest) {
                Some(end) => {
                    let entry = &self.rest[..end];
                    self.rest = &self.rest[end + 1..];
                    entry
                }
                None => std::mem::take(&mut self.rest),
            };
            if let Some(middle) = memchr(NAME_VALUE_SEPARATOR, entry)
                && middle > 0
                && middle + 1 < entry.len()
            {
                return Some((&entry[..middle], &entry[middle + 1..]));
            }
        }
        None
    }
}

/// Value of `key`, when it is there and is text.
pub fn get<'a>(properties: &'a [u8], key: &str) -> Option<&'a str> {
    let value = iter(properties).filter(|(name, _)| *name == key.as_bytes()).last()?.1;
    std::str::from_utf8(value).ok()
}

/// The properties an index needs, found in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Indexed<'a> {
    /// [`TAGS`].
    pub tags: Option<&'a str>,
    /// [`KEYS`], still in one piece; [`Indexed::each_key`] splits them.
    pub keys: Option<&'a str>,
    /// [`UNIQ_KEY`].
    pub unique_key: Option<&'a str>,
}

impl<'a> Indexed<'a> {
    /// Reads them from a property string.
    pub fn of(properties: &'a [u8]) -> Self {
        let mut found = Self::default();
        for (name, value) in iter(properties) {
            let slot = match name {
                b"TAGS" => &mut found.tags,
                b"KEYS" => &mut found.keys,
                b"UNIQ_KEY" => &mut found.unique_key,
                _ => continue,
            };
            *slot = std::str::from_utf8(value).ok();
        }
        found
    }

    /// The words of [`KEYS`].
    pub fn each_key(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.keys.unwrap_or_default().split(' ').filter(|key| !key.is_empty())
    }

    /// Tag hash of the message.
    pub fn tags_code(&self) -> i64 {
        self.tags.map_or(0, super::tags::tags_code)
    }
}

/// Appends one entry; closes the one before if its separator is missing. An empty key or value, and
/// one that contains a separator, cannot be represented and is left out.
pub fn append(properties: &mut BytesMut, key: &str, value: &str) {
    let separates = |byte: &u8| matches!(*byte, NAME_VALUE_SEPARATOR | PROPERTY_SEPARATOR);
    if key.is_empty()
        || value.is_empty()
        || key.as_bytes().iter().any(separates)
        || value.as_bytes().iter().any(separates)
    {
        return;
    }
    if properties.last().is_some_and(|last| *last != PROPERTY_SEPARATOR) {
        properties.put_u8(PROPERTY_SEPARATOR);
    }
    properties.reserve(key.len() + value.len() + 2);
    properties.put_slice(key.as_bytes());
    properties.put_u8(NAME_VALUE_SEPARATOR);
    properties.put_slice(value.as_bytes());
    properties.put_u8(PROPERTY_SEPARATOR);
}

/// The same properties without any entry of `keys`.
pub fn without(properties: &[u8], keys: &[&str]) -> BytesMut {
    let mut out = BytesMut::with_capacity(properties.len() + 1);
    for (name, value) in iter(properties) {
        if keys.iter().any(|key| key.as_bytes() == name) {
            continue;
        }
        out.put_slice(name);
        out.put_u8(NAME_VALUE_SEPARATOR);
        out.put_slice(value);
        out.put_u8(PROPERTY_SEPARATOR);
    }
    out
}

/// The same properties with `key` set to `value`.
pub fn with(properties: &[u8], key: &str, value: &str) -> BytesMut {
    let mut out = without(properties, &[key]);
    append(&mut out, key, value);
    out
}

/// Builds a property string.
#[derive(Debug, Clone, Default)]
pub struct PropertiesBuilder {
    text: BytesMut,
}

impl PropertiesBuilder {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one entry, as [`append`] does.
    pub fn put(&mut self, key: &str, value: &str) -> &mut Self {
        append(&mut self.text, key, value);
        self
    }

    /// The finished string.
    pub fn build(self) -> bytes::Bytes {
        self.text.freeze()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_as_java_does() {
        let text = b"A\x011\x02\x02B\x02\x01x\x02C\x01\x02TAGS\x01t\x02A\x012";
        let entries: Vec<_> = iter(text).collect();
        assert_eq!(entries, [(&b"A"[..], &b"1"[..]), (b"TAGS", b"t"), (b"A", b"2")]);
        assert_eq!(get(text, "A"), Some("2"), "the last one counts");
        assert_eq!(get(text, "B"), None);
    }

    #[test]
    fn finds_what_is_indexed_in_one_pass() {
        let text = b"KEYS\x01k1  k2\x02UNIQ_KEY\x01u\x02TAGS\x01TagA\x02";
        let found = Indexed::of(text);
        assert_eq!(found.tags, Some("TagA"));
        assert_eq!(found.tags_code(), 2_598_919);
        assert_eq!(found.unique_key, Some("u"));
        assert_eq!(found.each_key().collect::<Vec<_>>(), ["k1", "k2"]);
        assert_eq!(Indexed::of(b"").tags_code(), 0);
    }

    #[test]
    fn replacing_keeps_the_rest() {
        let changed = with(b"A\x011\x02B\x012", "A", "9");
        assert_eq!(get(&changed, "A"), Some("9"));
        assert_eq!(get(&changed, "B"), Some("2"));
        assert_eq!(iter(&changed).count(), 2);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in prop::collection::vec(("[a-zA-Z_]{1,8}", "[^\u{1}\u{2}]{1,20}"), 0..10)) {
            let mut builder = PropertiesBuilder::new();
            for (key, value) in &entries {
                builder.put(key, value);
            }
            let text = builder.build();
            let read: Vec<_> = iter(&text)
                .map(|(key, value)| {
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    (text(key), text(value))
                })
                .collect();
            prop_assert_eq!(read, entries);
        }

        #[test]
        fn any_bytes_are_read_without_panic(text in prop::collection::vec(0u8..6, 0..60)) {
            for (key, value) in iter(&text) {
                prop_assert!(!key.is_empty() && !value.is_empty());
            }
        }
    }
}
