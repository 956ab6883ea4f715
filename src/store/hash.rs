//! A fast hash of short byte strings.
//!
//! Invariant: the same on every machine and in every run, because key indexes on disk hold it.
//! It does not resist chosen collisions: who looks something up by it compares the text as well.

use std::hash::{BuildHasherDefault, Hasher};

const MULTIPLIER_A: u64 = 0x9e37_79b9_7f4a_7c15;
const MULTIPLIER_B: u64 = 0xd6e8_feb8_6659_fd93;

/// A map keyed by names or numbers.
pub type FastMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<FastHasher>>;

/// Multiplies to 128 bits and folds the halves, which lets each input bit reach each output bit.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Hash of `bytes`, continuing `seed`.
#[inline]
pub fn hash_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = seed ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER_B);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("chunks of eight bytes"));
        state = fold(state ^ word, MULTIPLIER_A);
    }
    let mut rest = [0; 8];
    rest[..words.remainder().len()].copy_from_slice(words.remainder());
    fold(state ^ u64::from_le_bytes(rest), MULTIPLIER_B)
}

/// [`hash_bytes`] as the standard library's maps want it.
#[derive(Debug, Clone, Copy, Default)]
pub struct FastHasher(u64);

impl Hasher for FastHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash_bytes(self.0, bytes);
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = fold(self.0 ^ number ^ MULTIPLIER_B, MULTIPLIER_A);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_what_it_is_because_files_hold_it() {
        assert_eq!(hash_bytes(0, b""), hash_bytes(0, b""));
        assert_ne!(hash_bytes(0, b"a"), hash_bytes(0, b"a\0"));
        assert_ne!(hash_bytes(0, b"12345678"), hash_bytes(0, b"123456780"));
        assert_ne!(hash_bytes(1, b"key"), hash_bytes(2, b"key"));
    }

    #[test]
    fn spreads_similar_keys() {
        let mut low: Vec<u32> =
            (0..10_000).map(|i| hash_bytes(7, format!("order-{i}").as_bytes()) as u32).collect();
        low.sort_unstable();
        low.dedup();
        assert!(low.len() > 9_995, "{} distinct of 10000", low.len());
    }
}
