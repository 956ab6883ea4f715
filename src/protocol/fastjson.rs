//! The JSON dialect of Java's fastjson, in which RocketMQ's bodies are written.
//!
//! Two of its forms are not JSON: integer keys without quotes (`{0:"a"}`) and objects as keys
//! (`{{"brokerName":"b","queueId":0,"topic":"t"}:1}`). Java tools accept only the latter for maps
//! keyed by queue, so it is written by hand; for reading, [`normalize`] turns both into strict JSON.
//!
//! Invariant: what we write is strict and compact wherever Java reads that too (Go splits broker
//! addresses at commas without trimming); strict input passes [`normalize`] with its meaning intact.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Deepest nesting a body may have.
const DEPTH_MAX: usize = 32;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Not the JSON that is expected here.
    #[error("the body is not a {what}: {source}")]
    Json {
        /// What was expected.
        what: &'static str,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// Nested deeper than anything a client sends.
    #[error("the body is not a {what}: nested too deeply or cut short at byte {at}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// Where reading stopped.
        at: usize,
    },
    /// The body is not there.
    #[error("the body is empty where a {what} was expected")]
    Empty {
        /// What was expected.
        what: &'static str,
    },
    /// Compressed, and not what it should be.
    #[error("the compressed body is malformed: {0}")]
    Compressed(String),
}

/// A body that travels as JSON.
pub trait JsonBody: Serialize + DeserializeOwned {
    /// What it is, for error texts.
    const WHAT: &'static str;

    /// Compact, strict JSON.
    fn encode(&self) -> Bytes {
        let text = serde_json::to_vec(self).expect("maps of these bodies have text keys");
        Bytes::from(text)
    }

    /// Reads strict JSON or fastjson's dialect.
    ///
    /// # Errors
    /// When it is neither.
    fn decode(body: &[u8]) -> Result<Self, BodyError> {
        decode(body, Self::WHAT)
    }
}

/// Reads strict JSON, or else fastjson's dialect.
///
/// # Errors
/// When it is neither; the error is that of the strict reading unless normalizing made a difference.
pub fn decode<T: DeserializeOwned>(body: &[u8], what: &'static str) -> Result<T, BodyError> {
    if body.is_empty() {
        return Err(BodyError::Empty { what });
    }
    match serde_json::from_slice(body) {
        Ok(value) => Ok(value),
        Err(strict) if strict.is_syntax() => {
            let text = normalize(body).map_err(|at| BodyError::Malformed { what, at })?;
            serde_json::from_slice(&text).map_err(|source| BodyError::Json { what, source })
        }
        Err(source) => Err(BodyError::Json { what, source }),
    }
}

/// Rewrites unquoted and object keys as text keys; an object key becomes its own JSON as text.
///
/// # Errors
/// The position at which the text ends too early or is nested too deeply.
pub fn normalize(body: &[u8]) -> Result<Vec<u8>, usize> {
    let mut normalizer = Normalizer { body, at: 0, out: Vec::with_capacity(body.len() + 64) };
    normalizer.value(0)?;
    normalizer.blanks();
    if normalizer.at == body.len() { Ok(normalizer.out) } else { Err(normalizer.at) }
}

struct Normalizer<'a> {
    body: &'a [u8],
    at: usize,
    out: Vec<u8>,
}

impl Normalizer<'_> {
    fn peek(&self) -> Result<u8, usize> {
        self.body.get(self.at).copied().ok_or(self.at)
    }

    fn blanks(&mut self) {
        while self.body.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn copy(&mut self) -> Result<u8, usize> {
        let byte = self.peek()?;
        self.out.push(byte);
        self.at += 1;
        Ok(byte)
    }

    fn value(&mut self, depth: usize) -> Result<(), usize> {
        if depth > DEPTH_MAX {
            return Err(self.at);
        }
        self.blanks();
        match self.peek()? {
            b'{' => self.members(depth, b'}'),
            b'[' => self.members(depth, b']'),
            b'"' => self.string(),
            _ => self.scalar(),
        }
    }

    /// The inside of an object or array, brackets included.
    fn members(&mut self, depth: usize, close: u8) -> Result<(), usize> {
        self.copy()?;
        loop {
            self.blanks();
            match self.peek()? {
                byte if byte == close => return self.copy().map(|_| ()),
                b',' => {
                    self.copy()?;
                }
                _ if close == b']' => self.value(depth + 1)?,
                _ => {
                    self.key(depth + 1)?;
                    self.blanks();
                    if self.copy()? != b':' {
                        return Err(self.at);
                    }
                    self.value(depth + 1)?;
                }
            }
        }
    }

    fn key(&mut self, depth: usize) -> Result<(), usize> {
        if self.peek()? == b'"' {
            return self.string();
        }
        let begin = self.out.len();
        self.value(depth)?;
        let raw = self.out.split_off(begin);
        let raw = std::str::from_utf8(&raw).map_err(|_| self.at)?;
        serde_json::to_writer(&mut self.out, raw).map_err(|_| self.at)
    }

    fn string(&mut self) -> Result<(), usize> {
        self.copy()?;
        loop {
            match self.copy()? {
                b'"' => return Ok(()),
                b'\\' => {
                    self.copy()?;
                }
                _ => {}
            }
        }
    }

    fn scalar(&mut self) -> Result<(), usize> {
        let begin = self.at;
        while let Some(byte) = self.body.get(self.at)
            && !matches!(byte, b',' | b':' | b'}' | b']' | b'{' | b'[' | b'"')
            && !byte.is_ascii_whitespace()
        {
            self.out.push(*byte);
            self.at += 1;
        }
        if self.at == begin { Err(begin) } else { Ok(()) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(text: &str) -> String {
        String::from_utf8(normalize(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn integer_keys_are_quoted() {
        assert_eq!(normal(r#"{ 0:"a:1", 1 : "b"}"#), r#"{"0":"a:1","1":"b"}"#);
    }

    #[test]
    fn object_keys_become_text() {
        assert_eq!(
            normal(r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:123}}"#),
            r#"{"offsetTable":{"{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"t\"}":123}}"#
        );
    }

    #[test]
    fn strict_input_keeps_its_meaning() {
        let text = r#"{"a":[1,2.5e3,true,null,"x\"y\\"],"b":{}}"#;
        assert_eq!(normal(text), text);
    }

    #[test]
    fn bad_input_ends_with_its_position() {
        assert!(normalize(b"{").is_err());
        assert!(normalize(b"{0}").is_err());
        assert!(normalize(b"{}x").is_err());
        assert!(normalize("[".repeat(1000).as_bytes()).is_err());
        assert!(normalize("{".repeat(1000).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(text in "[\\[\\]{}:,\"\\\\0-9a ]{0,40}") {
            let _ = normalize(text.as_bytes());
        }
    }
}
