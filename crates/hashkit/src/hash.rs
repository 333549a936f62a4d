//! Twemproxy's twelve hashes, each of bytes to 32 bits.
//!
//! Several differ from the algorithm whose name they bear; where one does, its function says how.
//! Does not look for hash tags ([`HashTag`](crate::HashTag) does).

pub(crate) mod crc;
mod fnv;
mod hsieh;
mod jenkins;
mod murmur;
#[cfg(test)]
mod tests;

use crate::names::names;
use md5::{Digest, Md5};

/// A hash function, as the key `hash` of `nutcracker.yml` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hash {
    /// Bob Jenkins' one-at-a-time. Depends on the [`CharSign`].
    OneAtATime,
    /// The first four bytes of the MD5 digest (RFC 1321), little-endian.
    Md5,
    /// CRC-16/XMODEM in the low 16 bits, earlier bytes lingering above. Not Redis Cluster's slot.
    Crc16,
    /// Bits 16 to 30 of the CRC-32: fifteen bits, so ketama puts every key at the ring's start.
    Crc32,
    /// The CRC-32 of IEEE 802.3, as in zlib.
    Crc32a,
    /// The low half of 64-bit FNV-1. Depends on the [`CharSign`].
    Fnv1_64,
    /// The low half of 64-bit FNV-1a; Twemproxy's default. Depends on the [`CharSign`].
    #[default]
    Fnv1a64,
    /// 32-bit FNV-1. Depends on the [`CharSign`].
    Fnv1_32,
    /// 32-bit FNV-1a. Depends on the [`CharSign`].
    Fnv1a32,
    /// Paul Hsieh's SuperFastHash, started from 0. Depends on the [`CharSign`].
    Hsieh,
    /// Austin Appleby's MurmurHash2, seeded by the length.
    Murmur,
    /// Bob Jenkins' lookup3, `hashlittle` with the initial value 13.
    Jenkins,
}

names!(Hash, "hash", {
    OneAtATime => "one_at_a_time",
    Md5 => "md5",
    Crc16 => "crc16",
    Crc32 => "crc32",
    Crc32a => "crc32a",
    Fnv1_64 => "fnv1_64",
    Fnv1a64 => "fnv1a_64",
    Fnv1_32 => "fnv1_32",
    Fnv1a32 => "fnv1a_32",
    Hsieh => "hsieh",
    Murmur => "murmur",
    Jenkins => "jenkins",
});

/// Whether C's `char` was signed where the data was written: it is on x86-64, it is not on ARM Linux.
///
/// Six hashes widen a `char` to 32 bits, so bytes from 0x80 up hash differently under the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CharSign {
    /// Bytes from 0x80 up are sign-extended: Twemproxy on x86-64.
    #[default]
    Signed,
    /// Bytes are zero-extended: Twemproxy on ARM Linux.
    Unsigned,
}

names!(CharSign, "char sign", {
    Signed => "signed",
    Unsigned => "unsigned",
});

impl CharSign {
    /// The byte as C widens a `char` to `uint32_t`.
    #[inline]
    fn widen(self, byte: u8) -> u32 {
        match self {
            CharSign::Signed => i32::from(byte.cast_signed()).cast_unsigned(),
            CharSign::Unsigned => u32::from(byte),
        }
    }
}

impl Hash {
    /// The hash of `key`, which is the part of a key that its hash tag leaves.
    ///
    /// An empty key hashes to 0 under every hash: Twemproxy's pool does not ask the function then.
    /// `sign` matters only to the hashes that say so, and only for bytes from 0x80 up.
    #[must_use]
    #[inline]
    pub fn hash(self, sign: CharSign, key: &[u8]) -> u32 {
        match self {
            _ if key.is_empty() => 0,
            Hash::Fnv1a64 => fnv::fnv1a_64(sign, key),
            _ => self.hash_rarer(sign, key),
        }
    }

    /// The other eleven, out of line so that the default stays small where it is inlined.
    fn hash_rarer(self, sign: CharSign, key: &[u8]) -> u32 {
        match self {
            Hash::OneAtATime => jenkins::one_at_a_time(sign, key),
            Hash::Md5 => md5(key),
            Hash::Crc16 => crc::crc16_uncut(key),
            Hash::Crc32 => (crc::crc32(key) >> 16) & 0x7fff,
            Hash::Crc32a => crc::crc32(key),
            Hash::Fnv1_64 => fnv::fnv1_64(sign, key),
            Hash::Fnv1a64 => fnv::fnv1a_64(sign, key),
            Hash::Fnv1_32 => fnv::fnv1_32(sign, key),
            Hash::Fnv1a32 => fnv::fnv1a_32(sign, key),
            Hash::Hsieh => hsieh::hsieh(sign, key),
            Hash::Murmur => murmur::murmur2(key),
            Hash::Jenkins => jenkins::lookup3(key),
        }
    }
}

/// The first word of the digest, as a little-endian machine reads it.
fn md5(key: &[u8]) -> u32 {
    let digest: [u8; 16] = Md5::digest(key).into();
    u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]])
}
