//! The layout of an entry's payload.
//!
//! ```text
//! command_bytes u32 | record_count u32 | CommandBatch (prost) | records back to back
//! ```
//!
//! Invariant: the records are the payload's tail, so a record's position is the payload's position
//! plus its distance from the payload's start, on every member.

use bytes::Bytes;
use prost::Message as _;

use super::command::CommandBatch;

/// Bytes before the commands.
pub const PREFIX_BYTES: usize = 8;

/// An entry's payload, taken apart.
#[derive(Debug, Clone)]
pub struct Payload {
    /// Its commands.
    pub batch: CommandBatch,
    /// How many records follow.
    pub record_count: u32,
    /// Distance of the first record from the payload's start.
    pub records_start: usize,
    /// The records.
    pub records: Bytes,
}

/// A payload that no leader writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Shorter than it says.
    #[error("an entry's payload of {bytes} bytes is cut short")]
    Short {
        /// Its length.
        bytes: usize,
    },
    /// The commands do not decode.
    #[error("an entry's commands do not decode: {0}")]
    Commands(String),
}

/// Takes a payload apart without copying its records.
///
/// # Errors
/// When it is not one; the log's checksums make that a matter of versions, not of damage.
pub fn parse(payload: &Bytes) -> Result<Payload, PayloadError> {
    let (record_count, records_start) = prefix(payload)?;
    let batch = CommandBatch::decode(&payload[PREFIX_BYTES..records_start])
        .map_err(|error| PayloadError::Commands(error.to_string()))?;
    let records = payload.slice(records_start..);
    Ok(Payload { batch, record_count, records_start, records })
}

/// Where the records begin, and how many they are, without looking at the commands.
///
/// # Errors
/// As [`parse`].
pub fn prefix(payload: &[u8]) -> Result<(u32, usize), PayloadError> {
    let short = PayloadError::Short { bytes: payload.len() };
    let Some((command_bytes, rest)) = payload.split_first_chunk::<4>() else { return Err(short) };
    let Some((record_count, rest)) = rest.split_first_chunk::<4>() else { return Err(short) };
    let command_bytes = u32::from_be_bytes(*command_bytes) as usize;
    if command_bytes > rest.len() {
        return Err(short);
    }
    Ok((u32::from_be_bytes(*record_count), PREFIX_BYTES + command_bytes))
}

/// Writes what precedes the records.
pub fn begin(batch: &CommandBatch, record_count: usize, payload: &mut bytes::BytesMut) {
    use bytes::BufMut as _;
    let command_bytes = u32::try_from(batch.encoded_len()).expect("an entry is far below 4 GiB");
    payload.put_u32(command_bytes);
    payload.put_u32(u32::try_from(record_count).expect("an entry holds few records"));
    batch.encode(payload).expect("a BytesMut grows as needed");
}

#[cfg(test)]
mod tests {
    use super::super::command::Command;
    use super::*;

    #[test]
    fn a_payload_is_taken_apart_as_it_was_put_together() {
        let batch =
            CommandBatch { commands: vec![Command::delete_topic("t")], store_timestamp_ms: 7 };
        let mut out = bytes::BytesMut::new();
        begin(&batch, 2, &mut out);
        out.extend_from_slice(b"records");
        let parsed = parse(&out.freeze()).expect("it is one");
        assert_eq!(parsed.batch, batch);
        assert_eq!((parsed.record_count, &parsed.records[..]), (2, &b"records"[..]));
    }

    #[test]
    fn short_payloads_are_refused() {
        for bytes in [&b""[..], &[0; 7], &[0, 0, 0, 1, 0, 0, 0, 0]] {
            let error = parse(&Bytes::copy_from_slice(bytes)).expect_err("it is short");
            assert_eq!(error, PayloadError::Short { bytes: bytes.len() });
        }
    }
}
