//! A sweep keeps the record of each seed that fails: what it was like, its story, what was found, and
//! last the command that plays it again.

#![allow(clippy::unwrap_used, reason = "a test may end where it stands")]

use std::path::Path;
use std::process::Command;

/// Found by the first seed.
const FLAW: &str = "entries-not-synced";

#[test]
fn a_failed_seeds_record_tells_the_story_and_how_to_play_it_again() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kept");
    let mut sweep = Command::new(env!("CARGO_BIN_EXE_simulation"));
    sweep.args(["--seeds", "0..1", "--flaw", FLAW, "--keep"]).arg(&folder);
    let output = sweep.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success(), "{printed}");
    let path = folder.join("seed-0.log");
    assert!(printed.contains(&path.display().to_string()), "{printed}");

    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.starts_with("seed 0: "), "the parameters: {text}");
    assert!(text.contains("sends are acknowledged"), "the story");
    assert!(text.contains("producer 0: "), "the last events");
    let finding = text.lines().find(|line| line.starts_with("FOUND ")).unwrap();
    assert!(printed.contains(finding), "the sweep says what was found");
    let again = text.lines().last().unwrap();
    let command = again.strip_prefix("cargo sim -- ").unwrap();
    let (arguments, commit) = command.split_once("  # at ").unwrap();
    assert!(!commit.is_empty());

    let mut once_more = Command::new(env!("CARGO_BIN_EXE_simulation"));
    let output = once_more.args(arguments.split(' ')).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains(finding), "the command plays it again: {printed}");
}
