//! Opening a directory: whose it is, what of the log is there, and telling a torn tail from damage.
//!
//! The log is followed along its chain of checksums until something does not check. What lies behind
//! was either never durable (a torn tail, to be cut) or it was (damage, never cut). Three witnesses
//! tell: a trailer written by an earlier sync, an index file, the commit index in the hard state;
//! none of them ever claims more than was durable when it was written. A valid record behind an
//! invalid one is not a witness by itself: when power fails, the sectors of one unsynced group
//! survive in any order. What is damaged is left as it is: see `damage` and `repair`.
//!
//! What the disk cannot read at the end of the chain is neither: it may have been durable, and nothing
//! says so. It is cut only after the member has noted, durably, that it forgot what it promised.
//!
//! Invariants: nothing durable is removed; after opening, everything the table shows is durable and
//! everything behind it is zeros; opening twice gives the same log.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft::eraftpb::ConfState;

use crate::damage::{self, Damage, DamagedLog};
use crate::disk::{Disk, DiskFile};
use crate::entry::EntryDamage;
use crate::error::{IoContext, LogError};
use crate::files::{self, FileKind};
use crate::format;
use crate::hard_state::HardStateFile;
use crate::headless::HeadlessLog;
use crate::identity::Identity;
use crate::index::{IndexHeader, SealedIndex, SegmentIndex};
use crate::install;
use crate::noted::{self, NotedPage};
use crate::options::LogOptions;
use crate::scan::{Scan, scan};
use crate::scrub::DamagedEntries;
use crate::segment::{Segment, TRAILER_BYTES, Witness};
use crate::snapshot::boundary_of;
use crate::standing::Standing;
use crate::table::{Boundary, Table, TableSegment};
use crate::tail::Tail;
use crate::types::{LogIndex, Position, Term};
use crate::unsynced;

/// An opened log.
pub(crate) struct Recovered<D: Disk> {
    pub(crate) table: Table<D>,
    pub(crate) hard_state: HardStateFile<D::File>,
    pub(crate) standing: Standing,
    pub(crate) conf_state: ConfState,
    pub(crate) lock: Arc<D::Lock>,
    /// What an earlier process could not read, if one ended by that.
    pub(crate) noted: Option<BTreeSet<NotedPage>>,
}

/// What a directory holds.
#[allow(clippy::large_enum_variant, reason = "there is one, at a start, and it is taken apart")]
pub(crate) enum Outcome<D: Disk> {
    Whole(Recovered<D>),
    Damaged(Arc<DamagedLog<D>>),
    Headless(HeadlessLog<D>),
}

/// The files of a directory by what they are.
#[derive(Default)]
struct Inventory {
    segments: BTreeSet<u64>,
    indexes: BTreeSet<u64>,
    snapshots: BTreeSet<u64>,
}

impl Inventory {
    fn of<D: Disk>(disk: &D, dir: &Path) -> Result<Self, LogError> {
        let mut inventory = Self::default();
        for name in disk.list(dir).during("list", dir)? {
            match FileKind::of(&name) {
                FileKind::Segment(start) => drop(inventory.segments.insert(start)),
                FileKind::Index(start) => drop(inventory.indexes.insert(start)),
                FileKind::Snapshot(position) => drop(inventory.snapshots.insert(position)),
                FileKind::Temporary => {
                    let path = dir.join(name);
                    disk.remove(&path).during("remove", &path)?;
                }
                FileKind::Other => {}
            }
        }
        Ok(inventory)
    }
}

/// Opens, or at the first start creates, the log in `dir`.
pub(crate) fn open<D: Disk>(
    disk: &D,
    dir: &Path,
    options: &LogOptions,
) -> Result<Outcome<D>, LogError> {
    disk.create_dir_all(dir).during("create", dir)?;
    let lock_path = dir.join(files::LOCK);
    let lock = disk.lock(&lock_path).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => LogError::Locked { dir: dir.to_path_buf() },
        _ => LogError::io("lock", &lock_path, error),
    })?;
    open_locked(disk, dir, options, Arc::new(lock))
}

/// [`open`] for who holds the directory's lock.
pub(crate) fn open_locked<D: Disk>(
    disk: &D,
    dir: &Path,
    options: &LogOptions,
    lock: Arc<D::Lock>,
) -> Result<Outcome<D>, LogError> {
    format::check(disk, dir)?;
    let identity = match Identity::load(disk, dir)? {
        Some(identity) => {
            identity.check(options, dir)?;
            identity
        }
        None => create(disk, dir, options)?,
    };
    let (mut hard_state, mut standing) = memory(disk, dir, &options.boot)?;
    let alone = identity.voters.len() < 2;
    let headless = |position| {
        let log = HeadlessLog::new(disk, dir, options, lock.clone(), position)?;
        if alone { Err(log.error()) } else { Ok(Outcome::Headless(log)) }
    };
    if let Some(begun) = install::begun(disk, dir, hard_state.durable().commit)? {
        if !begun.is_stated {
            standing = install::without_marker(disk, dir, standing, begun.position)?;
        }
        if !install::finish(disk, dir, options.segment_bytes, &begun, &mut hard_state)? {
            return headless(begun.position);
        }
    }
    let mut inventory = Inventory::of(disk, dir)?;
    if standing == Standing::Lost && has_given_up(disk, dir, options, &inventory)? {
        files::remove_durably(disk, dir, &files::segment_path(dir, 0))?;
        drop(Segment::create(disk, dir, 0, options.segment_bytes)?);
        inventory.segments.insert(0);
    }
    let mut recovery = Recovery {
        disk,
        dir,
        segment_bytes: options.segment_bytes,
        doubted: options.doubted,
        tail_bytes_max: options.tail_bytes_max,
        commit: hard_state.durable().commit,
        inventory,
        conf_state: ConfState { voters: identity.voters.clone(), ..ConfState::default() },
        scanned: Vec::new(),
        rebuilt: Vec::new(),
        witness: Witness::default(),
    };
    let start = match recovery.start()? {
        Start::At(start) => start,
        Start::Lost(position) => return headless(position),
    };
    let (table, verdict) = recovery.follow_and_judge(start)?;
    #[cfg(madsim)]
    let verdict = match verdict {
        Verdict::Unknown(_) if options.cuts_unreadable_tail => Verdict::Whole,
        verdict => verdict,
    };
    if let Verdict::Unknown(end) = &verdict {
        standing = without_end(disk, dir, standing, &table, end, alone)?;
    }
    if let Verdict::Missing(Missing { path, reason, durable_to }) = verdict {
        let last = table.segments.last().expect("the first one was found").segment.start;
        let starts = recovery.inventory.segments.range(last..);
        let survey = damage::survey(disk, dir, options.segment_bytes, starts, table.end)?;
        let damage = Damage::of(path, reason, table.end, durable_to, &survey);
        let commit = LogIndex(hard_state.durable().commit);
        let options = options.clone();
        return Ok(Outcome::Damaged(Arc::new(DamagedLog {
            disk: disk.clone(),
            dir: dir.to_path_buf(),
            options,
            table,
            survey,
            damage,
            durable_to,
            commit,
            lock,
        })));
    }
    let (table, conf_state) = recovery.tidy(table)?;
    let noted = noted::load(disk, dir)?;
    Ok(Outcome::Whole(Recovered { table, hard_state, standing, conf_state, lock, noted }))
}

/// Term, vote and commit, and whether they and the log are all that the member ever promised. When they
/// cannot be read the member goes on without them, and may vote only after it has heard what it can have
/// promised.
fn memory<D: Disk>(
    disk: &D,
    dir: &Path,
    boot: &str,
) -> Result<(HardStateFile<D::File>, Standing), LogError> {
    let standing = unsynced::judge(disk, dir, Standing::load(disk, dir)?, boot)?;
    let found = HardStateFile::open(disk, dir)?;
    let found = match found {
        Some(hard_state) if !hard_state.lacks_a_slot() => return Ok((hard_state, standing)),
        found => found,
    };
    let standing = standing.without_votes();
    tracing::error!(
        dir = %dir.display(), ?standing,
        "the hard state is damaged: the votes that this member gave are lost"
    );
    standing.store(disk, dir)?;
    match found {
        // The older slot, perhaps; but its numbers were true once.
        Some(mut hard_state) => {
            hard_state.renew_lost_slot()?;
            Ok((hard_state, standing))
        }
        None => Ok((HardStateFile::create(disk, dir)?, standing)),
    }
}

/// The log ends where the disk cannot read what follows, and no witness says whether that was ever
/// durable. The member goes on without it as one that forgot what it acknowledged: before it votes it
/// hears from all others how far that can have been.
fn without_end<D: Disk>(
    disk: &D,
    dir: &Path,
    standing: Standing,
    table: &Table<D>,
    end: &ChainEnd,
    alone: bool,
) -> Result<Standing, LogError> {
    let position = table.end.position.0;
    if alone {
        let reason = "the disk cannot read the end of the log, and no other member has it";
        return Err(LogError::corrupt(&end.path, position, reason));
    }
    let standing = standing.without_votes();
    tracing::error!(
        file = %end.path.display(), position, ?standing,
        "the disk cannot read the end of the log: what this member acknowledged last may be lost"
    );
    standing.store(disk, dir)?;
    Ok(standing)
}

/// Creates an empty log in a directory that holds none. The identity comes last: a directory with
/// files but without it is either a creation that was cut short, or not ours to touch.
fn create<D: Disk>(disk: &D, dir: &Path, options: &LogOptions) -> Result<Identity, LogError> {
    let foreign = |reason: &str| LogError::WrongIdentity {
        dir: dir.to_path_buf(),
        reason: format!("it has no identity file, but {reason}; it is not adopted"),
    };
    let inventory = Inventory::of(disk, dir)?;
    let beyond_first = inventory.segments.iter().any(|&start| start != 0);
    if beyond_first || !inventory.indexes.is_empty() || !inventory.snapshots.is_empty() {
        return Err(foreign("it holds a log"));
    }
    if inventory.segments.contains(&0) {
        let path = files::segment_path(dir, 0);
        if !is_all_zero(disk, &path)? {
            return Err(foreign("it holds a log"));
        }
        files::remove_durably(disk, dir, &path)?;
    }
    let path = dir.join(files::HARD_STATE);
    if files::exists(disk, &path)? {
        let found = HardStateFile::open(disk, dir)?.map(|file| file.durable());
        if found.is_none_or(|value| value != crate::hard_state::HardStateValue::default()) {
            return Err(foreign("it holds a vote"));
        }
    }
    Standing::New.store(disk, dir)?;
    HardStateFile::create(disk, dir)?;
    Segment::create(disk, dir, 0, options.segment_bytes)?;
    let identity = Identity::of(options);
    identity.store(disk, dir)?;
    if let Some(parent) = dir.parent() {
        // The directory's own name. A relative path of one component has an empty parent.
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        files::sync_dir(disk, parent)?;
    }
    tracing::info!(dir = %dir.display(), group = options.group, member = options.member, "log created");
    Ok(identity)
}

/// Whether nothing is there of a log but, perhaps, a first segment whose creation was cut short.
fn has_given_up<D: Disk>(
    disk: &D,
    dir: &Path,
    options: &LogOptions,
    inventory: &Inventory,
) -> Result<bool, LogError> {
    if inventory.segments.last().is_none_or(|&last| last > 0) {
        return Ok(inventory.segments.is_empty());
    }
    let path = files::segment_path(dir, 0);
    let bytes = disk.open(&path).and_then(|file| file.len()).during("measure", &path)?;
    Ok(bytes != options.segment_bytes + TRAILER_BYTES && is_all_zero(disk, &path)?)
}

fn is_all_zero<D: Disk>(disk: &D, path: &Path) -> Result<bool, LogError> {
    let file = disk.open(path).during("open", path)?;
    let bytes = file.len().during("measure", path)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut at = 0;
    while let Some(data) = file.next_data(at).during("scan", path)? {
        if data >= bytes {
            break;
        }
        let step = &mut buffer[..(bytes - data).min(64 * 1024) as usize];
        file.read_at(step, data).during("read", path)?;
        if step.iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        at = data + step.len() as u64;
    }
    Ok(true)
}

struct Recovery<'a, D: Disk> {
    disk: &'a D,
    dir: &'a Path,
    segment_bytes: u64,
    /// Whatever the index file of the segment around it says, its entries are read.
    doubted: Option<Position>,
    tail_bytes_max: usize,
    /// The commit index in the hard state: a witness.
    commit: u64,
    inventory: Inventory,
    conf_state: ConfState,
    /// Segments whose entries were read one by one, so which may not be durable yet.
    scanned: Vec<Arc<Segment<D>>>,
    /// Segments whose index file must be written again.
    rebuilt: Vec<u64>,
    /// The furthest that any trailer or index file vouches for.
    witness: Witness,
}

/// Where the log begins.
enum Start {
    At(Boundary),
    /// Where the snapshot cannot be read that stands for what was before.
    Lost(Position),
}

/// Where the chain ended.
struct ChainEnd {
    path: PathBuf,
    reason: String,
    /// The disk cannot read what stands there.
    unreadable: bool,
}

impl ChainEnd {
    fn new(path: PathBuf, reason: impl ToString) -> Self {
        Self { path, reason: reason.to_string(), unreadable: false }
    }
}

/// What the end of the chain is.
enum Verdict {
    /// The end of what was durable.
    Whole,
    /// Perhaps that, or before it: what follows cannot be read.
    Unknown(ChainEnd),
    /// Before it.
    Missing(Missing),
}

/// The chain ended too early.
struct Missing {
    path: PathBuf,
    reason: String,
    /// The log was durable up to this index at least.
    durable_to: LogIndex,
}

impl<D: Disk> Recovery<'_, D> {
    /// The log as far as its chain reaches, and if that is not all that was durable, where the chain
    /// ends and up to which index it was. Changes nothing that matters.
    fn follow_and_judge(&mut self, start: Boundary) -> Result<(Table<D>, Verdict), LogError> {
        let mut table = Table {
            segment_bytes: self.segment_bytes,
            start,
            segments: Vec::new(),
            end: start,
            tail: Tail::new(self.tail_bytes_max),
            damaged: DamagedEntries::default(),
        };
        let chain_end = self.follow(&mut table)?;
        self.drop_empty_segments(&mut table);
        let verdict = self.judge(&table, chain_end)?;
        Ok((table, verdict))
    }

    /// Leaves nothing in the directory but the log, durable.
    fn tidy(mut self, mut table: Table<D>) -> Result<(Table<D>, ConfState), LogError> {
        self.tidy_segments(&mut table)?;
        self.tidy_snapshots(&table)?;
        files::sync_dir(self.disk, self.dir)?;
        Ok((table, self.conf_state))
    }

    /// The log before its first segment.
    fn start(&mut self) -> Result<Start, LogError> {
        self.finish_compaction()?;
        let Some(&first) = self.inventory.segments.first() else {
            return Err(LogError::corrupt(self.dir, 0, "all segments are missing"));
        };
        // Left behind by a compaction that was cut short.
        for stale in self.inventory.indexes.range(..first) {
            files::remove_if_exists(self.disk, &files::index_path(self.dir, *stale))?;
        }
        if first == 0 {
            return Ok(Start::At(Boundary::default()));
        }
        let found = match self.inventory.snapshots.contains(&first) {
            true => boundary_of(self.disk, self.dir, first)?,
            false => None,
        };
        let Some((boundary, conf_state)) = found else {
            return Ok(Start::Lost(Position(first)));
        };
        self.conf_state = conf_state;
        Ok(Start::At(boundary))
    }

    /// A compaction over several segments may have been cut short where no snapshot stands. Its
    /// target has one, and every segment before it was to go.
    fn finish_compaction(&mut self) -> Result<(), LogError> {
        let inventory = &mut self.inventory;
        let Some(&first) = inventory.segments.first() else { return Ok(()) };
        if first == 0 || inventory.snapshots.contains(&first) {
            return Ok(());
        }
        let target = inventory.snapshots.range(first..).find(|at| inventory.segments.contains(at));
        let Some(&target) = target else { return Ok(()) };
        tracing::warn!(first, target, "no snapshot at the log's start, compacting to the next one");
        let kept = inventory.segments.split_off(&target);
        for start in std::mem::replace(&mut inventory.segments, kept) {
            files::remove_durably(self.disk, self.dir, &files::segment_path(self.dir, start))?;
        }
        Ok(())
    }

    /// Follows the chain from segment to segment.
    fn follow(&mut self, table: &mut Table<D>) -> Result<ChainEnd, LogError> {
        let mut start = table.start.position.0;
        let mut chain_end = ChainEnd::new(files::segment_path(self.dir, start), "");
        while self.inventory.segments.contains(&start) {
            let Some(segment) = self.open_segment(start)? else {
                let path = files::segment_path(self.dir, start);
                chain_end = ChainEnd::new(path, "the segment was being created");
                break;
            };
            let segment = Arc::new(segment);
            if let Some(sealed) = self.sealed_index(table, start)? {
                self.push_sealed(table, segment, sealed);
                start += self.segment_bytes;
                continue;
            }
            let Scan { records, end, rest } = scan(&segment, table.end)?;
            let previous_crc = table.end.chain_crc;
            let base_index = table.end.index.0 + 1;
            table.end = end;
            self.scanned.push(segment.clone());
            let path = segment.path.clone();
            table.segments.push(TableSegment {
                segment,
                base_index,
                previous_crc,
                index: SegmentIndex::Memory(records),
            });
            if let Some(damage) = rest {
                let unreadable = damage == EntryDamage::Unreadable;
                chain_end = ChainEnd { unreadable, ..ChainEnd::new(path, damage) };
                break;
            }
            self.rebuilt.push(start);
            start += self.segment_bytes;
            let path = files::segment_path(self.dir, start);
            chain_end = ChainEnd::new(path, "the segment that follows is missing");
        }
        if table.segments.is_empty() {
            let path = files::segment_path(self.dir, start);
            return Err(LogError::corrupt(&path, start, "the first segment has a wrong length"));
        }
        Ok(chain_end)
    }

    /// `None` when the file is one whose creation was cut short.
    fn open_segment(&mut self, start: u64) -> Result<Option<Segment<D>>, LogError> {
        let path = files::segment_path(self.dir, start);
        let file = self.disk.open(&path).during("open", &path)?;
        let bytes = file.len().during("measure", &path)?;
        if bytes != self.segment_bytes + TRAILER_BYTES {
            if is_all_zero(self.disk, &path)? {
                return Ok(None);
            }
            let reason = format!("the segment has a wrong length, {bytes} bytes");
            return Err(LogError::corrupt(&path, start, reason));
        }
        let segment = Segment::open(self.disk, self.dir, start, self.segment_bytes)?;
        self.witness = self.witness.max(segment.witness()?.unwrap_or_default());
        Ok(Some(segment))
    }

    /// The index file of the segment that continues the chain, when there is one that is sound and not
    /// doubted. One that is doubted is a witness like any other.
    fn sealed_index(
        &mut self,
        table: &Table<D>,
        start: u64,
    ) -> Result<Option<SealedIndex<D>>, LogError> {
        if !self.inventory.indexes.contains(&start) {
            return Ok(None);
        }
        let sealed = SealedIndex::open(self.disk, self.dir, start)?;
        let Some(sealed) = sealed else {
            tracing::warn!(segment = start, "index file damaged, rebuilding it from its segment");
            return Ok(None);
        };
        self.witness = self.witness.max(self.vouched_by(&sealed.header));
        let inside = start..start + self.segment_bytes;
        if self.doubted.is_some_and(|doubted| inside.contains(&doubted.0)) {
            return Ok(None);
        }
        let continues = sealed.header.base_index == table.end.index.0 + 1
            && sealed.header.previous_crc == table.end.chain_crc
            && table.end.position.0 <= start;
        Ok(continues.then_some(sealed))
    }

    /// A segment is sealed only when an entry behind it is durable, unless it is full to the last
    /// byte: then a truncation may have taken everything behind it.
    fn vouched_by(&self, header: &IndexHeader) -> Witness {
        let padded = u64::from(header.data_end) < self.segment_bytes;
        let position =
            header.segment + if padded { self.segment_bytes + 1 } else { self.segment_bytes };
        Witness { position, index: header.base_index + header.count - 1 }
    }

    fn push_sealed(
        &mut self,
        table: &mut Table<D>,
        segment: Arc<Segment<D>>,
        sealed: SealedIndex<D>,
    ) {
        let header = sealed.header;
        let index = SegmentIndex::Sealed(sealed);
        let last = index.get(header.count - 1).expect("every record was checked");
        table.end = Boundary {
            index: LogIndex(header.base_index + header.count - 1),
            term: Term(last.term),
            position: Position(segment.start + u64::from(header.data_end)),
            chain_crc: last.header_crc,
        };
        table.segments.push(TableSegment {
            segment,
            base_index: header.base_index,
            previous_crc: header.previous_crc,
            index,
        });
    }

    /// Padding belongs to the entry behind it: without that entry, the log ends before the padding.
    fn drop_empty_segments(&mut self, table: &mut Table<D>) {
        while table.segments.len() > 1
            && table.segments.last().is_some_and(|last| last.index.count() == 0)
        {
            let dropped = table.segments.pop().expect("there is one");
            self.scanned.retain(|segment| segment.start != dropped.segment.start);
            self.rebuilt.retain(|&start| start != dropped.segment.start);
        }
    }

    /// Whether what lies behind the end of the chain was ever durable, and if so, up to which index.
    fn judge(&mut self, table: &Table<D>, chain_end: ChainEnd) -> Result<Verdict, LogError> {
        let end = table.end;
        let last = table.segments.last().expect("the first one was found").segment.start;
        let behind: Vec<u64> = self.inventory.segments.range(last + 1..).copied().collect();
        for start in behind {
            drop(self.open_segment(start)?);
        }
        let indexes: Vec<u64> = self.inventory.indexes.range(last + 1..).copied().collect();
        for start in indexes {
            if let Some(sealed) = SealedIndex::open(self.disk, self.dir, start)? {
                self.witness = self.witness.max(self.vouched_by(&sealed.header));
            }
        }
        let claim = if self.witness.position > end.position.0 {
            format!("position {} (index {})", self.witness.position, self.witness.index)
        } else if self.commit > end.index.0 {
            format!("index {}", self.commit)
        } else if chain_end.unreadable {
            return Ok(Verdict::Unknown(chain_end));
        } else {
            return Ok(Verdict::Whole);
        };
        let reason = format!(
            "the log ends after index {} ({}), but it was durable up to {claim}",
            end.index, chain_end.reason
        );
        // A witness beyond the end speaks of one entry more at least.
        let durable_to = self.witness.index.max(self.commit).max(end.index.0 + 1);
        let durable_to = LogIndex(durable_to);
        Ok(Verdict::Missing(Missing { path: chain_end.path, reason, durable_to }))
    }

    /// Removes what lies behind the end, and makes durable and indexes what lies before.
    fn tidy_segments(&self, table: &mut Table<D>) -> Result<(), LogError> {
        let last = table.segments.last().expect("the first one was found");
        let (segment, sealed) = (last.segment.clone(), last.index.is_sealed());
        for start in self.inventory.segments.range(segment.start + 1..).rev() {
            files::remove_durably(self.disk, self.dir, &files::index_path(self.dir, *start))?;
            files::remove_durably(self.disk, self.dir, &files::segment_path(self.dir, *start))?;
        }
        if !sealed {
            let damaged_index = files::index_path(self.dir, segment.start);
            files::remove_durably(self.disk, self.dir, &damaged_index)?;
            let tail = table.end.position.0 - segment.start;
            if segment.clear_from(tail)? {
                tracing::warn!(segment = segment.start, tail, "torn tail of the log cut");
            }
            segment.set_data_end(tail);
        }
        for held in &table.segments {
            held.segment.renew_lost_trailer()?;
        }
        for scanned in &self.scanned {
            // What a witness vouches for was durable; the rest may never have been, even though the
            // cache calls it clean.
            let witnessed = self.witness.position.clamp(scanned.start, scanned.end());
            let found = table.end.position.0.clamp(witnessed, scanned.end());
            scanned.rewrite(witnessed - scanned.start..found - scanned.start)?;
            scanned.sync()?;
        }
        let full = table.segments.len() - 1;
        for nth in 0..full {
            if self.rebuilt.contains(&table.segments[nth].segment.start) {
                self.seal(table, nth)?;
            }
        }
        Ok(())
    }

    fn seal(&self, table: &mut Table<D>, nth: usize) -> Result<(), LogError> {
        let (header, records) = {
            let held = &table.segments[nth];
            let SegmentIndex::Memory(records) = &held.index else { return Ok(()) };
            let last = held.base_index + held.index.count() - 1;
            let end = table.boundary_at(last)?.position.0;
            let header = IndexHeader {
                segment: held.segment.start,
                base_index: held.base_index,
                count: held.index.count(),
                previous_crc: held.previous_crc,
                data_end: u32::try_from(end - held.segment.start).expect("offsets fit 32 bits"),
            };
            (header, records.clone())
        };
        let sealed = SealedIndex::write(self.disk, self.dir, header, &records)?;
        table.segments[nth].index = SegmentIndex::Sealed(sealed);
        Ok(())
    }

    /// Removes snapshots that do not belong to this log, and takes the members from the newest.
    fn tidy_snapshots(&mut self, table: &Table<D>) -> Result<(), LogError> {
        for &position in &self.inventory.snapshots {
            let found = boundary_of(self.disk, self.dir, position)?;
            let ours = match (&found, position) {
                (Some((boundary, _)), _) if position >= table.first_position() => {
                    table.boundary_before(position)? == Some(*boundary)
                }
                _ => false,
            };
            match found {
                Some((_, conf_state)) if ours => self.conf_state = conf_state,
                _ => {
                    tracing::warn!(position, "snapshot removed, it does not belong to the log");
                    let path = files::snapshot_path(self.dir, position);
                    files::remove_if_exists(self.disk, &path)?;
                }
            }
        }
        Ok(())
    }
}
