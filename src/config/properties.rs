//! Java properties text, as RocketMQ's configuration files are written.
//!
//! Invariant: what a Java program reads from a file is what this reads from it: comments with `#`
//! or `!`, `=`, `:` or white space between key and value, a backslash at the end of a line
//! continues it, `\uXXXX` escapes, and of a repeated key the last one wins. Repeats are reported,
//! because the earlier line is usually the one its author is looking at.

use std::collections::BTreeMap;

use thiserror::Error;

/// Why a text is not a properties file.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PropertiesError {
    /// `\u` must be followed by four hexadecimal digits.
    #[error(
        "line {line}: \\u must be followed by four hexadecimal digits; write a backslash as \\\\"
    )]
    Escape {
        /// Where, counted from one.
        line: usize,
    },
    /// A value without a key.
    #[error("line {line}: no key before the separator; write `key = value`")]
    NoKey {
        /// Where, counted from one.
        line: usize,
    },
}

/// The keys and values of one properties text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    values: BTreeMap<String, String>,
    duplicates: Vec<String>,
}

impl Properties {
    /// Parses `text`.
    pub fn parse(text: &str) -> Result<Properties, PropertiesError> {
        let mut properties = Properties::default();
        for (line, logical) in logical_lines(text) {
            let (key, value) = split(&logical);
            let key = unescape(key).ok_or(PropertiesError::Escape { line })?;
            let value = unescape(value).ok_or(PropertiesError::Escape { line })?;
            if key.is_empty() {
                return Err(PropertiesError::NoKey { line });
            }
            // RocketMQ trims values; Java itself keeps trailing white space.
            if properties.values.insert(key.clone(), value.trim().to_owned()).is_some() {
                properties.duplicates.push(key);
            }
        }
        Ok(properties)
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// Sets `key`, over whatever the text said.
    pub fn set(&mut self, key: &str, value: &str) {
        self.values.insert(key.to_owned(), value.trim().to_owned());
    }

    /// All keys and values, ordered by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Keys that the text gave more than once.
    pub fn duplicates(&self) -> &[String] {
        &self.duplicates
    }
}

/// `text` with `key` set to `value`: every line that sets it is replaced, or a line is appended.
/// Comments and order stay, so that a file written by a person survives a change at run time.
pub fn replace_line(text: &str, key: &str, value: &str) -> String {
    let escaped = value.replace('\\', "\\\\");
    let mut out = String::with_capacity(text.len() + key.len() + escaped.len() + 4);
    let mut replaced = false;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let body = line.trim_start();
        if is_comment(body) || split(body).0 != key {
            out.push_str(line);
            out.push('\n');
            continue;
        }
        let mut current = line;
        while continues(current) {
            match lines.next() {
                Some(next) => current = next,
                None => break,
            }
        }
        out.push_str(&format!("{key}={escaped}\n"));
        replaced = true;
    }
    if !replaced {
        out.push_str(&format!("{key}={escaped}\n"));
    }
    out
}

/// Joins continued lines and drops comments and blanks; the number is that of the first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut result = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        // Editors on Windows put a byte order mark in front.
        let line = if index == 0 { line.trim_start_matches('\u{feff}') } else { line };
        let mut current = line.trim_start();
        if is_comment(current) {
            continue;
        }
        let mut logical = String::new();
        while continues(current) {
            logical.push_str(&current[..current.len() - 1]);
            current = lines.next().map_or("", |(_, next)| next.trim_start());
        }
        logical.push_str(current);
        if !logical.trim().is_empty() {
            result.push((index + 1, logical));
        }
    }
    result
}

fn is_comment(line: &str) -> bool {
    line.starts_with('#') || line.starts_with('!')
}

/// An odd number of backslashes at the end continues the line.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Splits at the first separator that is not escaped. White space separates too, and may surround
/// one `=` or `:`.
fn split(line: &str) -> (&str, &str) {
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\u{c}');
    let mut escaped = false;
    let end = line.find(|c: char| {
        let separates = !escaped && (matches!(c, '=' | ':') || is_space(c));
        escaped = !escaped && c == '\\';
        separates
    });
    let Some(end) = end else { return (line, "") };
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(is_space);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(is_space))
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('u') => {
                let digits: String = rest.by_ref().take(4).collect();
                if digits.len() != 4 {
                    return None;
                }
                let unit = u32::from_str_radix(&digits, 16).ok()?;
                out.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some(other) => out.push(other),
            None => {}
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_java_reads() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("a=1", &[("a", "1")]),
            ("  a = 1  \r\n", &[("a", "1")]),
            ("a:1\nb 2\nc\t=\t3", &[("a", "1"), ("b", "2"), ("c", "3")]),
            ("# a=1\n! b=2\n\n   # c=3", &[]),
            ("a=1\\\n   2\\\n3", &[("a", "123")]),
            ("a=x\\\\\nb=2", &[("a", "x\\"), ("b", "2")]),
            ("a=b=c:d", &[("a", "b=c:d")]),
            ("path=C\\:\\\\x", &[("path", "C:\\x")]),
            ("k\\=ey=v", &[("k=ey", "v")]),
            ("a=\\u0041\\tb", &[("a", "A\tb")]),
            ("a", &[("a", "")]),
            ("a=1\na=2", &[("a", "2")]),
            ("\u{feff}a=1", &[("a", "1")]),
            ("a=trailing\\", &[("a", "trailing")]),
            ("n=x # no comment here", &[("n", "x # no comment here")]),
        ];
        for (text, expected) in cases {
            let properties = Properties::parse(text).unwrap();
            assert_eq!(&properties.iter().collect::<Vec<_>>(), expected, "{text:?}");
        }
    }

    #[test]
    fn names_the_line_of_a_mistake() {
        let escape = Properties::parse("a=1\n\nb=\\u12");
        assert_eq!(escape, Err(PropertiesError::Escape { line: 3 }));
        assert_eq!(Properties::parse("a=1\n=2"), Err(PropertiesError::NoKey { line: 2 }));
    }

    #[test]
    fn reports_repeated_keys() {
        let properties = Properties::parse("a=1\nb=1\na=2").unwrap();
        assert_eq!(properties.duplicates(), ["a"]);
    }

    #[test]
    fn a_replaced_line_keeps_the_rest() {
        let text = "# mine\na=1\nb=2\\\n  3\nc=4\n";
        assert_eq!(replace_line(text, "b", "9"), "# mine\na=1\nb=9\nc=4\n");
        assert_eq!(replace_line(text, "d", "5"), format!("{text}d=5\n"));
        let properties = Properties::parse(&replace_line("", "p", "C:\\x")).unwrap();
        assert_eq!(properties.get("p"), Some("C:\\x"));
    }
}
