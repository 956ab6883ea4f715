//! Request frames that are encoded once and patched, and the little of an answer that is looked at.
//!
//! Invariant: a patched field keeps its width (opaque is always ten digits, the born timestamp
//! thirteen, the unique id thirty-two), so that a template's lengths stay right.

use std::io::Write as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;

/// Opaques start here so that they always have ten digits.
const OPAQUE_BASE: i32 = 1_000_000_000;
/// Java's broker caps a frame at 16 MiB; an answer above this is a broken stream.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The release whose header version we claim: standard JSON routes need at least 401.
const CLIENT_VERSION: i32 = 479;

/// What the driver wants to know about an answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub code: i32,
    pub slot: usize,
    pub header: Bytes,
    pub body: Bytes,
}

/// A `SEND_MESSAGE_V2` request for one queue.
pub(super) struct SendTemplate {
    frame: Vec<u8>,
    opaque_at: usize,
    born_at: usize,
    unique_id_at: usize,
}

impl SendTemplate {
    /// The request that sends `body` to one queue of `topic`.
    pub(super) fn new(topic: &str, broker_name: &str, queue_id: u32, body: &[u8]) -> SendTemplate {
        let header = format!(
            concat!(
                r#"{{"code":310,"extFields":{{"a":"raftmq_bench","b":"{}","c":"TBW102","d":"8","#,
                r#""e":"{}","f":"0","g":"{:013}","h":"0","#,
                r#""i":"UNIQ_KEY\u0001{:032}\u0002WAIT\u0001true\u0002","#,
                r#""j":"0","k":"false","m":"false","n":"{}"}},"flag":0,"language":"JAVA","#,
                r#""opaque":{},"serializeTypeCurrentRPC":"JSON","version":{}}}"#
            ),
            topic, queue_id, 0, 0, broker_name, OPAQUE_BASE, CLIENT_VERSION
        );
        let mut frame = Vec::with_capacity(8 + header.len() + body.len());
        put_frame(&mut frame, header.as_bytes(), body);
        let after = |needle: &str| {
            let at = memchr::memmem::find(&frame, needle.as_bytes());
            at.expect("the header was formatted with this field just above") + needle.len()
        };
        let opaque_at = after(r#""opaque":"#);
        let born_at = after(r#""g":""#);
        let unique_id_at = after(r#"UNIQ_KEY\u0001"#);
        SendTemplate { frame, opaque_at, born_at, unique_id_at }
    }

    /// Appends the request to `out`.
    pub(super) fn write(&self, out: &mut BytesMut, slot: usize, born_ms: i64, id: UniqueId) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        let frame = &mut out[start..];
        let opaque = OPAQUE_BASE as u64 + slot as u64;
        put_digits(&mut frame[self.opaque_at..self.opaque_at + 10], opaque);
        put_digits(&mut frame[self.born_at..self.born_at + 13], born_ms.max(0) as u64);
        id.write(&mut frame[self.unique_id_at..self.unique_id_at + 32]);
    }
}

/// Unique id of a bench message: which run, and which message of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UniqueId {
    pub run: u64,
    pub sequence: u64,
}

/// Bits of a sequence number below the time: which connection, and which of its sends.
const CONNECTION_BITS: u32 = 12;
const NUMBER_BITS: u32 = 16;

impl UniqueId {
    /// The id of a send that began so long after its run; a connection's `number` counts up.
    pub(super) fn timed(run: u64, begun: Duration, connection: usize, number: u64) -> UniqueId {
        let connection = connection as u64 & ((1 << CONNECTION_BITS) - 1);
        let number = number & ((1 << NUMBER_BITS) - 1);
        let micros = (begun.as_micros() as u64) << (CONNECTION_BITS + NUMBER_BITS);
        UniqueId { run, sequence: micros | connection << NUMBER_BITS | number }
    }

    /// When the send of a timed id began, to the microsecond.
    pub(super) fn begun(self) -> Duration {
        Duration::from_micros(self.sequence >> (CONNECTION_BITS + NUMBER_BITS))
    }

    fn write(self, out: &mut [u8]) {
        put_hex(&mut out[..16], self.run);
        put_hex(&mut out[16..32], self.sequence);
    }

    /// Reads an id back; `None` if it was not written by a bench.
    pub(super) fn parse(text: &[u8]) -> Option<UniqueId> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() == 32)?;
        let run = u64::from_str_radix(&text[..16], 16).ok()?;
        let sequence = u64::from_str_radix(&text[16..], 16).ok()?;
        Some(UniqueId { run, sequence })
    }
}

/// Appends a request without a template: code, ext fields given as JSON text, body.
pub(super) fn write_request(
    out: &mut BytesMut,
    code: i32,
    slot: usize,
    ext_fields: &str,
    body: &[u8],
) {
    let header = format!(
        concat!(
            r#"{{"code":{},"extFields":{{{}}},"flag":0,"language":"JAVA","opaque":{},"#,
            r#""serializeTypeCurrentRPC":"JSON","version":{}}}"#
        ),
        code,
        ext_fields,
        OPAQUE_BASE as i64 + slot as i64,
        CLIENT_VERSION
    );
    let mut frame = Vec::with_capacity(8 + header.len() + body.len());
    put_frame(&mut frame, header.as_bytes(), body);
    out.extend_from_slice(&frame);
}

fn put_frame(frame: &mut Vec<u8>, header: &[u8], body: &[u8]) {
    frame.extend_from_slice(&((4 + header.len() + body.len()) as u32).to_be_bytes());
    frame.extend_from_slice(&(header.len() as u32).to_be_bytes());
    frame.extend_from_slice(header);
    frame.extend_from_slice(body);
}

fn put_digits(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn put_hex(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789ABCDEF"[(value & 15) as usize];
        value >>= 4;
    }
}

/// Why bytes from a broker make no sense.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("a frame of {0} bytes: not a remoting server, or a broken stream")]
    FrameLength(usize),
    #[error("an answer without code or opaque: {0}")]
    Header(String),
}

/// Cuts answers out of a byte stream.
pub(super) struct AnswerReader {
    code: Finder<'static>,
    opaque: Finder<'static>,
}

impl AnswerReader {
    pub(super) fn new() -> AnswerReader {
        AnswerReader { code: Finder::new(r#""code":"#), opaque: Finder::new(r#""opaque":"#) }
    }

    /// The next answer to a request of ours, if a whole one is there. Requests that the server
    /// sends on its own are skipped.
    pub(super) fn next(&self, input: &mut BytesMut) -> Result<Option<Answer>, AnswerError> {
        loop {
            let Some((header, body)) = cut_frame(input)? else { return Ok(None) };
            let binary = header.first() != Some(&b'{');
            let (code, opaque) =
                if binary { read_binary(&header)? } else { self.read_json(&header)? };
            if opaque >= OPAQUE_BASE {
                let slot = (opaque - OPAQUE_BASE) as usize;
                return Ok(Some(Answer { code, slot, header, body }));
            }
        }
    }

    fn read_json(&self, header: &[u8]) -> Result<(i32, i32), AnswerError> {
        let number = |finder: &Finder<'_>| {
            let at = finder.find(header)? + finder.needle().len();
            parse_number(&header[at..])
        };
        match (number(&self.code), number(&self.opaque)) {
            (Some(code), Some(opaque)) => Ok((code, opaque)),
            _ => Err(AnswerError::Header(String::from_utf8_lossy(header).into_owned())),
        }
    }
}

fn cut_frame(input: &mut BytesMut) -> Result<Option<(Bytes, Bytes)>, AnswerError> {
    let Some(head) = input.first_chunk::<8>() else { return Ok(None) };
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let header_bytes = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
    if length > FRAME_BYTES_MAX || length < 4 + header_bytes {
        return Err(AnswerError::FrameLength(length));
    }
    if input.len() < 4 + length {
        // A long answer is coming: make room for it at once instead of by doubling.
        input.reserve(4 + length - input.len());
        return Ok(None);
    }
    let mut frame = input.split_to(4 + length).freeze();
    let body = frame.split_off(8 + header_bytes);
    Ok(Some((frame.split_off(8), body)))
}

fn read_binary(header: &[u8]) -> Result<(i32, i32), AnswerError> {
    match header {
        [c0, c1, _, _, _, o0, o1, o2, o3, ..] => Ok((
            i32::from(i16::from_be_bytes([*c0, *c1])),
            i32::from_be_bytes([*o0, *o1, *o2, *o3]),
        )),
        _ => Err(AnswerError::Header(format!("{header:?}"))),
    }
}

fn parse_number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    let text = text.trim_ascii_start();
    let is_part = |(at, byte): (usize, &u8)| byte.is_ascii_digit() || (at == 0 && *byte == b'-');
    let end = text.iter().enumerate().take_while(|part| is_part(*part)).count();
    std::str::from_utf8(&text[..end]).ok()?.parse().ok()
}

/// A number among an answer's JSON ext fields.
pub(super) fn ext_number(header: &[u8], key: &str) -> Option<i64> {
    let mut needle = [0u8; 64];
    let mut rest = &mut needle[..];
    write!(rest, "\"{key}\":\"").ok()?;
    let unused = rest.len();
    let needle = &needle[..64 - unused];
    let at = memchr::memmem::find(header, needle)? + needle.len();
    parse_number(&header[at..])
}

/// The remark of an answer, or the whole header if it cannot be found.
pub(super) fn remark(header: &[u8]) -> String {
    match serde_json::from_slice::<serde_json::Value>(header) {
        Ok(value) => value.get("remark").and_then(|r| r.as_str()).unwrap_or_default().to_owned(),
        Err(_) => String::from_utf8_lossy(header).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_of(frame: &[u8]) -> serde_json::Value {
        let header_bytes = u32::from_be_bytes(frame[4..8].try_into().unwrap()) as usize;
        serde_json::from_slice(&frame[8..8 + header_bytes]).unwrap()
    }

    #[test]
    fn a_patched_frame_is_a_valid_send() {
        let template = SendTemplate::new("T", "broker-a", 11, b"hello");
        let mut out = BytesMut::new();
        template.write(&mut out, 7, 1_700_000_000_123, UniqueId { run: 0xAB, sequence: 1 });
        template.write(&mut out, 123_456, 1_700_000_000_124, UniqueId { run: 0xAB, sequence: 2 });
        assert_eq!(out.len(), 2 * template.frame.len());
        let second = &out[template.frame.len()..];
        let header = header_of(second);
        assert_eq!(header["code"], 310);
        assert_eq!(header["opaque"], 1_000_123_456);
        assert_eq!(header["extFields"]["e"], "11");
        assert_eq!(header["extFields"]["g"], "1700000000124");
        let properties = header["extFields"]["i"].as_str().unwrap();
        let id = properties.strip_prefix("UNIQ_KEY\u{1}").unwrap().split('\u{2}').next().unwrap();
        assert_eq!(UniqueId::parse(id.as_bytes()), Some(UniqueId { run: 0xAB, sequence: 2 }));
        assert!(second.ends_with(b"hello"));
    }

    #[test]
    fn a_timed_id_says_when_and_is_no_others() {
        let begun = Duration::from_micros(3_600_000_123);
        let id = |connection, number| UniqueId::timed(7, begun, connection, number);
        let mut text = [0u8; 32];
        id(9, 70_000).write(&mut text);
        let read = UniqueId::parse(&text).unwrap();
        assert_eq!((read.run, read.begun()), (7, begun));
        assert!(id(9, 1) != id(9, 2) && id(9, 1) != id(8, 1));
    }

    #[test]
    fn answers_are_cut_from_a_torn_stream() {
        let reader = AnswerReader::new();
        let mut stream = BytesMut::new();
        let json = br#"{"code":14,"extFields":{"queueOffset":"42"},"flag":1,"opaque":1000000005}"#;
        let mut frame = Vec::new();
        put_frame(&mut frame, json, b"body");
        stream.extend_from_slice(&frame[..frame.len() - 1]);
        assert!(reader.next(&mut stream).unwrap().is_none());
        stream.extend_from_slice(&frame[frame.len() - 1..]);
        let answer = reader.next(&mut stream).unwrap().unwrap();
        assert_eq!((answer.code, answer.slot), (14, 5));
        assert_eq!(ext_number(&answer.header, "queueOffset"), Some(42));
        assert_eq!(&answer.body[..], b"body");
        assert!(reader.next(&mut stream).unwrap().is_none());
    }

    #[test]
    fn a_request_of_the_server_is_skipped() {
        let mut stream = BytesMut::new();
        let mut frame = Vec::new();
        put_frame(&mut frame, br#"{"code":40,"flag":2,"opaque":3}"#, b"");
        put_frame(&mut frame, br#"{"code":0,"flag":1,"opaque":1000000000}"#, b"");
        stream.extend_from_slice(&frame);
        assert_eq!(AnswerReader::new().next(&mut stream).unwrap().unwrap().slot, 0);
    }

    #[test]
    fn garbage_is_an_error() {
        let mut stream = BytesMut::from(&b"HTTP/1.1 400 Bad Request\r\n"[..]);
        assert!(AnswerReader::new().next(&mut stream).is_err());
    }
}
