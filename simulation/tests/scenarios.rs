//! Every story that can be asked for ends well, and those of lost memory tell who noticed.

#![allow(clippy::unwrap_used, reason = "a test may end where it stands")]

use std::process::Command;

/// What a process with these arguments prints, and whether it found nothing wrong.
fn printed(arguments: &[&str]) -> (String, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_simulation")).args(arguments).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

#[test]
fn every_story_ends_well() {
    let (list, listed) = printed(&["--scenario"]);
    assert!(listed, "{list}");
    let names: Vec<&str> = list.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"leader-killed") && names.contains(&"older-copy"), "{list}");
    for name in names {
        let (story, well) = printed(&["--scenario", name]);
        assert!(well, "{name}: {story}");
        assert!(story.lines().last().unwrap().starts_with("trace "), "{name}: {story}");
    }
}

#[test]
fn an_older_copy_is_noticed_and_nobody_leads_without_who_has_the_newest() {
    let (story, well) = printed(&["--scenario", "older-copy"]);
    assert!(well, "{story}");
    let told = [
        "is put back from an older copy",
        "knows that it has forgotten, and asks",
        "has everything and may vote again",
        "goes back to its copy",
        "nobody leads",
        "has everything and may vote again",
        "and sends go on",
    ];
    let mut rest = story.as_str();
    for what in told {
        let Some((_, behind)) = rest.split_once(what) else {
            panic!("{what:?} is not told: {story}")
        };
        rest = behind;
    }
}

#[test]
fn a_member_that_believes_its_older_copy_is_found_out() {
    let (story, well) = printed(&["--scenario", "older-copy", "--flaw", "believes-older-copies"]);
    assert!(!well, "{story}");
    assert!(story.contains("FOUND "), "{story}");
}
