//! The stored form of a message, which is also how consumers receive it.
//!
//! Invariant: only version 1 is written (one-byte topic length), because older Java clients stop at
//! version 2 and Go and C++ clients do not look at the version at all; an IPv4 address that arrived
//! as an IPv6 one is stored as IPv4, because C++ clients read eight bytes whatever the flags say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{BufMut, BytesMut};

use super::properties::{Indexed, PROPERTIES_BYTES_MAX};
use super::{names::TOPIC_BYTES_MAX, properties, sysflag};

/// Marks a version 1 record.
pub const MAGIC_V1: i32 = -626_843_481;
/// Marks a version 2 record, whose topic length takes two bytes. Read, never written.
pub const MAGIC_V2: i32 = MAGIC_V1 + 4;
/// Where the queue offset stands in a record.
pub const QUEUE_OFFSET_AT: usize = 20;
/// Where the physical offset stands in a record.
pub const PHYSICAL_OFFSET_AT: usize = 28;
/// Everything but body, topic, properties and the wider IPv6 addresses.
const FIXED_BYTES: usize = 91;
/// What an IPv6 address takes beyond an IPv4 one.
const V6_EXTRA_BYTES: usize = 12;

/// Why bytes are not a record, or a message cannot become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end before the record does.
    #[error("a message record ends after {available} bytes but needs {needed}")]
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        available: usize,
    },
    /// Not a record.
    #[error("{found:#010x} is not the magic of a message record")]
    BadMagic {
        /// What stands in its place.
        found: i32,
    },
    /// A length inside the record contradicts the record's own.
    #[error("the {field} of a message record has an impossible length of {length}")]
    BadLength {
        /// The field.
        field: &'static str,
        /// Its length.
        length: i64,
    },
    /// The topic does not fit its one-byte length.
    #[error("a topic of {0} bytes does not fit a message record, which takes 127")]
    TopicTooLong(usize),
    /// The properties do not fit their two-byte length.
    #[error("properties of {0} bytes do not fit a message record, which takes 32767")]
    PropertiesTooLong(usize),
    /// The body does not fit a four-byte total.
    #[error("a body of {0} bytes does not fit a message record")]
    BodyTooLong(usize),
}

/// An address as it is stored: IPv4-mapped IPv6 becomes IPv4.
pub fn canonical_host(host: SocketAddr) -> SocketAddr {
    SocketAddr::new(host.ip().to_canonical(), host.port())
}

/// CRC of a body as it stands in a record.
pub fn body_crc(body: &[u8]) -> i32 {
    // The mask makes the sign bit zero, so the cast keeps the value.
    (crc32fast::hash(body) & 0x7FFF_FFFF) as i32
}

/// A message about to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordParts<'a> {
    /// Queue within the topic.
    pub queue_id: i32,
    /// The user's flag, opaque.
    pub flag: i32,
    /// Offset within the queue.
    pub queue_offset: i64,
    /// Position of this record in the log.
    pub physical_offset: i64,
    /// System flags; the two address bits are set by [`RecordParts::encode`].
    pub sys_flag: i32,
    /// When the producer made it, by its clock.
    pub born_timestamp_ms: i64,
    /// Where the producer connected from.
    pub born_host: SocketAddr,
    /// When it was stored.
    pub store_timestamp_ms: i64,
    /// Address of the broker, part of the offset message id.
    pub store_host: SocketAddr,
    /// Failed attempts to consume it.
    pub reconsume_times: i32,
    /// Position of the half message of a transaction, zero otherwise.
    pub prepared_transaction_offset: i64,
    /// Body, as the producer sent it.
    pub body: &'a [u8],
    /// Topic.
    pub topic: &'a str,
    /// Property string.
    pub properties: &'a [u8],
}

impl RecordParts<'_> {
    /// Whether every part fits its length field.
    ///
    /// # Errors
    /// The part that does not.
    pub fn check(&self) -> Result<(), RecordError> {
        if self.topic.len() > TOPIC_BYTES_MAX {
            return Err(RecordError::TopicTooLong(self.topic.len()));
        }
        if self.properties.len() > PROPERTIES_BYTES_MAX {
            return Err(RecordError::PropertiesTooLong(self.properties.len()));
        }
        if i32::try_from(self.encoded_len()).is_err() {
            return Err(RecordError::BodyTooLong(self.body.len()));
        }
        Ok(())
    }

    /// Length of the record in bytes.
    pub fn encoded_len(&self) -> usize {
        encoded_len(
            self.body.len(),
            self.topic.len(),
            self.properties.len(),
            self.born_host,
            self.store_host,
        )
    }

    /// Appends the record, copying the body once.
    ///
    /// # Panics
    /// When a part does not fit, which [`RecordParts::check`] tells beforehand.
    pub fn encode(&self, out: &mut BytesMut) {
        let body_crc = body_crc(self.body);
        let total = self.encoded_len();
        let total_wire = i32::try_from(total).expect("the caller has checked that the body fits");
        let body_length = i32::try_from(self.body.len()).expect("shorter than the whole record");
        let topic_length =
            i8::try_from(self.topic.len()).expect("the caller has checked the topic");
        let properties_length =
            i16::try_from(self.properties.len()).expect("the caller has checked the properties");
        let born_ip = self.born_host.ip().to_canonical();
        let store_ip = self.store_host.ip().to_canonical();
        let mut sys_flag = self.sys_flag & !(sysflag::BORN_HOST_V6 | sysflag::STORE_HOST_V6);
        if born_ip.is_ipv6() {
            sys_flag |= sysflag::BORN_HOST_V6;
        }
        if store_ip.is_ipv6() {
            sys_flag |= sysflag::STORE_HOST_V6;
        }

        out.reserve(total);
        let begin = out.len();
        out.put_i32(total_wire);
        out.put_i32(MAGIC_V1);
        out.put_i32(body_crc);
        out.put_i32(self.queue_id);
        out.put_i32(self.flag);
        out.put_i64(self.queue_offset);
        out.put_i64(self.physical_offset);
        out.put_i32(sys_flag);
        out.put_i64(self.born_timestamp_ms);
        put_host(out, born_ip, self.born_host.port());
        out.put_i64(self.store_timestamp_ms);
        put_host(out, store_ip, self.store_host.port());
        out.put_i32(self.reconsume_times);
        out.put_i64(self.prepared_transaction_offset);
        out.put_i32(body_length);
        out.put_slice(self.body);
        out.put_i8(topic_length);
        out.put_slice(self.topic.as_bytes());
        out.put_i16(properties_length);
        out.put_slice(self.properties);
        assert_eq!(out.len() - begin, total, "a record has the length it claims");
    }
}

/// Length of a record in bytes, from the lengths of its parts.
pub fn encoded_len(
    body_bytes: usize,
    topic_bytes: usize,
    properties_bytes: usize,
    born_host: SocketAddr,
    store_host: SocketAddr,
) -> usize {
    let extra = |host: SocketAddr| {
        if host.ip().to_canonical().is_ipv6() { V6_EXTRA_BYTES } else { 0 }
    };
    FIXED_BYTES + body_bytes + topic_bytes + properties_bytes + extra(born_host) + extra(store_host)
}

fn put_host(out: &mut BytesMut, ip: IpAddr, port: u16) {
    match ip {
        IpAddr::V4(v4) => out.put_slice(&v4.octets()),
        IpAddr::V6(v6) => out.put_slice(&v6.octets()),
    }
    out.put_i32(i32::from(port));
}

/// A record read in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// The whole record, nothing behind it.
    pub bytes: &'a [u8],
    /// CRC of the body, 31 bits.
    pub body_crc: i32,
    /// Queue within the topic.
    pub queue_id: i32,
    /// The user's flag.
    pub flag: i32,
    /// Offset within the queue.
    pub queue_offset: i64,
    /// Position of this record in the log.
    pub physical_offset: i64,
    /// System flags.
    pub sys_flag: i32,
    /// When the producer made it.
    pub born_timestamp_ms: i64,
    /// Where the producer connected from.
    pub born_host: SocketAddr,
    /// When it was stored.
    pub store_timestamp_ms: i64,
    /// Address of the broker.
    pub store_host: SocketAddr,
    /// Failed attempts to consume it.
    pub reconsume_times: i32,
    /// Position of the half message of a transaction.
    pub prepared_transaction_offset: i64,
    /// Body.
    pub body: &'a [u8],
    /// Topic.
    pub topic: &'a str,
    /// Property string.
    pub properties: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// Reads the record at the beginning of `bytes`; more may follow it.
    ///
    /// # Errors
    /// When the bytes are not a whole, consistent record.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader { bytes, at: 0 };
        let total = reader.i32()?;
        let length = usize::try_from(total)
            .ok()
            .filter(|length| *length >= FIXED_BYTES)
            .ok_or(RecordError::BadLength { field: "whole", length: i64::from(total) })?;
        if bytes.len() < length {
            return Err(RecordError::Truncated { needed: length, available: bytes.len() });
        }
        let bytes = &bytes[..length];
        reader.bytes = bytes;
        let magic = reader.i32()?;
        if magic != MAGIC_V1 && magic != MAGIC_V2 {
            return Err(RecordError::BadMagic { found: magic });
        }
        let body_crc = reader.i32()?;
        let queue_id = reader.i32()?;
        let flag = reader.i32()?;
        let queue_offset = reader.i64()?;
        let physical_offset = reader.i64()?;
        let sys_flag = reader.i32()?;
        let born_timestamp_ms = reader.i64()?;
        let born_host = reader.host(sys_flag & sysflag::BORN_HOST_V6 != 0)?;
        let store_timestamp_ms = reader.i64()?;
        let store_host = reader.host(sys_flag & sysflag::STORE_HOST_V6 != 0)?;
        let reconsume_times = reader.i32()?;
        let prepared_transaction_offset = reader.i64()?;
        let body_length = reader.i32()?;
        let body = reader.sized("body", i64::from(body_length))?;
        let topic_length = if magic == MAGIC_V2 {
            i64::from(i16::from_be_bytes(reader.array()?))
        } else {
            i64::from(i8::from_be_bytes(reader.array()?))
        };
        let topic = std::str::from_utf8(reader.sized("topic", topic_length)?)
            .map_err(|_| RecordError::BadLength { field: "topic", length: topic_length })?;
        let properties_length = i64::from(i16::from_be_bytes(reader.array()?));
        let properties = reader.sized("properties", properties_length)?;
        if reader.at != length {
            return Err(RecordError::BadLength { field: "whole", length: i64::from(total) });
        }
        Ok(Self {
            bytes,
            body_crc,
            queue_id,
            flag,
            queue_offset,
            physical_offset,
            sys_flag,
            born_timestamp_ms,
            born_host,
            store_timestamp_ms,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body,
            topic,
            properties,
        })
    }

    /// Whether the body is what was stored. A stored zero means it was not computed.
    pub fn body_is_intact(&self) -> bool {
        self.body_crc == 0 || self.body_crc == body_crc(self.body)
    }

    /// One property.
    pub fn property(&self, key: &str) -> Option<&'a str> {
        properties::get(self.properties, key)
    }

    /// Tag, keys and unique key, in one pass.
    pub fn indexed(&self) -> Indexed<'a> {
        Indexed::of(self.properties)
    }

    /// The parts, to store the message again elsewhere.
    pub fn parts(&self) -> RecordParts<'a> {
        RecordParts {
            queue_id: self.queue_id,
            flag: self.flag,
            queue_offset: self.queue_offset,
            physical_offset: self.physical_offset,
            sys_flag: self.sys_flag,
            born_timestamp_ms: self.born_timestamp_ms,
            born_host: self.born_host,
            store_timestamp_ms: self.store_timestamp_ms,
            store_host: self.store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body: self.body,
            topic: self.topic,
            properties: self.properties,
        }
    }
}

/// The records of a body, one after another. Ends after the first that cannot be read.
pub fn records(bytes: &[u8]) -> Records<'_> {
    Records { rest: bytes }
}

/// See [`records`].
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let parsed = RecordView::parse(self.rest);
        self.rest = match &parsed {
            Ok(view) => &self.rest[view.bytes.len()..],
            Err(_) => &[],
        };
        Some(parsed)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        let available = self.bytes.len() - self.at;
        if available < length {
            return Err(RecordError::Truncated {
                needed: self.at.saturating_add(length),
                available: self.bytes.len(),
            });
        }
        let taken = &self.bytes[self.at..self.at + length];
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        Ok(self.take(N)?.try_into().expect("take returns exactly what was asked"))
    }

    fn i32(&mut self) -> Result<i32, RecordError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, RecordError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn sized(&mut self, field: &'static str, length: i64) -> Result<&'a [u8], RecordError> {
        let wanted =
            usize::try_from(length).map_err(|_| RecordError::BadLength { field, length })?;
        self.take(wanted)
    }

    fn host(&mut self, v6: bool) -> Result<SocketAddr, RecordError> {
        let ip = if v6 {
            IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))
        };
        let port = self.i32()?;
        let port = u16::try_from(port)
            .map_err(|_| RecordError::BadLength { field: "port", length: i64::from(port) })?;
        Ok(SocketAddr::new(ip, port))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample<'a>(body: &'a [u8], topic: &'a str, properties: &'a [u8]) -> RecordParts<'a> {
        RecordParts {
            queue_id: 3,
            flag: 7,
            queue_offset: 11,
            physical_offset: 0x123,
            sys_flag: sysflag::COMPRESSED,
            born_timestamp_ms: 1_700_000_000_000,
            born_host: "10.0.0.9:5555".parse().unwrap(),
            store_timestamp_ms: 1_700_000_000_001,
            store_host: "10.0.0.1:10911".parse().unwrap(),
            reconsume_times: 2,
            prepared_transaction_offset: 0,
            body,
            topic,
            properties,
        }
    }

    #[test]
    fn layout_is_the_documented_one() {
        let mut out = BytesMut::new();
        sample(b"hello", "T", b"A\x011\x02").encode(&mut out);
        assert_eq!(out.len(), 91 + 5 + 1 + 4);
        assert_eq!(&out[0..4], &101i32.to_be_bytes());
        assert_eq!(&out[4..8], &[0xDA, 0xA3, 0x20, 0xA7]);
        assert_eq!(&out[8..12], &body_crc(b"hello").to_be_bytes());
        assert_eq!(&out[QUEUE_OFFSET_AT..28], &11i64.to_be_bytes());
        assert_eq!(&out[PHYSICAL_OFFSET_AT..36], &0x123i64.to_be_bytes());
        assert_eq!(&out[36..40], &1i32.to_be_bytes());
        assert_eq!(&out[48..56], &[10, 0, 0, 9, 0, 0, 0x15, 0xB3]);
        assert_eq!(&out[56..64], &1_700_000_000_001i64.to_be_bytes());
        assert_eq!(&out[84..88], &5i32.to_be_bytes());
        assert_eq!(&out[93..95], &[1, b'T']);
        // CRC-32 of "hello" is 0x3610a686.
        assert_eq!(body_crc(b"hello"), 0x3610_a686);
    }

    #[test]
    fn mapped_v4_addresses_are_stored_as_v4() {
        let mut parts = sample(b"x", "T", b"");
        parts.born_host = "[::ffff:10.0.0.9]:5555".parse().unwrap();
        let mut out = BytesMut::new();
        parts.encode(&mut out);
        let view = RecordView::parse(&out).unwrap();
        assert_eq!(view.born_host, "10.0.0.9:5555".parse().unwrap());
        assert_eq!(view.sys_flag, sysflag::COMPRESSED);
    }

    #[test]
    fn v6_addresses_set_their_bits() {
        let mut parts = sample(b"x", "T", b"");
        parts.born_host = "[2001:db8::1]:5555".parse().unwrap();
        parts.store_host = "[2001:db8::2]:10911".parse().unwrap();
        let mut out = BytesMut::new();
        parts.encode(&mut out);
        assert_eq!(out.len(), 91 + 24 + 2);
        let view = RecordView::parse(&out).unwrap();
        assert_eq!(view.sys_flag & 0x30, 0x30);
        assert_eq!(view.store_host, parts.store_host);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let long = "t".repeat(128);
        assert_eq!(sample(b"", &long, b"").check(), Err(RecordError::TopicTooLong(128)));
        let wide = vec![b'x'; 32_768];
        assert_eq!(sample(b"", "T", &wide).check(), Err(RecordError::PropertiesTooLong(32_768)));
    }

    #[test]
    fn records_follow_each_other_and_a_cut_is_an_error() {
        let mut out = BytesMut::new();
        sample(b"one", "T", b"").encode(&mut out);
        sample(b"two", "T", b"").encode(&mut out);
        let bodies: Vec<_> = records(&out).map(|record| record.unwrap().body.to_vec()).collect();
        assert_eq!(bodies, [b"one".to_vec(), b"two".to_vec()]);
        let cut = &out[..out.len() - 1];
        let read: Vec<_> = records(cut).collect();
        assert!(read[0].is_ok());
        assert!(matches!(read[1], Err(RecordError::Truncated { .. })));
        assert_eq!(read.len(), 2);
    }

    proptest! {
        #[test]
        fn encode_and_parse_are_inverse(
            body in prop::collection::vec(any::<u8>(), 0..200),
            topic in "[a-zA-Z0-9_%-]{1,127}",
            properties in prop::collection::vec(any::<u8>(), 0..200),
            numbers in any::<(i32, i32, i64, i64, i64)>(),
        ) {
            let mut parts = sample(&body, &topic, &properties);
            parts.queue_id = numbers.0;
            parts.flag = numbers.1;
            parts.queue_offset = numbers.2;
            parts.physical_offset = numbers.3;
            parts.store_timestamp_ms = numbers.4;
            prop_assert_eq!(parts.check(), Ok(()));
            let mut out = BytesMut::new();
            parts.encode(&mut out);
            prop_assert_eq!(out.len(), parts.encoded_len());
            let view = RecordView::parse(&out).unwrap();
            prop_assert_eq!(view.parts(), parts);
            prop_assert!(view.body_is_intact());
        }

        #[test]
        fn damaged_records_do_not_panic(at in 0usize..100, byte in any::<u8>(), keep in 0usize..110) {
            let mut out = BytesMut::new();
            sample(b"hello", "T", b"A\x011\x02").encode(&mut out);
            let at = at % out.len();
            out[at] = byte;
            out.truncate(keep);
            let _ = RecordView::parse(&out);
        }
    }
}
