//! The files of conf/deploy/ are about this very program: its sub-commands, keys, ports, exit codes
//! and sources. What needs a container engine or a cluster is not run here, it is read and compared.
//!
//! Invariant: a check that would let a mistake pass is itself a failure; the second test makes the
//! mistakes.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod compose;
mod image;
mod kubernetes;
mod program;
mod units;
mod yaml;

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FILES: &[&str] = &[
    "raftmq-namesrv.service",
    "raftmq-broker@.service",
    "Containerfile",
    "compose.yaml",
    "kubernetes.yaml",
];

/// A leader tries to hand over twice, up to twelve seconds each.
const STOP_SECONDS_MIN: i64 = 30;

/// (file, what stands there, what a mistake makes of it)
const MISTAKES: &[(&str, &str, &str)] = &[
    ("raftmq-broker@.service", "Restart=on-failure", "Restart=allways"),
    ("raftmq-broker@.service", "RestartSec=", "RestartSecs="),
    ("raftmq-broker@.service", "5 6 7 8 64", "5 6 8 64"),
    ("raftmq-broker@.service", "raftmq broker -c", "raftmq broker --config"),
    ("raftmq-broker@.service", "HOME=%S/raftmq/%i", "HOME=%S/raftmq"),
    ("raftmq-broker@.service", "LimitNOFILE=65536", "LimitNOFILE=1024"),
    ("raftmq-broker@.service", "TimeoutStopSec=60", "TimeoutStopSec=5"),
    ("raftmq-namesrv.service", "raftmq namesrv", "raftmq nameserver"),
    ("raftmq-namesrv.service", "ProtectSystem=strict", "ProtectSystem=none"),
    ("Containerfile", "rust:1.", "rust:0."),
    ("Containerfile", "debian:trixie-slim", "debian:bookworm-slim"),
    ("Containerfile", "debian:trixie-slim", "debian"),
    ("Containerfile", "COPY raft-log raft-log\n", ""),
    ("Containerfile", "COPY src src", "COPY source src"),
    ("Containerfile", "release/raftmq /usr", "release/raftmqd /usr"),
    ("Containerfile", "ENTRYPOINT [\"/usr/local/bin/raftmq\"]", "ENTRYPOINT raftmq"),
    ("Containerfile", "USER 10001", "USER root"),
    ("Containerfile", "STOPSIGNAL SIGTERM", "STOPSIGNAL SIGINT"),
    ("Containerfile", "10911", "10912"),
    ("compose.yaml", "listenPort=9876", "listenPort=9877"),
    ("compose.yaml", "listenPort=10911", "listenPorts=10911"),
    ("compose.yaml", "metricsPromExporterPort=5557", "metricsPromExporterPort=5558"),
    ("compose.yaml", "dLegerSelfId=n1", "dLegerSelfId=n2"),
    ("compose.yaml", "n1-broker-1:40911", "n1-broker-9:40911"),
    ("compose.yaml", "GET /ready", "GET /health"),
    ("compose.yaml", "store\n", "store/\n      flushDiskType=NEVER\n"),
    ("compose.yaml", "[broker, -c, /etc/raftmq/broker.conf]", "[broker, -c, /etc/broker.conf]"),
    ("compose.yaml", "broker-1:/var/lib", "broker-2:/var/lib"),
    ("compose.yaml", "conf/deploy/Containerfile", "Containerfile"),
    ("compose.yaml", "stop_grace_period", "stop_grace"),
    ("compose.yaml", "  namesrv:\n    image", "  namesrv: x\n    image"),
    ("kubernetes.yaml", "terminationGracePeriodSeconds: 60", "terminationGracePeriodSeconds: 5"),
    ("kubernetes.yaml", "publishNotReadyAddresses: true", "publishNotReadyAddresses: false"),
    ("kubernetes.yaml", "path: /ready", "path: /readyz"),
    ("kubernetes.yaml", "containerPort: 5557", "containerPort: 5556"),
    ("kubernetes.yaml", "targetPort: raft}", "targetPort: dledger}"),
    ("kubernetes.yaml", "replicas: 3", "replicas: 5"),
    ("kubernetes.yaml", "n2-raftmq-broker-2.raftmq-broker.raftmq", "n2-raftmq-broker-2.raftmq"),
    ("kubernetes.yaml", "raftmq-broker-1.conf", "raftmq-broker-3.conf"),
    ("kubernetes.yaml", "$(POD_NAME)", "broker"),
    ("kubernetes.yaml", "readinessProbe", "readyProbe"),
    ("kubernetes.yaml", "{matchLabels: {app: raftmq-broker}}", "{matchLabels: {app: broker}}"),
    ("kubernetes.yaml", "maxUnavailable: 1", "maxUnavailable: 2"),
    ("kubernetes.yaml", "mountPath: /var/lib/raftmq", "mountPath: /data"),
];

/// What a health check asks.
const REQUEST_BYTES: usize = 23;

/// What is wrong, one line each.
type Problems = Vec<String>;

/// Remembers `problem` unless it holds.
fn expect(problems: &mut Problems, holds: bool, problem: impl FnOnce() -> String) {
    if !holds {
        problems.push(problem());
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn folder() -> PathBuf {
    root().join("conf/deploy")
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

fn problems_of(name: &str, text: &str) -> Problems {
    let mut problems = match name {
        "compose.yaml" => compose::check(text),
        "kubernetes.yaml" => kubernetes::check(text),
        "Containerfile" => image::check(text),
        _ => units::check(name, text),
    };
    let opening: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
    let commands = opening.iter().filter(|line| line.starts_with("#   ")).count();
    expect(&mut problems, commands == 2, || "opens with what it is and two commands".to_owned());
    problems
}

#[test]
fn the_files_are_about_this_program() {
    let mut names: Vec<_> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let mut expected = FILES.to_vec();
    expected.sort_unstable();
    assert_eq!(names, expected, "a file that nothing checks");
    for name in FILES {
        let problems = problems_of(name, &read(name));
        assert!(problems.is_empty(), "conf/deploy/{name}:\n{}", problems.join("\n"));
    }
}

#[test]
fn mistakes_in_them_are_found() {
    for (name, stands, mistaken) in MISTAKES {
        let text = read(name);
        assert!(text.contains(stands), "{name}: no {stands:?} to make a mistake in");
        let problems = problems_of(name, &text.replacen(stands, mistaken, 1));
        assert!(!problems.is_empty(), "{name}: {mistaken:?} for {stands:?} goes unnoticed");
    }
}

/// Beside our own list of settings: systemd's opinion, on machines that have it.
#[test]
fn systemd_takes_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let verified = |name: &str, text: &str| {
        let path = folder.path().join(name);
        // The program need not be installed here.
        fs::write(&path, text.replace(units::PROGRAM, "/bin/true")).unwrap();
        let mut command = Command::new("systemd-analyze");
        let output = command.arg("verify").arg(&path).stdin(Stdio::null()).output().ok()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // Other units of this machine are none of our business.
        Some(said.lines().filter(|line| line.contains("raftmq-")).collect::<Vec<_>>().join("\n"))
    };
    for name in FILES.iter().filter(|name| name.ends_with(".service")) {
        let text = read(name);
        let unknown = verified(name, &text.replacen("[Service]", "[Service]\nNoSuchKey=1", 1));
        if !unknown.is_some_and(|said| said.contains("NoSuchKey")) {
            // Past the test harness, which keeps what a passing test prints to itself.
            let absent = "NOT RUN: systemd's own check of the units: no systemd-analyze here";
            writeln!(std::io::stderr().lock(), "{absent}").unwrap();
            return;
        }
        assert_eq!(verified(name, &text).as_deref(), Some(""), "{name}");
    }
}

/// The commands of the health checks are run as they stand, against other ports.
#[test]
fn health_checks_tell_well_from_ill() {
    let [namesrv, broker] = compose::health_checks(&read("compose.yaml"));

    let mut port = String::new();
    for (status, well) in [("200 OK", true), ("503 Service Unavailable", false)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        port = address.port().to_string();
        let (found, asked) = std::thread::scope(|scope| {
            let answering = scope.spawn(|| answer_once(&listener, status));
            let found = healthy(&broker, "5557", &port);
            // A command that never came must not leave that waiting.
            drop(TcpStream::connect(address));
            (found, answering.join().unwrap())
        });
        assert_eq!(asked.unwrap(), *b"GET /ready HTTP/1.0\r\n\r\n", "{status}");
        assert_eq!(found, well, "{status}");
    }
    assert!(!healthy(&broker, "5557", &port), "nobody listens");

    let config = program::in_file("listenPort=0\nbindAddress=127.0.0.1\n");
    let mut server = Command::new(program::PATH)
        .args(["namesrv", "-c"])
        .arg(config.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = BufReader::new(server.stdout.take().unwrap()).lines().map_while(Result::ok);
    let boot = said.into_iter().find(|line| line.contains("boot success")).unwrap();
    let port = boot.rsplit(':').next().unwrap();
    let well = healthy(&namesrv, "9876", port);
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(well, "{namesrv:?}");
    assert!(!healthy(&namesrv, "9876", port), "nobody listens");
}

fn answer_once(listener: &TcpListener, status: &str) -> io::Result<[u8; REQUEST_BYTES]> {
    let (mut stream, _) = listener.accept()?;
    let mut request = [0; REQUEST_BYTES];
    stream.read_exact(&mut request)?;
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")?;
    Ok(request)
}

fn healthy(command: &[String], from: &str, to: &str) -> bool {
    assert!(command.iter().any(|word| word.contains(from)), "{command:?}: no {from}");
    let mut words = command.iter().map(|word| word.replace(from, to));
    let program = words.next().unwrap();
    let program = if program == "raftmq" { Path::new(program::PATH) } else { Path::new(&program) };
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}
