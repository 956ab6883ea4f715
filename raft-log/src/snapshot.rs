//! Snapshots of the state machine at segment boundaries.
//!
//! Invariants: a snapshot stands for the log before its boundary, so it carries what the entry
//! behind the boundary must match (index, term, position, chain checksum); the bytes sent to another
//! member are the bytes of the file; a file is there whole or not at all.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use protobuf::Message;
use raft::eraftpb::{ConfState, Snapshot};

use crate::disk::{Disk, Lane};
use crate::entry::{be32, be64};
use crate::error::{IoContext, LogError};
use crate::files::{self, FileKind};
use crate::format::Format;
use crate::table::Boundary;
use crate::types::{LogIndex, Position, Term};

const MAGIC: u32 = 0x524d_5153; // "RMQS"
const VERSION: u16 = 1;
pub(crate) const FORMAT: Format = Format { magic: MAGIC, version: VERSION, checked_bytes: 60 };
const HEADER_BYTES: usize = 64;

/// A snapshot in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct BoundarySnapshot {
    /// The log before it.
    pub boundary: Boundary,
    /// The group's members at the boundary.
    pub conf_state: ConfState,
    /// The state machine's bytes.
    pub state: Bytes,
    /// The stored form of all of it.
    encoded: Bytes,
}

struct Header {
    boundary: Boundary,
    conf_bytes: usize,
    state_bytes: usize,
    body_crc: u32,
}

fn encode_header(boundary: Boundary, conf: &[u8], state: &[u8]) -> [u8; HEADER_BYTES] {
    let mut body = crc32fast::Hasher::new();
    body.update(conf);
    body.update(state);
    let conf_bytes = u32::try_from(conf.len()).expect("a handful of member ids");
    let mut out = [0; HEADER_BYTES];
    out[0..4].copy_from_slice(&MAGIC.to_be_bytes());
    out[4..6].copy_from_slice(&VERSION.to_be_bytes());
    out[8..16].copy_from_slice(&boundary.index.0.to_be_bytes());
    out[16..24].copy_from_slice(&boundary.term.0.to_be_bytes());
    out[24..32].copy_from_slice(&boundary.position.0.to_be_bytes());
    out[32..36].copy_from_slice(&boundary.chain_crc.to_be_bytes());
    out[36..40].copy_from_slice(&conf_bytes.to_be_bytes());
    out[40..48].copy_from_slice(&(state.len() as u64).to_be_bytes());
    out[48..52].copy_from_slice(&body.finalize().to_be_bytes());
    let crc = crc32fast::hash(&out[..60]);
    out[60..64].copy_from_slice(&crc.to_be_bytes());
    out
}

fn decode_header(bytes: &[u8]) -> Option<Header> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    if be32(header, 0) != MAGIC || be32(header, 60) != crc32fast::hash(&header[..60]) {
        return None;
    }
    if u16::from_be_bytes([header[4], header[5]]) != VERSION {
        return None;
    }
    Some(Header {
        boundary: Boundary {
            index: LogIndex(be64(header, 8)),
            term: Term(be64(header, 16)),
            position: Position(be64(header, 24)),
            chain_crc: be32(header, 32),
        },
        conf_bytes: be32(header, 36) as usize,
        state_bytes: usize::try_from(be64(header, 40)).ok()?,
        body_crc: be32(header, 48),
    })
}

impl BoundarySnapshot {
    pub(crate) fn new(
        boundary: Boundary,
        conf_state: &ConfState,
        state: &[u8],
    ) -> Result<Self, LogError> {
        let conf = conf_state
            .write_to_bytes()
            .map_err(|error| LogError::BadSnapshot(format!("members: {error}")))?;
        let mut encoded = Vec::with_capacity(HEADER_BYTES + conf.len() + state.len());
        encoded.extend_from_slice(&encode_header(boundary, &conf, state));
        encoded.extend_from_slice(&conf);
        encoded.extend_from_slice(state);
        let encoded = Bytes::from(encoded);
        let state = encoded.slice(HEADER_BYTES + conf.len()..);
        Ok(Self { boundary, conf_state: conf_state.clone(), state, encoded })
    }

    /// Reads the stored form. Any input is safe.
    ///
    /// # Errors
    /// `BadSnapshot` when the bytes are not a whole snapshot.
    pub fn decode(encoded: Bytes) -> Result<Self, LogError> {
        let bad = |what: &str| LogError::BadSnapshot(what.to_owned());
        let header = decode_header(&encoded).ok_or_else(|| bad("its header does not check"))?;
        let body = encoded.slice(HEADER_BYTES..);
        if header.conf_bytes.checked_add(header.state_bytes) != Some(body.len()) {
            return Err(bad("its length does not match its header"));
        }
        if crc32fast::hash(&body) != header.body_crc {
            return Err(bad("its checksum does not match"));
        }
        let conf_state = ConfState::parse_from_bytes(&body[..header.conf_bytes])
            .map_err(|_| bad("its members cannot be read"))?;
        let state = body.slice(header.conf_bytes..);
        Ok(Self { boundary: header.boundary, conf_state, state, encoded })
    }

    /// What another member sent.
    ///
    /// # Errors
    /// `BadSnapshot` when its bytes do not check or contradict its metadata.
    pub fn from_raft(snapshot: &Snapshot) -> Result<Self, LogError> {
        let decoded = Self::decode(snapshot.data.clone())?;
        let metadata = snapshot.get_metadata();
        let boundary = decoded.boundary;
        if (metadata.index, metadata.term) != (boundary.index.0, boundary.term.0) {
            return Err(LogError::BadSnapshot(format!(
                "it was announced for index {} of term {} and is for index {} of term {}",
                metadata.index, metadata.term, boundary.index, boundary.term
            )));
        }
        Ok(decoded)
    }

    /// In the form in which raft sends it.
    pub fn to_raft(&self) -> Snapshot {
        let mut snapshot = Snapshot { data: self.encoded.clone(), ..Snapshot::default() };
        let metadata = snapshot.mut_metadata();
        metadata.index = self.boundary.index.0;
        metadata.term = self.boundary.term.0;
        metadata.set_conf_state(self.conf_state.clone());
        snapshot
    }

    pub(crate) fn encoded(&self) -> &[u8] {
        &self.encoded
    }
}

/// The snapshots in a log's directory. Cheap to clone; its calls block on the disk.
pub struct SnapshotStore<D: Disk> {
    inner: Arc<Inner<D>>,
}

impl<D: Disk> Clone for SnapshotStore<D> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

struct Inner<D: Disk> {
    disk: D,
    dir: PathBuf,
    /// Members as of now; locked while files change.
    conf_state: Mutex<ConfState>,
}

impl<D: Disk> SnapshotStore<D> {
    pub(crate) fn new(disk: D, dir: PathBuf, conf_state: ConfState) -> Self {
        Self { inner: Arc::new(Inner { disk, dir, conf_state: Mutex::new(conf_state) }) }
    }

    fn lock(&self) -> MutexGuard<'_, ConfState> {
        self.inner.conf_state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_conf_state(&self, conf_state: ConfState) {
        *self.lock() = conf_state;
    }

    /// Saves the state as of `boundary`, which [`crate::LogReader::boundary_before`] gave; durable on
    /// return. Blocks on the disk.
    ///
    /// # Errors
    /// Of the disk. A full disk leaves the older snapshots as they were.
    pub fn save(&self, boundary: Boundary, state: &[u8]) -> Result<BoundarySnapshot, LogError> {
        let conf_state = self.lock();
        let snapshot = BoundarySnapshot::new(boundary, &conf_state, state)?;
        self.write(&snapshot)?;
        Ok(snapshot)
    }

    pub(crate) fn put(&self, snapshot: &BoundarySnapshot) -> Result<(), LogError> {
        let _guard = self.lock();
        self.write(snapshot)
    }

    fn write(&self, snapshot: &BoundarySnapshot) -> Result<(), LogError> {
        let (disk, dir) = (&self.inner.disk, &self.inner.dir);
        let path = files::snapshot_path(dir, snapshot.boundary.position.0);
        files::replace_with(disk, dir, &path, &[snapshot.encoded()]).map(drop)
    }

    /// Positions of the snapshots, ascending.
    ///
    /// # Errors
    /// Of the disk.
    pub fn positions(&self) -> Result<Vec<Position>, LogError> {
        let dir = &self.inner.dir;
        let names = self.inner.disk.list(dir).during("list", dir)?;
        let position = |name: &String| match FileKind::of(name) {
            FileKind::Snapshot(position) => Some(Position(position)),
            _ => None,
        };
        Ok(names.iter().filter_map(position).collect())
    }

    /// The snapshot at a position.
    ///
    /// # Errors
    /// `Corrupt` when the file does not check.
    pub fn at(&self, position: Position) -> Result<Option<BoundarySnapshot>, LogError> {
        let path = files::snapshot_path(&self.inner.dir, position.0);
        if !files::exists(&self.inner.disk, &path)? {
            return Ok(None);
        }
        let content = files::read_if_readable(&self.inner.disk, &path)?.unwrap_or_default();
        match BoundarySnapshot::decode(Bytes::from(content)) {
            Ok(snapshot) if snapshot.boundary.position == position => Ok(Some(snapshot)),
            Ok(_) => Err(LogError::corrupt(&path, position.0, "the snapshot is for elsewhere")),
            Err(error) => Err(LogError::corrupt(&path, position.0, error.to_string())),
        }
    }

    /// The stored form of the snapshot at a position, for a peer; read away from the caller.
    ///
    /// # Errors
    /// `Corrupt` when the file does not check.
    pub fn fetch(
        &self,
        position: Position,
    ) -> impl Future<Output = Result<Option<Bytes>, LogError>> + Send + 'static {
        let store = self.clone();
        let read = self.inner.disk.offload(Lane::Prepare, move || store.at(position));
        async move {
            let found = read.await.unwrap_or(Err(LogError::Closed))?;
            Ok(found.map(|snapshot| snapshot.encoded))
        }
    }

    /// The newest snapshot that can be read; a damaged one is passed over.
    ///
    /// # Errors
    /// Of the disk.
    pub fn latest(&self) -> Result<Option<BoundarySnapshot>, LogError> {
        self.at_or_below(Position(u64::MAX))
    }

    /// The newest snapshot at or below `position` that can be read.
    pub(crate) fn at_or_below(
        &self,
        position: Position,
    ) -> Result<Option<BoundarySnapshot>, LogError> {
        for at in self.positions()?.into_iter().rev().filter(|at| *at <= position) {
            match self.at(at) {
                Ok(Some(snapshot)) => return Ok(Some(snapshot)),
                Ok(None) => {}
                Err(error @ LogError::Corrupt { .. }) => {
                    tracing::warn!(%error, "snapshot passed over");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Removes the snapshots below `position`.
    pub(crate) fn remove_below(&self, position: Position) -> Result<(), LogError> {
        let _guard = self.lock();
        for old in self.positions()?.into_iter().filter(|old| *old < position) {
            let path = files::snapshot_path(&self.inner.dir, old.0);
            files::remove_if_exists(&self.inner.disk, &path)?;
        }
        files::sync_dir(&self.inner.disk, &self.inner.dir)
    }
}

/// The boundary in the header of a snapshot file, none when the header is damaged.
pub(crate) fn boundary_of<D: Disk>(
    disk: &D,
    dir: &std::path::Path,
    position: u64,
) -> Result<Option<(Boundary, ConfState)>, LogError> {
    let path = files::snapshot_path(dir, position);
    let content = files::read_if_readable(disk, &path)?.unwrap_or_default();
    match BoundarySnapshot::decode(Bytes::from(content)) {
        Ok(snapshot) if snapshot.boundary.position.0 == position => {
            Ok(Some((snapshot.boundary, snapshot.conf_state)))
        }
        _ => Ok(None),
    }
}
