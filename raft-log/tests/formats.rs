//! A directory in which a newer program wrote: refused with the file's name, and left as it is.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "forges files")]

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use raft::eraftpb::{Entry, HardState};
use raft_log::{Fatal, Log, LogError, LogIndex, LogOptions, Position, RealDisk, SEGMENT_BYTES_MIN};

const NEWER: u16 = 7;

fn open(dir: &Path) -> Result<Log<RealDisk>, LogError> {
    let options = LogOptions {
        segment_bytes: SEGMENT_BYTES_MIN,
        prepare_ahead_bytes: SEGMENT_BYTES_MIN,
        ..LogOptions::new("cluster", "group", "n0", vec![1, 2, 3])
    };
    Log::open(RealDisk::new(), dir, options)
}

/// Two segments, a snapshot at the second one's beginning, a vote; where the last entry begins.
fn fill(dir: &Path) -> u64 {
    let mut log = open(dir).unwrap();
    let entry =
        |index| Entry { index, term: 1, data: Bytes::from(vec![7; 30_000]), ..Entry::default() };
    let entries: Vec<Entry> = (1..=3).map(entry).collect();
    log.append(&entries).unwrap();
    log.set_hard_state(HardState { term: 1, vote: 2, commit: 3, ..HardState::default() });
    log.begin_sync().wait().unwrap();
    // At rest the log writes down how far it is durable.
    log.begin_sync().wait().unwrap();
    let reader = log.reader();
    let boundary = reader.boundary_before(Position(SEGMENT_BYTES_MIN)).unwrap().unwrap();
    log.snapshots().save(boundary, b"state").unwrap();
    reader.position_of(LogIndex(3)).unwrap().0
}

/// The same file as a newer program would have written it: another version, and a checksum that is right.
fn newer(content: &mut [u8], at: usize, checked_bytes: usize) {
    content[at + 4..at + 6].copy_from_slice(&NEWER.to_be_bytes());
    let crc = crc32fast::hash(&content[at..at + checked_bytes]);
    content[at + checked_bytes..at + checked_bytes + 4].copy_from_slice(&crc.to_be_bytes());
}

fn newer_text(content: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(content).unwrap().replace("format 1", "format 7");
    let body = &text[..text.rfind("crc32=").unwrap()];
    format!("{body}crc32={:08x}\n", crc32fast::hash(body.as_bytes())).into_bytes()
}

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let named = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read(path).unwrap())
    };
    files.map(named).collect()
}

#[test]
fn what_a_newer_program_wrote_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let last_entry = fill(dir.path());
    let original = contents(dir.path());
    let segment = |start: u64| format!("{start:020}");
    let snapshot = format!("{}.snapshot", segment(SEGMENT_BYTES_MIN));
    let tail = segment(last_entry - last_entry % SEGMENT_BYTES_MIN);
    let in_tail = (last_entry % SEGMENT_BYTES_MIN) as usize;
    let trailer = SEGMENT_BYTES_MIN as usize;
    // The file, and where what is newer begins and ends in it.
    let cases = [
        ("hard-state", 0, 44),
        ("hard-state", 4096, 44),
        (&snapshot, 0, 60),
        (&segment(0), trailer, 36),
        (&tail, trailer, 36),
        (&tail, in_tail, 44),
        ("identity", 0, 0),
    ];
    let mut refused = 0;
    for (name, at, checked_bytes) in cases {
        let mut content = original[name].clone();
        match checked_bytes {
            0 => content = newer_text(&content),
            // A slot that was never written has nothing to be newer.
            _ if content[at..at + 4] == [0; 4] => continue,
            _ => newer(&mut content, at, checked_bytes),
        }
        std::fs::write(dir.path().join(name), &content).unwrap();
        let before = contents(dir.path());
        let error = open(dir.path()).err().unwrap_or_else(|| panic!("{name} at {at} is taken"));
        let LogError::NewerFormat { file, version } = &error else { panic!("{name}: {error}") };
        assert_eq!((file, *version), (&dir.path().join(name), u32::from(NEWER)));
        assert_eq!(error.fatal(), Some(Fatal::NewerFormat));
        assert!(contents(dir.path()) == before, "{name} at {at}: the directory was changed");
        std::fs::write(dir.path().join(name), &original[name]).unwrap();
        refused += 1;
    }
    assert!(refused >= 5, "only {refused} files could be made newer");
    assert_eq!(open(dir.path()).unwrap().last_index(), LogIndex(3));
}

#[test]
fn a_newer_version_with_a_wrong_checksum_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let path = dir.path().join("identity");
    let text = std::fs::read_to_string(&path).unwrap().replace("format 1", "format 7");
    std::fs::write(&path, text).unwrap();
    let error = open(dir.path()).err().unwrap();
    assert_eq!(error.fatal(), Some(Fatal::LogCorrupt), "{error}");
}
