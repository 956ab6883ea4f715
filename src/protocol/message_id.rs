//! The two kinds of message id: the offset id, which says where a message is stored, and the unique
//! id, which the producer's client gives it before it is sent.
//!
//! Invariant: an offset id decodes to exactly the host and offset it was made of; tools connect to
//! that host, transaction producers send the offset back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use super::record::canonical_host;

const HEX: &[u8; 16] = b"0123456789ABCDEF";
const V4_TEXT_BYTES: usize = 32;
const V6_TEXT_BYTES: usize = 56;

/// Why a text is not an offset message id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an offset message id: it takes 32 or 56 hexadecimal digits")]
pub struct MessageIdError(pub String);

/// Where a message is stored: the broker and the position in its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetMessageId {
    /// The broker's address.
    pub store_host: SocketAddr,
    /// Position of the record.
    pub offset: i64,
}

/// The text of an offset message id, without a heap allocation.
#[derive(Debug, Clone, Copy)]
pub struct OffsetMessageIdText {
    text: [u8; V6_TEXT_BYTES],
    length: usize,
}

impl OffsetMessageIdText {
    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.length]).expect("hexadecimal digits are ASCII")
    }
}

impl OffsetMessageId {
    /// The id in upper case hexadecimal: address, port in four bytes, offset in eight.
    pub fn text(&self) -> OffsetMessageIdText {
        let host = canonical_host(self.store_host);
        let mut out = OffsetMessageIdText { text: [0; V6_TEXT_BYTES], length: 0 };
        let mut put = |bytes: &[u8]| {
            for byte in bytes {
                out.text[out.length] = HEX[usize::from(byte >> 4)];
                out.text[out.length + 1] = HEX[usize::from(byte & 0xF)];
                out.length += 2;
            }
        };
        match host.ip() {
            IpAddr::V4(v4) => put(&v4.octets()),
            IpAddr::V6(v6) => put(&v6.octets()),
        }
        put(&u32::from(host.port()).to_be_bytes());
        put(&self.offset.to_be_bytes());
        out
    }

    /// Reads an id back.
    ///
    /// # Errors
    /// When the text is not one.
    pub fn decode(text: &str) -> Result<Self, MessageIdError> {
        Self::try_decode(text.as_bytes()).ok_or_else(|| MessageIdError(text.to_owned()))
    }

    fn try_decode(text: &[u8]) -> Option<Self> {
        if text.len() != V4_TEXT_BYTES && text.len() != V6_TEXT_BYTES {
            return None;
        }
        let mut bytes = [0u8; V6_TEXT_BYTES / 2];
        let length = text.len() / 2;
        for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let high = char::from(digits[0]).to_digit(16)?;
            let low = char::from(digits[1]).to_digit(16)?;
            *byte = u8::try_from(high << 4 | low).ok()?;
        }
        let (address, rest) = bytes[..length].split_at(length - 12);
        let ip = match <[u8; 4]>::try_from(address) {
            Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
            Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?)),
        };
        let port = u32::from_be_bytes(rest[..4].try_into().ok()?);
        let offset = i64::from_be_bytes(rest[4..].try_into().ok()?);
        let port = u16::try_from(port).ok()?;
        Some(Self { store_host: SocketAddr::new(ip, port), offset })
    }
}

impl std::fmt::Display for OffsetMessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text().as_str())
    }
}

/// Makes the unique ids of one client process: address, process, a number of the generator's own,
/// milliseconds within the month, counter.
#[derive(Debug)]
pub struct UniqueIdGenerator {
    prefix: String,
    counter: AtomicU64,
}

impl UniqueIdGenerator {
    /// `salt` tells generators of one process apart.
    pub fn new(ip: IpAddr, process: u32, salt: u32) -> Self {
        let mut prefix = String::with_capacity(V6_TEXT_BYTES);
        match ip.to_canonical() {
            IpAddr::V4(v4) => v4.octets().iter().for_each(|byte| push_hex(&mut prefix, &[*byte])),
            IpAddr::V6(v6) => push_hex(&mut prefix, &v6.octets()),
        }
        push_hex(&mut prefix, &process.to_be_bytes()[2..]);
        push_hex(&mut prefix, &salt.to_be_bytes());
        Self { prefix, counter: AtomicU64::new(0) }
    }

    /// The next id. Unique among up to 65536 ids of the same millisecond.
    pub fn next(&self, now_ms: i64) -> String {
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let elapsed = now_ms.saturating_sub(month_start_ms(now_ms));
        let mut id = String::with_capacity(self.prefix.len() + 12);
        id.push_str(&self.prefix);
        // A month has fewer than 2^32 milliseconds.
        push_hex(&mut id, &elapsed.to_be_bytes()[4..]);
        push_hex(&mut id, &count.to_be_bytes()[6..]);
        id
    }
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 0xF)]));
    }
}

/// Start of the month (UTC) that holds `now_ms`.
fn month_start_ms(now_ms: i64) -> i64 {
    const DAY_MS: i64 = 86_400_000;
    let day = now_ms.div_euclid(DAY_MS);
    // Day of the month by the civil calendar, counted in eras of 400 years from 0000-03-01.
    let shifted = day + 719_468;
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5;
    (day - day_of_month) * DAY_MS
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn offset_id_has_the_documented_form() {
        let id = OffsetMessageId { store_host: "10.0.0.1:10911".parse().unwrap(), offset: 0x123 };
        assert_eq!(id.to_string(), "0A00000100002A9F0000000000000123");
        assert_eq!(OffsetMessageId::decode("0A00000100002A9F0000000000000123"), Ok(id));
        assert_eq!(OffsetMessageId::decode("0a00000100002a9f0000000000000123"), Ok(id));
        let v6 = OffsetMessageId { store_host: "[2001:db8::1]:1".parse().unwrap(), offset: 5 };
        assert_eq!(v6.to_string().len(), 56);
        assert_eq!(OffsetMessageId::decode(&v6.to_string()), Ok(v6));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "0A00", "zz00000100002A9F0000000000000123", "日本日本日本日本日本xx"]
        {
            assert!(OffsetMessageId::decode(text).is_err(), "{text}");
        }
        // A port beyond 16 bits: some client's unique id of the same length.
        assert!(OffsetMessageId::decode("0A000001FFFF2A9F0000000000000123").is_err());
    }

    #[test]
    fn unique_ids_differ_and_have_the_usual_length() {
        let generator = UniqueIdGenerator::new("10.0.0.1".parse().unwrap(), 31_337, 7);
        let first = generator.next(1_700_000_000_000);
        let second = generator.next(1_700_000_000_000);
        assert_eq!(first.len(), 32);
        assert_ne!(first, second);
        assert!(first.starts_with("0A0000017A6900000007"));
    }

    #[test]
    fn months_begin_where_they_do() {
        // 2023-11-14T22:13:20Z lies in the month that began on 2023-11-01T00:00:00Z.
        assert_eq!(month_start_ms(1_700_000_000_000), 1_698_796_800_000);
        // 2024-02-29T12:00:00Z, and the instant a month begins.
        assert_eq!(month_start_ms(1_709_208_000_000), 1_706_745_600_000);
        assert_eq!(month_start_ms(1_706_745_600_000), 1_706_745_600_000);
        assert_eq!(month_start_ms(1_706_745_599_999), 1_704_067_200_000);
    }
}
