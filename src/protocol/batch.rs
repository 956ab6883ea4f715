//! The body of a batch send: messages back to back, without a count.
//!
//! Invariant: an element's body and properties are slices of the request's body; nothing is copied
//! until it becomes a record. A body with any element that does not add up is refused as a whole.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::properties::PROPERTIES_BYTES_MAX;

/// Bytes of an element beside its body and properties.
const FIXED_BYTES: usize = 4 + 4 + 4 + 4 + 4 + 2;

/// One message of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchElement {
    /// The user's flag.
    pub flag: i32,
    /// Body.
    pub body: Bytes,
    /// Property string of this message alone.
    pub properties: Bytes,
}

/// Why a body is not a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// No message at all.
    #[error("a batch holds no message")]
    Empty,
    /// The bytes end inside an element, or a length inside it does not add up.
    #[error("message {index} of a batch is malformed")]
    Malformed {
        /// Which element, from zero.
        index: usize,
    },
    /// More messages than one request may carry.
    #[error("a batch holds more than {messages_max} messages")]
    TooMany {
        /// The limit.
        messages_max: usize,
    },
}

/// Splits the body of a batch send into its messages.
///
/// # Errors
/// When it is empty, malformed, or holds more than `messages_max` messages.
pub fn decode(mut body: Bytes, messages_max: usize) -> Result<Vec<BatchElement>, BatchError> {
    if body.is_empty() {
        return Err(BatchError::Empty);
    }
    let mut elements = Vec::new();
    while !body.is_empty() {
        if elements.len() == messages_max {
            return Err(BatchError::TooMany { messages_max });
        }
        let element =
            take_element(&mut body).ok_or(BatchError::Malformed { index: elements.len() })?;
        elements.push(element);
    }
    Ok(elements)
}

fn take_element(rest: &mut Bytes) -> Option<BatchElement> {
    let total = usize::try_from(rest.try_get_i32().ok()?).ok()?;
    let mut element =
        (total >= FIXED_BYTES && total - 4 <= rest.len()).then(|| rest.split_to(total - 4))?;
    let _magic = element.try_get_i32().ok()?;
    let _body_crc = element.try_get_i32().ok()?;
    let flag = element.try_get_i32().ok()?;
    let body_length = usize::try_from(element.try_get_i32().ok()?).ok()?;
    let body = (body_length <= element.len()).then(|| element.split_to(body_length))?;
    let properties_length = usize::try_from(element.try_get_i16().ok()?).ok()?;
    (properties_length == element.len()).then_some(BatchElement { flag, body, properties: element })
}

/// Appends one message to the body of a batch send.
///
/// # Panics
/// When the properties are longer than a record takes, or the body than a frame.
pub fn encode(flag: i32, body: &[u8], properties: &[u8], out: &mut BytesMut) {
    assert!(properties.len() <= PROPERTIES_BYTES_MAX, "properties fit their length");
    let total = FIXED_BYTES + body.len() + properties.len();
    out.reserve(total);
    out.put_i32(i32::try_from(total).expect("a message fits a frame"));
    out.put_i32(0);
    out.put_i32(0);
    out.put_i32(flag);
    out.put_i32(i32::try_from(body.len()).expect("a message fits a frame"));
    out.put_slice(body);
    out.put_i16(i16::try_from(properties.len()).expect("checked above"));
    out.put_slice(properties);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn elements_come_back_in_order() {
        let mut out = BytesMut::new();
        encode(1, b"one", b"UNIQ_KEY\x01a\x02", &mut out);
        encode(2, b"", b"", &mut out);
        let elements = decode(out.freeze(), 10).unwrap();
        assert_eq!(elements.len(), 2);
        assert_eq!(elements[0].body, "one");
        assert_eq!(&elements[0].properties[..], b"UNIQ_KEY\x01a\x02");
        assert_eq!((elements[1].flag, elements[1].body.len()), (2, 0));
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        assert_eq!(decode(Bytes::new(), 10), Err(BatchError::Empty));
        let mut out = BytesMut::new();
        encode(0, b"one", b"", &mut out);
        encode(0, b"two", b"", &mut out);
        let whole = out.freeze();
        let cut = whole.slice(..whole.len() - 1);
        assert_eq!(decode(cut, 10), Err(BatchError::Malformed { index: 1 }));
        assert_eq!(decode(whole, 1), Err(BatchError::TooMany { messages_max: 1 }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(Bytes::from(bytes), 10);
        }
    }
}
