//! Reads the JSON form of a header, in one pass and in place.
//!
//! Strings are unescaped where they stand, which works because an escaped text is never shorter than
//! what it means; so a header is read without copying any of its values.
//!
//! Invariant: bounded depth, bounded number of fields, every index checked; the header stays valid
//! UTF-8, escaped halves of a surrogate pair that stand alone become the replacement character.

use bytes::BytesMut;

use super::command::{Language, RemotingCommand, SerializeType};
use super::ext_fields::{ExtFields, Field};
use super::limits::{EXT_FIELDS_MAX, HEADER_DEPTH_MAX};

/// Why a header could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not JSON, or not a header.
    #[error("malformed header at byte {at}: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// Neither JSON nor ROCKETMQ.
    #[error("unknown header type {0}")]
    UnknownType(u8),
}

/// Reads a header; its values stay in the given bytes.
///
/// # Errors
/// What is wrong with it, and where.
pub fn decode(mut header: BytesMut) -> Result<RemotingCommand, HeaderError> {
    if std::str::from_utf8(&header).is_err() {
        // A producer that puts text of another encoding into its properties: Java reads it so too.
        let lossy = String::from_utf8_lossy(&header).into_owned();
        header = BytesMut::from(lossy.as_bytes());
    }
    let mut command = RemotingCommand::request(0);
    command.serialize_type = SerializeType::Json;
    command.version = 0;
    let mut parser = Parser { text: &mut header, at: 0, fields: Vec::new() };
    parser.header(&mut command)?;
    let fields = parser.fields;
    command.ext_fields = ExtFields::from_header(header.freeze(), fields);
    Ok(command)
}

struct Parser<'a> {
    text: &'a mut [u8],
    at: usize,
    fields: Vec<Field>,
}

/// A range of the header.
#[derive(Clone, Copy)]
struct Span {
    begin: usize,
    end: usize,
}

impl Parser<'_> {
    fn fail<T>(&self, what: &'static str) -> Result<T, HeaderError> {
        Err(HeaderError::Malformed { what, at: self.at })
    }

    /// The next byte that is not blank.
    fn token(&mut self) -> Result<u8, HeaderError> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(byte) => return Ok(*byte),
                None => return self.fail("it ends too early"),
            }
        }
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), HeaderError> {
        if self.token()? != byte {
            return self.fail(what);
        }
        self.at += 1;
        Ok(())
    }

    /// After a member: true at the end of the object.
    fn object_ends(&mut self) -> Result<bool, HeaderError> {
        match self.token()? {
            b',' => {
                self.at += 1;
                Ok(false)
            }
            b'}' => {
                self.at += 1;
                Ok(true)
            }
            _ => self.fail("expected `,` or `}`"),
        }
    }

    /// Opens an object: true if it is empty.
    fn object_begins(&mut self) -> Result<bool, HeaderError> {
        self.expect(b'{', "expected an object")?;
        if self.token()? == b'}' {
            self.at += 1;
            return Ok(true);
        }
        Ok(false)
    }

    fn header(&mut self, command: &mut RemotingCommand) -> Result<(), HeaderError> {
        let mut has_code = false;
        let mut is_over = self.object_begins()?;
        while !is_over {
            let key = self.key()?;
            match &self.text[key.begin..key.end] {
                b"code" => {
                    command.code = self.integer()?;
                    has_code = true;
                }
                b"flag" => command.flag = self.integer()?,
                b"opaque" => command.opaque = self.integer()?,
                b"version" => command.version = self.integer()?,
                b"language" => command.language = self.language()?,
                b"remark" => command.remark = self.remark()?,
                b"extFields" => self.ext_fields()?,
                _ => {
                    self.skip(1)?;
                }
            }
            is_over = self.object_ends()?;
        }
        if self.text[self.at..].iter().any(|byte| !byte.is_ascii_whitespace()) {
            return self.fail("something follows it");
        }
        if !has_code {
            return self.fail("it has no code");
        }
        Ok(())
    }

    fn key(&mut self) -> Result<Span, HeaderError> {
        if self.token()? != b'"' {
            return self.fail("expected a key");
        }
        let key = self.string()?;
        self.expect(b':', "expected `:`")?;
        Ok(key)
    }

    fn ext_fields(&mut self) -> Result<(), HeaderError> {
        if self.token()? == b'n' {
            return self.skip(1).map(|_| ());
        }
        self.fields.reserve(16);
        let mut is_over = self.object_begins()?;
        while !is_over {
            let key = self.key()?;
            let value = match self.token()? {
                b'"' => Some(self.string()?),
                b'n' => {
                    self.skip(2)?;
                    None
                }
                _ => Some(self.skip(2)?),
            };
            if let Some(value) = value {
                if self.fields.len() == EXT_FIELDS_MAX {
                    return self.fail("too many fields");
                }
                // Frames are bounded far below 4 GiB, so the casts keep the values.
                self.fields.push(Field {
                    key_begin: key.begin as u32,
                    key_end: key.end as u32,
                    value_begin: value.begin as u32,
                    value_end: value.end as u32,
                    is_added: false,
                });
            }
            is_over = self.object_ends()?;
        }
        Ok(())
    }

    fn language(&mut self) -> Result<Language, HeaderError> {
        match self.token()? {
            b'"' => {
                let name = self.string()?;
                let name = std::str::from_utf8(&self.text[name.begin..name.end]);
                Ok(name.map_or(Language::OTHER, Language::from_name))
            }
            b'0'..=b'9' => Ok(u8::try_from(self.integer()?).map_or(Language::OTHER, Language)),
            _ => self.skip(1).map(|_| Language::OTHER),
        }
    }

    fn remark(&mut self) -> Result<Option<String>, HeaderError> {
        if self.token()? != b'"' {
            return self.skip(1).map(|_| None);
        }
        let remark = self.string()?;
        if remark.begin == remark.end {
            return Ok(None);
        }
        let text = &self.text[remark.begin..remark.end];
        Ok(Some(String::from_utf8_lossy(text).into_owned()))
    }

    /// A number, or a string that holds one; null is zero.
    fn integer(&mut self) -> Result<i32, HeaderError> {
        let span = match self.token()? {
            b'"' => self.string()?,
            b'n' => return self.skip(1).map(|_| 0),
            _ => self.scalar()?,
        };
        let text = std::str::from_utf8(&self.text[span.begin..span.end]);
        match text.ok().and_then(|text| text.parse().ok()) {
            Some(number) => Ok(number),
            None => self.fail("expected a 32-bit integer"),
        }
    }

    /// A string, unescaped in place; the parser stands on its opening quote.
    #[inline]
    fn string(&mut self) -> Result<Span, HeaderError> {
        let begin = self.at + 1;
        match self.quote_or_backslash(begin) {
            Some(end) if self.text[end] == b'"' => {
                self.at = end + 1;
                Ok(Span { begin, end })
            }
            Some(backslash) => self.escaped_string(begin, backslash),
            None => self.fail("a string does not end"),
        }
    }

    /// The next quote or backslash, looked for in eight bytes at a time: most strings are too short
    /// for anything wider to pay off.
    #[inline]
    fn quote_or_backslash(&self, from: usize) -> Option<usize> {
        let mut at = from;
        let mut rest = self.text.get(from..)?;
        while let Some((chunk, after)) = rest.split_first_chunk::<8>() {
            let word = u64::from_le_bytes(*chunk);
            let hits = zero_bytes(word ^ repeated(b'"')) | zero_bytes(word ^ repeated(b'\\'));
            if hits != 0 {
                return Some(at + (hits.trailing_zeros() / 8) as usize);
            }
            at += 8;
            rest = after;
        }
        let hit = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        Some(at + hit)
    }

    fn escaped_string(&mut self, begin: usize, backslash: usize) -> Result<Span, HeaderError> {
        let mut write = backslash;
        let mut read = backslash;
        loop {
            // `read` stands on a backslash.
            self.at = read;
            let Some(escape) = self.text.get(read + 1).copied() else {
                return self.fail("a string does not end");
            };
            read += 2;
            let plain = match escape {
                b'"' | b'\\' | b'/' => escape,
                b'b' => 0x08,
                b'f' => 0x0C,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'u' => {
                    let (character, after) = self.unicode(read)?;
                    read = after;
                    let mut utf8 = [0u8; 4];
                    let utf8 = character.encode_utf8(&mut utf8).as_bytes();
                    self.text[write..write + utf8.len()].copy_from_slice(utf8);
                    write += utf8.len();
                    0
                }
                _ => return self.fail("unknown escape"),
            };
            if escape != b'u' {
                self.text[write] = plain;
                write += 1;
            }
            let Some(stop) = self.quote_or_backslash(read) else {
                return self.fail("a string does not end");
            };
            self.text.copy_within(read..stop, write);
            write += stop - read;
            read = stop;
            if self.text[stop] == b'"' {
                // What was shortened leaves no half characters behind: the header stays text.
                self.text[write..stop].fill(b' ');
                self.at = stop + 1;
                return Ok(Span { begin, end: write });
            }
        }
    }

    /// The character of `\uXXXX` whose digits begin at `at`, a second half of a pair included.
    fn unicode(&self, at: usize) -> Result<(char, usize), HeaderError> {
        let first = self.hex4(at)?;
        if (0xD800..0xDC00).contains(&first)
            && self.text.get(at + 4..at + 6) == Some(b"\\u")
            && let Ok(second @ 0xDC00..0xE000) = self.hex4(at + 6)
        {
            let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            return Ok((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), at + 10));
        }
        Ok((char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), at + 4))
    }

    fn hex4(&self, at: usize) -> Result<u32, HeaderError> {
        let Some(digits) = self.text.get(at..at + 4) else {
            return self.fail("an escape is cut short");
        };
        let mut code = 0;
        for digit in digits {
            let Some(value) = char::from(*digit).to_digit(16) else {
                return self.fail("an escape has a digit that is not hexadecimal");
            };
            code = code << 4 | value;
        }
        Ok(code)
    }

    /// A number or a literal.
    fn scalar(&mut self) -> Result<Span, HeaderError> {
        let begin = self.at;
        while let Some(byte) = self.text.get(self.at)
            && (byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.'))
        {
            self.at += 1;
        }
        let text = &self.text[begin..self.at];
        let is_value = match text.first() {
            Some(b'0'..=b'9' | b'-') => true,
            _ => matches!(text, b"true" | b"false" | b"null"),
        };
        if !is_value {
            return self.fail("expected a value");
        }
        Ok(Span { begin, end: self.at })
    }

    /// Any value, left as it stands.
    fn skip(&mut self, depth: usize) -> Result<Span, HeaderError> {
        let first = self.token()?;
        let begin = self.at;
        match first {
            b'"' => {
                self.skip_string()?;
            }
            b'{' | b'[' => self.skip_nested(depth)?,
            _ => return self.scalar(),
        }
        Ok(Span { begin, end: self.at })
    }

    fn skip_string(&mut self) -> Result<(), HeaderError> {
        let mut from = self.at + 1;
        while let Some(stop) = self.quote_or_backslash(from) {
            if self.text[stop] == b'"' {
                self.at = stop + 1;
                return Ok(());
            }
            from = stop + 2;
        }
        self.fail("a string does not end")
    }

    /// An object or array; only its brackets and strings are looked at.
    fn skip_nested(&mut self, depth: usize) -> Result<(), HeaderError> {
        let mut open = Vec::new();
        loop {
            match self.token()? {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'{' => open.push(b'}'),
                b'[' => open.push(b']'),
                close @ (b'}' | b']') if open.pop() != Some(close) => {
                    return self.fail("brackets do not match");
                }
                _ => {}
            }
            self.at += 1;
            if open.is_empty() {
                return Ok(());
            }
            if open.len() + depth > HEADER_DEPTH_MAX {
                return self.fail("nested too deeply");
            }
        }
    }
}

/// A word of eight equal bytes.
const fn repeated(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The top bit of each byte that is zero; bytes above the first such one may be marked wrongly.
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeated(0x01)) & !word & repeated(0x80)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<RemotingCommand, HeaderError> {
        decode(BytesMut::from(text.as_bytes()))
    }

    fn what(text: &str) -> &'static str {
        match read(text) {
            Err(HeaderError::Malformed { what, .. }) => what,
            other => panic!("{text} gave {other:?}"),
        }
    }

    #[test]
    fn java_request() {
        let command = read(r#"{"code":105,"extFields":{"topic":"T"},"flag":0,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":401}"#).unwrap();
        assert_eq!((command.code, command.opaque, command.version), (105, 7, 401));
        assert_eq!(command.language, Language::JAVA);
        assert_eq!(command.ext_fields.get("topic"), Some("T"));
        assert!(!command.is_oneway() && !command.is_response());
        assert_eq!(command.remark, None);
    }

    #[test]
    fn cpp_request_has_numbers_among_its_fields() {
        let command = read(
            "{\"code\":310,\"extFields\":{\"AccessKey\":\"\",\"OnsChannel\":\"\",\"Signature\":\"\",\"a\":\"pg\",\"b\":\"T\",\"c\":\"TBW102\",\"d\":4,\"e\":2,\"f\":0,\"g\":\"1700000000000\",\"h\":0,\"i\":\"TAGS\\u0001a\\u0002WAIT\\u0001true\\u0002\",\"j\":\"0\",\"k\":\"false\",\"m\":true,\"x\":null},\"flag\":0,\"language\":\"CPP\",\"opaque\":12,\"remark\":\"\",\"version\":333}\n",
        )
        .unwrap();
        let ext = &command.ext_fields;
        assert_eq!(ext.get("d"), Some("4"));
        assert_eq!(ext.get("i"), Some("TAGS\u{1}a\u{2}WAIT\u{1}true\u{2}"));
        assert_eq!(ext.get("m"), Some("true"));
        assert_eq!(ext.get("x"), None);
        assert_eq!(ext.get("AccessKey"), Some(""));
        assert_eq!(command.remark, None);
        assert_eq!(command.language, Language::CPP);
    }

    #[test]
    fn go_request_and_missing_parts() {
        let command = read(r#"{"code":34,"language":"GO","version":317,"opaque":-1,"flag":2,"remark":"r","extFields":null}"#).unwrap();
        assert!(command.is_oneway());
        assert_eq!(command.opaque, -1);
        assert_eq!(command.remark.as_deref(), Some("r"));
        assert!(command.ext_fields.is_empty());
        let bare = read(r#" { "code" : "10" } "#).unwrap();
        assert_eq!((bare.code, bare.version, bare.flag), (10, 0, 0));
    }

    #[test]
    fn unknown_keys_are_passed_over() {
        let command = read(r#"{"x":{"y":[1,{"z":"}\"]"}],"w":null},"code":1,"extFields":{"n":{"a":[1,2]},"t":"1"},"v":[[]]}"#).unwrap();
        assert_eq!(command.ext_fields.get("n"), Some(r#"{"a":[1,2]}"#));
        assert_eq!(command.ext_fields.get("t"), Some("1"));
    }

    #[test]
    fn escapes_of_all_kinds() {
        let command = read(r#"{"code":1,"extFields":{"k\u0065y":"\"\\\/\b\f\n\r\t\u00e4\u4e2d\ud83d\ude00\ud83dx","raw":"ä中😀"}}"#).unwrap();
        assert_eq!(command.ext_fields.get("key"), Some("\"\\/\u{8}\u{c}\n\r\tä中😀\u{fffd}x"));
        assert_eq!(command.ext_fields.get("raw"), Some("ä中😀"));
    }

    #[test]
    fn raw_separators_and_foreign_encodings_are_read() {
        let command = read("{\"code\":1,\"extFields\":{\"i\":\"a\u{1}b\u{2}\"}}").unwrap();
        assert_eq!(command.ext_fields.get("i"), Some("a\u{1}b\u{2}"));
        let command =
            decode(BytesMut::from(&b"{\"code\":1,\"extFields\":{\"i\":\"\xD6\xD0\"}}"[..]));
        assert_eq!(command.unwrap().ext_fields.get("i"), Some("\u{fffd}\u{fffd}"));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        assert_eq!(what(""), "it ends too early");
        assert_eq!(what("{}"), "it has no code");
        assert_eq!(what("[]"), "expected an object");
        assert_eq!(what(r#"{"code":1}x"#), "something follows it");
        assert_eq!(what(r#"{"code":99999999999}"#), "expected a 32-bit integer");
        assert_eq!(what(r#"{"code":1,"#), "it ends too early");
        assert_eq!(what(r#"{"code":1,"x":"#), "it ends too early");
        assert_eq!(what(r#"{"code":nope}"#), "expected a value");
        assert_eq!(what(r#"{"code":1,"extFields":{"a":"\x"}}"#), "unknown escape");
        assert_eq!(
            what(r#"{"code":1,"extFields":{"a":"\u12"}}"#),
            "an escape has a digit that is not hexadecimal"
        );
        assert_eq!(what(r#"{"code":1,"extFields":{"a":"b"#), "a string does not end");
        assert_eq!(what(r#"{"code":1,"x":[}]}"#), "brackets do not match");
        let deep = format!(r#"{{"code":1,"x":{}}}"#, "[".repeat(100));
        assert_eq!(what(&deep), "nested too deeply");
        let many: Vec<_> = (0..300).map(|n| format!("\"{n}\":1")).collect();
        let many = format!(r#"{{"code":1,"extFields":{{{}}}}}"#, many.join(","));
        assert_eq!(what(&many), "too many fields");
    }

    proptest! {
        #[test]
        fn agrees_with_a_full_parser(
            fields in prop::collection::btree_map(any::<String>(), any::<String>(), 0..8),
            code in any::<i32>(),
        ) {
            let text = serde_json::json!({ "code": code, "extFields": fields }).to_string();
            let command = read(&text).unwrap();
            prop_assert_eq!(command.code, code);
            let read: std::collections::BTreeMap<_, _> = command
                .ext_fields
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
            prop_assert_eq!(read, fields);
        }

        #[test]
        fn any_text_is_read_without_panic(text in "[\\[\\]{}:,\"\\\\0-9a-fnu ]{0,60}") {
            let _ = read(&text);
            let _ = read(&format!(r#"{{"code":1,"extFields":{{"a":"{text}"}},"x":{text}}}"#));
        }
    }
}
