//! The systemd units: known settings only, a command line that the program takes, and its exit codes.

use std::collections::BTreeMap;
use std::fs;

use super::{Problems, STOP_SECONDS_MIN, expect, program, root};

/// Where the program is installed.
pub const PROGRAM: &str = "/usr/local/bin/raftmq";
/// Wrong command line, wrong configuration.
const MISTAKEN: &[i64] = &[64, 78];

/// Section, key, and the value where only one will do.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("Unit", "Description", ""),
    ("Unit", "Wants", "network-online.target"),
    ("Unit", "After", ""),
    ("Unit", "StartLimitIntervalSec", "0"),
    ("Service", "Type", "exec"),
    ("Service", "User", "raftmq"),
    ("Service", "Group", "raftmq"),
    ("Service", "ExecStart", ""),
    ("Service", "Restart", "on-failure"),
    ("Service", "RestartSec", ""),
    ("Service", "RestartPreventExitStatus", ""),
    ("Service", "KillSignal", "SIGTERM"),
    ("Service", "TimeoutStopSec", ""),
    ("Service", "LimitNOFILE", ""),
    ("Service", "StateDirectory", ""),
    ("Service", "StateDirectoryMode", "0750"),
    ("Service", "WorkingDirectory", ""),
    ("Service", "Environment", ""),
    ("Service", "UMask", "0027"),
    ("Service", "NoNewPrivileges", "yes"),
    ("Service", "LockPersonality", "yes"),
    ("Service", "MemoryDenyWriteExecute", "yes"),
    ("Service", "PrivateDevices", "yes"),
    ("Service", "PrivateTmp", "yes"),
    ("Service", "ProtectClock", "yes"),
    ("Service", "ProtectControlGroups", "yes"),
    ("Service", "ProtectHome", "yes"),
    ("Service", "ProtectHostname", "yes"),
    ("Service", "ProtectKernelLogs", "yes"),
    ("Service", "ProtectKernelModules", "yes"),
    ("Service", "ProtectKernelTunables", "yes"),
    ("Service", "ProtectSystem", "strict"),
    ("Service", "RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
    ("Service", "RestrictNamespaces", "yes"),
    ("Service", "RestrictRealtime", "yes"),
    ("Service", "RestrictSUIDSGID", "yes"),
    ("Service", "SystemCallArchitectures", "native"),
    ("Service", "SystemCallFilter", "@system-service"),
    ("Service", "SystemCallErrorNumber", "EPERM"),
    ("Install", "WantedBy", "multi-user.target"),
];
/// The one that is there to be empty.
const EMPTY: &str = "CapabilityBoundingSet";

pub fn check(name: &str, text: &str) -> Problems {
    let mut problems = Problems::new();
    let settings = parse(text, &mut problems);
    for (section, key, wanted) in SETTINGS {
        let value = settings.get(&(section.to_string(), key.to_string())).map(String::as_str);
        let right = value.is_some_and(|value| wanted.is_empty() || value == *wanted);
        expect(&mut problems, right, || format!("[{section}] {key} is {value:?}, not {wanted:?}"));
    }
    let of_service = |key: &str| {
        settings.get(&("Service".to_owned(), key.to_owned())).cloned().unwrap_or_default()
    };
    let number = |key: &str| of_service(key).parse::<i64>().unwrap_or(-1);
    expect(&mut problems, of_service(EMPTY).is_empty(), || format!("{EMPTY} is to be empty"));

    let is_broker = name.contains("broker");
    let mut fatal = MISTAKEN.to_vec();
    fatal.extend(if is_broker { fatal_codes() } else { Vec::new() });
    fatal.sort_unstable();
    let prevented = of_service("RestartPreventExitStatus");
    let prevented: Vec<i64> = prevented.split(' ').filter_map(|code| code.parse().ok()).collect();
    expect(&mut problems, prevented == fatal, || {
        format!("RestartPreventExitStatus is {prevented:?}; the program ends with {fatal:?}")
    });
    let seconds = number("TimeoutStopSec");
    expect(&mut problems, seconds >= STOP_SECONDS_MIN, || format!("{seconds} s for a stop"));
    let state = format!("%S/{}", of_service("StateDirectory"));
    for (key, wanted) in [("WorkingDirectory", &state), ("Environment", &format!("HOME={state}"))] {
        let value = of_service(key);
        expect(&mut problems, value == *wanted, || format!("{key}={value}, not {wanted}"));
    }

    let line = of_service("ExecStart");
    let words: Vec<&str> = line.split(' ').collect();
    expect(&mut problems, words[0] == PROGRAM, || format!("ExecStart: {}", words[0]));
    // The files that the unit's own text says to begin with.
    let example = if is_broker { "conf/dledger/broker-n0.conf" } else { "conf/namesrv.conf" };
    expect(&mut problems, text.contains(example), || format!("does not name {example}"));
    match program::in_force(&words[1..], &root().join(example)) {
        Err(problem) => problems.push(problem),
        Ok(in_force) => {
            let clients: i64 = in_force["serverConnectionsMax"].parse().unwrap();
            let files = number("LimitNOFILE");
            expect(&mut problems, files > 2 * clients, || {
                format!("{files} files, {clients} clients")
            });
        }
    }
    problems
}

fn parse(text: &str, problems: &mut Problems) -> BTreeMap<(String, String), String> {
    let mut settings = BTreeMap::new();
    let mut section = String::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            problems.push(format!("neither section nor setting: {line}"));
            continue;
        };
        let known = SETTINGS.iter().any(|(of, name, _)| *of == section && *name == key);
        expect(problems, known || key == EMPTY, || format!("[{section}] {key}: unknown"));
        let before = settings.insert((section.clone(), key.to_owned()), value.to_owned());
        expect(problems, before.is_none(), || format!("[{section}] {key}: given twice"));
    }
    settings
}

/// The exit codes of a broker whose log cannot go on, from where they are defined, but the one that another
/// start cures.
fn fatal_codes() -> Vec<i64> {
    let source = fs::read_to_string(root().join("raft-log/src/fatal.rs")).unwrap();
    let value = |line: &str| line.strip_suffix(',')?.split_once(" = ")?.1.parse().ok();
    let codes: Vec<i64> = source.lines().filter_map(value).collect();
    assert!(codes.len() >= 6, "found only {codes:?}");
    let cured = i64::from(raft_log::Fatal::PageUnreadable.exit_code());
    assert!(codes.contains(&cured), "{cured} is not among {codes:?}");
    codes.into_iter().filter(|code| *code != cured).collect()
}
