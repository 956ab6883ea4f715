//! What a run leaves to be read when it fails: its whole story, and its last events in full.
//!
//! Invariant: it is there whatever ended the run, a panic too; and keeping it changes nothing.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The first line of a record.
pub const STORY: &str = "the story:";
/// The line behind a record.
pub const END: &str = "what it came to:";
/// Last events that are kept in full.
const LAST_EVENTS: usize = 2_000;

#[derive(Default)]
struct Inner {
    story: Vec<(Duration, String)>,
    last: VecDeque<(Duration, String)>,
}

/// The record of one run; clones share it.
#[derive(Clone, Default)]
pub struct Record {
    inner: Arc<Mutex<Inner>>,
}

impl Record {
    /// Something happened; whether it belongs to the story.
    pub fn add(&self, at: Duration, text: String, story: bool) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if story {
            inner.story.push((at, text.clone()));
        }
        if inner.last.len() == LAST_EVENTS {
            inner.last.pop_front();
        }
        inner.last.push_back((at, text));
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").finish_non_exhaustive()
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(f, "{STORY}")?;
        for (at, text) in &inner.story {
            writeln!(f, "{:>10.3} s  {text}", at.as_secs_f64())?;
        }
        writeln!(f, "the last {} events:", inner.last.len())?;
        for (at, text) in &inner.last {
            writeln!(f, "{:>10.6} s  {text}", at.as_secs_f64())?;
        }
        Ok(())
    }
}

/// Keeps a text as a seed's record, in the place of an earlier one.
///
/// # Errors
/// When the folder cannot be written to.
pub fn keep(folder: &Path, seed: u64, text: &str) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(format!("seed-{seed}.log"));
    #[allow(clippy::disallowed_methods, reason = "it belongs to no run")]
    std::fs::write(&path, text)?;
    Ok(path)
}

/// The command that plays a run again, and the commit of the tree it was played from, as far as that can
/// be known.
pub fn again(arguments: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let describe = ["-C", root, "describe", "--always", "--dirty", "--exclude=*"];
    let output = Command::new("git").args(describe).output().ok();
    let output = output.filter(|output| output.status.success());
    let text = output.and_then(|output| String::from_utf8(output.stdout).ok());
    let commit = text.as_deref().map(str::trim).filter(|text| !text.is_empty());
    format!("cargo sim -- {arguments}  # at {}", commit.unwrap_or("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_is_kept_whole_and_events_as_far_as_there_is_room() {
        let record = Record::default();
        record.add(Duration::ZERO, "power goes".to_owned(), true);
        (0..LAST_EVENTS).for_each(|n| record.add(Duration::ZERO, format!("event {n};"), false));
        let text = record.to_string();
        assert_eq!(text.matches("power goes").count(), 1, "told, and no more among the last");
        assert!(text.contains("event 0;") && text.contains(&format!("event {};", LAST_EVENTS - 1)));
        record.add(Duration::ZERO, "one more".to_owned(), false);
        assert!(!record.to_string().contains("event 0;"));
    }
}
