//! Configurations and data directories that a process must refuse: it ends at once, with an error
//! that names what is wrong, and without a panic.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::cluster::BOOT_LIMIT;
use support::poll;
use support::ports::HeldPorts;
use support::process::Process;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_configuration_with_a_missing_or_contradictory_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ports = HeldPorts::new(4);
    let good = settings(&ports, folder.path(), "G", 0);
    // The value of a key, what it becomes ("-": the line is left out), and what the error names.
    let cases = [
        ("dLegerSelfId", "n7", "dLegerSelfId"),
        ("dLegerSelfId", "-", "dLegerSelfId"),
        ("dLegerGroup", "-", "dLegerGroup"),
        ("dLegerPeers", "-", "dLegerPeers"),
        ("dLegerPeers", "n0-127.0.0.1:4001;n0-127.0.0.1:4002", "n0"),
        ("dLegerPeers", "n0-127.0.0.1", "dLegerPeers"),
        ("listenPort", "70000", "listenPort"),
        ("flushDiskType", "SOMETIMES", "flushDiskType"),
    ];
    for (key, value, named) in cases {
        let changed = good.lines().filter_map(|line| match line.starts_with(key) {
            true if value == "-" => None,
            true => Some(format!("{key}={value}\n")),
            false => Some(format!("{line}\n")),
        });
        refused("broker", folder.path(), &changed.collect::<String>(), named);
    }
}

#[test]
fn a_configuration_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftmq"));
    command.args(["broker", "-c", "no-such.conf"]).current_dir(folder.path());
    ends_naming(command, folder.path(), "no-such.conf");
}

#[test]
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let ports = HeldPorts::new(4);
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    refused("namesrv", folder.path(), &format!("listenPort={port}\n"), &port);

    let good = settings(&ports, folder.path(), "G", 0);
    let changed = good.lines().map(|line| match line.starts_with("listenPort") {
        true => format!("listenPort={port}\n"),
        false => format!("{line}\n"),
    });
    refused("broker", folder.path(), &changed.collect::<String>(), &port);
}

#[test]
fn a_data_directory_of_another_member_or_group_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ports = HeldPorts::new(4);
    std::fs::write(folder.path().join("own.conf"), settings(&ports, folder.path(), "G", 0))
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftmq"));
    command.args(["broker", "-c", "own.conf"]).current_dir(folder.path());
    let mut owner = Process::spawn("owner", command, &folder.path().join("owner.log"));
    owner.await_line("boot success", BOOT_LIMIT);
    owner.kill();

    let store = folder.path().join("store").display().to_string();
    refused("broker", folder.path(), &settings(&ports, folder.path(), "H", 0), &store);
    // Members that share a root folder have logs of their own in it; this one got the other's.
    let log = |member| folder.path().join("store").join(format!("dledger-n{member}"));
    std::fs::rename(log(0), log(1)).unwrap();
    refused("broker", folder.path(), &settings(&ports, folder.path(), "G", 1), &store);
}

/// A member of a group of three whose other members are not there.
fn settings(ports: &HeldPorts, folder: &Path, group: &str, member: usize) -> String {
    let ports = ports.numbers();
    let store = folder.join("store");
    format!(
        "brokerClusterName=C\nbrokerName={group}\nbrokerIP1=127.0.0.1\nlistenPort={0}\n\
         namesrvAddr=127.0.0.1:9\nstorePathRootDir={1}\nenableDLegerCommitLog=true\n\
         dLegerGroup={group}\n\
         dLegerPeers=n0-127.0.0.1:{2};n1-127.0.0.1:{3};n2-127.0.0.1:{4}\n\
         dLegerSelfId=n{member}\nflushDiskType=SYNC_FLUSH\nmappedFileSizeCommitLog=1048576\n",
        ports[0],
        store.display(),
        ports[1],
        ports[2],
        ports[3],
    )
}

fn refused(role: &str, folder: &Path, text: &str, named: &str) {
    std::fs::write(folder.join("bad.conf"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftmq"));
    command.args([role, "-c", "bad.conf"]).current_dir(folder);
    ends_naming(command, folder, named);
}

fn ends_naming(mut command: Command, folder: &Path, named: &str) {
    let log = folder.join("bad.log");
    let file = std::fs::File::create(&log).unwrap();
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    let mut child = command.spawn().unwrap();
    let status = poll::until_or_none(LIMIT, || child.try_wait().unwrap());
    let said = std::fs::read_to_string(&log).unwrap();
    let Some(status) = status else {
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("goes on although {named} is wrong: {said}");
    };
    assert!(status.code().is_some_and(|code| code != 0), "ended with {status}: {said}");
    assert!(said.contains(named), "the error does not name {named}: {said}");
    assert!(!said.contains("panicked"), "{said}");
}
