//! The hashes of Fowler, Noll and Vo, with C's widening of `char` (RFC 9923 has the pure ones).
//!
//! Twemproxy keeps 32 bits of the 64-bit variants. The low half of a product depends only on the low
//! halves of its factors, and a widened byte has no bits from 32 up, so we work on the low half
//! throughout.

use super::CharSign;

/// The low half of the 64-bit offset basis 0xcbf29ce484222325.
const BASIS_64_LOW: u32 = 0x8422_2325;
/// The low half of the 64-bit prime 0x100000001b3.
const PRIME_64_LOW: u32 = 0x0000_01b3;
const BASIS_32: u32 = 0x811c_9dc5;
const PRIME_32: u32 = 0x0100_0193;

/// Multiply, then mix in the byte.
pub(super) fn fnv1_64(sign: CharSign, key: &[u8]) -> u32 {
    key.iter().fold(BASIS_64_LOW, |hash, &byte| hash.wrapping_mul(PRIME_64_LOW) ^ sign.widen(byte))
}

/// Mix in the byte, then multiply.
#[inline]
pub(super) fn fnv1a_64(sign: CharSign, key: &[u8]) -> u32 {
    key.iter().fold(BASIS_64_LOW, |hash, &byte| (hash ^ sign.widen(byte)).wrapping_mul(PRIME_64_LOW))
}

/// Multiply, then mix in the byte.
pub(super) fn fnv1_32(sign: CharSign, key: &[u8]) -> u32 {
    key.iter().fold(BASIS_32, |hash, &byte| hash.wrapping_mul(PRIME_32) ^ sign.widen(byte))
}

/// Mix in the byte, then multiply.
pub(super) fn fnv1a_32(sign: CharSign, key: &[u8]) -> u32 {
    key.iter().fold(BASIS_32, |hash, &byte| (hash ^ sign.widen(byte)).wrapping_mul(PRIME_32))
}
