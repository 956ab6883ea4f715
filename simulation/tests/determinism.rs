//! The same seed twice gives the same trace, in processes of their own.

#![allow(clippy::unwrap_used, reason = "a test may end where it stands")]

use std::process::Command;

/// What a process with these arguments prints last.
fn last_line(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_simulation")).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text.lines().last().unwrap().to_owned()
}

#[test]
fn a_seed_twice_is_the_same_run() {
    for seed in ["7", "8", "9"] {
        let arguments = ["--seed", seed];
        let (once, again) = (last_line(&arguments), last_line(&arguments));
        assert!(once.starts_with("trace "), "{once}");
        assert_eq!(once, again, "seed {seed}");
    }
}

#[test]
fn looking_on_changes_nothing() {
    assert_eq!(last_line(&["--seed", "7"]), last_line(&["--seed", "7", "--trace"]));
}

#[test]
fn seeds_differ() {
    assert_ne!(last_line(&["--seed", "7"]), last_line(&["--seed", "8"]));
}

#[test]
fn a_scenario_twice_is_the_same_story() {
    let arguments = ["--scenario", "leader-killed"];
    assert_eq!(last_line(&arguments), last_line(&arguments));
}
