//! What the built program makes of a configuration, and what must hold in that of a group.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Problems, expect, root};

/// The program under test.
pub const PATH: &str = env!("CARGO_BIN_EXE_raftmq");
/// What members of one group, written for one kind of place, may differ in.
const OWN_KEYS: &[&str] = &["dLegerSelfId", "storePathDLedgerCommitLog"];

/// Every key with the value in force.
pub type InForce = BTreeMap<String, String>;

/// A file that holds `text` until it is dropped.
pub fn in_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// What `arguments`, with the configuration at `path` for the one after `-c`, put in force; what the
/// program does not take, or warns about, is the error.
pub fn in_force(arguments: &[&str], path: &Path) -> Result<InForce, String> {
    let at = arguments.iter().position(|word| *word == "-c").map(|at| at + 1);
    let Some(at) = at.filter(|at| *at < arguments.len()) else {
        return Err(format!("{arguments:?}: no configuration"));
    };
    let mut command = Command::new(PATH);
    command.args(&arguments[..at]).arg(path).args(&arguments[at + 1..]).arg("-p");
    command.env_remove("RUST_LOG").env_remove("NAMESRV_ADDR").current_dir(root());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || !complaint.trim().is_empty() {
        return Err(format!("{arguments:?}: {}: {complaint}", output.status));
    }
    let printed = String::from_utf8(output.stdout).unwrap();
    let pairs = printed.lines().filter(|line| !line.starts_with('#'));
    let pairs = pairs.filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

/// As [`in_force`], of a text.
pub fn text_in_force(arguments: &[&str], text: &str) -> Result<InForce, String> {
    in_force(arguments, in_file(text).path())
}

/// One group, each member at one of `hosts`, that registers with `name_servers`.
pub fn check_group(
    problems: &mut Problems,
    members: &[InForce],
    hosts: &[String],
    name_servers: &[String],
) {
    let Some(first) = members.first() else { return problems.push("no brokers".to_owned()) };
    let count = members.len();
    expect(problems, count == hosts.len(), || format!("{count} members, {} places", hosts.len()));
    let port = raft_port(first);
    let peers: Vec<_> =
        hosts.iter().enumerate().map(|(i, host)| format!("n{i}-{host}:{port}")).collect();
    let required = [
        ("dLegerPeers", peers.join(";")),
        ("namesrvAddr", name_servers.join(";")),
        ("brokerName", first["dLegerGroup"].clone()),
        ("metricsExporterType", "PROM".to_owned()),
    ];
    for (number, member) in members.iter().enumerate() {
        for (key, wanted) in &required {
            let value = &member[*key];
            expect(problems, value == wanted, || {
                format!("member {number}: {key}={value}, not {wanted}")
            });
        }
        let own = &member["dLegerSelfId"];
        expect(problems, *own == format!("n{number}"), || format!("member {number}: is {own}"));
        for (key, value) in member.iter().filter(|(key, _)| !OWN_KEYS.contains(&key.as_str())) {
            let same = *value == first[key];
            expect(problems, same, || format!("member {number}: {key}={value} differs"));
        }
    }
}

/// The port that the group's members speak to each other at.
pub fn raft_port(member: &InForce) -> String {
    member["dLegerPeers"].rsplit(':').next().unwrap().to_owned()
}

/// Where messages, or a name server's settings, are kept.
pub fn store(in_force: &InForce) -> &str {
    in_force.get("storePathRootDir").unwrap_or_else(|| &in_force["kvConfigPath"])
}
