//! The numbers that C's `random()` gives on glibc, for the distribution `random`.
//!
//! Twemproxy seeds them with the time in seconds as it builds its first ring, and all pools of a
//! process draw from one sequence. The caller owns ours, and its seed.

/// How many words the additive feedback generator keeps (glibc's default, TYPE_3).
const WORDS: usize = 31;
/// How far behind the newest word its second summand lies.
const SEPARATION: usize = 3;
/// Outputs thrown away after seeding: ten for each word.
const WARM_UP: usize = 10 * WORDS;

/// An additive feedback generator: each word is the sum of those 31 and 3 before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random {
    words: [u32; WORDS],
    /// The index of the oldest word, which the next one replaces.
    oldest: usize,
}

impl Random {
    /// As after `srandom(seed)`.
    #[must_use]
    pub fn seeded(seed: u32) -> Random {
        let mut words = [0; WORDS];
        // glibc takes 1 for 0, which would give zeros for ever, and holds seeds in signed words.
        let mut word = seed.max(1).cast_signed();
        for slot in &mut words {
            *slot = word.cast_unsigned();
            word = minimal_standard(word);
        }
        // glibc counts the first three words as drawn already.
        let mut random = Random { words, oldest: SEPARATION };
        for _ in 0..WARM_UP {
            random.next();
        }
        random
    }

    /// The next number of the sequence, below 2^31.
    #[expect(clippy::should_implement_trait, reason = "an iterator's Option would be noise: it never ends")]
    #[inline]
    pub fn next(&mut self) -> u32 {
        let behind = (self.oldest + WORDS - SEPARATION) % WORDS;
        let sum = self.words[self.oldest].wrapping_add(self.words[behind]);
        self.words[self.oldest] = sum;
        self.oldest = (self.oldest + 1) % WORDS;
        sum >> 1
    }

    /// One of `live` servers, by an index below `live`; None, and no number drawn, if there is none.
    #[inline]
    pub fn pick(&mut self, live: usize) -> Option<usize> {
        (live > 0).then(|| self.next() as usize % live)
    }
}

/// Park and Miller's generator, 16807 times the word modulo 2^31 - 1, by Schrage's division, which
/// for a negative word (a seed from 2^31 up) gives what glibc gives.
fn minimal_standard(word: i32) -> i32 {
    let next = 16807 * (word % 127_773) - 2836 * (word / 127_773);
    if next < 0 { next + i32::MAX } else { next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata;

    #[test]
    fn glibc_own_numbers() {
        let rows = testdata::tsv(include_str!("../../../testdata/hashkit/random/random.tsv"));
        assert!(rows.len() >= 8);
        for row in rows {
            let mut random = Random::seeded(row[0].parse().unwrap());
            for (i, expected) in row[1..].iter().enumerate() {
                assert_eq!(random.next().to_string(), *expected, "seed {} number {i}", row[0]);
            }
        }
    }

    #[test]
    fn picks_are_numbers_modulo_the_living() {
        let (mut picks, mut numbers) = (Random::seeded(7), Random::seeded(7));
        for live in 1..100 {
            assert_eq!(picks.pick(live), Some(numbers.next() as usize % live));
        }
        assert_eq!(picks.pick(0), None);
        assert_eq!(picks, numbers);
    }
}
