//! Small files of text for operators' eyes: a title, `name=value` lines, and a checksum of all that.
//!
//! Invariant: a text that changed by a bit is not read.

/// The text of a file with these lines, each with its end.
pub(crate) fn seal(title: &str, lines: &str) -> String {
    let body = format!("{title}\n{lines}");
    let crc = crc32fast::hash(body.as_bytes());
    format!("{body}crc32={crc:08x}\n")
}

/// The lines behind the title; none when the checksum or the title is another.
pub(crate) fn open<'a>(title: &str, text: &'a str) -> Option<Fields<'a>> {
    let (body, sum) = text.split_at(text.rfind("crc32=")?);
    let crc = u32::from_str_radix(sum.strip_prefix("crc32=")?.strip_suffix('\n')?, 16).ok()?;
    if crc32fast::hash(body.as_bytes()) != crc {
        return None;
    }
    let mut lines = body.lines();
    (lines.next()? == title).then_some(Fields { lines })
}

/// Fields, read in the order in which they were written.
pub(crate) struct Fields<'a> {
    lines: std::str::Lines<'a>,
}

impl<'a> Fields<'a> {
    /// The value of the next field, which must have this name.
    pub(crate) fn next(&mut self, name: &str) -> Option<&'a str> {
        self.lines.next()?.strip_prefix(name)?.strip_prefix('=')
    }
}
