//! Arbitrary bytes, in arbitrary pieces, as what a peer sends: cutting frames is total, bounded in
//! memory and the same whatever the pieces; what decodes comes back from both header forms; typed
//! fields and bodies are read without a panic and come back too.
#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use raftmq::protocol::body::{
    ConsumeStats, ConsumerConnection, KvTable, LockBatchRequest, RegisterBrokerBody,
    ResetOffsetBody, SubscriptionGroupWrapper, TopicConfigSerializeWrapper, TopicStatsTable,
};
use raftmq::protocol::fastjson::{self, JsonBody as _};
use raftmq::protocol::group::SubscriptionGroupConfig;
use raftmq::protocol::heartbeat::{HeartbeatData, SubscriptionData};
use raftmq::protocol::record::{RecordParts, RecordView, canonical_host, records};
use raftmq::protocol::route::{ClusterInfo, TopicList, TopicRouteData};
use raftmq::protocol::topic::TopicConfig;
use raftmq::protocol::{batch, message_id, names, properties, sysflag, tags};
use raftmq::remoting::frame::{self, FrameError, FrameLimits};
use raftmq::remoting::header::*;
use raftmq::remoting::limits::READ_BUFFER_BYTES_MAX;
use raftmq::remoting::{RemotingCommand, SerializeType};

/// Small, so that the fuzzer reaches both sides of it.
const LIMITS: FrameLimits = FrameLimits { frame_bytes_max: 64 << 10 };
/// Escaping makes a text six times as long at most.
const LIMITS_WRITTEN: FrameLimits = FrameLimits { frame_bytes_max: 8 * (64 << 10) };
/// What reading frames may take beside what was sent: the room for the next read, doubled by the
/// buffer's own growth, and the ranges of a header's fields.
const ROOM_BYTES: usize = 2 * READ_BUFFER_BYTES_MAX + (64 << 10);
/// Unescaped text of another encoding is replaced by three bytes for one, in a copy.
const GROWTH: usize = 8;

/// Counts what is allocated, so that a bound on memory is a check like any other.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed).wrapping_add(layout.size());
        // Another thread's frees may take the count below zero between two measurements.
        if live < usize::MAX / 2 {
            PEAK.fetch_max(live, Relaxed);
        }
        // SAFETY: the caller keeps this method's contract, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps this method's contract, which is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work` and checks that it never held more than `bytes_max` at once.
fn within<T>(bytes_max: usize, work: impl FnOnce() -> T) -> T {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = work();
    let held = PEAK.load(Relaxed).saturating_sub(before);
    assert!(held <= bytes_max, "{held} bytes were held, allowed are {bytes_max}");
    result
}

/// What stands in a command, comparable.
type Content = (i32, &'static str, i32, i32, i32, Option<String>, Vec<(String, String)>, Bytes);

fn content(command: &RemotingCommand) -> Content {
    let text = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    (
        command.code,
        command.language.name(),
        command.version,
        command.opaque,
        command.flag,
        command.remark.clone(),
        command.ext_fields.iter().map(text).collect(),
        command.body.clone(),
    )
}

/// Feeds `stream` in pieces whose sizes `pieces` names in turn; none means all at once.
fn cut(stream: &[u8], pieces: &[u8]) -> (Vec<RemotingCommand>, Option<FrameError>) {
    let mut buffer = BytesMut::new();
    let mut commands = Vec::new();
    let mut sizes = pieces.iter().map(|size| usize::from(*size).max(1)).cycle();
    let mut rest = stream;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(sizes.next().unwrap_or(rest.len()).min(rest.len()));
        buffer.extend_from_slice(piece);
        rest = after;
        loop {
            match frame::decode(&mut buffer, &LIMITS) {
                Ok(Some(command)) => commands.push(command),
                Ok(None) => break,
                Err(error) => return (commands, Some(error)),
            }
        }
    }
    (commands, None)
}

/// Puts a right prefix before a header and a body, which the fuzzer finds only by luck.
fn framed(form: u8, header_bytes: usize, bytes: &[u8]) -> Vec<u8> {
    let header_bytes = header_bytes.min(bytes.len());
    let mut out = (4 + bytes.len() as u32).to_be_bytes().to_vec();
    out.extend((u32::from(form) << 24 | header_bytes as u32).to_be_bytes());
    out.extend(bytes);
    out
}

/// Names that headers know; the first byte of a field chooses among them.
const NAMES: &[&str] = &[
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "g",
    "h",
    "i",
    "j",
    "k",
    "l",
    "m",
    "n",
    "producerGroup",
    "topic",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "sysFlag",
    "bornTimestamp",
    "flag",
    "properties",
    "reconsumeTimes",
    "unitMode",
    "maxReconsumeTimes",
    "batch",
    "bname",
    "consumerGroup",
    "queueOffset",
    "maxMsgNums",
    "commitOffset",
    "suspendTimeoutMillis",
    "subVersion",
    "subscription",
    "expressionType",
    "maxMsgBytes",
    "offset",
    "group",
    "delayLevel",
    "originMsgId",
    "originTopic",
    "msgId",
    "readQueueNums",
    "writeQueueNums",
    "perm",
    "topicFilterType",
    "topicSysFlag",
    "order",
    "timestamp",
    "boundaryType",
    "key",
    "maxNum",
    "beginTimestamp",
    "endTimestamp",
    "clientID",
    "brokerName",
    "brokerAddr",
    "clusterName",
    "haServerAddr",
    "brokerId",
    "compressed",
    "bodyCrc32",
    "raftTerm",
    "namespace",
    "value",
];

/// A well-formed frame of known names: name, length, value, name, length, value, ... Then the body.
fn of_known_fields(how: u8, fields: u16, mut bytes: &[u8]) -> Vec<u8> {
    let mut command = RemotingCommand::request(i32::from(how >> 3));
    for _ in 0..fields % 32 {
        let [name, value_bytes, rest @ ..] = bytes else { break };
        let (value, rest) = rest.split_at(usize::from(*value_bytes).min(rest.len()));
        let name = NAMES[usize::from(*name) % NAMES.len()];
        command.ext_fields.insert(name, String::from_utf8_lossy(value).into_owned());
        bytes = rest;
    }
    command.body = Bytes::copy_from_slice(bytes);
    if how & 4 != 0 {
        command.serialize_type = SerializeType::RocketMq;
    }
    let mut out = BytesMut::new();
    frame::encode(&command, &mut out);
    out.to_vec()
}

fn comes_back_in_both_forms(command: &RemotingCommand) {
    for form in [SerializeType::Json, SerializeType::RocketMq] {
        let mut sent = command.clone();
        sent.serialize_type = form;
        if form == SerializeType::RocketMq {
            // The binary form has 16 bits for these, and for the length of a name.
            let fits = |number: i32| i16::try_from(number).is_ok();
            let short = sent.ext_fields.iter().all(|(key, _)| i16::try_from(key.len()).is_ok());
            if !fits(sent.code) || !fits(sent.version) || !short {
                continue;
            }
        }
        let mut wire = BytesMut::new();
        frame::encode(&sent, &mut wire);
        let read =
            frame::decode(&mut wire, &LIMITS_WRITTEN).expect("our own frame").expect("whole");
        assert!(wire.is_empty());
        assert_eq!(content(&read), content(&sent));
        assert_eq!(read.serialize_type, form);
        let (whole, detached) = (content(&sent), content(&sent.detached()));
        assert_eq!((whole.0, whole.5, whole.7), (detached.0, detached.5, detached.7));
        for (key, _) in sent.ext_fields.iter() {
            assert_eq!(sent.detached().ext_fields.get(key), sent.ext_fields.get(key));
        }
    }
}

/// Reads the fields as each typed header; one that can be read comes back from what it writes.
macro_rules! typed {
    ($command:ident: $($header:ident)*) => {
        $(if let Ok(header) = $header::decode(&$command.ext_fields) {
            let written = header.request($command.code);
            assert_eq!($header::decode(&written.ext_fields).as_ref(), Ok(&header));
        })*
    };
}

fn typed_headers(command: &RemotingCommand) {
    for code in [command.code, 10, 310, 320] {
        if let Ok(header) = SendHeader::decode(code, &command.ext_fields) {
            let written = header.request(code);
            assert_eq!(SendHeader::decode(code, &written.ext_fields).as_ref(), Ok(&header));
            read_properties(header.properties.as_bytes());
            let _ = names::validate_topic(header.topic);
        }
    }
    typed!(command: PullHeader SendBackHeader SendResponseHeader CreateTopicHeader TopicHeader
        DeleteGroupHeader GroupHeader ProducerGroupHeader ConsumeStatsHeader ResetOffsetHeader
        TransferLeaderHeader QueryConsumerOffsetHeader UpdateConsumerOffsetHeader
        SearchOffsetHeader GetMaxOffsetHeader QueueHeader QueryMessageHeader ViewMessageHeader
        UnregisterClientHeader ConsumerGroupHeader RegisterBrokerHeader BrokerHeader
        GetRouteInfoHeader PutKvConfigHeader KvConfigHeader KvNamespaceHeader BrokerNameHeader
        DeleteTopicFromNamesrvHeader ClusterHeader);
    let _ = PullResponseHeader::decode(&command.ext_fields);
    for (_, value) in command.ext_fields.iter() {
        let _ = message_id::OffsetMessageId::decode(value);
        let _ = SubscriptionData::from_tags("T", value, 1);
        tags::tags_code(value);
    }
}

fn read_properties(text: &[u8]) {
    let indexed = properties::Indexed::of(text);
    indexed.tags_code();
    indexed.each_key().for_each(drop);
    assert_eq!(indexed.tags, properties::get(text, "TAGS"));
    assert_eq!(properties::get(&properties::with(text, "KEYS", "k"), "KEYS"), Some("k"));
    assert_eq!(properties::get(&properties::without(text, &["TAGS"]), "TAGS"), None);
    let pairs: Vec<_> = properties::iter(text).collect();
    let rewritten = properties::without(text, &[]);
    assert_eq!(properties::iter(&rewritten).collect::<Vec<_>>(), pairs);
}

fn read_batch(body: &Bytes) {
    let Ok(elements) = batch::decode(body.clone(), 1024) else { return };
    let mut out = BytesMut::new();
    for element in &elements {
        batch::encode(element.flag, &element.body, &element.properties, &mut out);
        read_properties(&element.properties);
    }
    assert_eq!(batch::decode(out.freeze(), 1024), Ok(elements));
}

fn stored(parts: RecordParts<'_>) -> RecordParts<'_> {
    let v6 = |host: SocketAddr, bit: i32| if host.is_ipv6() { bit } else { 0 };
    let (born_host, store_host) =
        (canonical_host(parts.born_host), canonical_host(parts.store_host));
    let sys_flag = parts.sys_flag & !(sysflag::BORN_HOST_V6 | sysflag::STORE_HOST_V6)
        | v6(born_host, sysflag::BORN_HOST_V6)
        | v6(store_host, sysflag::STORE_HOST_V6);
    RecordParts { born_host, store_host, sys_flag, ..parts }
}

fn read_records(body: &[u8]) {
    for record in records(body) {
        let Ok(record) = record else { return };
        let _ = record.body_is_intact();
        read_properties(record.properties);
        if record.parts().check().is_err() {
            continue;
        }
        let mut out = BytesMut::new();
        record.parts().encode(&mut out);
        let again = RecordView::parse(&out).expect("our own record");
        assert_eq!(again.parts(), stored(record.parts()));
        assert!(again.body_is_intact());
    }
}

/// A body that can be read means the same after it was written.
macro_rules! json_bodies {
    ($body:ident: $($kind:ident)*) => {
        $(if let Ok(read) = $kind::decode($body) {
            assert_eq!($kind::decode(&read.encode()).expect("our own body"), read);
        })*
    };
}

fn read_json(body: &[u8]) {
    json_bodies!(body: HeartbeatData RegisterBrokerBody TopicConfigSerializeWrapper TopicRouteData
        ClusterInfo TopicList ConsumeStats TopicStatsTable ResetOffsetBody ConsumerConnection
        SubscriptionGroupWrapper LockBatchRequest KvTable TopicConfig SubscriptionGroupConfig);
    // Nested deeper than is allowed is an error for either reader, at different depths.
    if let (Ok(strict), Ok(normal)) =
        (serde_json::from_slice::<serde_json::Value>(body), fastjson::normalize(body))
    {
        let read = serde_json::from_slice::<serde_json::Value>(&normal);
        assert_eq!(read.expect("strict JSON stays strict"), strict);
    }
}

fn deflated(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

fn read_registration(body: &[u8]) {
    for compressed in [false, true] {
        let _ = RegisterBrokerBody::decode_any(body, compressed);
    }
    if let Ok(read) = RegisterBrokerBody::decode_any(&deflated(body), true) {
        assert_eq!(RegisterBrokerBody::decode(&read.encode()).expect("our own body"), read);
    }
}

fuzz_target!(|input: (u8, u16, [u8; 3], &[u8])| {
    let (how, header_bytes, pieces, bytes) = input;
    let stream = match how & 3 {
        0 => bytes.to_vec(),
        3 => of_known_fields(how, header_bytes, bytes),
        form => framed(form - 1, usize::from(header_bytes), bytes),
    };
    let bytes_max = ROOM_BYTES + GROWTH * stream.len();
    let (commands, error) = within(bytes_max, || cut(&stream, &[]));
    let (in_pieces, piecewise_error) = within(bytes_max, || cut(&stream, &pieces));
    assert_eq!(error, piecewise_error);
    assert_eq!(commands.len(), in_pieces.len());
    for (command, other) in commands.iter().zip(&in_pieces) {
        assert_eq!(content(command), content(other));
        comes_back_in_both_forms(command);
        typed_headers(command);
    }
    // Bodies are read without a frame around them too, which the fuzzer finds first.
    let bodies = commands.iter().map(|command| command.body.clone());
    for body in bodies.chain([Bytes::copy_from_slice(bytes)]).take(4) {
        read_batch(&body);
        read_records(&body);
        read_properties(&body);
        read_json(&body);
        read_registration(&body);
    }
});
