//! The Containerfile: pinned images, the sources that the program is built from, no shell, no root.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Problems, expect, kubernetes, read, root};

const BUILT: &str = "/build/target/release/raftmq";

pub fn check(text: &str) -> Problems {
    let mut problems = Problems::new();
    let instructions = instructions(text);
    let all = |name: &str| -> Vec<&str> {
        let named = instructions.iter().filter(|(of, _)| of == name);
        named.map(|(_, rest)| rest.as_str()).collect()
    };
    check_images(&all("FROM"), &mut problems);
    let (from_builder, from_here): (Vec<&str>, Vec<&str>) =
        all("COPY").into_iter().partition(|copied| copied.starts_with("--from="));
    check_sources(&from_here, &mut problems);
    let installed: Vec<&str> = from_builder.iter().flat_map(|copied| copied.split(' ')).collect();
    let right = matches!(installed[..], ["--from=builder", BUILT, _]);
    expect(&mut problems, right, || format!("installs {installed:?}, not {BUILT}"));

    let exec = format!("[\"{}\"]", installed.last().unwrap_or(&""));
    expect(&mut problems, all("ENTRYPOINT") == [exec.as_str()], || format!("no ENTRYPOINT {exec}"));
    expect(&mut problems, all("STOPSIGNAL") == ["SIGTERM"], || "STOPSIGNAL SIGTERM".to_owned());
    expect(&mut problems, all("VOLUME") == ["/var/lib/raftmq"], || "no VOLUME".to_owned());
    let user = all("USER").first().and_then(|user| user.split(':').next()?.parse::<u32>().ok());
    expect(&mut problems, user.is_some_and(|id| id > 0), || format!("USER {user:?}"));
    let exposed: BTreeSet<i64> =
        all("EXPOSE").iter().flat_map(|line| line.split(' ')).flat_map(str::parse).collect();
    let used = kubernetes::container_ports(&read("kubernetes.yaml"));
    expect(&mut problems, exposed == used, || format!("EXPOSE {exposed:?}; in use: {used:?}"));
    problems
}

/// Name and the rest of each, comments left out, continued lines joined.
fn instructions(text: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines = joined.lines().map(words).filter(|words| !words.is_empty());
    lines.map(|words| (words[0].clone(), words[1..].join(" "))).collect()
}

/// Tags that say which, the Rust of Cargo.toml, and one Debian.
fn check_images(images: &[&str], problems: &mut Problems) {
    let tags: Vec<&str> = images
        .iter()
        .filter_map(|image| Some(image.split(' ').next()?.rsplit_once(':')?.1))
        .collect();
    let [builder, runtime] = tags[..] else {
        return problems.push(format!("{images:?}: two images, each with its tag"));
    };
    let rust = env!("CARGO_PKG_RUST_VERSION");
    expect(problems, builder.starts_with(rust), || format!("{builder} is not of Rust {rust}"));
    let debian = builder.rsplit('-').next().unwrap();
    let same = runtime.split('-').next() == Some(debian);
    expect(problems, same, || format!("{builder} and {runtime} are not of the same Debian"));
}

/// What is copied is there, and Cargo finds a whole workspace in it.
fn check_sources(copied: &[&str], problems: &mut Problems) {
    let place = tempfile::tempdir().unwrap();
    for line in copied {
        let words: Vec<&str> = line.split(' ').collect();
        let Some((target, sources)) = words.split_last() else { continue };
        for source in sources {
            let from = root().join(source);
            if !from.exists() {
                problems.push(format!("COPY {line}: there is no {source}"));
            } else if from.is_dir() {
                copy_folder(&from, &place.path().join(target));
            } else {
                fs::copy(&from, place.path().join(target).join(source)).unwrap();
            }
        }
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]);
    let output = cargo.current_dir(place.path()).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    expect(problems, output.status.success(), || format!("the build's sources: {complaint}"));
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
