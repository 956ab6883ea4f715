//! Frames: a length, a word with the header's form and length, the header, the body.
//!
//! Invariant: a length is checked against the limit before anything is allocated for it; header and
//! body of a decoded frame are slices of the buffer it was read into.

use bytes::{Buf, BufMut, BytesMut};

use super::command::{RemotingCommand, SerializeType};
use super::encode::{ExtWriter, HeaderParts, put_header};
use super::json_header::HeaderError;
use super::limits::{FRAME_BYTES_MAX, READ_BUFFER_BYTES_MAX};
use super::{binary_header, json_header};
use crate::protocol::code::response;

/// Bytes before the header: the length and the header word.
pub const PREFIX_BYTES: usize = 8;
/// What the 24 bits of a header's length take.
const HEADER_BYTES_MAX: usize = (1 << 24) - 1;

/// What a frame may be.
#[derive(Debug, Clone, Copy)]
pub struct FrameLimits {
    /// Largest frame, its length field included.
    pub frame_bytes_max: usize,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self { frame_bytes_max: FRAME_BYTES_MAX }
    }
}

/// Why a frame could not be read. The connection cannot go on after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The peer speaks TLS, which is not served.
    #[error("the peer begins a TLS handshake, but this port speaks plain text")]
    Tls,
    /// Larger than allowed, or the length is negative.
    #[error("a frame claims {claimed} bytes, allowed are {frame_bytes_max}")]
    TooLarge {
        /// What its length field says.
        claimed: i64,
        /// The limit.
        frame_bytes_max: usize,
    },
    /// The header would reach beyond the frame.
    #[error("a header claims {header_bytes} bytes in a frame of {frame_bytes}")]
    HeaderTooLarge {
        /// What the header word says.
        header_bytes: usize,
        /// What the length field says.
        frame_bytes: usize,
    },
    /// The header cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

/// Takes one frame from the front of `buffer`; `None` when it is not complete yet, and then the
/// buffer has room for more of it.
///
/// # Errors
/// When what stands there is no frame.
pub fn decode(
    buffer: &mut BytesMut,
    limits: &FrameLimits,
) -> Result<Option<RemotingCommand>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<4>() else { return Ok(None) };
    if prefix[0] == 0x16 {
        return Err(FrameError::Tls);
    }
    let claimed = i32::from_be_bytes(*prefix);
    let length = usize::try_from(claimed)
        .ok()
        .filter(|length| *length >= 4 && length + 4 <= limits.frame_bytes_max)
        .ok_or(FrameError::TooLarge {
            claimed: i64::from(claimed),
            frame_bytes_max: limits.frame_bytes_max,
        })?;
    let missing = (length + 4).saturating_sub(buffer.len());
    if missing > 0 {
        // Room grows with what has arrived, not with what was claimed.
        buffer.reserve(missing.min(buffer.len().max(READ_BUFFER_BYTES_MAX)));
        return Ok(None);
    }
    let mut frame = buffer.split_to(length + 4);
    frame.advance(4);
    let word = frame.get_u32();
    let header_bytes = (word & 0x00FF_FFFF) as usize;
    if header_bytes > frame.len() {
        return Err(FrameError::HeaderTooLarge { header_bytes, frame_bytes: length });
    }
    let header = frame.split_to(header_bytes);
    let form = (word >> 24) as u8;
    let mut command = match SerializeType::from_code(form) {
        Some(SerializeType::Json) => json_header::decode(header)?,
        Some(SerializeType::RocketMq) => binary_header::decode(header)?,
        None => return Err(HeaderError::UnknownType(form).into()),
    };
    command.body = frame.freeze();
    Ok(Some(command))
}

/// Appends a frame, body included.
pub fn encode(command: &RemotingCommand, out: &mut BytesMut) {
    encode_header(command, command.body.len(), out);
    out.put_slice(&command.body);
}

/// Appends a frame up to its body, which has `body_bytes` and follows. Returns where in `out` the
/// opaque's text stands, for JSON headers.
pub(super) fn encode_header(
    command: &RemotingCommand,
    body_bytes: usize,
    out: &mut BytesMut,
) -> Option<usize> {
    let parts = HeaderParts {
        code: command.code,
        language: command.language,
        version: command.version,
        opaque: command.opaque,
        flag: command.flag,
        remark: command.remark.as_deref(),
    };
    put_frame(out, command.serialize_type, &parts, body_bytes, |ext| {
        for (key, value) in command.ext_fields.iter() {
            ext.put(key, value);
        }
    })
}

/// Appends a frame up to its body, which has `body_bytes` and follows. Returns where in `out` the
/// opaque's text stands, for JSON headers.
///
/// A header that does not fit its length field is replaced by an error, since its size may depend on
/// what a peer has asked for.
///
/// # Panics
/// When the body does not fit a frame; bodies are bounded by what was once read from one.
pub(super) fn put_frame(
    out: &mut BytesMut,
    serialize_type: SerializeType,
    parts: &HeaderParts<'_>,
    body_bytes: usize,
    fill: impl FnOnce(&mut ExtWriter<'_>),
) -> Option<usize> {
    let begin = out.len();
    out.put_u64(0);
    let mut opaque_at = put_header(out, serialize_type, parts, fill);
    if out.len() - begin - PREFIX_BYTES > HEADER_BYTES_MAX {
        tracing::error!(code = parts.code, "a header is too large to be sent");
        out.truncate(begin + PREFIX_BYTES);
        let remark = Some("the header of this command is too large to be sent");
        let error = HeaderParts { code: response::SYSTEM_ERROR, remark, ..*parts };
        opaque_at = put_header(out, serialize_type, &error, |_| {});
    }
    finish_frame(out, begin, serialize_type, body_bytes);
    opaque_at
}

/// Fills in the prefix of a frame that began at `begin` and whose header is complete.
pub(super) fn finish_frame(
    out: &mut BytesMut,
    begin: usize,
    serialize_type: SerializeType,
    body_bytes: usize,
) {
    let header_bytes = out.len() - begin - PREFIX_BYTES;
    let length = i32::try_from(4 + header_bytes + body_bytes).expect("a frame fits its 32 bits");
    let word = u32::from(serialize_type.code()) << 24 | header_bytes as u32;
    out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
    out[begin + 4..begin + 8].copy_from_slice(&word.to_be_bytes());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: FrameLimits = FrameLimits { frame_bytes_max: 1 << 20 };

    fn framed(form: u8, header: &[u8], body: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_i32(i32::try_from(4 + header.len() + body.len()).unwrap());
        out.put_u32(u32::from(form) << 24 | u32::try_from(header.len()).unwrap());
        out.put_slice(header);
        out.put_slice(body);
        out
    }

    #[test]
    fn frames_follow_each_other_and_arrive_in_pieces() {
        let mut stream = framed(0, br#"{"code":10,"opaque":1}"#, b"one");
        stream.unsplit(framed(0, br#"{"code":11,"opaque":2}"#, b""));
        let mut buffer = BytesMut::new();
        let mut read = Vec::new();
        for byte in &stream {
            buffer.put_u8(*byte);
            if let Some(command) = decode(&mut buffer, &LIMITS).unwrap() {
                read.push((command.code, command.body));
            }
        }
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].0, &read[0].1[..]), (10, &b"one"[..]));
        assert_eq!((read[1].0, read[1].1.len()), (11, 0));
        assert!(buffer.is_empty());
    }

    #[test]
    fn lengths_are_checked_before_memory_is_taken() {
        let mut buffer = BytesMut::from(&b"\x7F\xFF\xFF\xFF"[..]);
        assert!(matches!(decode(&mut buffer, &LIMITS), Err(FrameError::TooLarge { .. })));
        assert!(buffer.capacity() < 1024);
        let mut buffer = BytesMut::from(&b"\xFF\xFF\xFF\xFF"[..]);
        assert!(matches!(
            decode(&mut buffer, &LIMITS),
            Err(FrameError::TooLarge { claimed: -1, .. })
        ));
        let mut buffer = BytesMut::from(&b"\x00\x00\x00\x03"[..]);
        assert!(decode(&mut buffer, &LIMITS).is_err());
        // Claimed within the limit but not sent: only a read buffer's worth is reserved.
        let mut buffer = BytesMut::from(&b"\x00\x0F\x00\x00"[..]);
        assert_eq!(decode(&mut buffer, &LIMITS).unwrap().map(|_| ()), None);
        assert!(buffer.capacity() <= 2 * READ_BUFFER_BYTES_MAX);
        let limit = LIMITS.frame_bytes_max - 4;
        let mut exact = BytesMut::new();
        exact.put_u32(u32::try_from(limit).unwrap());
        assert!(decode(&mut exact, &LIMITS).unwrap().is_none());
        let mut above = BytesMut::new();
        above.put_u32(u32::try_from(limit + 1).unwrap());
        assert!(decode(&mut above, &LIMITS).is_err());
    }

    #[test]
    fn other_protocols_are_told_apart() {
        assert_eq!(
            decode(&mut BytesMut::from(&b"\x16\x03\x01\x02"[..]), &LIMITS).unwrap_err(),
            FrameError::Tls
        );
        let mut proxy = BytesMut::from(&b"PROXY TCP4 1.2.3.4"[..]);
        assert!(matches!(decode(&mut proxy, &LIMITS), Err(FrameError::TooLarge { .. })));
    }

    #[test]
    fn a_header_too_large_to_be_sent_becomes_an_error() {
        let ids = "0".repeat(HEADER_BYTES_MAX);
        let mut command = RemotingCommand::response(0).with_ext("msgId", ids);
        command.opaque = 7;
        let mut out = BytesMut::new();
        encode(&command, &mut out);
        let read = decode(&mut out, &LIMITS).unwrap().unwrap();
        assert_eq!((read.code, read.opaque), (1, 7));
        assert!(read.remark.is_some());
    }

    #[test]
    fn a_header_beyond_its_frame_is_an_error() {
        let mut frame = framed(0, br#"{"code":10}"#, b"");
        frame[7] += 1;
        assert!(matches!(
            decode(&mut frame, &LIMITS),
            Err(FrameError::HeaderTooLarge { header_bytes: 12, .. })
        ));
        let mut frame = framed(7, br#"{"code":10}"#, b"");
        assert_eq!(
            decode(&mut frame, &LIMITS).unwrap_err(),
            FrameError::Header(HeaderError::UnknownType(7))
        );
    }

    proptest! {
        #[test]
        fn encode_and_decode_are_inverse(
            fields in prop::collection::btree_map("[a-zA-Z]{1,9}", any::<String>(), 0..6),
            body in prop::collection::vec(any::<u8>(), 0..100),
            numbers in any::<(i16, i32, bool)>(),
            is_binary in any::<bool>(),
        ) {
            let mut command = RemotingCommand::request(i32::from(numbers.0)).with_body(body);
            command.opaque = numbers.1;
            command.flag = if numbers.2 { 2 } else { 0 };
            if is_binary {
                command.serialize_type = SerializeType::RocketMq;
            }
            for (key, value) in &fields {
                command.ext_fields.insert(key, value);
            }
            let mut out = BytesMut::new();
            encode(&command, &mut out);
            let read = decode(&mut out, &LIMITS).unwrap().unwrap();
            prop_assert!(out.is_empty());
            prop_assert_eq!(
                (read.code, read.opaque, read.flag, read.language, read.version, read.serialize_type),
                (command.code, command.opaque, command.flag, command.language, command.version, command.serialize_type)
            );
            prop_assert_eq!(&read.body, &command.body);
            prop_assert_eq!(
                read.ext_fields.iter().collect::<Vec<_>>(),
                command.ext_fields.iter().collect::<Vec<_>>()
            );
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), form in 0u8..3) {
            let _ = decode(&mut BytesMut::from(&bytes[..]), &LIMITS);
            let _ = decode(&mut framed(form, &bytes, b""), &LIMITS);
        }
    }
}
