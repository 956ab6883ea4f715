//! Writes headers straight into the buffer that goes to the socket.
//!
//! Invariant: ext values are always JSON strings and `extFields` is always there, because Go rejects
//! and C++ ignores anything else and Java reads the map unchecked.

use bytes::{BufMut, BytesMut};

use super::command::{Language, SerializeType, VERSION};

/// A value of an ext field.
pub trait ExtValue {
    /// Hands the value's text to `use_text`.
    fn with_text(&self, use_text: impl FnOnce(&str));
}

macro_rules! integer_value {
    ($($integer:ty),*) => {
        $(impl ExtValue for $integer {
            fn with_text(&self, use_text: impl FnOnce(&str)) {
                use_text(itoa::Buffer::new().format(*self));
            }
        })*
    };
}
integer_value!(i32, i64, u16, u32, u64, usize);

impl ExtValue for bool {
    fn with_text(&self, use_text: impl FnOnce(&str)) {
        use_text(if *self { "true" } else { "false" });
    }
}

impl ExtValue for &str {
    fn with_text(&self, use_text: impl FnOnce(&str)) {
        use_text(self);
    }
}

impl ExtValue for String {
    fn with_text(&self, use_text: impl FnOnce(&str)) {
        use_text(self);
    }
}

impl ExtValue for &String {
    fn with_text(&self, use_text: impl FnOnce(&str)) {
        use_text(self);
    }
}

/// Writes ext fields into a header under construction.
pub struct ExtWriter<'a> {
    out: &'a mut BytesMut,
    serialize_type: SerializeType,
    is_first: bool,
}

impl ExtWriter<'_> {
    /// Writes one field. The caller does not write the same key twice.
    pub fn put(&mut self, key: &str, value: impl ExtValue) {
        value.with_text(|text| match self.serialize_type {
            SerializeType::Json => {
                if !self.is_first {
                    self.out.put_u8(b',');
                }
                if needs_escape(key) || needs_escape(text) {
                    put_json_string(self.out, key);
                    self.out.put_u8(b':');
                    put_json_string(self.out, text);
                } else {
                    put_plain_member(self.out, key.as_bytes(), text.as_bytes());
                }
            }
            SerializeType::RocketMq => {
                let Ok(key_length) = i16::try_from(key.len()) else { return };
                self.out.put_i16(key_length);
                self.out.put_slice(key.as_bytes());
                self.out.put_u32(wire_length(text.len()));
                self.out.put_slice(text.as_bytes());
            }
        });
        self.is_first = false;
    }

    /// Writes a field if there is a value.
    pub fn put_some(&mut self, key: &str, value: Option<impl ExtValue>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }
}

/// What a header says beside its fields.
#[derive(Debug, Clone, Copy)]
pub struct HeaderParts<'a> {
    /// Request or response code.
    pub code: i32,
    /// Language to claim.
    pub language: Language,
    /// Version to claim.
    pub version: i32,
    /// Pairs a response with its request.
    pub opaque: i32,
    /// Flag bits.
    pub flag: i32,
    /// Text for humans.
    pub remark: Option<&'a str>,
}

impl<'a> HeaderParts<'a> {
    /// A response of this implementation.
    pub fn response(code: i32, opaque: i32, remark: Option<&'a str>) -> Self {
        Self {
            code,
            language: Language::JAVA,
            version: VERSION,
            opaque,
            flag: super::command::FLAG_RESPONSE,
            remark,
        }
    }
}

/// Appends a header and returns where in `out` the opaque's text stands, for JSON headers.
pub fn put_header(
    out: &mut BytesMut,
    serialize_type: SerializeType,
    parts: &HeaderParts<'_>,
    fill: impl FnOnce(&mut ExtWriter<'_>),
) -> Option<usize> {
    match serialize_type {
        SerializeType::Json => Some(put_json_header(out, parts, fill)),
        SerializeType::RocketMq => {
            put_binary_header(out, parts, fill);
            None
        }
    }
}

fn put_json_header(
    out: &mut BytesMut,
    parts: &HeaderParts<'_>,
    fill: impl FnOnce(&mut ExtWriter<'_>),
) -> usize {
    out.reserve(256);
    out.put_slice(br#"{"code":"#);
    put_integer(out, parts.code);
    out.put_slice(br#","extFields":{"#);
    fill(&mut ExtWriter { out, serialize_type: SerializeType::Json, is_first: true });
    out.put_slice(br#"},"flag":"#);
    put_integer(out, parts.flag);
    out.put_slice(br#","language":""#);
    out.put_slice(parts.language.name().as_bytes());
    out.put_slice(br#"","opaque":"#);
    let opaque_at = out.len();
    put_integer(out, parts.opaque);
    if let Some(remark) = parts.remark {
        out.put_slice(br#","remark":"#);
        put_json_string(out, remark);
    }
    out.put_slice(br#","serializeTypeCurrentRPC":"JSON","version":"#);
    put_integer(out, parts.version);
    out.put_u8(b'}');
    opaque_at
}

fn put_binary_header(
    out: &mut BytesMut,
    parts: &HeaderParts<'_>,
    fill: impl FnOnce(&mut ExtWriter<'_>),
) {
    // The form has 16 bits for the code; codes that need more never travel in it.
    out.put_i16(parts.code as i16);
    out.put_u8(parts.language.0);
    out.put_i16(parts.version as i16);
    out.put_i32(parts.opaque);
    out.put_i32(parts.flag);
    let remark = parts.remark.unwrap_or_default();
    out.put_u32(wire_length(remark.len()));
    out.put_slice(remark.as_bytes());
    let length_at = out.len();
    out.put_u32(0);
    fill(&mut ExtWriter { out, serialize_type: SerializeType::RocketMq, is_first: true });
    let ext_length = wire_length(out.len() - length_at - 4);
    out[length_at..length_at + 4].copy_from_slice(&ext_length.to_be_bytes());
}

fn wire_length(length: usize) -> u32 {
    u32::try_from(length).expect("headers are far shorter than 4 GiB")
}

fn put_integer(out: &mut BytesMut, value: i32) {
    out.put_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// How each byte below 0x20, the quote and the backslash is written; zero for all others.
const ESCAPES: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0A] = b'n';
    table[0x0C] = b'f';
    table[0x0D] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

/// Whether a text has to be changed to become a JSON string; most have not. Without a branch per
/// byte this is vectored.
fn needs_escape(text: &str) -> bool {
    let is_escaped = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    text.bytes().fold(false, |found, byte| found | is_escaped(byte))
}

/// Appends `"key":"value"` in one go, neither of which needs an escape.
fn put_plain_member(out: &mut BytesMut, key: &[u8], value: &[u8]) {
    let begin = out.len();
    out.resize(begin + key.len() + value.len() + 5, b'"');
    let member = &mut out[begin..];
    let (quoted_key, quoted_value) = member.split_at_mut(key.len() + 3);
    quoted_key[1..=key.len()].copy_from_slice(key);
    quoted_key[key.len() + 2] = b':';
    quoted_value[1..=value.len()].copy_from_slice(value);
}

/// Appends a JSON string, quotes included.
pub(super) fn put_json_string(out: &mut BytesMut, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.put_u8(b'"');
    let mut plain_from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape = ESCAPES[usize::from(*byte)];
        if escape == 0 {
            continue;
        }
        out.put_slice(&bytes[plain_from..at]);
        plain_from = at + 1;
        if escape == b'u' {
            let high = HEX[usize::from(byte >> 4)];
            let low = HEX[usize::from(byte & 0xF)];
            out.put_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        } else {
            out.put_slice(&[b'\\', escape]);
        }
    }
    out.put_slice(&bytes[plain_from..]);
    out.put_u8(b'"');
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn response_header_in_json() {
        let mut out = BytesMut::new();
        let parts = HeaderParts::response(0, 7, None);
        let opaque_at = put_header(&mut out, SerializeType::Json, &parts, |ext| {
            ext.put("msgId", "0A");
            ext.put("queueId", 3);
        });
        assert_eq!(
            out,
            r#"{"code":0,"extFields":{"msgId":"0A","queueId":"3"},"flag":1,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":479}"#
        );
        assert_eq!(out[opaque_at.unwrap()], b'7');
    }

    #[test]
    fn empty_fields_and_a_remark() {
        let mut out = BytesMut::new();
        let parts = HeaderParts::response(1, 7, Some("a\"b\u{1}\n\\ä"));
        put_header(&mut out, SerializeType::Json, &parts, |_| {});
        assert_eq!(
            out,
            r#"{"code":1,"extFields":{},"flag":1,"language":"JAVA","opaque":7,"remark":"a\"b\u0001\n\\ä","serializeTypeCurrentRPC":"JSON","version":479}"#
        );
    }

    #[test]
    fn response_header_in_binary() {
        let mut out = BytesMut::new();
        let parts = HeaderParts::response(17, 0x0102_0304, Some("no"));
        put_header(&mut out, SerializeType::RocketMq, &parts, |ext| ext.put("k", "vv"));
        assert_eq!(
            &out[..],
            b"\x00\x11\x00\x01\xDF\x01\x02\x03\x04\x00\x00\x00\x01\x00\x00\x00\x02no\x00\x00\x00\x09\x00\x01k\x00\x00\x00\x02vv"
        );
    }

    proptest! {
        #[test]
        fn strings_are_json(text in any::<String>()) {
            let mut out = BytesMut::new();
            put_json_string(&mut out, &text);
            let read: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(read, text);
        }
    }
}
