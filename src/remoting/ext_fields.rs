//! The named fields of a header.
//!
//! Invariant: fields read from a header are ranges into it, not copies; both the header and the
//! fields added later are valid UTF-8. Of two fields with one name the last one counts.

use std::fmt;

use bytes::Bytes;

use super::encode::ExtValue;

/// A field that is missing or not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Required and not there.
    #[error("the request lacks the required field `{field}`")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// There, with a value that cannot be read.
    #[error("the field `{field}` is `{value}`, which is not {expected}")]
    Invalid {
        /// Its name.
        field: &'static str,
        /// Its value, cut if long.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

/// Where one field's name and value stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) key_begin: u32,
    pub(super) key_end: u32,
    pub(super) value_begin: u32,
    pub(super) value_end: u32,
    /// In `added` instead of `header`.
    pub(super) is_added: bool,
}

/// Named fields of a header, in order of appearance.
#[derive(Clone, Default)]
pub struct ExtFields {
    header: Bytes,
    added: Vec<u8>,
    fields: Vec<Field>,
}

impl ExtFields {
    /// Fields found in a header. The caller has checked that it is valid UTF-8 and that the ranges
    /// fall on characters.
    pub(super) fn from_header(header: Bytes, fields: Vec<Field>) -> Self {
        Self { header, added: Vec::new(), fields }
    }

    fn text(&self, field: &Field, begin: u32, end: u32) -> &str {
        let source: &[u8] = if field.is_added { &self.added } else { &self.header };
        std::str::from_utf8(&source[begin as usize..end as usize])
            .expect("headers are checked when read, and only text is added")
    }

    fn key_is(&self, field: &Field, key: &[u8]) -> bool {
        let source: &[u8] = if field.is_added { &self.added } else { &self.header };
        &source[field.key_begin as usize..field.key_end as usize] == key
    }

    fn position(&self, key: &str) -> Option<usize> {
        self.fields.iter().rposition(|field| self.key_is(field, key.as_bytes()))
    }

    /// Value of a field.
    pub fn get(&self, key: &str) -> Option<&str> {
        let field = &self.fields[self.position(key)?];
        Some(self.text(field, field.value_begin, field.value_end))
    }

    /// Value of a required field.
    ///
    /// # Errors
    /// When it is missing.
    pub fn require(&self, key: &'static str) -> Result<&str, FieldError> {
        self.get(key).ok_or(FieldError::Missing { field: key })
    }

    /// Value of a field that is a 32-bit integer; an empty one counts as absent.
    ///
    /// # Errors
    /// When it is no such integer.
    pub fn get_i32(&self, key: &'static str) -> Result<Option<i32>, FieldError> {
        self.get(key).map_or(Ok(None), |value| parse_i32(key, value))
    }

    /// Value of a field that is a 64-bit integer; an empty one counts as absent.
    ///
    /// # Errors
    /// When it is no such integer.
    pub fn get_i64(&self, key: &'static str) -> Result<Option<i64>, FieldError> {
        self.get(key).map_or(Ok(None), |value| parse_i64(key, value))
    }

    /// Value of a field that is a truth value; an empty one counts as absent.
    ///
    /// # Errors
    /// When it is neither `true` nor `false`.
    pub fn get_bool(&self, key: &'static str) -> Result<Option<bool>, FieldError> {
        self.get(key).map_or(Ok(None), |value| parse_bool(key, value))
    }

    /// Sets a field, replacing what it was.
    pub fn insert(&mut self, key: &str, value: impl ExtValue) {
        let position = self.position(key);
        let field = self.add(key, value);
        match position {
            Some(position) => self.fields[position] = field,
            None => self.fields.push(field),
        }
    }

    /// Adds a field that is not there yet.
    pub(super) fn push(&mut self, key: &str, value: impl ExtValue) {
        if self.fields.capacity() == 0 {
            self.fields.reserve(16);
            self.added.reserve(256);
        }
        let field = self.add(key, value);
        self.fields.push(field);
    }

    fn add(&mut self, key: &str, value: impl ExtValue) -> Field {
        let key_begin = self.added.len();
        self.added.extend_from_slice(key.as_bytes());
        let value_begin = self.added.len();
        value.with_text(|text| self.added.extend_from_slice(text.as_bytes()));
        let at = |offset: usize| u32::try_from(offset).expect("fields are far shorter than 4 GiB");
        Field {
            key_begin: at(key_begin),
            key_end: at(value_begin),
            value_begin: at(value_begin),
            value_end: at(self.added.len()),
            is_added: true,
        }
    }

    /// Removes a field.
    pub fn remove(&mut self, key: &str) {
        while let Some(position) = self.position(key) {
            self.fields.remove(position);
        }
    }

    /// All fields in order of appearance.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        // A JSON header is text as a whole: checked once, its parts need not be.
        let whole = std::str::from_utf8(&self.header).ok();
        let part = move |field: &Field, begin: u32, end: u32| {
            let sliced = match whole {
                Some(whole) if !field.is_added => whole.get(begin as usize..end as usize),
                _ => None,
            };
            sliced.unwrap_or_else(|| self.text(field, begin, end))
        };
        self.fields.iter().map(move |field| {
            let key = part(field, field.key_begin, field.key_end);
            (key, part(field, field.value_begin, field.value_end))
        })
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The same fields with memory of their own.
    #[must_use]
    pub fn detached(&self) -> Self {
        let mut copy = Self::default();
        for (key, value) in self.iter() {
            copy.insert(key, value);
        }
        copy
    }
}

impl fmt::Debug for ExtFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

fn invalid(field: &'static str, value: &str, expected: &'static str) -> FieldError {
    FieldError::Invalid { field, value: value.chars().take(64).collect(), expected }
}

/// An integer from a field's text; empty is absent.
pub(super) fn parse_i32(field: &'static str, value: &str) -> Result<Option<i32>, FieldError> {
    if value.is_empty() {
        return Ok(None);
    }
    value.parse().map(Some).map_err(|_| invalid(field, value, "a 32-bit integer"))
}

/// An integer from a field's text; empty is absent.
pub(super) fn parse_i64(field: &'static str, value: &str) -> Result<Option<i64>, FieldError> {
    if value.is_empty() {
        return Ok(None);
    }
    value.parse().map(Some).map_err(|_| invalid(field, value, "a 64-bit integer"))
}

/// A truth value from a field's text; empty is absent. The C++ client writes `1` and `0`: its batch
/// would be stored as one message with an unreadable body if `1` were not true.
pub(super) fn parse_bool(field: &'static str, value: &str) -> Result<Option<bool>, FieldError> {
    match value {
        "" => Ok(None),
        "true" | "1" => Ok(Some(true)),
        "false" | "0" => Ok(Some(false)),
        _ if value.eq_ignore_ascii_case("true") => Ok(Some(true)),
        _ if value.eq_ignore_ascii_case("false") => Ok(Some(false)),
        _ => Err(invalid(field, value, "`true` or `false`")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn inserted_fields_replace_each_other() {
        let mut fields = ExtFields::default();
        fields.insert("queueId", 3);
        fields.insert("topic", "T");
        fields.insert("queueId", 4i64);
        fields.insert("batch", true);
        assert_eq!(
            fields.iter().collect::<Vec<_>>(),
            [("queueId", "4"), ("topic", "T"), ("batch", "true")]
        );
        assert_eq!(fields.get_i32("queueId"), Ok(Some(4)));
        assert_eq!(fields.get_bool("batch"), Ok(Some(true)));
        assert_eq!(parse_bool("batch", "1"), Ok(Some(true)));
        assert_eq!(parse_bool("unitMode", "0"), Ok(Some(false)));
        fields.remove("topic");
        assert_eq!(fields.require("topic"), Err(FieldError::Missing { field: "topic" }));
        assert_eq!(fields.detached().iter().count(), 2);
    }

    #[test]
    fn errors_name_the_field() {
        let mut fields = ExtFields::default();
        fields.insert("queueId", "x");
        fields.insert("flag", "");
        assert_eq!(
            fields.get_i32("queueId").unwrap_err().to_string(),
            "the field `queueId` is `x`, which is not a 32-bit integer"
        );
        assert_eq!(fields.get_i64("flag"), Ok(None));
        assert_eq!(fields.get_i64("absent"), Ok(None));
        assert!(fields.get_bool("queueId").is_err());
    }
}
