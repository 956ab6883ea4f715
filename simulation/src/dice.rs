//! Choices from a seed.
//!
//! Invariant: each part of a run draws from a stream of its own, so that how often one part draws
//! changes nothing for the others, and no draw depends on the order in which tasks happen to run.

/// A stream of choices (splitmix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The stream of one part of a run.
    pub fn of(seed: u64, part: &str) -> Dice {
        let mut dice = Dice(seed);
        for byte in part.bytes() {
            dice.0 = dice.roll() ^ u64::from(byte);
        }
        dice
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        assert!(least <= most, "no number from {least} to {most}");
        least + self.roll() % (most - least + 1)
    }

    /// A place in a list of that length.
    pub fn below(&mut self, length: usize) -> usize {
        assert!(length > 0, "nothing to choose from");
        (self.roll() % length as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.roll().is_multiple_of(n)
    }

    /// One of them.
    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// Some of them, each with the chance of one in two, at least one.
    pub fn some<T: Clone>(&mut self, choices: &[T]) -> Vec<T> {
        let mut some: Vec<T> = choices.iter().filter(|_| self.one_in(2)).cloned().collect();
        if some.is_empty() {
            some.push(self.pick(choices));
        }
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_repeatable_and_apart() {
        let (mut one, mut same, mut other) = (Dice::of(7, "a"), Dice::of(7, "a"), Dice::of(7, "b"));
        let first: Vec<u64> = (0..8).map(|_| one.roll()).collect();
        assert_eq!(first, (0..8).map(|_| same.roll()).collect::<Vec<_>>());
        assert_ne!(first, (0..8).map(|_| other.roll()).collect::<Vec<_>>());
    }

    #[test]
    fn bounds_are_kept_and_reached() {
        let mut dice = Dice::of(1, "bounds");
        let drawn: Vec<u64> = (0..200).map(|_| dice.between(3, 5)).collect();
        assert!(drawn.iter().all(|number| (3..=5).contains(number)));
        assert!([3, 4, 5].iter().all(|number| drawn.contains(number)));
        assert!(!dice.some(&[1]).is_empty());
    }
}
