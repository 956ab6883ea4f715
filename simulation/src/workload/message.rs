//! The bodies of messages: their number, and bytes that follow from it.
//!
//! Invariant: a body that reads back is exactly the one that was made for its number.

use crate::dice::Dice;

/// Bytes before the padding.
const NUMBER_BYTES: usize = 8;

/// The body of a message, between eight bytes and about `bytes_max` long.
pub fn body(number: u64, bytes_max: u64) -> Vec<u8> {
    let mut dice = Dice::of(number, "body");
    let padding = dice.between(0, bytes_max) as usize;
    let pattern = dice.roll().to_be_bytes().repeat(padding.div_ceil(8));
    let mut body = Vec::with_capacity(NUMBER_BYTES + padding);
    body.extend_from_slice(&number.to_be_bytes());
    body.extend_from_slice(&pattern[..padding]);
    body
}

/// The number of the message with this body; none when no message has it.
pub fn number_of(found: &[u8], bytes_max: u64) -> Option<u64> {
    let number = u64::from_be_bytes(*found.first_chunk::<NUMBER_BYTES>()?);
    (body(number, bytes_max) == found).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_tell_their_number_and_nothing_else_does() {
        for number in [0, 1, 77, u64::MAX] {
            let mut bytes = body(number, 300);
            assert_eq!(number_of(&bytes, 300), Some(number));
            bytes.push(0);
            assert_eq!(number_of(&bytes, 300), None);
        }
        assert_eq!(number_of(b"short", 300), None);
    }
}
