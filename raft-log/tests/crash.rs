//! Power is cut at every single disk call of random programs, and again while the log recovers.
//!
//! After each: everything whose sync had finished is there; what is there is a prefix of the log as
//! it was before or after the step that was cut short, so nothing stale came back; term and vote are
//! those of the last finished sync or of one begun since; opening again, with or without another
//! power loss, changes nothing; and the log goes on from there.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use raft::eraftpb::{Entry, HardState, Snapshot};
use raft::{GetEntriesContext, Storage};
use raft_log::fault::{Loss, SimDisk};
use raft_log::{Log, LogError, LogOptions, Position, SEGMENT_BYTES_MIN, SyncTicket};

const DIR: &str = "/log";
const PAYLOAD_BYTES: [usize; 6] = [0, 9, 600, 4090, 17_000, 40_000];

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: SEGMENT_BYTES_MIN,
        // So little that most is read from files.
        tail_bytes_max: 6000,
        prepare_ahead_bytes: SEGMENT_BYTES_MIN / 2,
        ..LogOptions::new("cluster", "group", "n0", vec![1, 2, 3])
    }
}

fn entry(index: u64, term: u64, payload_bytes: usize) -> Entry {
    let payload: Vec<u8> =
        (0..payload_bytes).map(|at| (at as u64 ^ (index * 3) ^ (term * 7)) as u8).collect();
    Entry { index, term, data: Bytes::from(payload), ..Entry::default() }
}

#[derive(Debug, Clone)]
enum Step {
    /// Entries at the end.
    Append {
        count: usize,
        size: usize,
    },
    /// A leader of a new term replaces the last entries.
    Conflict {
        back: u64,
        count: usize,
        size: usize,
    },
    /// A vote in a new term, or progress of the commit index.
    Vote {
        vote: u64,
    },
    Commit {
        back: u64,
    },
    /// In files, not durable.
    Write,
    Sync,
    /// A sync that stays under way while other steps are taken.
    BeginSync,
    FinishSync,
    /// Snapshots at all boundaries so far, or at the newest only, then compaction.
    Compact {
        sparse: bool,
    },
    /// Another member's snapshot.
    Install,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let size = 0..PAYLOAD_BYTES.len();
    prop_oneof![
        5 => (1..5_usize, size.clone()).prop_map(|(count, size)| Step::Append { count, size }),
        2 => (1..7_u64, 1..4_usize, size)
            .prop_map(|(back, count, size)| Step::Conflict { back, count, size }),
        1 => (1..4_u64).prop_map(|vote| Step::Vote { vote }),
        2 => (0..3_u64).prop_map(|back| Step::Commit { back }),
        2 => Just(Step::Write),
        4 => Just(Step::Sync),
        1 => Just(Step::BeginSync),
        1 => Just(Step::FinishSync),
        1 => any::<bool>().prop_map(|sparse| Step::Compact { sparse }),
        1 => Just(Step::Install),
        1 => Just(Step::Reopen),
    ]
}

/// What the log should be.
#[derive(Debug, Clone, PartialEq)]
struct Model {
    /// Index before the first entry.
    start: u64,
    entries: Vec<Entry>,
    /// Everything up to here must survive.
    synced: u64,
    term: u64,
    commit: u64,
    /// Term and vote that the last finished sync covered, and those of syncs begun since.
    votes: Vec<(u64, u64)>,
}

impl Model {
    fn last(&self) -> u64 {
        self.start + self.entries.len() as u64
    }

    fn extend(&mut self, count: usize, size: usize) -> Vec<Entry> {
        let first = self.last() + 1;
        let sizes = (0..count).map(|nth| PAYLOAD_BYTES[(size + nth) % PAYLOAD_BYTES.len()]);
        let new: Vec<Entry> =
            sizes.zip(first..).map(|(bytes, index)| entry(index, self.term, bytes)).collect();
        self.entries.extend(new.iter().cloned());
        new
    }

    fn cut(&mut self, from: u64) {
        self.entries.truncate((from - self.start - 1) as usize);
        self.synced = self.synced.min(from - 1);
    }
}

struct Pending {
    ticket: SyncTicket,
    covers: u64,
    vote: (u64, u64),
}

struct Driver {
    disk: SimDisk,
    log: Option<Log<SimDisk>>,
    model: Model,
    /// What the log may also be while a step is under way.
    intended: Model,
    vote: u64,
    pending: Option<Pending>,
    donor: Snapshot,
}

impl Driver {
    fn new(disk: SimDisk, donor: Snapshot) -> Self {
        let model = Model {
            start: 0,
            entries: Vec::new(),
            synced: 0,
            term: 1,
            commit: 0,
            votes: vec![(0, 0)],
        };
        Self { disk, log: None, intended: model.clone(), model, vote: 0, pending: None, donor }
    }

    fn open(&mut self) -> Result<(), LogError> {
        self.log = None;
        self.log = Some(Log::open(self.disk.clone(), Path::new(DIR), options())?);
        Ok(())
    }

    fn log(&mut self) -> &mut Log<SimDisk> {
        self.log.as_mut().unwrap()
    }

    fn stage(&mut self) {
        let (term, vote, commit) = (self.intended.term, self.vote, self.intended.commit);
        self.log().set_hard_state(HardState { term, vote, commit, ..HardState::default() });
    }

    fn begin_sync(&mut self) -> Pending {
        let vote = (self.intended.term, self.vote);
        self.stage();
        self.intended.votes.push(vote);
        self.model.votes.push(vote);
        let covers = self.model.last();
        Pending { ticket: self.log().begin_sync(), covers, vote }
    }

    fn finish(&mut self, pending: Pending) -> Result<(), LogError> {
        pending.ticket.wait()?;
        self.intended.synced = self.intended.synced.max(pending.covers.min(self.intended.last()));
        // Unless a sync begun later has finished before, this vote is the oldest possible now.
        if let Some(at) = self.intended.votes.iter().rposition(|vote| *vote == pending.vote) {
            self.intended.votes.drain(..at);
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), LogError> {
        self.intended = self.model.clone();
        match step {
            Step::Append { count, size } => {
                let new = self.intended.extend(*count, *size);
                self.log().append(&new)?;
            }
            Step::Conflict { back, count, size } => {
                let from = (self.model.last() + 1).saturating_sub(*back);
                let from = from.max(self.model.commit + 1).max(self.model.start + 1);
                // A sync under way does not cover what replaces its entries.
                if let Some(pending) = &mut self.pending {
                    pending.covers = pending.covers.min(from - 1);
                }
                self.intended.term += 1;
                self.vote = 0;
                self.intended.cut(from);
                let new = self.intended.extend(*count, *size);
                // From here on the old suffix need not survive.
                self.model.synced = self.model.synced.min(from - 1);
                self.log().append(&new)?;
            }
            Step::Vote { vote } => {
                self.intended.term += 1;
                self.vote = *vote;
                self.stage();
            }
            Step::Commit { back } => {
                let commit = self.model.last().saturating_sub(*back).max(self.model.commit);
                self.intended.commit = commit;
                self.stage();
            }
            Step::Write => self.log().begin_write().wait()?,
            Step::Sync => {
                let pending = self.begin_sync();
                self.finish(pending)?;
            }
            Step::BeginSync => {
                if self.pending.is_none() {
                    let pending = self.begin_sync();
                    self.pending = Some(pending);
                }
            }
            Step::FinishSync => {
                if let Some(pending) = self.pending.take() {
                    self.finish(pending)?;
                }
            }
            Step::Compact { sparse } => self.compact(*sparse)?,
            Step::Install => self.install()?,
            Step::Reopen => {
                self.pending = None;
                self.log().begin_write().wait()?;
                self.open()?;
                // All that was written is durable now; the vote is what was found.
                self.intended.synced = self.intended.last();
                let state = self.log().initial_state().unwrap().hard_state;
                self.vote = state.vote;
                self.intended.term = self.intended.term.max(state.term);
                if state.term < self.intended.term {
                    self.vote = 0;
                }
                self.intended.commit = self.model.commit.min(state.commit).max(self.model.start);
            }
        }
        self.model = self.intended.clone();
        Ok(())
    }

    fn compact(&mut self, sparse: bool) -> Result<(), LogError> {
        let (reader, snapshots) = {
            let log = self.log();
            (log.reader(), log.snapshots())
        };
        let mut at = Position(0);
        let mut newest = None;
        while at < reader.tail() {
            at = Position(reader.segment_start(at).0 + SEGMENT_BYTES_MIN);
            let Some(boundary) = reader.boundary_before(at)? else { continue };
            if boundary.index.0 < self.model.commit {
                if !sparse {
                    snapshots.save(boundary, &boundary.index.0.to_be_bytes())?;
                }
                newest = Some(boundary);
            }
        }
        let Some(boundary) = newest else { return Ok(()) };
        if sparse {
            snapshots.save(boundary, &boundary.index.0.to_be_bytes())?;
        }
        let gone = (boundary.index.0 - self.model.start) as usize;
        self.intended.start = boundary.index.0;
        self.intended.entries.drain(..gone);
        let first = self.log().compact_to(boundary.position)?;
        assert_eq!(first, boundary.position);
        // The helper removes the segments: power lost meanwhile is noticed by the next call only.
        snapshots.positions().map(drop)
    }

    fn install(&mut self) -> Result<(), LogError> {
        let (index, term) = (self.donor.get_metadata().index, self.donor.get_metadata().term);
        if index < self.model.commit || index <= self.model.start {
            return Ok(());
        }
        self.pending = None;
        self.intended.start = index;
        self.intended.entries.clear();
        self.intended.synced = index;
        self.intended.commit = index;
        self.intended.term = self.intended.term.max(term);
        let donor = self.donor.clone();
        // The snapshot's term is durable with it, if it is newer.
        let raised = (term, 0);
        if self.model.votes.iter().all(|vote| vote.0 < term) {
            self.model.votes.push(raised);
            self.intended.votes.push(raised);
            self.vote = 0;
        }
        if self.model.term < term {
            self.vote = 0;
        }
        self.log().install_snapshot(&donor)
    }
}

/// A snapshot at another member's second boundary.
fn donor() -> Snapshot {
    let disk = SimDisk::new();
    let mut log = Log::open(disk, Path::new(DIR), options()).unwrap();
    let entries: Vec<Entry> = (1..=12).map(|index| entry(index, 3, 16_000)).collect();
    log.append(&entries).unwrap();
    log.begin_sync().wait().unwrap();
    let boundary = log.reader().boundary_before(Position(2 * SEGMENT_BYTES_MIN)).unwrap().unwrap();
    log.snapshots().save(boundary, b"donated").unwrap().to_raft()
}

/// Where the log begins, its entries, term and vote, its tail, and the term in which it ends.
type Seen = (u64, Vec<Entry>, (u64, u64), Position, u64);

fn look(log: &Log<SimDisk>) -> Seen {
    let (first, last) = (log.first_index().unwrap(), log.last_index().0);
    let entries = match first > last {
        true => Vec::new(),
        false => log.entries(first, last + 1, None, GetEntriesContext::empty(false)).unwrap(),
    };
    let state = log.initial_state().unwrap().hard_state;
    assert!(state.commit <= last, "commit {} of {last}", state.commit);
    assert!(state.commit >= first - 1, "commit {} before {first}", state.commit);
    let last_term = log.term(last).unwrap();
    (first - 1, entries, (state.term, state.vote), log.tail(), last_term)
}

/// The log while a compaction is under way: `model` without the entries up to `start`.
fn compacted(model: &Model, start: u64) -> Model {
    let gone = start.clamp(model.start, model.last()) - model.start;
    let entries = model.entries[gone as usize..].to_vec();
    Model { start: model.start + gone, entries, ..model.clone() }
}

/// Whether what was found is what `model` allows.
fn allowed(seen: &Seen, model: &Model) -> bool {
    let (start, entries, vote, _, last_term) = seen;
    let vote_known = model.votes.iter().any(|known| {
        // The newer term of an entry, or of the one that the log begins behind, raises the term found.
        *known == *vote || (known.0 < vote.0 && *vote == (*last_term, 0))
    });
    *start == model.start
        && model.entries.starts_with(entries)
        && start + entries.len() as u64 >= model.synced
        && vote_known
}

/// Recovers, cutting the power at call `again` of the first attempt, and checks what is found.
fn recover_and_check(driver: &Driver, seed: u64, again: Option<u64>) -> Result<(), String> {
    let disk = &driver.disk;
    let open = || Log::open(disk.clone(), Path::new(DIR), options());
    disk.restart(Loss::Torn(seed));
    if let Some(call) = again {
        disk.power_off_at_call(call);
        let opened = open().map(drop);
        if !disk.is_powered_off() {
            opened.map_err(|error| format!("recovery failed: {error}"))?;
        }
        disk.restart(Loss::Torn(seed ^ 0x5555));
    }
    let log = open().map_err(|error| format!("recovery failed: {error}"))?;
    let seen = look(&log);
    let (before, after) = (&driver.model, &driver.intended);
    let compacting = after.last() == before.last() && seen.0 <= after.start;
    let between = compacting && allowed(&seen, &compacted(before, seen.0));
    if !allowed(&seen, before) && !allowed(&seen, after) && !between {
        let brief = |entries: &[Entry]| {
            entries.iter().map(|e| (e.index, e.term, e.data.len())).collect::<Vec<_>>()
        };
        let model = |m: &Model| {
            format!(
                "start {} synced {} votes {:?} {:?}",
                m.start,
                m.synced,
                m.votes,
                brief(&m.entries)
            )
        };
        return Err(format!(
            "found start {} vote {:?} {:?}\nbefore {}\nafter {}",
            seen.0,
            seen.2,
            brief(&seen.1),
            model(&driver.model),
            model(&driver.intended)
        ));
    }
    drop(log);
    disk.restart(Loss::All);
    let mut log = open().map_err(|error| format!("opening again failed: {error}"))?;
    if look(&log) != seen {
        return Err("opening again gave another log".to_owned());
    }
    let (start, mut entries, ..) = seen;
    let next = start + entries.len() as u64 + 1;
    let new = entry(next, 99, 900);
    log.append(std::slice::from_ref(&new)).map_err(|error| error.to_string())?;
    log.begin_sync().wait().map_err(|error| error.to_string())?;
    entries.push(new);
    drop(log);
    disk.restart(Loss::Torn(seed ^ 0xaaaa));
    let log = open().map_err(|error| format!("opening a third time failed: {error}"))?;
    if look(&log).1 != entries {
        return Err("going on lost or brought back entries".to_owned());
    }
    Ok(())
}

/// Runs the steps with power cut at disk call `at`; false when the program ends before.
fn run(
    steps: &[Step],
    donor: &Snapshot,
    at: u64,
    seed: u64,
    again: Option<u64>,
) -> Result<bool, String> {
    let disk = SimDisk::new();
    disk.set_slices_alive(seed.is_multiple_of(3));
    disk.power_off_at_call(at);
    let mut driver = Driver::new(disk.clone(), donor.clone());
    let mut result = driver.open();
    for step in steps {
        if result.is_ok() {
            result = driver.step(step);
        }
    }
    if let Err(error) = &result
        && !disk.is_powered_off()
    {
        return Err(format!("a step failed without a fault: {error}"));
    }
    // Power that went away during preparation is noticed by the next step only.
    let cut_short = disk.is_powered_off();
    driver.log = None;
    driver.pending = None;
    recover_and_check(&driver, seed, again)?;
    Ok(cut_short)
}

fn every_call(steps: &[Step], seed: u64) -> Result<(), TestCaseError> {
    let donor = donor();
    for at in 1_u64.. {
        let seed = seed.wrapping_add(at.wrapping_mul(0x9e37_79b9));
        let again = (at % 2 == 0).then_some(1 + seed % 40);
        match run(steps, &donor, at, seed, again) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(problem) => {
                return Err(TestCaseError::fail(format!("power cut at call {at}: {problem}")));
            }
        }
    }
    Ok(())
}

/// More of them on request.
fn env_cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: env_cases(),
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn power_cut_at_every_disk_call(steps in prop::collection::vec(step(), 4..22), seed: u64) {
        every_call(&steps, seed)?;
    }
}

/// A program that passes every kind of step, with every pair of a cut and a cut in its recovery.
#[test]
fn power_cut_at_every_disk_call_and_at_every_call_of_the_recovery() {
    let steps = [
        Step::Append { count: 4, size: 2 },
        Step::Sync,
        Step::Append { count: 3, size: 4 },
        Step::Conflict { back: 2, count: 3, size: 3 },
        Step::Sync,
        Step::Append { count: 2, size: 4 },
        Step::Sync,
        Step::Conflict { back: 6, count: 2, size: 0 },
        Step::Vote { vote: 2 },
        Step::Sync,
        Step::Install,
        Step::Append { count: 2, size: 1 },
        Step::Sync,
    ];
    let donor = donor();
    let mut at = 1;
    loop {
        let mut again = 1;
        let mut cut_short = true;
        while again < 60 {
            let seed = at * 1000 + again;
            cut_short = run(&steps, &donor, at, seed, Some(again))
                .unwrap_or_else(|problem| panic!("cut at {at}, then at {again}: {problem}"));
            again += 1 + at % 5;
        }
        if !cut_short {
            break;
        }
        at += 1;
    }
    assert!(at > 100, "the program makes {at} disk calls");
}

#[test]
fn a_failed_sync_is_final_and_what_it_lost_is_not_acknowledged() {
    for nth in 1..4 {
        let disk = SimDisk::new();
        let open = || Log::open(disk.clone(), Path::new(DIR), options());
        let mut log = open().unwrap();
        log.append(&[entry(1, 1, 100)]).unwrap();
        log.begin_sync().wait().unwrap();
        disk.fail_sync(nth);
        let mut acknowledged = 1;
        let mut failure = None;
        for index in 2..6 {
            let appended = log.append(&[entry(index, 1, 100)]);
            match appended.and_then(|()| log.begin_sync().wait()) {
                Ok(()) => acknowledged = index,
                Err(error) => failure = Some(error),
            }
        }
        let failure = failure.expect("a sync failed");
        assert_eq!(failure.fatal(), Some(raft_log::Fatal::FsyncFailed), "{failure}");
        assert_eq!(acknowledged, nth, "nothing is acknowledged after the failure");
        drop(log);
        disk.restart(Loss::All);
        assert_eq!(open().unwrap().last_index().0, acknowledged);
    }
}

#[test]
fn a_full_disk_is_told_before_anything_is_promised_and_ends_in_a_clear_error() {
    let disk = SimDisk::new();
    disk.set_capacity_bytes(Some(2 * SEGMENT_BYTES_MIN));
    let mut log = Log::open(disk.clone(), Path::new(DIR), options()).unwrap();
    let mut told = None;
    for index in 1..100 {
        if told.is_none() && log.check_space().is_err() {
            told = Some(index);
        }
        let appended = log.append(&[entry(index, 1, 4000)]);
        if let Err(error) = appended.and_then(|()| log.begin_sync().wait()) {
            assert_eq!(error.fatal(), Some(raft_log::Fatal::DiskFull), "{error}");
            assert!(told.is_some_and(|told| told < index), "told at {told:?}, full at {index}");
            assert!(log.append(&[entry(index, 1, 1)]).is_err(), "the failure is final");
            drop(log);
            disk.set_capacity_bytes(None);
            disk.restart(Loss::Nothing);
            let log = Log::open(disk, Path::new(DIR), options()).unwrap();
            assert!(log.last_index().0 >= index - 1);
            return;
        }
    }
    panic!("the disk never filled up");
}

/// A log with entries up to the index returned, the hundredth at most: then it has no room ahead.
fn filled(disk: &SimDisk, room_bytes: u64) -> (Log<SimDisk>, u64) {
    let mut log = Log::open(disk.clone(), Path::new(DIR), options()).unwrap();
    disk.set_capacity_bytes(Some(room_bytes));
    let mut index = 0;
    while log.check_space().is_ok() && index < 100 {
        index += 1;
        log.append(&[entry(index, 1, 4000)]).unwrap();
        log.begin_sync().wait().unwrap();
    }
    (log, index)
}

#[test]
fn a_full_disk_is_forgotten_when_there_is_room_again() {
    let mut refused = 0;
    for room_bytes in (0..3 * SEGMENT_BYTES_MIN).step_by(4096) {
        let disk = SimDisk::new();
        let (mut log, index) = filled(&disk, room_bytes);
        refused += usize::from(index < 100);
        // Looked for in vain, and then found.
        log.look_for_space().unwrap();
        disk.set_capacity_bytes(None);
        log.look_for_space().unwrap();
        assert!(log.check_space().is_ok(), "with room for {room_bytes} bytes at first");
        for index in index + 1..index + 50 {
            log.append(&[entry(index, 1, 4000)]).unwrap();
            log.begin_sync().wait().unwrap();
        }
    }
    assert!(refused > 10, "the disk was full {refused} times");
}

/// While it was full nobody appended, so nobody noticed.
#[test]
fn a_full_disk_that_fails_is_told_to_who_looks_for_space() {
    let mut told = 0;
    for room_bytes in (0..3 * SEGMENT_BYTES_MIN).step_by(4096) {
        let disk = SimDisk::new();
        let (log, _) = filled(&disk, room_bytes);
        disk.fail_next_write();
        disk.set_capacity_bytes(None);
        // This look meets the failure if it writes, the next one tells of it.
        log.look_for_space().unwrap();
        if let Err(error) = log.look_for_space() {
            assert_eq!(error.fatal(), Some(raft_log::Fatal::DiskFailed), "{error}");
            told += 1;
        }
    }
    assert!(told > 10, "told {told} times");
}

#[test]
fn a_flipped_bit_is_found_or_harmless_and_never_cuts_the_log() {
    let disk = SimDisk::new();
    let mut log = Log::open(disk.clone(), Path::new(DIR), options()).unwrap();
    let entries: Vec<Entry> = (1..=20).map(|index| entry(index, 1, 5000)).collect();
    for entry in &entries {
        log.append(std::slice::from_ref(entry)).unwrap();
        log.begin_sync().wait().unwrap();
    }
    // The last groups have no witness until the log comes to rest.
    assert!(log.wants_sync_at_rest());
    log.begin_sync().wait().unwrap();
    assert!(!log.wants_sync_at_rest());
    let tail = log.tail().0;
    drop(log);
    let mut found = 0;
    for nth in 0..400_u64 {
        let position = nth * 257 % tail;
        let segment = position - position % SEGMENT_BYTES_MIN;
        let path = Path::new(DIR).join(format!("{segment:020}"));
        let offset = position % SEGMENT_BYTES_MIN;
        assert!(disk.flip_bit(&path, offset, nth as u32));
        match Log::open(disk.clone(), Path::new(DIR), options()) {
            Ok(log) => {
                let whole = log.reader().entries_from(Position(0), usize::MAX);
                match whole {
                    Ok(whole) => assert_eq!(whole.len() as u64, log.last_index().0),
                    Err(error) => {
                        assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
                        found += 1;
                    }
                }
                assert!(log.last_index().0 >= 20, "a flip at {position} cut the log");
            }
            Err(error) => {
                assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
                found += 1;
            }
        }
        assert!(disk.flip_bit(&path, offset, nth as u32));
    }
    assert!(found > 350, "{found} of 400 flips found");
}
