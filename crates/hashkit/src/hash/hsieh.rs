//! Paul Hsieh's SuperFastHash (azillionmonkeys.com/qed/hash.html), with Twemproxy's start.

use super::CharSign;

/// SuperFastHash from 0, where the author starts from the length; an empty key stays 0.
///
/// `sign` reaches one byte only: the last of a key whose length is 3 above a multiple of 4.
pub(super) fn hsieh(sign: CharSign, key: &[u8]) -> u32 {
    if key.is_empty() {
        return 0;
    }
    let mut words = key.chunks_exact(4);
    let mut hash: u32 = 0;
    for word in &mut words {
        hash = hash.wrapping_add(pair(word[0], word[1]));
        let mixed = (pair(word[2], word[3]) << 11) ^ hash;
        hash = (hash << 16) ^ mixed;
        hash = hash.wrapping_add(hash >> 11);
    }
    match *words.remainder() {
        [a, b, c] => {
            hash = hash.wrapping_add(pair(a, b));
            hash ^= hash << 16;
            hash ^= sign.widen(c) << 18;
            hash = hash.wrapping_add(hash >> 11);
        }
        [a, b] => {
            hash = hash.wrapping_add(pair(a, b));
            hash ^= hash << 11;
            hash = hash.wrapping_add(hash >> 17);
        }
        [a] => {
            hash = hash.wrapping_add(u32::from(a));
            hash ^= hash << 10;
            hash = hash.wrapping_add(hash >> 1);
        }
        _ => {}
    }
    // Let the last bits avalanche.
    hash ^= hash << 3;
    hash = hash.wrapping_add(hash >> 5);
    hash ^= hash << 4;
    hash = hash.wrapping_add(hash >> 17);
    hash ^= hash << 25;
    hash.wrapping_add(hash >> 6)
}

fn pair(low: u8, high: u8) -> u32 {
    u32::from(u16::from_le_bytes([low, high]))
}
