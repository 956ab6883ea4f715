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
    let mut lines = body(text)?.lines();
    (lines.next()? == title).then_some(Fields { lines })
}

/// All but the checksum; none when it is another.
fn body(text: &str) -> Option<&str> {
    let (body, sum) = text.split_at(text.rfind("crc32=")?);
    let crc = u32::from_str_radix(sum.strip_prefix("crc32=")?.strip_suffix('\n')?, 16).ok()?;
    (crc32fast::hash(body.as_bytes()) == crc).then_some(body)
}

/// The format in the title of a whole text that a newer program wrote; `title` ends with the newest
/// format that this one knows.
pub(crate) fn newer(title: &str, text: &str) -> Option<u32> {
    let (kind, known) = title.rsplit_once(' ')?;
    let (found_kind, found) = text.lines().next()?.rsplit_once(' ')?;
    let found: u32 = found.parse().ok()?;
    let is_newer = found_kind == kind && found > known.parse().ok()?;
    (is_newer && body(text).is_some()).then_some(found)
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
