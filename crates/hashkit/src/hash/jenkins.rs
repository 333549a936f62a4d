//! Bob Jenkins' two hashes: one-at-a-time and lookup3 (burtleburtle.net/bob/hash).

use super::CharSign;

/// One-at-a-time, but for the widening of bytes from 0x80 up.
pub(super) fn one_at_a_time(sign: CharSign, key: &[u8]) -> u32 {
    let mut hash: u32 = 0;
    for &byte in key {
        hash = hash.wrapping_add(sign.widen(byte));
        hash = hash.wrapping_add(hash << 10);
        hash ^= hash >> 6;
    }
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 11;
    hash.wrapping_add(hash << 15)
}

/// `hashlittle` of lookup3 with Twemproxy's initial value 13.
///
/// The last block, of 1 to 12 bytes, is padded with zeros, mixed in and finished; an empty key has
/// no last block and stays at the initial state.
pub(super) fn lookup3(key: &[u8]) -> u32 {
    // C cuts the length to 32 bits as well.
    let start = 0xdead_beef_u32.wrapping_add(key.len() as u32).wrapping_add(13);
    let mut state = [start; 3];
    let mut rest = key;
    while let Some((block, after)) = rest.split_first_chunk::<12>() {
        add(&mut state, block);
        if after.is_empty() {
            return finish(state);
        }
        mix(&mut state);
        rest = after;
    }
    if rest.is_empty() {
        return start;
    }
    let mut block = [0; 12];
    block[..rest.len()].copy_from_slice(rest);
    add(&mut state, &block);
    finish(state)
}

fn add(state: &mut [u32; 3], block: &[u8; 12]) {
    for (word, bytes) in state.iter_mut().zip(block.chunks_exact(4)) {
        *word = word.wrapping_add(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    }
}

/// Mixes three words reversibly. The rotations are Jenkins'; the roles of the words rotate too.
fn mix(state: &mut [u32; 3]) {
    let [mut a, mut b, mut c] = *state;
    for [first, second, third] in [[4, 6, 8], [16, 19, 4]] {
        a = a.wrapping_sub(c) ^ c.rotate_left(first);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(second);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(third);
        b = b.wrapping_add(a);
    }
    *state = [a, b, c];
}

/// Mixes three words finally; the third is the hash.
fn finish(state: [u32; 3]) -> u32 {
    let [mut a, mut b, mut c] = state;
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}
