//! Requests that are wrong in every way a client can be wrong: each gets RocketMQ's code for it
//! (or loses its connection, where the frame itself is broken), and the broker goes on as before.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use support::cluster::Cluster;
use support::poll;
use support::wire::{PULL_NOT_FOUND, Wire};

const TOPIC: &str = "Input";
const QUEUES: i32 = 4;

/// How long a name server that has just started may hold back, and a broken connection stay.
const LIMIT: Duration = Duration::from_secs(60);

const NOT_READY: i32 = 1;
const NOT_SUPPORTED: i32 = 3;
const MESSAGE_ILLEGAL: i32 = 13;
const NO_PERMISSION: i32 = 16;
const TOPIC_NOT_EXIST: i32 = 17;
const PULL_RETRY_IMMEDIATELY: i32 = 20;
const PULL_OFFSET_MOVED: i32 = 21;
const INVALID_PARAMETER: i32 = 29;

const SEND_MESSAGE: i32 = 10;
const PULL_MESSAGE: i32 = 11;
const CREATE_TOPIC: i32 = 17;
const RUNTIME_INFO: i32 = 28;
const HEART_BEAT: i32 = 34;
const GET_ROUTE: i32 = 105;

/// One cluster for all of it: what one bad request broke, the next would notice.
#[test]
fn bad_requests_get_their_codes_and_break_nothing() {
    let cluster = Cluster::start();
    let leader = cluster.address(cluster.leader().unwrap());
    let mut wire = Wire::connect(leader).unwrap();
    wire.create_topic(TOPIC, QUEUES).unwrap();

    requests_that_no_broker_knows(&mut wire);
    sends(&mut wire);
    pulls(&mut wire);
    topics(&mut wire);
    heartbeats(&mut wire);
    routes(&cluster);
    broken_frames(leader);
    answers_that_nobody_reads(leader);

    let answer = wire.call(SEND_MESSAGE, send(TOPIC, 0), b"after all that").unwrap();
    assert_eq!((answer.code, answer.number("queueOffset")), (0, 1));
    for member in 0..3 {
        let tail = cluster.process(member).tail();
        assert!(!tail.contains("panicked"), "{tail}");
    }
}

fn requests_that_no_broker_knows(wire: &mut Wire) {
    for code in [0, 9_999, -1, i32::MAX] {
        let answer = wire.call(code, json!({}), b"x").unwrap();
        assert_eq!(answer.code, NOT_SUPPORTED, "{code}: {}", answer.remark);
        assert!(answer.remark.contains("not supported"), "{}", answer.remark);
    }
}

fn sends(wire: &mut Wire) {
    let mut refused = |what: &str, ext: Value, body: &[u8], code: i32| {
        let answer = wire.call(SEND_MESSAGE, ext, body).unwrap();
        assert_eq!(answer.code, code, "{what}: {}", answer.remark);
        assert!(!answer.remark.is_empty(), "{what}: says why");
    };
    refused("queue after the last", send(TOPIC, QUEUES), b"x", INVALID_PARAMETER);
    refused("topic with a space", send("In put", 0), b"x", INVALID_PARAMETER);
    refused("topic with a path", send("../Input", 0), b"x", INVALID_PARAMETER);
    refused("long topic", send(&"t".repeat(300), 0), b"x", INVALID_PARAMETER);
    refused("reserved topic", send("SCHEDULE_TOPIC_XXXX", 0), b"x", NO_PERMISSION);
    refused("body over the limit", send(TOPIC, 0), &vec![b'x'; (4 << 20) + 1], MESSAGE_ILLEGAL);
    let mut many_properties = send(TOPIC, 0);
    many_properties["properties"] = json!(format!("K\u{1}{}\u{2}", "v".repeat(40_000)));
    refused("properties over the limit", many_properties, b"x", MESSAGE_ILLEGAL);
    let mut from_nowhere = send("NeverCreated", 0);
    from_nowhere["defaultTopic"] = json!("NoSuchDefault");
    refused("unknown topic and default", from_nowhere, b"x", TOPIC_NOT_EXIST);

    // A batch that is not one.
    let mut batch = send(TOPIC, 0);
    batch["batch"] = json!("true");
    let answer = wire.call(SEND_MESSAGE, batch, &[0xFF; 64]).unwrap();
    assert_ne!(answer.code, 0, "a malformed batch is not stored");

    // Not a number where one belongs.
    let mut text = send(TOPIC, 0);
    text["queueId"] = json!("first");
    assert_ne!(wire.call(SEND_MESSAGE, text, b"x").unwrap().code, 0);

    // None of these left anything behind; a negative queue lets the broker choose.
    for queue in 0..QUEUES {
        assert_eq!(wire.max_offset(TOPIC, queue).unwrap(), 0, "queue {queue}");
    }
    let answer = wire.call(SEND_MESSAGE, send(TOPIC, 0), b"good").unwrap();
    assert_eq!((answer.code, answer.number("queueOffset")), (0, 0), "{}", answer.remark);
}

fn pulls(wire: &mut Wire) {
    let mut ask = |topic: &str, queue: i32, offset: i64| {
        wire.call(PULL_MESSAGE, pull(topic, queue, offset), b"").unwrap()
    };
    let negative = ask(TOPIC, 0, -5);
    assert_eq!((negative.code, negative.number("nextBeginOffset")), (PULL_OFFSET_MOVED, 0));
    let beyond = ask(TOPIC, 0, 1_000);
    assert_eq!((beyond.code, beyond.number("nextBeginOffset")), (PULL_OFFSET_MOVED, 1));
    let end = ask(TOPIC, 0, 1);
    assert_eq!((end.code, end.number("nextBeginOffset")), (PULL_NOT_FOUND, 1));
    let empty = ask(TOPIC, 1, 0);
    assert_eq!((empty.code, empty.number("maxOffset")), (PULL_NOT_FOUND, 0));
    assert_eq!(ask(TOPIC, QUEUES, 0).code, INVALID_PARAMETER);
    assert_eq!(ask(TOPIC, -1, 0).code, INVALID_PARAMETER);
    assert_eq!(ask("NeverCreated", 0, 0).code, TOPIC_NOT_EXIST);
    assert_eq!(wire.max_offset("NeverCreated", 0).unwrap(), 0);
    assert_eq!(wire.min_offset(TOPIC, 77).unwrap(), 0);
}

fn topics(wire: &mut Wire) {
    let long = "t".repeat(128);
    for name in ["", "a b", "topic?", "TBW102", "SCHEDULE_TOPIC_XXXX", &long] {
        let problem = wire.create_topic(name, 4).unwrap_err();
        assert!(problem.to_string().len() > "code 29: ".len(), "{name:?}: says why: {problem}");
    }
    let mut no_queues = json!({
        "topic": "Sizes", "defaultTopic": "TBW102", "readQueueNums": "-1", "writeQueueNums": "4",
        "perm": "6", "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false",
    });
    assert_ne!(wire.call(CREATE_TOPIC, no_queues.clone(), b"").unwrap().code, 0);
    no_queues["readQueueNums"] = json!("2000000000");
    assert_ne!(wire.call(CREATE_TOPIC, no_queues, b"").unwrap().code, 0);
}

/// Three bytes of text become a subscription, which takes far more.
fn heartbeats(wire: &mut Wire) {
    let subscriptions = vec!["{}"; 2_000_000].join(",");
    let groups = format!(r#"[{{"groupName":"g","subscriptionDataSet":[{subscriptions}]}}]"#);
    let body = format!(r#"{{"clientID":"c","consumerDataSet":{groups}}}"#);
    let answer = wire.call(HEART_BEAT, json!({}), body.as_bytes()).unwrap();
    assert_eq!(answer.code, INVALID_PARAMETER, "{}", answer.remark);
    assert!(answer.remark.contains("1048576 bytes"), "{}", answer.remark);
    let body = r#"{"clientID":"c","producerDataSet":[{"groupName":"g"}]}"#;
    let answer = wire.call(HEART_BEAT, json!({}), body.as_bytes()).unwrap();
    assert_eq!(answer.code, 0, "{}", answer.remark);
}

fn routes(cluster: &Cluster) {
    let mut name_server = Wire::connect(cluster.name_servers().parse().unwrap()).unwrap();
    // A name server that has just started does not yet claim that a topic does not exist.
    let answer = poll::until("the name server is sure", LIMIT, || {
        let route = name_server.call(GET_ROUTE, json!({ "topic": "NeverCreated" }), b"").unwrap();
        (route.code != NOT_READY).then_some(route)
    });
    assert_eq!(answer.code, TOPIC_NOT_EXIST, "{}", answer.remark);
    let answer = name_server.call(9_999, json!({}), b"").unwrap();
    assert_eq!(answer.code, NOT_SUPPORTED, "{}", answer.remark);
}

fn broken_frames(leader: SocketAddr) {
    let frames: [(&str, &[u8]); 7] = [
        ("negative length", &[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]),
        ("length over the limit", &[0x02, 0, 0, 0, 0, 0, 0, 0]),
        ("length below its own header word", &[0, 0, 0, 2, 0, 0]),
        ("header longer than the frame", &[0, 0, 0, 8, 0, 0, 1, 0, b'{', b'}', 0, 0]),
        ("header that is not JSON", &[0, 0, 0, 8, 0, 0, 0, 4, b'o', b'o', b'p', b's']),
        ("unknown serialization", &[0, 0, 0, 8, 9, 0, 0, 4, b'{', b'}', 0, 0]),
        ("another protocol", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ];
    for (what, frame) in frames {
        let mut stream = TcpStream::connect(leader).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(frame).unwrap();
        let mut answer = Vec::new();
        // Closed, with or without an answer before; a reset is a way of closing, too.
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{what} keeps open");
        }
    }
}

/// Many pulls wait on one connection, a message wakes them all, and their client reads nothing: what is
/// queued for it stays within the bound of a connection.
fn answers_that_nobody_reads(leader: SocketAddr) {
    const TOPIC: &str = "Unread";
    const PULLS: usize = 400;
    const BODY_BYTES: usize = 200 << 10;
    const QUEUED_BYTES_MAX: usize = 16 << 20;
    // The sockets' own buffers hold some more.
    const FOUND_MAX: usize = (QUEUED_BYTES_MAX + (16 << 20)) / BODY_BYTES;

    let (mut lazy, mut other) = (Wire::connect(leader).unwrap(), Wire::connect(leader).unwrap());
    other.create_topic(TOPIC, 1).unwrap();
    let mut held = pull(TOPIC, 0, 0);
    held["sysFlag"] = json!("6");
    held["suspendTimeoutMillis"] = json!("20000");
    for _ in 0..PULLS {
        lazy.request(PULL_MESSAGE, held.clone(), b"").unwrap();
    }
    // Requests of one connection are taken in order: once this is answered, all of them wait.
    assert_eq!(lazy.max_offset(TOPIC, 0).unwrap(), 0);
    other.request_send(TOPIC, 0, &vec![b'.'; BODY_BYTES]).unwrap();
    other.receive().unwrap().succeeded().unwrap();
    poll::until("all pulls woken", LIMIT, || {
        let told = other.call(RUNTIME_INFO, json!({}), b"").unwrap().succeeded().unwrap();
        String::from_utf8_lossy(&told.body).contains("\"parkedPulls\":\"0\"").then_some(())
    });
    let mut found = 0;
    for _ in 0..PULLS {
        let answer = lazy.receive().unwrap();
        match answer.code {
            0 => found += 1,
            code => {
                assert_eq!((code, answer.number("nextBeginOffset")), (PULL_RETRY_IMMEDIATELY, 0))
            }
        }
    }
    assert!((1..=FOUND_MAX).contains(&found), "{found} of {PULLS} pulls got the message");
}

fn send(topic: &str, queue: i32) -> Value {
    json!({
        "producerGroup": "g", "topic": topic, "defaultTopic": "TBW102",
        "defaultTopicQueueNums": "4", "queueId": queue.to_string(), "sysFlag": "0",
        "bornTimestamp": "1700000000000", "flag": "0", "properties": "", "reconsumeTimes": "0",
    })
}

fn pull(topic: &str, queue: i32, offset: i64) -> Value {
    json!({
        "consumerGroup": "g", "topic": topic, "queueId": queue.to_string(),
        "queueOffset": offset.to_string(), "maxMsgNums": "32", "sysFlag": "4",
        "commitOffset": "0", "suspendTimeoutMillis": "0", "subscription": "*",
        "subVersion": "0", "expressionType": "TAG",
    })
}
