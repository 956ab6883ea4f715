//! A page under a map that cannot be read: the process that meets it ends with a line, a note and an exit
//! code of its own, and the next one has that page mended before anybody reads it.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use raft_log::fault::{Loss, SimDisk};
use raft_log::{
    Disk, DiskFile, DiskMap, Fatal, Log, LogError, LogIndex, LogOptions, Mended, PAGE_BYTES,
    RealDisk, SEGMENT_BYTES_MIN, WATCHED_MAPS_MAX, remove_unreadable_files,
    touch_what_the_kernel_could_not_read,
};
use support::{ENTRIES, entry, fill, now, options};

/// Tells a process of this test that it is to read what cannot be read, and where.
const DIR: &str = "RAFT_LOG_TEST_BUS_ERROR_DIR";
const SIGBUS: i32 = 7;

/// With nothing in memory.
fn open<D: Disk>(disk: D, dir: &Path) -> Log<D> {
    let options = LogOptions { tail_bytes_max: 0, ..options("n0") };
    Log::open(disk, dir, options).unwrap()
}

fn segment(dir: &Path, start: u64) -> PathBuf {
    dir.join(format!("{start:020}"))
}

/// What the file keeps of its bytes when it is cut, so that all behind is no part of it any more.
const KEPT_BYTES: u64 = 5 * PAGE_BYTES;
const LOST_OFFSET: u64 = KEPT_BYTES + PAGE_BYTES + 100;

fn set_len(path: &Path, bytes: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

/// Runs one of the tests below in a process of its own, in which it does what it is there for.
fn in_a_process(test: &str, dir: &Path) -> Output {
    let program = std::env::current_exe().unwrap();
    Command::new(program).args(["--exact", test, "--nocapture"]).env(DIR, dir).output().unwrap()
}

/// The folder that this process is to work in, when it is such a process.
fn dir_of_this_process() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

/// The same with a log in it that was filled and opened again.
fn log_of_this_process() -> Option<(PathBuf, Log<RealDisk>)> {
    let dir = dir_of_this_process()?;
    fill(&mut open(RealDisk::new(), &dir));
    let log = open(RealDisk::new(), &dir);
    Some((dir, log))
}

#[test]
fn process_that_reads_a_page_which_is_gone() {
    let Some((dir, log)) = log_of_this_process() else { return };
    let reader = log.reader();
    let position = raft_log::Position(LOST_OFFSET);
    // Sound, and what is not read yet.
    assert_eq!(reader.read(position, 10).unwrap().len(), 10);
    set_len(&segment(&dir, 0), KEPT_BYTES);
    let bytes = reader.read(position, 10).unwrap();
    panic!("{bytes:?} was read");
}

#[test]
fn a_page_that_is_gone_under_a_map_ends_the_process_in_good_order() {
    let dir = tempfile::tempdir().unwrap();
    let output = in_a_process("process_that_reads_a_page_which_is_gone", dir.path());
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(Fatal::PageUnreadable.exit_code()), "{told}");
    let (path, offset) = (segment(dir.path(), 0), KEPT_BYTES + PAGE_BYTES);
    let line =
        format!("cannot read {PAGE_BYTES} bytes at byte {offset} of {}; noted", path.display());
    assert!(told.contains(&line) && told.contains("Exit code 9: start again"), "{told}");
    let note = dir.path().join("unreadable");
    let noted = std::fs::read_to_string(&note).unwrap();
    assert_eq!(noted, format!("\npage 1 {offset} {PAGE_BYTES} {:020}\n", 0));

    // What the process had lost is zeros now, so it is as damaged as if it could not be read.
    set_len(&path, SEGMENT_BYTES_MIN + PAGE_BYTES);
    let log = open(RealDisk::new(), dir.path());
    let reader = log.reader();
    let damaged = reader.damaged();
    assert!((1..=6).contains(&damaged.len()), "those of the page, before a search: {damaged:?}");
    let refused = reader.read(raft_log::Position(LOST_OFFSET), 10);
    assert!(matches!(refused, Err(LogError::Corrupt { .. })), "{refused:?}");
    assert!(note.exists());
}

#[test]
fn process_whose_kernel_reads_a_page_which_is_gone() {
    let Some((dir, log)) = log_of_this_process() else { return };
    let bytes = log.reader().read(raft_log::Position(LOST_OFFSET), 10).unwrap();
    set_len(&segment(&dir, 0), KEPT_BYTES);
    let (mut socket, _peer) = UnixStream::pair().unwrap();
    let refused = socket.write_all(&bytes).unwrap_err();
    touch_what_the_kernel_could_not_read(&refused, [&bytes[..]]);
    panic!("the kernel said {refused}");
}

#[test]
fn a_page_that_the_kernel_cannot_send_ends_the_process_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let output = in_a_process("process_whose_kernel_reads_a_page_which_is_gone", dir.path());
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(Fatal::PageUnreadable.exit_code()), "{told}");
    assert!(dir.path().join("unreadable").exists());
}

#[test]
fn process_with_more_maps_than_are_watched() {
    let Some(dir) = dir_of_this_process() else { return };
    let path = dir.join("file");
    let file = RealDisk::new().create(&path).unwrap();
    file.set_len(PAGE_BYTES).unwrap();
    let watched: Vec<_> = (0..WATCHED_MAPS_MAX).map(|_| file.map(PAGE_BYTES).unwrap()).collect();
    let unwatched = file.map(PAGE_BYTES).unwrap();
    set_len(&path, 0);
    let byte = unwatched.with(0..1, |bytes| bytes[0]);
    drop(watched);
    panic!("{byte} was read");
}

#[test]
fn a_bus_error_elsewhere_ends_the_process_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let output = in_a_process("process_with_more_maps_than_are_watched", dir.path());
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGBUS), "{:?}: {told}", output.status);
    assert!(!dir.path().join("unreadable").exists());
}

const SIM_DIR: &str = "/log";

fn note_on(disk: &SimDisk, content: &[u8]) -> PathBuf {
    let path = Path::new(SIM_DIR).join("unreadable");
    let file = disk.create(&path).unwrap();
    file.write_at(content, 0).unwrap();
    file.sync_now().unwrap();
    disk.sync_dir(Path::new(SIM_DIR)).unwrap();
    path
}

fn filled() -> SimDisk {
    let disk = SimDisk::new();
    fill(&mut open(disk.clone(), Path::new(SIM_DIR)));
    // Index files are written when a log is opened, too.
    drop(open(disk.clone(), Path::new(SIM_DIR)));
    disk
}

#[test]
fn what_is_noted_is_mended_before_it_is_read() {
    let dir = Path::new(SIM_DIR);
    for offset in [0, 3 * PAGE_BYTES, SEGMENT_BYTES_MIN - PAGE_BYTES] {
        let disk = filled();
        let path = segment(dir, SEGMENT_BYTES_MIN);
        let before = disk.content(&path).unwrap();
        assert!(disk.lose_page(&path, offset));
        let line = format!("page 1 {offset} 4096 {SEGMENT_BYTES_MIN:020}\n");
        let note = note_on(&disk, line.as_bytes());
        let log = open(disk.clone(), dir);
        let reader = log.reader();
        let damaged = reader.damaged();
        assert!((1..=6).contains(&damaged.len()), "byte {offset}: {damaged:?}");
        drop((log, reader));
        // A process that ends before it has mended the page leaves the note to the next one.
        disk.restart(Loss::All);
        let log = open(disk.clone(), dir);
        let reader = log.reader();
        assert_eq!(reader.damaged(), damaged);
        for (left, entry_there) in damaged.iter().enumerate().rev() {
            assert!(disk.exists(&note).unwrap());
            let mended = now(reader.mend(entry(entry_there.index.0), LogIndex(0))).unwrap();
            assert_eq!(mended == Mended::Whole, left == 0, "byte {offset}: {damaged:?}");
        }
        assert!(reader.damaged().is_empty());
        assert!(!disk.has_lost_pages(&path));
        assert_eq!(disk.content(&path).unwrap(), before);
        disk.restart(Loss::All);
        assert!(!disk.exists(&note).unwrap(), "it is gone for good");
    }
}

#[test]
fn a_note_that_names_nothing_lost_harms_nothing() {
    let whole = format!("page 1 4096 4096 {:020}\n", 0);
    let elsewhere = [
        whole.as_str(),
        &whole[..whole.len() - 1],
        "page 1 0 4096 99999999999999065536\n",
        "page 1 0 4096 00000000000000065537\n",
        "page 1 9999999999 4096 00000000000000000000\n",
        "page 1 69632 4096 00000000000000000000\n",
        "page 1 0 4096 identity\n",
        "page 1 0 4096 hard-state\n",
        "page 1 0 4096 unreadable\n",
        "page 7 0 4096 00000000000000000000\n",
        "nonsense",
        "",
    ];
    for content in elsewhere {
        let disk = filled();
        let before = disk.contents();
        let note = note_on(&disk, content.as_bytes());
        let log = open(disk.clone(), Path::new(SIM_DIR));
        assert_eq!(log.reader().damaged(), [], "{content:?}");
        assert_eq!(log.last_index(), LogIndex(ENTRIES), "{content:?}");
        drop(log);
        disk.restart(Loss::All);
        assert!(!disk.exists(&note).unwrap(), "{content:?}");
        drop(open(disk.clone(), Path::new(SIM_DIR)));
        let names = |contents: std::collections::BTreeMap<_, u32>| -> Vec<_> {
            contents.into_keys().collect()
        };
        assert_eq!(names(disk.contents()), names(before), "{content:?}");
    }
}

#[test]
fn a_note_that_cannot_be_read_itself_harms_nothing() {
    let disk = filled();
    let note = note_on(&disk, b"page 1 4096 4096 00000000000000000000\n");
    assert!(disk.lose_page(&note, 0));
    assert_eq!(open(disk.clone(), Path::new(SIM_DIR)).reader().damaged(), []);
    assert!(!disk.exists(&note).unwrap());
}

#[test]
fn power_may_go_while_a_noted_page_is_looked_at_and_mended() {
    let dir = Path::new(SIM_DIR);
    let path = segment(dir, 0);
    let mend_all = |disk: &SimDisk| -> Result<(), String> {
        let log = Log::open(disk.clone(), dir, options("n0")).map_err(|error| error.to_string())?;
        let reader = log.reader();
        for damaged in reader.damaged() {
            now(reader.mend(entry(damaged.index.0), LogIndex(0)))
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    for nth in 1.. {
        let disk = filled();
        assert!(disk.lose_page(&path, LOST_OFFSET));
        let page = LOST_OFFSET - LOST_OFFSET % PAGE_BYTES;
        note_on(&disk, format!("\npage 1 {page} 4096 {:020}\n", 0).as_bytes());
        disk.power_off_at_call(nth);
        let outcome = mend_all(&disk);
        let cut = disk.is_powered_off();
        if !cut {
            outcome.unwrap();
        }
        disk.restart(Loss::Torn(nth));
        mend_all(&disk).unwrap();
        assert!(!disk.has_lost_pages(&path), "power lost during call {nth}");
        if !cut {
            assert!(nth > 10);
            break;
        }
    }
}

#[test]
fn files_that_are_made_again_go_when_they_cannot_be_read() {
    let disk = SimDisk::new();
    let dir = Path::new(SIM_DIR);
    for name in ["sound", "lost"] {
        let file = disk.create(&dir.join(name)).unwrap();
        file.write_at(&[1; 9000], 0).unwrap();
        file.sync_now().unwrap();
    }
    assert!(disk.lose_page(&dir.join("lost"), 5000));
    let note = note_on(&disk, b"page 1 0 4096 sound\npage 1 4096 4096 lost\npage 1 0 4096 gone\n");
    remove_unreadable_files(&disk, dir).unwrap();
    assert_eq!(disk.list(dir).unwrap(), ["sound"]);
    assert!(!disk.exists(&note).unwrap());
}

#[test]
fn the_hostile_disk_tells_whom_it_ends_and_leaves_the_same_note() {
    let (disk, dir) = (SimDisk::new(), Path::new("/log"));
    fill(&mut open(disk.clone(), dir));
    disk.end_by_maps(true);
    let position = raft_log::Position(LOST_OFFSET);
    let log = open(disk.clone(), dir);
    assert!(disk.lose_page(&segment(dir, 0), LOST_OFFSET));
    assert!(!disk.has_bus_error(), "nobody touched it");
    assert_eq!(log.reader().read(position, 10).unwrap().len(), 10);
    assert!(disk.has_bus_error());
    let met = disk.take_bus_error().unwrap();
    assert!(!disk.has_bus_error(), "it was told");
    let page = LOST_OFFSET - LOST_OFFSET % PAGE_BYTES;
    assert_eq!((met.file, met.offset, met.again), (segment(dir, 0), page, false));
    drop(log);
    disk.restart(Loss::All);
    let log = open(disk.clone(), dir);
    assert!(!log.reader().damaged().is_empty(), "it was noted");
    let refused = log.reader().read(position, 10);
    assert!(matches!(refused, Err(LogError::Corrupt { .. })), "{refused:?}");
    assert_eq!(disk.take_bus_error(), None, "nobody touched it again");
}
