//! The ring of redis-shard, Zhihu's earlier sharding on the client's side (github.com/zhihu/redis-shard,
//! version 0.3.7), so that its users can move to the proxy without moving a key.
//!
//! ```text
//!  node names, in the order given ─▶ 128 points each: hash of "name:i"
//!  key ─▶ tag ─▶ bytes ─▶ hash ─▶ first point strictly above it; past the last point, the last
//! ```
//!
//! Not ketama: no weights, no wrapping, its own tags, and its own hashes, of which `md5` is not
//! Twemproxy's of the same name. Does not eject: redis-shard knew no dead nodes.

mod key;
#[cfg(test)]
mod tests;

pub use key::Tags;

use crate::names::names;
use crate::{Error, hash::crc};
use md5::Md5;
use sha1::{Digest as _, Sha1};
use std::collections::BTreeMap;

/// Points that each node has.
const POINTS_PER_NODE: usize = 128;

/// A hash as a whole number, big-endian and filled up with zeros in front to SHA-1's 160 bits.
///
/// Arrays compare as such numbers do.
type Digest = [u8; 20];

/// redis-shard's `hash_method`. Each is compared in its full width.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hash {
    /// zlib's CRC-32, unsigned (as since 0.3.5); redis-shard's default.
    #[default]
    Crc32,
    /// All 128 bits of MD5.
    Md5,
    /// All 160 bits of SHA-1.
    Sha1,
}

names!(Hash, "redis-shard hash", {
    Crc32 => "crc32",
    Md5 => "md5",
    Sha1 => "sha1",
});

impl Hash {
    fn digest(self, bytes: &[u8]) -> Digest {
        let mut digest = Digest::default();
        match self {
            Hash::Crc32 => digest[16..].copy_from_slice(&crc::crc32(bytes).to_be_bytes()),
            Hash::Md5 => digest[4..].copy_from_slice(&Md5::digest(bytes)),
            Hash::Sha1 => digest.copy_from_slice(&Sha1::digest(bytes)),
        }
        digest
    }
}

/// The nodes' points in order, ready for lookups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    hash: Hash,
    tags: Tags,
    /// Ascending, without repetition.
    points: Box<[Digest]>,
    /// Who owns the point of the same index: an index into the names.
    nodes: Box<[u32]>,
}

impl Ring {
    /// The ring of the nodes with these names (not addresses), in redis-shard's order of them.
    ///
    /// # Errors
    /// [`Error::NameBeyondLatin1`] for a name that redis-shard itself would have failed on.
    pub fn new<S: AsRef<str>>(hash: Hash, tags: Tags, names: &[S]) -> Result<Ring, Error> {
        let mut ring = BTreeMap::new();
        for (node, name) in (0..).zip(names) {
            let name = name.as_ref();
            for index in 0..POINTS_PER_NODE {
                let text = format!("{name}:{index}");
                let bytes = tags.name_bytes(&text).ok_or_else(|| Error::NameBeyondLatin1(name.to_owned()))?;
                // Of two equal points the node added later owns both, so one is enough.
                ring.insert(hash.digest(&bytes), node);
            }
        }
        let (points, nodes): (Vec<Digest>, Vec<u32>) = ring.into_iter().unzip();
        Ok(Ring { hash, tags, points: points.into(), nodes: nodes.into() })
    }

    /// The node that owns `key`, as an index into the names given; None of a ring without nodes.
    ///
    /// # Errors
    /// [`Error::KeyNotUtf8`] and [`Error::KeyBeyondLatin1`] for a key that redis-shard could not have
    /// placed; only where keys are [`Tags::Text`].
    pub fn lookup(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        let digest = self.hash.digest(&self.tags.hashed_bytes(key)?);
        let above = self.points.partition_point(|point| *point <= digest);
        let index = above.min(self.nodes.len().saturating_sub(1));
        Ok(self.nodes.get(index).map(|&node| node as usize))
    }
}
