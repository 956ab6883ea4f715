//! A minimal client of RocketMQ's remoting protocol: blocking, JSON headers, requests pipelined.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

pub const SUCCESS: i32 = 0;
pub const PULL_NOT_FOUND: i32 = 19;
const SEND_MESSAGE_V2: i32 = 310;
const PULL_MESSAGE: i32 = 11;
const UPDATE_AND_CREATE_TOPIC: i32 = 17;
const GET_MAX_OFFSET: i32 = 30;
const GET_MIN_OFFSET: i32 = 31;
const GET_BROKER_CLUSTER_INFO: i32 = 106;
/// A machine that does much else may take long for anything.
const TIMEOUT: Duration = Duration::from_secs(60);

pub struct Wire {
    reader: BufReader<TcpStream>,
    opaque: i32,
}

#[derive(Debug)]
pub struct Answer {
    pub opaque: i32,
    pub code: i32,
    pub remark: String,
    pub ext: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// A stored message as a pull returns it.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    pub queue_id: i32,
    pub queue_offset: i64,
    pub position: i64,
    pub store_timestamp_ms: i64,
    pub body: Vec<u8>,
}

impl Wire {
    pub fn connect(address: SocketAddr) -> io::Result<Wire> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Wire { reader: BufReader::with_capacity(1 << 16, stream), opaque: 0 })
    }

    /// Writes one request and returns its opaque; the answer is for `receive`.
    pub fn request(&mut self, code: i32, ext: Value, body: &[u8]) -> io::Result<i32> {
        self.opaque += 1;
        let header = json!({
            "code": code, "language": "JAVA", "version": 493, "opaque": self.opaque, "flag": 0,
            "serializeTypeCurrentRPC": "JSON", "extFields": ext,
        });
        let header = serde_json::to_vec(&header)?;
        let mut frame = Vec::with_capacity(8 + header.len() + body.len());
        frame.extend_from_slice(&((4 + header.len() + body.len()) as u32).to_be_bytes());
        frame.extend_from_slice(&(header.len() as u32).to_be_bytes());
        frame.extend_from_slice(&header);
        frame.extend_from_slice(body);
        self.reader.get_mut().write_all(&frame)?;
        Ok(self.opaque)
    }

    pub fn receive(&mut self) -> io::Result<Answer> {
        let total = self.read_u32()? as usize;
        let header_bytes = self.read_u32()? as usize;
        assert_eq!(header_bytes >> 24, 0, "a JSON request gets a JSON answer");
        assert!(header_bytes + 4 <= total, "header of {header_bytes} in a frame of {total}");
        let mut header = vec![0; header_bytes];
        self.reader.read_exact(&mut header)?;
        let mut body = vec![0; total - 4 - header_bytes];
        self.reader.read_exact(&mut body)?;
        let header: Value = serde_json::from_slice(&header)?;
        let mut ext = BTreeMap::new();
        for (name, value) in header["extFields"].as_object().into_iter().flatten() {
            ext.insert(name.clone(), value.as_str().expect("ext values are strings").to_owned());
        }
        Ok(Answer {
            opaque: header["opaque"].as_i64().unwrap_or(-1) as i32,
            code: header["code"].as_i64().unwrap_or(-1) as i32,
            remark: header["remark"].as_str().unwrap_or_default().to_owned(),
            ext,
            body,
        })
    }

    pub fn call(&mut self, code: i32, ext: Value, body: &[u8]) -> io::Result<Answer> {
        let opaque = self.request(code, ext, body)?;
        let answer = self.receive()?;
        assert_eq!(answer.opaque, opaque, "an answer carries its request's opaque");
        Ok(answer)
    }

    pub fn create_topic(&mut self, topic: &str, queues: i32) -> io::Result<()> {
        let ext = json!({
            "topic": topic, "defaultTopic": "TBW102", "readQueueNums": queues.to_string(),
            "writeQueueNums": queues.to_string(), "perm": "6", "topicFilterType": "SINGLE_TAG",
            "topicSysFlag": "0", "order": "false",
        });
        self.call(UPDATE_AND_CREATE_TOPIC, ext, b"")?.succeeded().map(drop)
    }

    /// Pipelines one send; its answer has `queueId` and `queueOffset`.
    pub fn request_send(&mut self, topic: &str, queue: i32, body: &[u8]) -> io::Result<i32> {
        let ext = json!({
            "a": "load", "b": topic, "c": "TBW102", "d": "4", "e": queue.to_string(), "f": "0",
            "g": "1700000000000", "h": "0", "i": "TAGS\u{1}T\u{2}", "j": "0", "k": "false",
        });
        self.request(SEND_MESSAGE_V2, ext, body)
    }

    pub fn min_offset(&mut self, topic: &str, queue: i32) -> io::Result<i64> {
        self.offset(GET_MIN_OFFSET, topic, queue)
    }

    pub fn max_offset(&mut self, topic: &str, queue: i32) -> io::Result<i64> {
        self.offset(GET_MAX_OFFSET, topic, queue)
    }

    fn offset(&mut self, code: i32, topic: &str, queue: i32) -> io::Result<i64> {
        let ext = json!({ "topic": topic, "queueId": queue.to_string() });
        Ok(self.call(code, ext, b"")?.succeeded()?.number("offset"))
    }

    /// One pull that does not wait: the records found and the offset to go on from.
    pub fn pull(&mut self, topic: &str, queue: i32, from: i64) -> io::Result<(Vec<Record>, i64)> {
        let ext = json!({
            "consumerGroup": "reader", "topic": topic, "queueId": queue.to_string(),
            "queueOffset": from.to_string(), "maxMsgNums": "512", "sysFlag": "4",
            "commitOffset": "0", "suspendTimeoutMillis": "0", "subscription": "*",
            "subVersion": "0", "expressionType": "TAG",
        });
        let answer = self.call(PULL_MESSAGE, ext, b"")?;
        if answer.code == PULL_NOT_FOUND {
            return Ok((Vec::new(), from));
        }
        let answer = answer.succeeded()?;
        Ok((parse_records(&answer.body), answer.number("nextBeginOffset")))
    }

    /// Every record of a queue, from `from` to its end.
    pub fn pull_all(&mut self, topic: &str, queue: i32, from: i64) -> io::Result<Vec<Record>> {
        let (mut all, mut next) = (Vec::new(), from);
        loop {
            let (records, after) = self.pull(topic, queue, next)?;
            if records.is_empty() {
                return Ok(all);
            }
            assert!(after > next, "pull goes on from {after} after {next}");
            all.extend(records);
            next = after;
        }
    }

    /// Broker id to address of one group, as a NameServer tells it.
    pub fn members(&mut self, broker_name: &str) -> io::Result<BTreeMap<u64, SocketAddr>> {
        let answer = self.call(GET_BROKER_CLUSTER_INFO, json!({}), b"")?.succeeded()?;
        let text = quote_keys(&String::from_utf8_lossy(&answer.body));
        let info: Value = serde_json::from_str(&text)?;
        let addresses = info["brokerAddrTable"][broker_name]["brokerAddrs"].as_object();
        let pairs = addresses.into_iter().flatten();
        Ok(pairs
            .map(|(id, address)| {
                let address = address.as_str().expect("an address is a string");
                (id.parse().expect("a broker id"), address.parse().expect("host and port"))
            })
            .collect())
    }

    fn read_u32(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.reader.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }
}

impl Answer {
    pub fn succeeded(self) -> io::Result<Answer> {
        match self.code {
            SUCCESS => Ok(self),
            code => Err(io::Error::other(format!("code {code}: {}", self.remark))),
        }
    }

    pub fn number(&self, name: &str) -> i64 {
        let text = self.ext.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"));
        text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}"))
    }
}

/// Stored records, back to back, with IPv4 hosts.
fn parse_records(mut bytes: &[u8]) -> Vec<Record> {
    const BODY_AT: usize = 84;
    let i32_at =
        |bytes: &[u8], at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let i64_at =
        |bytes: &[u8], at: usize| i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let (record, rest) = bytes.split_at(i32_at(bytes, 0) as usize);
        assert_eq!(i32_at(record, 4) as u32, 0xDAA3_20A7, "magic of a stored record");
        let body_bytes = i32_at(record, BODY_AT) as usize;
        records.push(Record {
            queue_id: i32_at(record, 12),
            queue_offset: i64_at(record, 20),
            position: i64_at(record, 28),
            store_timestamp_ms: i64_at(record, 56),
            body: record[BODY_AT + 4..BODY_AT + 4 + body_bytes].to_vec(),
        });
        bytes = rest;
    }
    records
}

/// fastjson writes the numeric keys of a map bare; strict JSON wants them quoted.
fn quote_keys(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 16);
    let mut in_string = false;
    let mut previous = ' ';
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '"' && previous != '\\' {
            in_string = !in_string;
        }
        let key_starts = matches!(previous, '{' | ',') && character.is_ascii_digit();
        if !in_string && key_starts {
            quoted.push('"');
            quoted.push(character);
            while let Some(digit) = characters.next_if(char::is_ascii_digit) {
                quoted.push(digit);
            }
            quoted.push('"');
        } else {
            quoted.push(character);
        }
        previous = character;
    }
    quoted
}
