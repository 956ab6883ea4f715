//! Runs the cases in `testdata/`: commands, a line of dashes, what they print. `UPDATE_CASES=1` writes
//! what they print now into the files; read the difference before committing it.
//!
//! Commands: `open`, `close`, `append FIRST..LAST term=T bytes=B`, `vote term=T for=V commit=C`, `write`, `sync`,
//! `entries`, `files`, `crash all|nothing|torn:SEED`, `flip FILE OFFSET`, `fail-sync NTH`, `slices on|off`,
//! `snapshot POSITION`, `compact POSITION`, `save NAME POSITION`, `install NAME`, `wipe`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use bytes::Bytes;
use raft::eraftpb::{Entry, HardState, Snapshot};
use raft::{GetEntriesContext, Storage};
use raft_log::fault::{Loss, SimDisk};
use raft_log::{Disk, Log, LogError, LogOptions, Position, SEGMENT_BYTES_MIN};

const DIR: &str = "/log";

#[derive(Default)]
struct Case {
    disk: SimDisk,
    log: Option<Log<SimDisk>>,
    saved: BTreeMap<String, Snapshot>,
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not a number"))
}

/// The value of `name=` among the words.
fn field(words: &[&str], name: &str) -> u64 {
    let value = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    number(value.unwrap_or_else(|| panic!("{name}= is missing in {words:?}")))
}

/// `1..3 of term 1, 4..9 of term 2`.
fn runs(entries: &[Entry]) -> String {
    let mut runs: Vec<(u64, u64, u64)> = Vec::new();
    for entry in entries {
        match runs.last_mut() {
            Some((_, last, term)) if *term == entry.term => *last = entry.index,
            _ => runs.push((entry.index, entry.index, entry.term)),
        }
    }
    let run = |(first, last, term): &(u64, u64, u64)| format!("{first}..{last} of term {term}");
    runs.iter().map(run).collect::<Vec<_>>().join(", ")
}

impl Case {
    fn log(&mut self) -> &mut Log<SimDisk> {
        self.log.as_mut().expect("the log is open")
    }

    fn state(&mut self) -> String {
        let log = self.log();
        let state = log.initial_state().unwrap().hard_state;
        format!(
            "first {} last {} tail {} term {} vote {} commit {}",
            log.first_index().unwrap(),
            log.last_index(),
            log.tail(),
            state.term,
            state.vote,
            state.commit
        )
    }

    fn run(&mut self, command: &str) -> Result<String, LogError> {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["open"] => {
                let options = LogOptions {
                    segment_bytes: SEGMENT_BYTES_MIN,
                    prepare_ahead_bytes: SEGMENT_BYTES_MIN,
                    ..LogOptions::new("cluster", "group", "n0", vec![1, 2, 3])
                };
                self.log = None;
                self.log = Some(Log::open(self.disk.clone(), Path::new(DIR), options)?);
                Ok(self.state())
            }
            ["close"] => {
                self.log = None;
                Ok("ok".to_owned())
            }
            ["wipe"] => {
                self.log = None;
                self.disk = SimDisk::new();
                Ok("ok".to_owned())
            }
            ["append", range, ..] => {
                let (first, last) = range.split_once("..").expect("FIRST..LAST");
                let (term, bytes) = (field(&words, "term"), field(&words, "bytes") as usize);
                let entry = |index| Entry {
                    index,
                    term,
                    data: Bytes::from(vec![index as u8; bytes]),
                    ..Entry::default()
                };
                let entries: Vec<Entry> = (number(first)..=number(last)).map(entry).collect();
                self.log().append(&entries)?;
                Ok(format!("tail {}", self.log().tail()))
            }
            ["vote", ..] => {
                let (term, vote) = (field(&words, "term"), field(&words, "for"));
                let commit = field(&words, "commit");
                let state = HardState { term, vote, commit, ..HardState::default() };
                self.log().set_hard_state(state);
                Ok("staged".to_owned())
            }
            ["write"] => self.log().begin_write().wait().map(|()| "written".to_owned()),
            ["sync"] => self.log().begin_sync().wait().map(|()| "durable".to_owned()),
            ["entries"] => {
                let log = self.log();
                let (first, last) = (log.first_index().unwrap(), log.last_index().0);
                if first > last {
                    return Ok("none".to_owned());
                }
                let whole = log.reader().entries_from(log.first_position(), usize::MAX)?;
                assert_eq!(whole.len() as u64, last + 1 - first);
                let context = GetEntriesContext::empty(false);
                Ok(runs(&log.entries(first, last + 1, None, context).unwrap()))
            }
            ["files"] => Ok(self.disk.list(Path::new(DIR)).unwrap().join(" ")),
            ["crash", loss] => {
                let loss = match loss.split_once(':') {
                    None if loss == "all" => Loss::All,
                    None => Loss::Nothing,
                    Some((_, seed)) => Loss::Torn(number(seed)),
                };
                self.log = None;
                self.disk.restart(loss);
                Ok("ok".to_owned())
            }
            ["flip", file, offset] => {
                assert!(self.disk.flip_bit(&Path::new(DIR).join(file), number(offset), 3));
                Ok("ok".to_owned())
            }
            ["fail-sync", nth] => {
                self.disk.fail_sync(number(nth));
                Ok("ok".to_owned())
            }
            ["slices", alive] => {
                self.disk.set_slices_alive(alive == "on");
                Ok("ok".to_owned())
            }
            ["snapshot", position] => {
                let log = self.log();
                let position = Position(number(position));
                let Some(boundary) = log.reader().boundary_before(position)? else {
                    return Ok("no boundary".to_owned());
                };
                log.snapshots().save(boundary, b"state")?;
                Ok(format!("after index {} of term {}", boundary.index, boundary.term))
            }
            ["compact", position] => {
                let first = self.log().compact_to(Position(number(position)))?;
                Ok(format!("first position {first}"))
            }
            ["save", name, position] => {
                let snapshots = self.log().snapshots();
                let snapshot = snapshots.at(Position(number(position)))?.expect("a snapshot");
                self.saved.insert(name.to_owned(), snapshot.to_raft());
                Ok("ok".to_owned())
            }
            ["install", name] => {
                let snapshot = self.saved[name].clone();
                self.log().install_snapshot(&snapshot)?;
                Ok(self.state())
            }
            _ => panic!("unknown command {command:?}"),
        }
    }
}

/// The file with its expectations replaced by what is printed now.
fn replay(text: &str) -> String {
    let (mut out, mut case) = (String::new(), Case::default());
    let mut commands: Vec<&str> = Vec::new();
    let mut expected = false;
    for line in text.lines() {
        if line == "----" {
            out.push_str("----\n");
            for command in commands.drain(..) {
                let printed = case.run(command).unwrap_or_else(|error| format!("error: {error}"));
                writeln!(out, "{printed}").unwrap();
            }
            expected = true;
        } else if line.is_empty() {
            expected = false;
            out.push('\n');
        } else if !expected {
            writeln!(out, "{line}").unwrap();
            if !line.starts_with('#') {
                commands.push(line);
            }
        }
    }
    out
}

#[test]
fn the_cases_in_testdata() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut paths: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 5, "the cases are missing");
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let now = replay(&text);
        if std::env::var_os("UPDATE_CASES").is_some() {
            #[allow(clippy::disallowed_methods)]
            std::fs::write(&path, now).unwrap();
        } else {
            assert_eq!(now, text, "{}", path.display());
        }
    }
}
