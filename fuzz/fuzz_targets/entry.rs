//! Arbitrary bytes as stored entries and as a snapshot: decoding is total, what it accepts encodes
//! back to the same bytes, and walking a run of entries always ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raft_log::entry::{EntryHeader, EntryKind, decode_entry};

/// The fuzzer cannot guess checksums: the first byte says whether to put them right first.
fn with_checksums(input: &[u8]) -> Vec<u8> {
    let Some((&how, bytes)) = input.split_first() else { return Vec::new() };
    let mut bytes = bytes.to_vec();
    if how & 1 == 1 && bytes.len() >= 48 {
        bytes[0..4].copy_from_slice(b"RMQE");
        let announced = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
        if how & 2 == 2
            && let Some(payload) = bytes[48..].get(..announced)
        {
            let crc = crc(payload);
            bytes[40..44].copy_from_slice(&crc.to_be_bytes());
        }
        let crc = crc(&bytes[..44]);
        bytes[44..48].copy_from_slice(&crc.to_be_bytes());
    }
    bytes
}

/// CRC-32 bit by bit, so that the target does not trust the code under test for it.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

fuzz_target!(|input: &[u8]| {
    let bytes = with_checksums(input);
    let mut rest = bytes.as_slice();
    while let Ok((header, header_crc, payload)) = decode_entry(rest) {
        let (encoded, encoded_crc) = header.encode();
        let mut stored = encoded;
        // The reserved byte is not kept, so only a header without it encodes to itself.
        if rest[7] == 0 {
            assert_eq!(&stored[..], &rest[..48]);
            assert_eq!(encoded_crc, header_crc);
        } else {
            stored[7] = rest[7];
            assert_eq!(&stored[..44], &rest[..44]);
        }
        assert_eq!(EntryHeader::decode(&encoded), Ok((header, encoded_crc)));
        if header.kind != EntryKind::Padding {
            assert_eq!(payload.len(), header.payload_bytes as usize);
            assert_eq!(crc(payload), header.payload_crc);
        }
        assert!(header.stored_bytes() >= 48 && header.stored_bytes().is_multiple_of(8));
        let Some(next) = rest.get(header.stored_bytes() as usize..) else { break };
        rest = next;
    }
    let snapshot = bytes::Bytes::copy_from_slice(input);
    if let Ok(decoded) = raft_log::BoundarySnapshot::decode(snapshot) {
        assert_eq!(raft_log::BoundarySnapshot::from_raft(&decoded.to_raft()).ok(), Some(decoded));
    }
});
