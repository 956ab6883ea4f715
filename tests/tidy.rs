//! Rules about the text of the project that no compiler checks. A file that needs an exception is
//! listed here with the reason.

#![allow(clippy::unwrap_used, reason = "a test reads its own source tree")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 700;
/// rustfmt keeps code within 100; comments are its blind spot.
const LINE_CHARACTERS_MAX: usize = 120;

/// Written in two parts so that this file does not contain what it looks for.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("todo!", "(", "finish it, or leave it out"),
    ("unimplemented!", "(", "finish it, or leave it out"),
    ("dbg!", "(", "use tracing"),
    ("#[ign", "ore", "a test that does not run proves nothing"),
    ("thread::sl", "eep", "wait for an event instead"),
    ("/wo", "rk/", "no path of one machine"),
    ("/ro", "ot/", "no path of one machine"),
];

/// (file, how the forbidden text starts, why it is right there)
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "tests/support/poll.rs",
    "thread::sl",
    "the one place where tests ask again: other processes announce nothing",
)];

const SOURCE_FOLDERS: &[&str] = &["src", "raft-log", "tests", "fuzz", "benches", "simulation"];
const SKIPPED_FOLDERS: &[&str] = &["target", ".git", "corpus", "artifacts", "raftmq-data"];

#[test]
fn rust_files_keep_the_rules_of_the_house() {
    let root = root();
    let mut problems = String::new();
    let mut files = 0;
    for folder in SOURCE_FOLDERS {
        for path in files_below(&root.join(folder), "rs") {
            files += 1;
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
            check_rust_file(name, &fs::read_to_string(&path).unwrap(), &mut problems);
        }
    }
    assert!(files > 20, "found only {files} files: is this the source tree?");
    assert!(problems.is_empty(), "\n{problems}");
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let root = root();
    let mut problems = String::new();
    for path in files_below(&root, "md") {
        let text = fs::read_to_string(&path).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            let elsewhere = file.is_empty() || file.contains("://");
            if !elsewhere && !path.parent().unwrap().join(file).exists() {
                writeln!(problems, "{}: no {file}", path.display()).unwrap();
            }
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
}

#[test]
fn the_rules_find_what_breaks_them() {
    let mut problems = String::new();
    let long = "x".repeat(LINE_CHARACTERS_MAX + 1);
    check_rust_file("a.rs", &format!("fn a() {{ dbg{}1); }}\n// {long}\n", "!("), &mut problems);
    check_rust_file("b.rs", &"//! b\n".repeat(FILE_LINES_MAX + 1), &mut problems);
    assert_eq!(problems.lines().count(), 4, "\n{problems}");
}

fn check_rust_file(name: &str, text: &str, problems: &mut String) {
    let mut report = |problem: String| writeln!(problems, "{name}{problem}").unwrap();
    if !text.starts_with("//!") {
        report(": starts with //! what it is and which invariant it keeps".to_owned());
    }
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        report(format!(": {lines} lines, at most {FILE_LINES_MAX}"));
    }
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        // A long string literal has no better place to break.
        if line.chars().count() > LINE_CHARACTERS_MAX && !line.contains('"') {
            report(format!(":{number}: longer than {LINE_CHARACTERS_MAX} characters"));
        }
        for (start, end, advice) in FORBIDDEN {
            let forbidden = format!("{start}{end}");
            let allowed = EXCEPTIONS
                .iter()
                .any(|(file, text, _)| *file == name && forbidden.starts_with(text));
            if line.contains(&forbidden) && !allowed {
                report(format!(":{number}: {forbidden} - {advice}"));
            }
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !SKIPPED_FOLDERS.contains(&name) {
            found.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found
}
