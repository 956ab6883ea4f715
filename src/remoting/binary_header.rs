//! Reads the ROCKETMQ form of a header.
//!
//! Invariant: every length is checked against what is left before it is used; names and values are
//! valid UTF-8, or the header is refused.

use bytes::BytesMut;

use super::command::{Language, RemotingCommand, SerializeType};
use super::ext_fields::{ExtFields, Field};
use super::json_header::HeaderError;
use super::limits::EXT_FIELDS_MAX;

/// Reads a header; its values stay in the given bytes.
///
/// # Errors
/// What is wrong with it, and where.
pub fn decode(header: BytesMut) -> Result<RemotingCommand, HeaderError> {
    let header = header.freeze();
    let mut reader = Reader { bytes: &header, at: 0 };
    let mut command = RemotingCommand::request(i32::from(i16::from_be_bytes(reader.array()?)));
    command.serialize_type = SerializeType::RocketMq;
    command.language = Language(reader.array::<1>()?[0]);
    command.version = i32::from(i16::from_be_bytes(reader.array()?));
    command.opaque = i32::from_be_bytes(reader.array()?);
    command.flag = i32::from_be_bytes(reader.array()?);
    let remark_length = reader.length4()?;
    let (begin, end) = reader.text(remark_length)?;
    if begin != end {
        command.remark = Some(String::from_utf8_lossy(&header[begin..end]).into_owned());
    }
    let ext_length = reader.length4()?;
    if ext_length != header.len() - reader.at {
        return reader.fail("the length of its fields is wrong");
    }
    let mut fields = Vec::with_capacity(16);
    while reader.at < header.len() {
        if fields.len() == EXT_FIELDS_MAX {
            return reader.fail("too many fields");
        }
        let key_length = i16::from_be_bytes(reader.array()?);
        let Ok(key_length) = usize::try_from(key_length) else {
            return reader.fail("a length is negative");
        };
        let key = reader.text(key_length)?;
        let value_length = reader.length4()?;
        let value = reader.text(value_length)?;
        // Frames are bounded far below 4 GiB, so the casts keep the values.
        fields.push(Field {
            key_begin: key.0 as u32,
            key_end: key.1 as u32,
            value_begin: value.0 as u32,
            value_end: value.1 as u32,
            is_added: false,
        });
    }
    command.ext_fields = ExtFields::from_header(header.clone(), fields);
    Ok(command)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn fail<T>(&self, what: &'static str) -> Result<T, HeaderError> {
        Err(HeaderError::Malformed { what, at: self.at })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        let Some(taken) = self.bytes[self.at..].first_chunk::<N>() else {
            return self.fail("it ends too early");
        };
        self.at += N;
        Ok(*taken)
    }

    fn length4(&mut self) -> Result<usize, HeaderError> {
        match usize::try_from(i32::from_be_bytes(self.array()?)) {
            Ok(length) => Ok(length),
            Err(_) => self.fail("a length is negative"),
        }
    }

    fn text(&mut self, length: usize) -> Result<(usize, usize), HeaderError> {
        let Some(text) = self.bytes[self.at..].get(..length) else {
            return self.fail("it ends too early");
        };
        if std::str::from_utf8(text).is_err() {
            return self.fail("a text is not UTF-8");
        }
        let begin = self.at;
        self.at += length;
        Ok((begin, self.at))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::remoting::encode::{HeaderParts, put_header};
    use proptest::prelude::*;

    #[test]
    fn golden_header() {
        let header = BytesMut::from(
            &b"\x00\x11\x09\x01\xDF\x01\x02\x03\x04\x00\x00\x00\x01\x00\x00\x00\x02no\x00\x00\x00\x09\x00\x01k\x00\x00\x00\x02vv"[..],
        );
        let command = decode(header).unwrap();
        assert_eq!((command.code, command.version), (17, 479));
        assert_eq!(command.language, Language::GO);
        assert_eq!(command.opaque, 0x0102_0304);
        assert_eq!(command.remark.as_deref(), Some("no"));
        assert_eq!(command.ext_fields.iter().collect::<Vec<_>>(), [("k", "vv")]);
    }

    proptest! {
        #[test]
        fn encode_and_decode_are_inverse(
            fields in prop::collection::btree_map("[a-z]{1,9}", any::<String>(), 0..8),
            remark in prop::option::of("[a-z]{1,9}"),
            code in any::<i16>(),
            opaque in any::<i32>(),
        ) {
            let mut out = BytesMut::new();
            let parts = HeaderParts::response(i32::from(code), opaque, remark.as_deref());
            put_header(&mut out, SerializeType::RocketMq, &parts, |ext| {
                fields.iter().for_each(|(key, value)| ext.put(key, value));
            });
            let command = decode(out).unwrap();
            prop_assert_eq!((command.code, command.opaque), (i32::from(code), opaque));
            prop_assert_eq!(&command.remark, &remark);
            let read: std::collections::BTreeMap<_, _> =
                command.ext_fields.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            prop_assert_eq!(read, fields);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(0u8..4, 0..60)) {
            let _ = decode(BytesMut::from(&bytes[..]));
        }
    }
}
