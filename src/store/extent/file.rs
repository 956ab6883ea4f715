//! An extent's index as a file: written once, never changed.
//!
//! ```text
//! header | topics: name start u32, name bytes u32, by name | names
//!        | runs: topic u32, queue u32, first offset u64, first unit u32, units u32,
//!                by topic and queue, in log order within a queue
//!        | units: distance u32, size u32, tag hash u32
//!        | keys: hash u32, distance u32, ordered
//! ```
//! Everything is big-endian; distances count from the extent's first byte.
//!
//! Invariant: nothing is answered from a file whose checksum was not found right.

use std::sync::OnceLock;

use bytes::{BufMut as _, Bytes};
use raft_log::{LogIndex, Position, Term};

use super::open::{EntryMark, OpenExtent};
use super::unit::{FILE_UNIT_BYTES, Run, Units, be_u32, be_u64};

const MAGIC: u32 = 0x7271_5854;
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 92;
const TOPIC_BYTES: usize = 8;
const RUN_BYTES: usize = 24;
const KEY_BYTES: usize = 8;

/// Why a file is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    /// Too short, or longer than its header says.
    #[error("its length is not what its header says")]
    Length,
    /// No index file of this version, or of other extents.
    #[error("it is not an index of this version and extent size")]
    Header,
    /// A checksum differs.
    #[error("its checksum differs")]
    Checksum,
}

/// A sealed extent's index.
#[derive(Debug)]
pub struct ExtentFile {
    content: Bytes,
    extent_start: u64,
    body_crc: u32,
    /// The checksum is computed when something is first asked, so that opening costs one page.
    intact: OnceLock<bool>,
    last_entry: EntryMark,
    store_times_ms: Option<(i64, i64)>,
    topics: (usize, usize),
    names: (usize, usize),
    runs: (usize, usize),
    units: (usize, usize),
    keys: (usize, usize),
}

impl ExtentFile {
    /// Takes a file's content; only the header is checked yet.
    ///
    /// # Errors
    /// When it is no index of extent `number`.
    pub fn open(content: Bytes, number: u64, extent_bytes: u64) -> Result<ExtentFile, FileFault> {
        let header = content.get(..HEADER_BYTES).ok_or(FileFault::Length)?;
        if crc32fast::hash(&header[..HEADER_BYTES - 4]) != be_u32(header, HEADER_BYTES - 4) {
            return Err(FileFault::Checksum);
        }
        let known = be_u32(header, 0) == MAGIC && be_u32(header, 4) == VERSION;
        if !known || be_u64(header, 8) != number || be_u64(header, 16) != extent_bytes {
            return Err(FileFault::Header);
        }
        let count = |i: usize| be_u32(header, 24 + 4 * i) as usize;
        let mut at = HEADER_BYTES;
        let mut section = |bytes: usize| {
            let section = (at, at + bytes);
            at += bytes;
            section
        };
        let topics = section(count(0) * TOPIC_BYTES);
        let names = section(count(1));
        let runs = section(count(2) * RUN_BYTES);
        let units = section(count(3) * FILE_UNIT_BYTES);
        let keys = section(count(4) * KEY_BYTES);
        if at != content.len() {
            return Err(FileFault::Length);
        }
        let times = (be_u64(header, 44).cast_signed(), be_u64(header, 52).cast_signed());
        Ok(ExtentFile {
            extent_start: number * extent_bytes,
            body_crc: be_u32(header, HEADER_BYTES - 8),
            intact: OnceLock::new(),
            last_entry: EntryMark {
                index: LogIndex(be_u64(header, 60)),
                term: Term(be_u64(header, 68)),
                position: Position(be_u64(header, 76)),
            },
            store_times_ms: (count(3) > 0).then_some(times),
            topics,
            names,
            runs,
            units,
            keys,
            content,
        })
    }

    /// All of it.
    #[cfg(madsim)]
    pub(super) fn content(&self) -> &Bytes {
        &self.content
    }

    /// Whether the content is what was written; computed once.
    pub fn intact(&self) -> bool {
        *self.intact.get_or_init(|| crc32fast::hash(&self.content[HEADER_BYTES..]) == self.body_crc)
    }

    /// The last entry that begins in the extent.
    pub fn last_entry(&self) -> EntryMark {
        self.last_entry
    }

    /// Store timestamps of the first and last record, none when there is no record.
    pub fn store_times_ms(&self) -> Option<(i64, i64)> {
        self.store_times_ms
    }

    /// Runs of a queue, oldest first.
    pub(super) fn runs(
        &self,
        topic: &str,
        queue_id: i32,
    ) -> impl DoubleEndedIterator<Item = Run<'_>> {
        let runs = self.section(self.runs);
        let found = self.topic(topic).map_or(0..0, |topic| {
            let wanted = u64::from(topic) << 32 | u64::from(queue_id.cast_unsigned());
            let count = runs.len() / RUN_BYTES;
            let first = partition(count, |i| be_u64(runs, i * RUN_BYTES) < wanted);
            first..partition(count, |i| be_u64(runs, i * RUN_BYTES) <= wanted)
        });
        found.map(move |i| {
            let at = i * RUN_BYTES;
            let first_unit = be_u32(runs, at + 16) as usize * FILE_UNIT_BYTES;
            let bytes = be_u32(runs, at + 20) as usize * FILE_UNIT_BYTES;
            let units = &self.section(self.units)[first_unit..first_unit + bytes];
            Run {
                first_offset: be_u64(runs, at + 8).cast_signed(),
                units: Units::File { bytes: units, extent_start: self.extent_start },
            }
        })
    }

    /// Positions of records with that key hash, oldest first.
    pub(super) fn find_key(&self, hash: u32) -> Vec<Position> {
        let keys = self.section(self.keys);
        let count = keys.len() / KEY_BYTES;
        let first = partition(count, |i| be_u32(keys, i * KEY_BYTES) < hash);
        (first..count)
            .take_while(|i| be_u32(keys, i * KEY_BYTES) == hash)
            .map(|i| Position(self.extent_start + u64::from(be_u32(keys, i * KEY_BYTES + 4))))
            .collect()
    }

    fn topic(&self, name: &str) -> Option<u32> {
        let topics = self.section(self.topics);
        let names = self.section(self.names);
        let count = topics.len() / TOPIC_BYTES;
        let name_of = |i: usize| {
            let start = be_u32(topics, i * TOPIC_BYTES) as usize;
            &names[start..start + be_u32(topics, i * TOPIC_BYTES + 4) as usize]
        };
        let i = partition(count, |i| name_of(i) < name.as_bytes());
        (i < count && name_of(i) == name.as_bytes()).then_some(i as u32)
    }

    fn section(&self, (start, end): (usize, usize)) -> &[u8] {
        &self.content[start..end]
    }
}

/// First of `0..count` for which `below` is false.
fn partition(count: usize, below: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if below(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// The file of an extent that no record will be added to.
pub fn encode(extent: &OpenExtent, extent_bytes: u64) -> Vec<u8> {
    let mut by_name: Vec<usize> = (0..extent.topics.len()).collect();
    by_name.sort_unstable_by(|a, b| extent.topics[*a].name.cmp(&extent.topics[*b].name));
    let mut rank = vec![0_u32; by_name.len()];
    let (mut topics, mut names) = (Vec::new(), Vec::new());
    for (i, id) in by_name.into_iter().enumerate() {
        rank[id] = i as u32;
        let name = &extent.topics[id].name;
        topics.put_u32(names.len() as u32);
        topics.put_u32(name.len() as u32);
        names.extend_from_slice(name.as_bytes());
    }
    let mut queues: Vec<_> = (0..).zip(&extent.queues).collect();
    queues.sort_unstable_by_key(|(_, queue)| (rank[queue.topic as usize], queue.queue_id));
    let unit_count = extent.chain.len();
    let mut units = Vec::with_capacity(unit_count * FILE_UNIT_BYTES);
    let mut runs = Vec::with_capacity(queues.len() * RUN_BYTES);
    for (id, queue) in queues {
        for run in extent.runs_of(id) {
            runs.put_u32(rank[queue.topic as usize]);
            runs.put_i32(queue.queue_id);
            runs.put_i64(run.first_offset);
            runs.put_u32((units.len() / FILE_UNIT_BYTES) as u32);
            runs.put_u32(run.units.len() as u32);
            run.units.visit(0..run.units.len(), |_, unit| {
                units.put_u32((unit.position.0 - extent.start) as u32);
                units.put_u32(unit.size);
                units.put_i32(unit.tag_hash);
                true
            });
        }
    }
    let mut keys = extent.keys.clone();
    keys.sort_unstable();
    let counts = [extent.topics.len(), names.len(), runs.len() / RUN_BYTES, unit_count, keys.len()];
    let mut out = header(extent, extent_bytes, counts);
    out.reserve(topics.len() + names.len() + runs.len() + units.len() + keys.len() * KEY_BYTES + 8);
    for section in [topics, names, runs, units] {
        out.extend_from_slice(&section);
    }
    keys.iter().for_each(|key| out.put_u64(*key));
    let body_crc = crc32fast::hash(&out[HEADER_BYTES..]);
    out[HEADER_BYTES - 8..HEADER_BYTES - 4].copy_from_slice(&body_crc.to_be_bytes());
    let header_crc = crc32fast::hash(&out[..HEADER_BYTES - 4]);
    out[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&header_crc.to_be_bytes());
    out
}

/// The header, its two checksums still zero.
fn header(extent: &OpenExtent, extent_bytes: u64, counts: [usize; 5]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.put_u32(MAGIC);
    out.put_u32(VERSION);
    out.put_u64(extent.number);
    out.put_u64(extent_bytes);
    for count in counts {
        out.put_u32(u32::try_from(count).expect("an extent is at most 4 GiB"));
    }
    let (first_ms, last_ms) = extent.store_times_ms.unwrap_or_default();
    out.put_i64(first_ms);
    out.put_i64(last_ms);
    out.put_u64(extent.last_entry.index.0);
    out.put_u64(extent.last_entry.term.0);
    out.put_u64(extent.last_entry.position.0);
    out.put_u64(0);
    debug_assert_eq!(out.len(), HEADER_BYTES);
    out
}
