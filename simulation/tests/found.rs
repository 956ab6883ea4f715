//! Seeds that found a bug of the product or of the simulation, and still play what they played then or the
//! beginning of it, pass for good.

use std::process::Command;

/// By seed, what it found.
const FOUND: [(u64, &str); 15] = [
    (50_903, "entries taken back before a newer term was durable"),
    (264, "a commit that came by a detour took a newer one back"),
    (100_663, "an election between a snapshot's installation and its application"),
    (100_281, "a lease waited for after an unlock that was never sent"),
    (100_387, "a member that had just met a lost page was judged before it could mend it"),
    (100_468, "the same after the loss of all power"),
    (400_810, "entries of one lost page were asked for one after the other, a second each"),
    (502_086, "an extent closed by an entry that was lost with the power of all"),
    (
        520_843,
        "commits that had been gathered undid an operator's reset once the group had taken it",
    ),
    (511_636, "a commit that its client had given up with its connection took a newer one back"),
    (
        531_575,
        "an operator's reset that one of two consumers had not heard of when the other took it",
    ),
    (607_073, "a commit was let go for a reset that stood only where nobody led any more"),
    (520_476, "retention that nobody who ran knew of was taken for a gap"),
    (530_261, "the same, known only to members that had lost their disks"),
    (520_262, "an operator's reset that nobody answered was granted after a later one"),
];

#[test]
fn seeds_that_found_a_bug_find_none_any_more() {
    for (seed, what) in FOUND {
        let mut command = Command::new(env!("CARGO_BIN_EXE_simulation"));
        let output = command.args(["--seed", &seed.to_string()]).output().expect("it can be run");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "seed {seed} ({what}): {printed}");
    }
}
