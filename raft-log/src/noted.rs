//! Pages that an earlier process could not read under a map, and ended by.
//!
//! Its last act was a line in a file `unreadable` beside the file concerned (see `disk::bus_error`). Whoever
//! uses the directory next looks at these pages before anybody touches them: in a log, what cannot be read
//! there is damage like any other.
//!
//! Invariants: a note is a hint, never a fact: what it names is read before anything follows from it, and
//! what makes no sense is passed over. It goes, durably, once nothing that it names is damaged.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::disk::{Disk, DiskFile, PAGE_BYTES, is_unreadable};
use crate::error::{IoContext, LogError};
use crate::files::{self, FileKind};
use crate::shared::Shared;
use crate::types::LogIndex;

/// The note's name.
pub(crate) const NOTE: &CStr = c"unreadable";
/// What a line begins with; its number is the format's version. Then, between blanks, the page's offset and
/// bytes, and the file's name up to the end of the line.
pub(crate) const LINE_TITLE: &str = "page 1";
/// A note is read up to here: one process adds one line.
const NOTE_BYTES_MAX: u64 = 64 * 1024;

/// A place that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NotedPage {
    pub(crate) file: String,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl NotedPage {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix(LINE_TITLE)?.strip_prefix(' ')?.splitn(3, ' ');
        let (offset, bytes) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let file = words.next()?;
        let is_name = !file.is_empty() && !file.contains('/') && file != "." && file != "..";
        let is_page = (1..=1 << 20).contains(&bytes) && offset < u64::MAX / 2;
        (is_name && is_page).then(|| Self { file: file.to_owned(), offset, bytes })
    }
}

/// All whole lines that make sense.
fn parse(note: &[u8]) -> BTreeSet<NotedPage> {
    let lines = note.split_inclusive(|byte| *byte == b'\n');
    let whole = lines.filter_map(|line| str::from_utf8(line.strip_suffix(b"\n")?).ok());
    whole.filter_map(NotedPage::parse).collect()
}

fn note_path(dir: &Path) -> std::path::PathBuf {
    dir.join(NOTE.to_string_lossy().as_ref())
}

/// What is noted in a directory; none where there is no note.
pub(crate) fn load<D: Disk>(disk: &D, dir: &Path) -> Result<Option<BTreeSet<NotedPage>>, LogError> {
    let path = note_path(dir);
    if !files::exists(disk, &path)? {
        return Ok(None);
    }
    let file = disk.open(&path).during("open", &path)?;
    let bytes = file.len().during("measure", &path)?.min(NOTE_BYTES_MAX);
    let mut note = vec![0; usize::try_from(bytes).expect("it is bounded")];
    match file.read_at(&mut note, 0) {
        Err(error) if is_unreadable(&error) => note.clear(),
        read => read.during("read", &path)?,
    }
    Ok(Some(parse(&note)))
}

fn forget<D: Disk>(disk: &D, dir: &Path) -> Result<(), LogError> {
    files::remove_durably(disk, dir, &note_path(dir))
}

/// Removes files that an earlier process could not read all of: for a directory of files that are made
/// again when they are missing.
///
/// # Errors
/// Of the disk.
pub fn remove_unreadable_files<D: Disk>(disk: &D, dir: &Path) -> Result<(), LogError> {
    let Some(noted) = load(disk, dir)? else { return Ok(()) };
    for page in noted {
        let path = dir.join(&page.file);
        if files::exists(disk, &path)? && is_lost(disk, &path, &page)? {
            tracing::warn!(
                file = %path.display(), offset = page.offset,
                "the disk cannot read all of the file; it is removed, to be made again"
            );
            disk.remove(&path).during("remove", &path)?;
        }
    }
    forget(disk, dir)
}

fn is_lost<D: Disk>(disk: &D, path: &Path, page: &NotedPage) -> Result<bool, LogError> {
    let file = disk.open(path).during("open", path)?;
    let end = file.len().during("measure", path)?.min(page.offset + page.bytes);
    let bytes = end.saturating_sub(page.offset);
    if bytes == 0 {
        // A loss of power took it before it was durable; whoever opens the file sees that it is too short.
        return Ok(false);
    }
    let mut content = vec![0; usize::try_from(bytes).expect("a page is small")];
    match file.read_at(&mut content, page.offset) {
        Err(error) if is_unreadable(&error) => Ok(true),
        read => read.map(|()| false).during("read", path),
    }
}

impl<D: Disk> Shared<D> {
    /// Looks at what is noted, before anybody reads: the entries there that do not check are known as damaged
    /// afterwards.
    pub(crate) fn look_at(&self, noted: &BTreeSet<NotedPage>) {
        let mut seen = true;
        for page in noted {
            if let Err(error) = self.look_at_page(page) {
                // The next start may.
                seen = false;
                tracing::warn!(
                    dir = %self.dir.display(), file = page.file, offset = page.offset, %error,
                    "a page that could not be read once cannot be looked at"
                );
            }
        }
        self.noted.store(seen, Ordering::Relaxed);
        self.forget_note();
    }

    fn look_at_page(&self, page: &NotedPage) -> Result<(), LogError> {
        let FileKind::Segment(start) = FileKind::of(&page.file) else { return Ok(()) };
        let bounds = {
            let table = self.table();
            let held = table.segment_at(start).filter(|held| held.segment.start == start);
            let Some(held) = held else { return Ok(()) };
            let first = page.offset - page.offset % PAGE_BYTES;
            // What is behind the log's end was read by the recovery, and is written before it is read again.
            let stop = held.segment.bytes.min(table.end.position.0.saturating_sub(start));
            if first >= stop {
                return Ok(());
            }
            let last = (page.offset + page.bytes).min(stop) - 1;
            let around = |offset: u64| table.index_around(start + offset);
            around(first).zip(around(last))
        };
        let Some((mut from, to)) = bounds else { return Ok(()) };
        while from <= to {
            let LogIndex(next) = self.scrub_now(from, to, page.bytes)?.next;
            from = next;
        }
        Ok(())
    }

    /// Removes the note if all that it names is whole.
    pub(crate) fn forget_note(&self) {
        let done = self.noted.load(Ordering::Relaxed) && self.table().damaged.is_empty();
        if !done {
            return;
        }
        match forget(&self.disk, &self.dir) {
            Ok(()) => self.noted.store(false, Ordering::Relaxed),
            // It stays a hint for the next start.
            Err(error) => {
                tracing::warn!(dir = %self.dir.display(), %error, "a note cannot be removed");
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::disk::fault::SimDisk;

    fn page(file: &str, offset: u64, bytes: u64) -> NotedPage {
        NotedPage { file: file.to_owned(), offset, bytes }
    }

    #[test]
    fn whole_lines_are_read_and_nothing_else() {
        let note = b"\npage 1 4096 4096 00000000000000000000\n\npage 1 0 16384 0-9.extent\n";
        let both = [page("0-9.extent", 0, 16384), page("00000000000000000000", 4096, 4096)];
        assert_eq!(parse(note), both.into());
        // Cut at any byte, it says less and nothing else.
        for cut in 0..note.len() {
            let left = parse(&note[..cut]);
            assert!(left.iter().all(|page| both_holds(note, page)), "{cut} bytes: {left:?}");
            // What is written behind a torn line is read.
            let mut torn = note[..cut].to_vec();
            torn.extend_from_slice(b"\npage 1 8192 4096 behind\n");
            assert!(parse(&torn).contains(&page("behind", 8192, 4096)), "{cut} bytes");
        }
    }

    #[test]
    fn a_note_of_a_page_that_is_not_there_any_more_goes_and_the_file_stays() {
        let (disk, dir) = (SimDisk::new(), Path::new("/derived"));
        disk.create_dir_all(dir).unwrap();
        let file = dir.join("0.index");
        disk.create(&file).unwrap();
        let note = disk.create(&note_path(dir)).unwrap();
        note.write_at(b"page 1 4096 4096 0.index\n", 0).unwrap();
        remove_unreadable_files(&disk, dir).unwrap();
        assert!(disk.exists(&file).unwrap() && load(&disk, dir).unwrap().is_none());
    }

    fn both_holds(note: &[u8], page: &NotedPage) -> bool {
        parse(note).contains(page)
    }

    #[test]
    fn what_makes_no_sense_is_passed_over() {
        for line in [
            "page 2 0 4096 name",
            "page 1 0 4096",
            "page 1 0 4096 ",
            "page 1 0 0 name",
            "page 1 -1 4096 name",
            "page 1 0 99999999999 name",
            "page 1 18446744073709551615 4096 name",
            "page 1 0 4096 ../name",
            "page 1 0 4096 ..",
            "page 1 x y name",
            "\u{0}\u{1}",
            "",
        ] {
            assert_eq!(NotedPage::parse(line), None, "{line:?}");
        }
        assert_eq!(parse(&[0xff; 100]), BTreeSet::new());
    }
}
