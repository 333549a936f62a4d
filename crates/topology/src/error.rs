//! What can be wrong with a topology.

use crate::Endpoint;

/// Why a topology was refused, or a router could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the JSON of a topology. `path` is where in the document, as `pools[0].shards[2].primary`.
    #[error("topology JSON at {path}")]
    Json {
        /// Where in the document.
        path: String,
        /// What was found there, with line and column.
        source: serde_json::Error,
    },
    /// A topology of a newer or unknown format.
    #[error("topology format {0} is unknown, this program reads format {known}", known = crate::FORMAT)]
    Format(u32),
    /// Text that is not an endpoint.
    #[error("\"{given}\" is no endpoint: {reason} (write host:port or /path/of/socket)")]
    Endpoint {
        /// The text.
        given: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A pool or shard without a name, or with a control character in it.
    #[error("{what} name {name:?} is empty or has control characters")]
    Name {
        /// "pool", or "pool alpha: shard".
        what: String,
        /// The name.
        name: String,
    },
    /// Two pools of one name.
    #[error("two pools are called {0}")]
    DuplicatePool(String),
    /// Two shards of one name in a pool.
    #[error("pool {pool}: two shards are called {shard}")]
    DuplicateShard {
        /// The pool.
        pool: String,
        /// The name that stands twice.
        shard: String,
    },
    /// One Redis in two places of a pool: its keys would mix.
    #[error("pool {pool}: {endpoint} belongs to shard {first} and again to shard {second}")]
    DuplicateEndpoint {
        /// The pool.
        pool: String,
        /// The address that stands twice.
        endpoint: Endpoint,
        /// The shard that had it first.
        first: String,
        /// The shard that has it too.
        second: String,
    },
    /// A pool without shards.
    #[error("pool {0} has no shards")]
    NoShards(String),
    /// More shards than a router can number.
    #[error("pool {pool} has {count} shards, at most {max} are possible", max = crate::SHARDS_MAX)]
    TooManyShards {
        /// The pool.
        pool: String,
        /// How many it has.
        count: usize,
    },
    /// A weight of 0, or one that the distribution cannot use.
    #[error("pool {pool}: shard {shard} has weight {weight}, but {reason}")]
    Weight {
        /// The pool.
        pool: String,
        /// The shard.
        shard: String,
        /// Its weight.
        weight: u32,
        /// Why that cannot be.
        reason: &'static str,
    },
    /// A shard is ejected in a pool that never ejects.
    #[error("pool {pool}: shard {shard} is ejected, but a storage pool never ejects")]
    EjectedInStorage {
        /// The pool.
        pool: String,
        /// The shard.
        shard: String,
    },
    /// `hash_tag` beside a distribution that has tags of its own.
    #[error("pool {0}: hash_tag does not go with redis_shard, which has tags of its own (remove hash_tag)")]
    HashTagWithRedisShard(String),
    /// A router was asked for with the wrong number of live flags.
    #[error("pool {pool} has {shards} shards, but {flags} say whether they live")]
    LiveFlags {
        /// The pool.
        pool: String,
        /// How many shards it has.
        shards: usize,
        /// How many flags were passed.
        flags: usize,
    },
    /// A hash, distribution or name that `hashkit` refuses.
    #[error("pool {pool} cannot be routed")]
    Hashkit {
        /// The pool.
        pool: String,
        /// What `hashkit` says.
        source: shoal_hashkit::Error,
    },
}
