//! The stored formats, byte by byte, as `docs/log-format.md` shows them. A test that fails here means
//! that existing logs cannot be read any more, or that the page is wrong.
#![allow(clippy::unwrap_used)]

use crate::entry::{EntryHeader, EntryKind};
use crate::hard_state::{HardStateValue, decode_slot, encode_slot};
use crate::identity::Identity;
use crate::index::{IndexHeader, IndexRecord, encode_record};
use crate::install::{decode_marker, encode_marker};
use crate::options::LogOptions;
use crate::segment::{Witness, decode_witness, encode_witness};
use crate::snapshot::BoundarySnapshot;
use crate::table::Boundary;
use crate::types::{LogIndex, Position, Term};

const PAGE: &str = include_str!("../../docs/log-format.md");

/// The bytes of the first code block behind `caption` in the page.
fn documented(caption: &str) -> Vec<u8> {
    let from = PAGE.find(caption).unwrap_or_else(|| panic!("{caption:?} is not in the page"));
    let block = PAGE[from..].split("```").nth(1).unwrap();
    block.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn same(encoded: &[u8], caption: &str) {
    assert_eq!(hex(encoded), hex(&documented(caption)), "{caption}");
}

#[test]
fn entry() {
    let header = EntryHeader {
        kind: EntryKind::Normal,
        payload_bytes: 3,
        term: 2,
        index: 1,
        position: 0,
        previous_crc: 0,
        payload_crc: crc32fast::hash(b"abc"),
    };
    let (encoded, crc) = header.encode();
    same(&[&encoded[..], b"abc\0\0\0\0\0"].concat(), "payload `abc`:");
    assert_eq!(EntryHeader::decode(&encoded), Ok((header, crc)));
}

#[test]
fn witness() {
    let witness = Witness { position: 4096, index: 7 };
    let encoded = encode_witness(5, witness);
    same(&encoded, "Sequence 5, position 4096, index 7:");
    assert_eq!(decode_witness(&encoded), Some((5, witness)));
}

#[test]
fn index_record_and_header() {
    let record = IndexRecord { offset: 264, header_crc: 0x0102_0304, term: 2 };
    same(&encode_record(7, &record), "Record of index 7:");
    let header =
        IndexHeader { segment: 65536, base_index: 7, count: 9, previous_crc: 5, data_end: 65000 };
    assert_eq!(IndexHeader::decode(&header.encode()), Some(header));
}

#[test]
fn hard_state() {
    let value = HardStateValue { term: 5, vote: 2, commit: 9 };
    let encoded = encode_slot(3, value);
    same(&encoded, "Sequence 3, term 5, vote 2, commit 9:");
    assert_eq!(decode_slot(&encoded), Some((3, value)));
}

#[test]
fn snapshot() {
    let boundary = Boundary {
        index: LogIndex(7),
        term: Term(2),
        position: Position(65536),
        chain_crc: 0x0102_0304,
    };
    let members = raft::eraftpb::ConfState { voters: vec![1, 2, 3], ..Default::default() };
    let snapshot = BoundarySnapshot::new(boundary, &members, b"abc").unwrap();
    same(snapshot.encoded(), "voters 1 2 3, state `abc`:");
    let stored = bytes::Bytes::copy_from_slice(snapshot.encoded());
    assert_eq!(BoundarySnapshot::decode(stored).unwrap(), snapshot);
}

#[test]
fn marker_and_identity() {
    assert_eq!(decode_marker(&encode_marker(65536)), Some(65536));
    let identity = Identity::of(&LogOptions::new("c", "g", "n0", vec![1, 2]));
    let text = identity.encode();
    assert!(
        text.starts_with(
            "raftmq log, format 1\ncluster=c\ngroup=g\nmember=n0\nsegmentBytes=1073741824\nvoters=1,2\ncrc32="
        ),
        "{text}"
    );
    assert_eq!(Identity::decode(&text), Some(identity));
    assert_eq!(Identity::decode(&text.replace("n0", "n1")), None);
}

#[test]
fn no_byte_of_a_stored_form_may_change_unnoticed() {
    let mut entry = documented("payload `abc`:");
    let mut hard_state = documented("Sequence 3, term 5, vote 2, commit 9:");
    for at in 0..51 {
        entry[at] ^= 0x10;
        assert!(crate::entry::decode_entry(&entry).is_err(), "byte {at} of the entry");
        entry[at] ^= 0x10;
    }
    for at in 0..48 {
        hard_state[at] ^= 0x10;
        assert_eq!(decode_slot(&hard_state), None, "byte {at} of the hard state");
        hard_state[at] ^= 0x10;
    }
}
