//! The types a setting can have: how each is read from text and printed back.
//!
//! Invariant: `parse(render(x)) == x`, so that a printed configuration can be used as a file.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// A type that a configuration value can have.
pub trait Setting: Sized {
    /// Whether the text is a decimal number, checked against the key's range before parsing.
    const NUMERIC: bool = false;
    /// Reads the value; the error says what was expected.
    fn parse(text: &str) -> Result<Self, String>;
    /// The text that reads back as this value.
    fn render(&self) -> String;
}

macro_rules! numeric {
    ($($number:ty),*) => {$(
        impl Setting for $number {
            const NUMERIC: bool = true;
            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| "a whole number".to_owned())
            }
            fn render(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
numeric!(u8, u16, u32, u64, usize, i32, i64);

impl Setting for bool {
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("true or false".to_owned()),
        }
    }
    fn render(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
    fn render(&self) -> String {
        self.clone()
    }
}

impl Setting for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(PathBuf::from(text))
    }
    fn render(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for IpAddr {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "an IP address to listen on, 0.0.0.0 for all".to_owned())
    }
    fn render(&self) -> String {
        self.to_string()
    }
}

/// `host:port;host:port`, in the order given.
impl Setting for Vec<String> {
    fn parse(text: &str) -> Result<Self, String> {
        let addresses = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        let addresses: Vec<String> = addresses.map(str::to_owned).collect();
        if addresses.iter().any(|address| split_host_port(address).is_none()) {
            return Err("host:port;host:port with ports from 1 to 65535".to_owned());
        }
        Ok(addresses)
    }
    fn render(&self) -> String {
        self.join(";")
    }
}

/// When a message counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushDiskType {
    /// After it was fsynced on a majority.
    SyncFlush,
    /// After a majority has it in memory.
    AsyncFlush,
}

impl Setting for FlushDiskType {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "SYNC_FLUSH" => Ok(FlushDiskType::SyncFlush),
            "ASYNC_FLUSH" => Ok(FlushDiskType::AsyncFlush),
            _ => Err("SYNC_FLUSH or ASYNC_FLUSH".to_owned()),
        }
    }
    fn render(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for FlushDiskType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FlushDiskType::SyncFlush => "SYNC_FLUSH",
            FlushDiskType::AsyncFlush => "ASYNC_FLUSH",
        })
    }
}

/// How metrics leave the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsExporterType {
    /// Not at all.
    Disable,
    /// Prometheus asks for them.
    Prom,
    /// RocketMQ would push them; here they stay.
    OtlpGrpc,
    /// RocketMQ would write them to its log; here they stay.
    Log,
}

impl Setting for MetricsExporterType {
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_uppercase().as_str() {
            "DISABLE" => Ok(MetricsExporterType::Disable),
            "PROM" => Ok(MetricsExporterType::Prom),
            "OTLP_GRPC" => Ok(MetricsExporterType::OtlpGrpc),
            "LOG" => Ok(MetricsExporterType::Log),
            _ => Err("DISABLE or PROM".to_owned()),
        }
    }
    fn render(&self) -> String {
        let name = match self {
            MetricsExporterType::Disable => "DISABLE",
            MetricsExporterType::Prom => "PROM",
            MetricsExporterType::OtlpGrpc => "OTLP_GRPC",
            MetricsExporterType::Log => "LOG",
        };
        name.to_owned()
    }
}

/// Hours of the day, each below 24.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours(pub Vec<u8>);

impl Hours {
    /// Whether `hour` is one of them.
    pub fn contains(&self, hour: u8) -> bool {
        self.0.contains(&hour)
    }
}

impl Setting for Hours {
    fn parse(text: &str) -> Result<Self, String> {
        let hours = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        let hours: Result<Vec<u8>, _> = hours.map(str::parse::<u8>).collect();
        match hours {
            Ok(hours) if !hours.is_empty() && hours.iter().all(|hour| *hour < 24) => {
                Ok(Hours(hours))
            }
            _ => Err("hours of the day from 00 to 23, separated by `;`".to_owned()),
        }
    }
    fn render(&self) -> String {
        let hours: Vec<String> = self.0.iter().map(|hour| format!("{hour:02}")).collect();
        hours.join(";")
    }
}

/// Member ids such as `n0`, separated by `;`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberIds(pub Vec<String>);

impl Setting for MemberIds {
    fn parse(text: &str) -> Result<Self, String> {
        let ids = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        let ids: Vec<String> = ids.map(str::to_owned).collect();
        if ids.iter().any(|id| member_number(id).is_none()) {
            return Err("member ids, a letter and a number each: n0;n1".to_owned());
        }
        Ok(MemberIds(ids))
    }
    fn render(&self) -> String {
        self.0.join(";")
    }
}

/// One member of a broker group: `n0-host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// The member id, a letter and a number: `n0`.
    pub name: String,
    /// The number in the member id.
    pub number: u32,
    /// Where its Raft transport listens.
    pub host: String,
    /// The port of its Raft transport.
    pub port: u16,
}

impl PeerAddress {
    /// The id in the Raft group: the number plus one, because Raft has no member zero.
    pub fn raft_id(&self) -> u64 {
        u64::from(self.number) + 1
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}:{}", self.name, self.host, self.port)
    }
}

impl Setting for Vec<PeerAddress> {
    fn parse(text: &str) -> Result<Self, String> {
        let peers = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        peers.map(|peer| parse_peer(peer).ok_or_else(|| peer_expected(peer))).collect()
    }
    fn render(&self) -> String {
        let peers: Vec<String> = self.iter().map(PeerAddress::to_string).collect();
        peers.join(";")
    }
}

fn peer_expected(peer: &str) -> String {
    format!("n0-host:port;n1-host:port;n2-host:port, and `{peer}` is not of that form")
}

fn parse_peer(text: &str) -> Option<PeerAddress> {
    let (name, address) = text.split_once('-')?;
    let number = member_number(name)?;
    let (host, port) = split_host_port(address)?;
    Some(PeerAddress { name: name.to_owned(), number, host: host.to_owned(), port })
}

/// The number in a member id such as `n0`: one letter, then digits.
pub fn member_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix(|c: char| c.is_ascii_alphabetic())?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Broker ids at the name server are the number plus one, in 32 bits for old clients.
    digits.parse().ok().filter(|number| *number < 1_000_000)
}

/// Splits `host:port`; the port is not zero and the host not empty.
pub fn split_host_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    let plain = !host.is_empty() && !host.contains(char::is_whitespace);
    plain.then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Setting + PartialEq + std::fmt::Debug>(text: &str) {
        let value = T::parse(text).unwrap();
        assert_eq!(T::parse(&value.render()).unwrap(), value);
    }

    #[test]
    fn what_is_printed_reads_back() {
        round_trip::<Hours>("04;16");
        round_trip::<Vec<String>>(" a:1 ; b:2;");
        round_trip::<FlushDiskType>("ASYNC_FLUSH");
        round_trip::<Vec<PeerAddress>>("n0-a-b.c:1;n1-[::1]:2;");
        round_trip::<bool>("TRUE");
        round_trip::<MetricsExporterType>("prom");
        round_trip::<MetricsExporterType>("OTLP_GRPC");
    }

    #[test]
    fn a_peer_is_a_letter_a_number_and_an_address() {
        let peers = Vec::<PeerAddress>::parse("n0-127.0.0.1:40911;n12-my-host:40912").unwrap();
        assert_eq!(peers[1].name, "n12");
        assert_eq!(peers[1].raft_id(), 13);
        assert_eq!(peers[1].address(), "my-host:40912");
        for bad in ["n0", "n-a:1", "0-a:1", "n0-a", "n0-a:0", "n0-a:70000", "n0-:1", "nx1-a:1"] {
            assert!(Vec::<PeerAddress>::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bad_values_say_what_was_expected() {
        assert!(Hours::parse("24").unwrap_err().contains("00 to 23"));
        assert!(FlushDiskType::parse("sync").unwrap_err().contains("SYNC_FLUSH"));
        assert!(bool::parse("yes").is_err());
        assert!(Vec::<String>::parse("localhost").is_err());
    }
}
