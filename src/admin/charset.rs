//! How bodies are shown: as text in the charset that an operator names.
//!
//! Invariant: bytes that are none of its text are shown as replacement characters, never left out.

use std::borrow::Cow;
use std::str::FromStr;

use encoding_rs::Encoding;

/// A charset by one of its names, such as `UTF-8` or `GBK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

/// A name that no charset has.
#[derive(Debug, thiserror::Error)]
#[error("{0} is no charset: say UTF-8, GBK, Shift_JIS, ISO-8859-1 or the like")]
pub struct NoCharset(String);

impl FromStr for Charset {
    type Err = NoCharset;

    fn from_str(name: &str) -> Result<Charset, NoCharset> {
        let found = Encoding::for_label(name.as_bytes());
        found.map(Charset).ok_or_else(|| NoCharset(name.to_owned()))
    }
}

impl Charset {
    /// Bytes as text.
    pub(super) fn text(self, bytes: &[u8]) -> Cow<'_, str> {
        self.0.decode_without_bom_handling(bytes).0
    }
}

impl Default for Charset {
    fn default() -> Charset {
        Charset(encoding_rs::UTF_8)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_shown_in_their_charset() {
        let shown =
            |name: &str, bytes: &[u8]| name.parse::<Charset>().unwrap().text(bytes).into_owned();
        assert_eq!(shown("GBK", &[0xc4, 0xe3, 0xba, 0xc3]), "你好");
        assert_eq!(shown("gb2312", &[0xc4, 0xe3]), "你");
        assert_eq!(shown("UTF-8", "你\u{feff}好".as_bytes()), "你\u{feff}好");
        assert_eq!(shown("UTF-8", &[b'a', 0xff, b'b']), "a\u{fffd}b");
        assert_eq!(shown("ISO-8859-1", &[0xe9]), "é");
        assert!("EBCDIC-9".parse::<Charset>().is_err());
    }
}
