//! What members say to each other: frames of a big-endian u32 length and one prost message.
//!
//! raft's own structs stay inside the process: the wire has its own messages, so that a new version
//! of raft does not change it. Entry payloads are never copied on the way: encoding leaves a large
//! payload as a chunk of its own between the small bytes around it, and decoding makes it a slice of
//! the frame.
//!
//! Invariant: `decode(encode(p)) == p` for every parcel that a member sends.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use protobuf::{Message as _, ProtobufEnum};
use raft::eraftpb;
use raft_log::Claim;

/// First field of every handshake.
pub(super) const MAGIC: u32 = 0x7261_6d71;
/// Version of this protocol; members of different versions refuse each other.
pub(super) const PROTOCOL_VERSION: u32 = 2;
/// Bytes of a frame's length prefix.
pub(super) const LENGTH_BYTES: usize = 4;
/// Payloads from this size on are written from where they lie.
const COPY_BYTES_MAX: usize = 4096;

/// What a connection carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Purpose {
    /// Everything but snapshots.
    Messages = 0,
    /// One snapshot, acknowledged by an empty [`Welcome`].
    Snapshot = 1,
    /// Questions for entries that the member which opened it lost, and their answers.
    Repair = 2,
}

/// The first frame of a connection, from the member that opened it.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Hello {
    #[prost(fixed32, tag = "1")]
    pub magic: u32,
    #[prost(uint32, tag = "2")]
    pub version: u32,
    #[prost(string, tag = "3")]
    pub cluster: String,
    #[prost(string, tag = "4")]
    pub group: String,
    /// Who opens the connection.
    #[prost(uint64, tag = "5")]
    pub member: u64,
    /// Whom it believes to have reached.
    #[prost(uint64, tag = "6")]
    pub to: u64,
    /// Drawn at start: tells a reconnect from a second process with the same member id.
    #[prost(fixed64, tag = "7")]
    pub instance: u64,
    /// Where clients reach the member that opens the connection.
    #[prost(string, tag = "8")]
    pub client_addr: String,
    #[prost(enumeration = "Purpose", tag = "9")]
    pub purpose: i32,
}

/// The answer to a [`Hello`].
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Welcome {
    #[prost(fixed32, tag = "1")]
    pub magic: u32,
    #[prost(uint32, tag = "2")]
    pub version: u32,
    #[prost(uint64, tag = "3")]
    pub member: u64,
    #[prost(string, tag = "4")]
    pub client_addr: String,
    /// Why the connection is refused; it is closed after this frame.
    #[prost(string, optional, tag = "5")]
    pub refusal: Option<String>,
    /// The greatest claim that was heard of earlier processes of the member that opened it.
    #[prost(uint64, tag = "6")]
    pub heard_term: u64,
    #[prost(uint64, tag = "7")]
    pub heard_index: u64,
}

/// A log entry.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PeerEntry {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    term: u64,
    #[prost(uint64, tag = "3")]
    index: u64,
    #[prost(bytes = "bytes", tag = "4")]
    context: Bytes,
    // Last, so that a payload can be appended to an entry encoded without it.
    #[prost(bytes = "bytes", tag = "5")]
    data: Bytes,
}

impl PeerEntry {
    /// For the wire.
    pub fn of(entry: eraftpb::Entry) -> PeerEntry {
        PeerEntry {
            kind: entry.get_entry_type().value(),
            term: entry.term,
            index: entry.index,
            context: entry.context,
            data: entry.data,
        }
    }

    /// From the wire.
    pub fn into_raft(self) -> Result<eraftpb::Entry, WireError> {
        let mut entry = eraftpb::Entry::default();
        entry.set_entry_type(
            eraftpb::EntryType::from_i32(self.kind)
                .ok_or(WireError::UnknownKind { what: "entry type", value: self.kind })?,
        );
        entry.term = self.term;
        entry.index = self.index;
        entry.context = self.context;
        entry.data = self.data;
        Ok(entry)
    }
}

/// How much of its past a member knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum StandingKind {
    /// Its directory is new, and nobody said yet whether it is.
    New = 0,
    /// A majority is as new as it is.
    Founding = 1,
    /// It lost its memory.
    Lost = 2,
    /// It knows a bound on what it lost.
    Recovering = 3,
    /// It remembers everything.
    Voter = 4,
    /// It may have forgotten what it acknowledged last.
    Doubtful = 5,
}

/// What a member says of itself on every new connection, when that changes, and when asked.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StandingReport {
    #[prost(enumeration = "StandingKind", tag = "1")]
    pub standing: i32,
    #[prost(uint64, tag = "2")]
    pub term: u64,
    /// The end of its log, durable or not, or of what it may have lost when that is further.
    #[prost(uint64, tag = "3")]
    pub last_term: u64,
    #[prost(uint64, tag = "4")]
    pub last_index: u64,
    /// It has a reason not to lead.
    #[prost(bool, tag = "5")]
    pub yields: bool,
    /// It wants to hear the same from the receiver.
    #[prost(bool, tag = "6")]
    pub asks: bool,
    /// It was asked by the receiver, and knew then how the receiver stood.
    #[prost(bool, tag = "7")]
    pub answers: bool,
    /// How far its directory reaches, durably: see [`raft_log::Claim`].
    #[prost(uint64, tag = "8")]
    pub claim_term: u64,
    #[prost(uint64, tag = "9")]
    pub claim_index: u64,
}

impl Welcome {
    /// What is told to a member of itself.
    pub fn heard(&self) -> Claim {
        Claim { term: self.heard_term, index: self.heard_index }
    }
}

impl StandingReport {
    /// What the member says of its directory.
    pub fn claim(&self) -> Claim {
        Claim { term: self.claim_term, index: self.claim_index }
    }
}

/// What travels between members after the handshake.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Parcel {
    /// Raft's.
    Raft(eraftpb::Message),
    /// A member's report of itself.
    Standing { from: u64, to: u64, report: StandingReport },
}

impl Parcel {
    /// Who sent it.
    pub fn from(&self) -> u64 {
        match self {
            Parcel::Raft(message) => message.from,
            Parcel::Standing { from, .. } => *from,
        }
    }

    /// To whom it goes.
    pub fn to(&self) -> u64 {
        match self {
            Parcel::Raft(message) => message.to,
            Parcel::Standing { to, .. } => *to,
        }
    }
}

/// The kind of a frame that holds a report; raft's own kinds are far below.
const STANDING_KIND: i32 = 1000;

/// A raft message, or another parcel in the same envelope.
#[derive(Clone, PartialEq, prost::Message)]
struct PeerMessage {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    to: u64,
    #[prost(uint64, tag = "3")]
    from: u64,
    #[prost(uint64, tag = "4")]
    term: u64,
    #[prost(uint64, tag = "5")]
    log_term: u64,
    #[prost(uint64, tag = "6")]
    index: u64,
    #[prost(uint64, tag = "7")]
    commit: u64,
    #[prost(uint64, tag = "8")]
    commit_term: u64,
    #[prost(bool, tag = "9")]
    reject: bool,
    #[prost(uint64, tag = "10")]
    reject_hint: u64,
    #[prost(bytes = "bytes", tag = "11")]
    context: Bytes,
    #[prost(int64, tag = "12")]
    priority: i64,
    #[prost(uint64, tag = "13")]
    request_snapshot: u64,
    #[prost(bytes = "bytes", optional, tag = "14")]
    snapshot_metadata: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "15")]
    snapshot: Option<Bytes>,
    #[prost(message, optional, tag = "17")]
    standing: Option<StandingReport>,
    // Last for the same reason as an entry's data.
    #[prost(message, repeated, tag = "16")]
    entries: Vec<PeerEntry>,
}

const ENTRY_DATA_TAG: u32 = 5;
const MESSAGE_ENTRIES_TAG: u32 = 16;

/// Why a frame is not a message.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("the frame is not a peer message: {0}")]
    Prost(#[from] prost::DecodeError),
    #[error("the frame's snapshot metadata does not parse: {0}")]
    Metadata(#[from] protobuf::ProtobufError),
    #[error("unknown {what} {value}")]
    UnknownKind { what: &'static str, value: i32 },
}

/// Encoded frames waiting to be written: small bytes gathered, large payloads by reference.
#[derive(Default)]
pub(super) struct FrameBuffer {
    small: BytesMut,
    chunks: Vec<Bytes>,
    bytes: usize,
}

impl FrameBuffer {
    /// Bytes not yet taken.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything encoded so far, in order.
    pub fn take_chunks(&mut self) -> Vec<Bytes> {
        self.seal();
        self.bytes = 0;
        std::mem::take(&mut self.chunks)
    }

    /// Appends a frame without content: it only shows that the sender lives.
    pub fn put_keepalive(&mut self) {
        self.small.put_u32(0);
        self.bytes += LENGTH_BYTES;
    }

    /// Appends one prost message as a frame.
    pub fn put_plain(&mut self, message: &impl prost::Message) {
        let length = message.encoded_len();
        self.small.reserve(LENGTH_BYTES + length);
        self.small.put_u32(frame_length(length));
        message.encode_raw(&mut self.small);
        self.bytes += LENGTH_BYTES + length;
    }

    /// Appends one parcel as a frame.
    pub fn put_parcel(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Raft(message) => self.put_message(message),
            Parcel::Standing { from, to, report } => {
                let kind = STANDING_KIND;
                let standing = Some(report);
                self.put_plain(&PeerMessage { kind, from, to, standing, ..Default::default() });
            }
        }
    }

    /// Appends one raft message as a frame.
    pub fn put_message(&mut self, mut message: eraftpb::Message) {
        let entries = message.take_entries().into_vec();
        let head = to_wire(message);
        let headers: Vec<(PeerEntry, Bytes, usize)> =
            entries.into_iter().map(entry_parts).collect();
        let key_bytes = prost::encoding::key_len(MESSAGE_ENTRIES_TAG);
        let length = head.encoded_len()
            + headers
                .iter()
                .map(|(_, _, bytes)| key_bytes + encoded_len_varint(*bytes as u64) + bytes)
                .sum::<usize>();
        self.small.put_u32(frame_length(length));
        head.encode_raw(&mut self.small);
        for (header, data, bytes) in headers {
            encode_key(MESSAGE_ENTRIES_TAG, WireType::LengthDelimited, &mut self.small);
            encode_varint(bytes as u64, &mut self.small);
            header.encode_raw(&mut self.small);
            if !data.is_empty() {
                encode_key(ENTRY_DATA_TAG, WireType::LengthDelimited, &mut self.small);
                encode_varint(data.len() as u64, &mut self.small);
                self.put_payload(data);
            }
        }
        self.bytes += LENGTH_BYTES + length;
    }

    fn put_payload(&mut self, data: Bytes) {
        if data.len() < COPY_BYTES_MAX {
            self.small.put_slice(&data);
        } else {
            self.seal();
            self.chunks.push(data);
        }
    }

    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.chunks.push(self.small.split().freeze());
        }
    }
}

/// A frame is bounded far below four GiB by the sizes of messages and snapshots.
fn frame_length(length: usize) -> u32 {
    u32::try_from(length).expect("a peer message is smaller than 4 GiB")
}

/// The entry without its data, the data, and the encoded length of both.
fn entry_parts(mut entry: eraftpb::Entry) -> (PeerEntry, Bytes, usize) {
    let data = entry.take_data();
    let header = PeerEntry::of(entry);
    let mut bytes = header.encoded_len();
    if !data.is_empty() {
        bytes += prost::encoding::key_len(ENTRY_DATA_TAG)
            + encoded_len_varint(data.len() as u64)
            + data.len();
    }
    (header, data, bytes)
}

/// Everything of `message` but its entries.
fn to_wire(mut message: eraftpb::Message) -> PeerMessage {
    let (mut snapshot_metadata, mut snapshot) = (None, None);
    if message.has_snapshot() {
        let mut taken = message.take_snapshot();
        let metadata = taken.get_metadata().write_to_bytes();
        snapshot_metadata =
            Some(Bytes::from(metadata.expect("encoding metadata to memory cannot fail")));
        snapshot = Some(taken.take_data());
    }
    PeerMessage {
        kind: message.get_msg_type().value(),
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        commit: message.commit,
        commit_term: message.commit_term,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.take_context(),
        priority: message.priority,
        request_snapshot: message.request_snapshot,
        snapshot_metadata,
        snapshot,
        standing: None,
        entries: Vec::new(),
    }
}

/// Parses a frame's content; payloads become slices of it.
pub(super) fn decode(frame: Bytes) -> Result<Parcel, WireError> {
    let wire = PeerMessage::decode(frame)?;
    match wire.standing {
        Some(report) if wire.kind == STANDING_KIND => {
            Ok(Parcel::Standing { from: wire.from, to: wire.to, report })
        }
        _ => Ok(Parcel::Raft(from_wire(wire)?)),
    }
}

fn from_wire(wire: PeerMessage) -> Result<eraftpb::Message, WireError> {
    let mut message = eraftpb::Message::default();
    message.set_msg_type(
        eraftpb::MessageType::from_i32(wire.kind)
            .ok_or(WireError::UnknownKind { what: "message type", value: wire.kind })?,
    );
    message.to = wire.to;
    message.from = wire.from;
    message.term = wire.term;
    message.log_term = wire.log_term;
    message.index = wire.index;
    message.commit = wire.commit;
    message.commit_term = wire.commit_term;
    message.reject = wire.reject;
    message.reject_hint = wire.reject_hint;
    message.set_context(wire.context);
    message.priority = wire.priority;
    message.request_snapshot = wire.request_snapshot;
    if let Some(metadata) = wire.snapshot_metadata {
        let mut snapshot = eraftpb::Snapshot::default();
        snapshot.mut_metadata().merge_from_bytes(&metadata)?;
        snapshot.set_data(wire.snapshot.unwrap_or_default());
        message.set_snapshot(snapshot);
    }
    let mut entries = Vec::with_capacity(wire.entries.len());
    for entry in wire.entries {
        entries.push(entry.into_raft()?);
    }
    message.set_entries(entries.into());
    Ok(message)
}

/// Bytes that a parcel occupies while it waits to be written, roughly.
pub(super) fn queued_bytes(parcel: &Parcel) -> usize {
    const FIXED_BYTES: usize = 256;
    let entries = match parcel {
        Parcel::Raft(message) => message.get_entries(),
        Parcel::Standing { .. } => &[],
    };
    FIXED_BYTES + entries.iter().map(|entry| entry.data.len()).sum::<usize>()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn frame_of(message: eraftpb::Message) -> (Bytes, usize) {
        let mut buffer = FrameBuffer::default();
        buffer.put_message(message);
        let announced = buffer.bytes();
        let chunks = buffer.take_chunks();
        let count = chunks.len();
        let whole: Vec<u8> = chunks.concat();
        assert_eq!(whole.len(), announced);
        let length = u32::from_be_bytes(whole[..LENGTH_BYTES].try_into().unwrap()) as usize;
        assert_eq!(length, whole.len() - LENGTH_BYTES);
        (Bytes::from(whole).slice(LENGTH_BYTES..), count)
    }

    fn entry(index: u64, data: Vec<u8>) -> eraftpb::Entry {
        let mut entry = eraftpb::Entry::default();
        entry.set_entry_type(eraftpb::EntryType::EntryConfChangeV2);
        entry.term = 7;
        entry.index = index;
        entry.data = data.into();
        entry.context = Bytes::from_static(b"context");
        entry
    }

    #[test]
    fn every_field_survives_the_wire() {
        let mut message = eraftpb::Message::default();
        message.set_msg_type(eraftpb::MessageType::MsgAppend);
        (message.to, message.from, message.term, message.log_term) = (2, 1, 9, 8);
        (message.index, message.commit, message.commit_term) = (300, 299, 6);
        (message.reject, message.reject_hint, message.request_snapshot) = (true, 77, 5);
        message.priority = -3;
        message.set_context(Bytes::from_static(b"read"));
        message.set_entries(
            vec![entry(301, vec![1; 10]), entry(302, vec![2; 100_000]), entry(303, vec![])].into(),
        );
        let mut snapshot = eraftpb::Snapshot::default();
        snapshot.mut_metadata().index = 12;
        snapshot.mut_metadata().term = 3;
        snapshot.mut_metadata().mut_conf_state().voters = vec![1, 2, 3];
        snapshot.set_data(Bytes::from_static(b"state"));
        message.set_snapshot(snapshot);
        let (frame, chunks) = frame_of(message.clone());
        assert_eq!(chunks, 3, "the large payload is a chunk of its own");
        assert_eq!(decode(frame).unwrap(), Parcel::Raft(message));
    }

    #[test]
    fn a_report_survives_the_wire() {
        let report = StandingReport {
            standing: StandingKind::Lost as i32,
            term: 1,
            last_term: 2,
            last_index: 3,
            yields: true,
            asks: true,
            answers: true,
            claim_term: 4,
            claim_index: 5,
        };
        let parcel = Parcel::Standing { from: 1, to: 2, report };
        let mut buffer = FrameBuffer::default();
        buffer.put_parcel(parcel.clone());
        let frame = Bytes::from(buffer.take_chunks().concat()).slice(LENGTH_BYTES..);
        assert_eq!(decode(frame).unwrap(), parcel);
        let empty = PeerMessage { kind: STANDING_KIND, ..Default::default() };
        let refused = decode(empty.encode_to_vec().into());
        assert!(matches!(refused, Err(WireError::UnknownKind { value: STANDING_KIND, .. })));
    }

    #[test]
    fn a_decoded_payload_is_a_slice_of_the_frame() {
        let mut message = eraftpb::Message::default();
        message.set_entries(vec![entry(1, vec![5; 5000])].into());
        let (frame, _) = frame_of(message);
        let range = frame.as_ptr_range();
        let Parcel::Raft(decoded) = decode(frame).unwrap() else { panic!("a raft message") };
        assert!(range.contains(&decoded.entries[0].data.as_ptr()));
    }

    #[test]
    fn garbage_and_unknown_kinds_are_refused() {
        assert!(decode(Bytes::from_static(b"\xff\xff\xff")).is_err());
        let unknown = PeerMessage { kind: 99, ..Default::default() };
        let refused = decode(unknown.encode_to_vec().into());
        assert!(matches!(refused, Err(WireError::UnknownKind { value: 99, .. })));
    }
}
