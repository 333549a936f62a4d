//! How a pool gives keys to its shards.

use crate::serde_text;
use serde::{Deserialize, Serialize};
use shoal_hashkit::{self as hashkit, redis_shard};
use std::fmt;

/// How a pool gives keys to its shards.
///
/// In JSON a name, `"ketama"`, or for redis-shard `{"redis_shard": {"hash": "crc32", "tags": "text"}}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Distribution {
    /// Twemproxy's ketama: a ring of points, in proportion to the weights.
    Ketama,
    /// Twemproxy's modula: the hash modulo the sum of the weights.
    Modula,
    /// Twemproxy's random: any live shard, whatever the key.
    Random,
    /// The ring of Zhihu's redis-shard, with hashes and tags of its own; it knows no weights.
    RedisShard {
        /// Its hash, which is not Twemproxy's of the same name.
        #[serde(default, with = "serde_text")]
        hash: redis_shard::Hash,
        /// How its clients passed their keys, and so whether tags were looked for.
        #[serde(default, with = "serde_text")]
        tags: redis_shard::Tags,
    },
}

impl From<hashkit::Distribution> for Distribution {
    fn from(distribution: hashkit::Distribution) -> Self {
        match distribution {
            hashkit::Distribution::Ketama => Distribution::Ketama,
            hashkit::Distribution::Modula => Distribution::Modula,
            hashkit::Distribution::Random => Distribution::Random,
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distribution::Ketama => f.write_str("ketama"),
            Distribution::Modula => f.write_str("modula"),
            Distribution::Random => f.write_str("random"),
            Distribution::RedisShard { hash, tags } => write!(f, "redis_shard ({hash}, {tags} tags)"),
        }
    }
}
