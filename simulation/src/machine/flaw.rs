//! Mistakes put in on purpose, to show that the checks find them.
//!
//! Most make a disk call do less than it was asked for, which is what a program that forgets the call
//! would get; the others are the broker's own. A mistake that no seed finds is a hole in the simulation.
//!
//! Invariant: without a flaw every call does exactly what the disk does.

use std::io;
use std::ops::Range;
use std::path::Path;

use raft_log::DiskFile;
use raft_log::fault::{SimFile, SimMap, is_injected};
use raftmq::mistake::Mistake;

/// Bytes of a page.
const PAGE_BYTES: u64 = 4_096;

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Entries are never synced: acknowledged from the cache.
    EntriesNotSynced,
    /// One member does not sync entries: it reports as stored what is in its cache.
    OneMemberNotSynced,
    /// Term and vote are never synced.
    VoteNotSynced,
    /// Term and vote are never written.
    VoteNotWritten,
    /// Directories are never synced: a new segment's name is lost.
    NamesNotSynced,
    /// Files are renamed into place before they are synced.
    RenamedBeforeSynced,
    /// Writes to every eighth page of a segment go only half the way.
    ShortWrite,
    /// Writes to every eighth page of a segment go to the wrong place.
    MisdirectedWrite,
    /// A sync that failed counts as one that did not.
    SyncErrorIgnored,
    /// A write that failed counts as one that did not.
    WriteErrorIgnored,
    /// A write that found no room counts as one that did.
    NoRoomIgnored,
    /// Every boot of a machine has the same name, so a loss of power looks like the end of a process.
    BootsAlike,
    /// What would not change a file is not written.
    UnchangedNotWritten,
    /// A page that cannot be read is written in part only, as if entries were mended and not pages.
    MendsEntriesNotPages,
    /// The broker itself makes a mistake.
    Broker(Mistake),
}

impl Flaw {
    /// All of them.
    pub const ALL: &'static [Flaw] = &[
        Flaw::EntriesNotSynced,
        Flaw::OneMemberNotSynced,
        Flaw::VoteNotSynced,
        Flaw::VoteNotWritten,
        Flaw::NamesNotSynced,
        Flaw::RenamedBeforeSynced,
        Flaw::ShortWrite,
        Flaw::MisdirectedWrite,
        Flaw::BootsAlike,
        Flaw::SyncErrorIgnored,
        Flaw::WriteErrorIgnored,
        Flaw::NoRoomIgnored,
        Flaw::UnchangedNotWritten,
        Flaw::MendsEntriesNotPages,
        Flaw::Broker(Mistake::ReportsBeforeSync),
        Flaw::Broker(Mistake::VotesBeforeSync),
        Flaw::Broker(Mistake::AnswersForAnother),
        Flaw::Broker(Mistake::ServesTooEarly),
        Flaw::Broker(Mistake::KeepsOldOffsets),
        Flaw::Broker(Mistake::AppliesWithClock),
        Flaw::Broker(Mistake::TrustsCheckpoint),
        Flaw::Broker(Mistake::LostDiskVotesAtOnce),
        Flaw::Broker(Mistake::BelievesOlderCopies),
        Flaw::Broker(Mistake::CutsUnreadableTail),
        Flaw::Broker(Mistake::EndsWithoutSnapshot),
        Flaw::Broker(Mistake::LeavesIndexesEmpty),
        Flaw::Broker(Mistake::PassesOverNotes),
        Flaw::Broker(Mistake::RestoresHalf),
        Flaw::Broker(Mistake::LosesUnits),
        Flaw::Broker(Mistake::RegistersWithoutTerm),
        Flaw::Broker(Mistake::TimeGoesBack),
        Flaw::Broker(Mistake::AnswersCommitEarly),
        Flaw::Broker(Mistake::DeliversBeforeAdvance),
        Flaw::Broker(Mistake::DeliversEarly),
        Flaw::Broker(Mistake::TakesBackUnknown),
        Flaw::Broker(Mistake::LocksHeldQueues),
        Flaw::Broker(Mistake::LeasesByWallClock),
        Flaw::Broker(Mistake::FreesUnseenHolders),
        Flaw::Broker(Mistake::CommitsUndoResets),
        Flaw::Broker(Mistake::PassesOverWaiting),
        Flaw::Broker(Mistake::CountsUnpolled),
        Flaw::Broker(Mistake::KeepsWholeTail),
    ];

    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Flaw::EntriesNotSynced => "entries-not-synced",
            Flaw::OneMemberNotSynced => "one-member-not-synced",
            Flaw::VoteNotSynced => "vote-not-synced",
            Flaw::VoteNotWritten => "vote-not-written",
            Flaw::NamesNotSynced => "names-not-synced",
            Flaw::RenamedBeforeSynced => "renamed-before-synced",
            Flaw::ShortWrite => "short-write",
            Flaw::MisdirectedWrite => "misdirected-write",
            Flaw::BootsAlike => "boots-alike",
            Flaw::SyncErrorIgnored => "sync-error-ignored",
            Flaw::WriteErrorIgnored => "write-error-ignored",
            Flaw::NoRoomIgnored => "no-room-ignored",
            Flaw::UnchangedNotWritten => "unchanged-not-written",
            Flaw::MendsEntriesNotPages => "mends-entries-not-pages",
            Flaw::Broker(Mistake::ReportsBeforeSync) => "reports-before-sync",
            Flaw::Broker(Mistake::VotesBeforeSync) => "votes-before-sync",
            Flaw::Broker(Mistake::AnswersForAnother) => "answers-for-another",
            Flaw::Broker(Mistake::ServesTooEarly) => "serves-too-early",
            Flaw::Broker(Mistake::KeepsOldOffsets) => "keeps-old-offsets",
            Flaw::Broker(Mistake::AppliesWithClock) => "applies-with-clock",
            Flaw::Broker(Mistake::TrustsCheckpoint) => "trusts-checkpoint",
            Flaw::Broker(Mistake::LostDiskVotesAtOnce) => "lost-disk-votes-at-once",
            Flaw::Broker(Mistake::BelievesOlderCopies) => "believes-older-copies",
            Flaw::Broker(Mistake::CutsUnreadableTail) => "cuts-unreadable-tail",
            Flaw::Broker(Mistake::EndsWithoutSnapshot) => "ends-without-snapshot",
            Flaw::Broker(Mistake::LeavesIndexesEmpty) => "leaves-indexes-empty",
            Flaw::Broker(Mistake::PassesOverNotes) => "passes-over-notes",
            Flaw::Broker(Mistake::RestoresHalf) => "restores-half",
            Flaw::Broker(Mistake::LosesUnits) => "loses-units",
            Flaw::Broker(Mistake::RegistersWithoutTerm) => "registers-without-term",
            Flaw::Broker(Mistake::TimeGoesBack) => "time-goes-back",
            Flaw::Broker(Mistake::AnswersCommitEarly) => "answers-commit-early",
            Flaw::Broker(Mistake::DeliversBeforeAdvance) => "delivers-before-advance",
            Flaw::Broker(Mistake::DeliversEarly) => "delivers-early",
            Flaw::Broker(Mistake::TakesBackUnknown) => "takes-back-unknown",
            Flaw::Broker(Mistake::LocksHeldQueues) => "locks-held-queues",
            Flaw::Broker(Mistake::LeasesByWallClock) => "leases-by-wall-clock",
            Flaw::Broker(Mistake::FreesUnseenHolders) => "frees-unseen-holders",
            Flaw::Broker(Mistake::CommitsUndoResets) => "commits-undo-resets",
            Flaw::Broker(Mistake::PassesOverWaiting) => "passes-over-waiting",
            Flaw::Broker(Mistake::CountsUnpolled) => "counts-unpolled",
            Flaw::Broker(Mistake::KeepsWholeTail) => "keeps-whole-tail",
        }
    }

    /// The flaw of that name.
    pub fn named(name: &str) -> Option<Flaw> {
        Flaw::ALL.iter().copied().find(|flaw| flaw.name() == name)
    }

    /// The broker's part in it.
    pub fn mistake(self) -> Option<Mistake> {
        match self {
            Flaw::Broker(mistake) => Some(mistake),
            _ => None,
        }
    }

    /// Whether syncs of a file are left out.
    fn skips_sync(self, kind: Kind) -> bool {
        match self {
            Flaw::EntriesNotSynced | Flaw::OneMemberNotSynced => kind == Kind::Segment,
            Flaw::VoteNotSynced => kind == Kind::HardState,
            Flaw::RenamedBeforeSynced => kind == Kind::Temporary,
            _ => false,
        }
    }
}

/// What a file holds, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Segment,
    HardState,
    Temporary,
    Other,
}

impl Kind {
    fn of(path: &Path) -> Kind {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match name {
            "hard-state" => Kind::HardState,
            _ if name.ends_with(".tmp") => Kind::Temporary,
            _ if name.bytes().all(|byte| byte.is_ascii_digit()) => Kind::Segment,
            _ => Kind::Other,
        }
    }
}

/// A file of a machine that may have a flaw.
pub struct FlawedFile {
    file: SimFile,
    kind: Kind,
    flaw: Option<Flaw>,
}

impl FlawedFile {
    /// A file as it was opened.
    pub(super) fn new(file: SimFile, path: &Path, flaw: Option<Flaw>) -> FlawedFile {
        FlawedFile { file, kind: Kind::of(path), flaw }
    }

    fn skips_sync(&self) -> bool {
        self.flaw.is_some_and(|flaw| flaw.skips_sync(self.kind))
    }

    /// Whether a file's bytes are these already, and so are not written again.
    fn is_left(&self, bytes: &[u8], offset: u64) -> bool {
        if self.flaw != Some(Flaw::UnchangedNotWritten) {
            return false;
        }
        let mut present = vec![0; bytes.len()];
        self.file.read_at(&mut present, offset).is_ok() && present == bytes
    }

    /// Whether a write of pages begins behind the beginning of a page that cannot be read.
    fn is_cut(&self, bytes: usize, offset: u64) -> bool {
        self.flaw == Some(Flaw::MendsEntriesNotPages)
            && self.file.read_at(&mut vec![0; bytes.min(8)], offset).is_err()
    }

    /// Where and how much a flawed write goes; none when it is not this one's turn. Whose turn it is
    /// follows from the place written to.
    fn astray(&self, bytes: usize, offset: u64) -> Option<(usize, u64)> {
        let turn = self.kind == Kind::Segment && (offset / PAGE_BYTES) % 8 == 5;
        match self.flaw? {
            Flaw::ShortWrite if turn => Some((bytes / 2, offset)),
            Flaw::MisdirectedWrite if turn => Some((bytes, offset + PAGE_BYTES)),
            Flaw::VoteNotWritten if self.kind == Kind::HardState => Some((0, offset)),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Write,
    Sync,
}

/// What a program that ignores some errors takes an outcome for. That its machine has no power any more
/// it cannot ignore.
fn ignoring(flaw: Option<Flaw>, deed: Deed, outcome: io::Result<()>) -> io::Result<()> {
    let Err(error) = outcome else { return Ok(()) };
    let no_room = error.kind() == io::ErrorKind::StorageFull;
    let ignored = match flaw {
        Some(Flaw::SyncErrorIgnored) => deed == Deed::Sync && is_injected(&error),
        Some(Flaw::WriteErrorIgnored) => deed == Deed::Write && is_injected(&error),
        Some(Flaw::NoRoomIgnored) => no_room,
        _ => false,
    };
    if ignored { Ok(()) } else { Err(error) }
}

impl DiskFile for FlawedFile {
    type Map = SimMap;

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.is_left(bytes, offset) {
            return Ok(());
        }
        let written = match self.astray(bytes.len(), offset) {
            Some((kept, offset)) => self.file.write_at(&bytes[..kept], offset),
            None => self.file.write_at(bytes, offset),
        };
        ignoring(self.flaw, Deed::Write, written)
    }

    fn write_pages(&self, pages: &[u8], offset: u64, durable: bool) -> io::Result<()> {
        let written = match self.astray(pages.len(), offset) {
            Some((kept, offset)) => self.file.write_at(&pages[..kept], offset),
            None if self.is_cut(pages.len(), offset) => self.file.write_at(&pages[8..], offset + 8),
            None => self.file.write_pages(pages, offset, false),
        };
        ignoring(self.flaw, Deed::Write, written)?;
        if durable { self.sync_now() } else { Ok(()) }
    }

    fn write_zeros(&self, range: Range<u64>) -> io::Result<()> {
        self.file.write_zeros(range)
    }

    fn map(&self, bytes: u64) -> io::Result<SimMap> {
        self.file.map(bytes)
    }

    fn sync_now(&self) -> io::Result<()> {
        if self.skips_sync() {
            return Ok(());
        }
        ignoring(self.flaw, Deed::Sync, self.file.sync_now())
    }

    fn next_data(&self, from: u64) -> io::Result<Option<u64>> {
        self.file.next_data(from)
    }
}
