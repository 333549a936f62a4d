//! Key to shard, prepared: the one thing here that every request passes.
//!
//! ```text
//!  pool.shards (as given) ──server order──▶ members ──▶ Continuum | Ring
//!  key ─▶ hash tag ─▶ hash ─▶ lookup ─▶ member ──order──▶ index into pool.shards
//! ```
//!
//! Does not know addresses, or why a shard is not live.

use crate::{Distribution, Error, Pool, SHARDS_MAX};
use shoal_hashkit::{
    self as hashkit, CharSign, Continuum, Hash, HashTag, Member, Random, redis_shard, server_order,
};

#[cfg(test)]
mod tests;

/// Where a key goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The index into [`Pool::shards`], in the order given there.
    Shard(usize),
    /// No shard that may have the key lives.
    NoneLive,
    /// The program that placed the pool's data could not have placed this key: redis-shard with text
    /// keys knows nothing beyond Latin-1.
    BadKey(hashkit::Error),
}

/// Key to shard for one pool and one set of live shards; made anew when either changes.
#[derive(Clone, Debug)]
pub struct Router {
    /// For each place in server order the index into the pool's shards.
    order: Box<[u16]>,
    rule: Rule,
}

#[derive(Clone, Debug)]
enum Rule {
    /// A pool of one shard: nothing is hashed, as in Twemproxy.
    Alone { live: bool },
    /// A distribution of Twemproxy's that goes by the hash.
    Hashed { hash: Hash, sign: CharSign, tag: Option<HashTag>, continuum: Continuum },
    /// A live shard drawn anew for each key.
    Random { continuum: Continuum },
    /// redis-shard's ring over all shards. It knew no dead nodes, so a dead shard's keys go nowhere.
    RedisShard { ring: redis_shard::Ring, live: Box<[bool]> },
}

impl Router {
    /// Prepares the routing of `pool` over the shards that are live, a flag for each in the order of
    /// [`Pool::shards`] ([`Pool::live`] gives the topology's own).
    ///
    /// # Errors
    /// [`Error::LiveFlags`] when there is not one flag a shard, [`Error::Hashkit`] for a shard name
    /// that redis-shard could not hash, and what [`Pool::validate`] finds.
    pub fn new(pool: &Pool, live: &[bool]) -> Result<Router, Error> {
        pool.validate()?;
        if live.len() != pool.shards.len() {
            let (shards, flags) = (pool.shards.len(), live.len());
            return Err(Error::LiveFlags { pool: pool.name.clone(), shards, flags });
        }
        let names: Vec<&str> = pool.shards.iter().map(|shard| shard.name.as_str()).collect();
        // redis-shard takes its nodes as they are given.
        let order = match pool.distribution {
            Distribution::RedisShard { .. } => (0..names.len()).collect(),
            _ => server_order(&names),
        };
        let twemproxy = |distribution| {
            let member = |&i: &usize| Member { name: names[i], weight: pool.shards[i].weight, live: live[i] };
            Continuum::new(distribution, &order.iter().map(member).collect::<Vec<_>>())
        };
        let hashed = |distribution| Rule::Hashed {
            hash: pool.hash,
            sign: pool.char_sign,
            tag: pool.hash_tag,
            continuum: twemproxy(distribution),
        };
        let rule = match pool.distribution {
            _ if names.len() == 1 => Rule::Alone { live: live[0] },
            Distribution::Ketama => hashed(hashkit::Distribution::Ketama),
            Distribution::Modula => hashed(hashkit::Distribution::Modula),
            Distribution::Random => Rule::Random { continuum: twemproxy(hashkit::Distribution::Random) },
            Distribution::RedisShard { hash, tags } => {
                let ring = redis_shard::Ring::new(hash, tags, &names)
                    .map_err(|source| Error::Hashkit { pool: pool.name.clone(), source })?;
                Rule::RedisShard { ring, live: live.into() }
            }
        };
        debug_assert!(order.len() <= SHARDS_MAX);
        #[expect(clippy::cast_possible_truncation, reason = "validate() bounds the count by SHARDS_MAX")]
        let order = order.into_iter().map(|index| index as u16).collect();
        Ok(Router { order, rule })
    }

    /// The shard of `key`. Draws from `random` only in a pool of the distribution `random`.
    #[must_use]
    #[inline]
    pub fn route(&self, key: &[u8], random: &mut Random) -> Route {
        let member = match &self.rule {
            Rule::Hashed { hash, sign, tag, continuum } => {
                let part = tag.map_or(key, |tag| tag.hashed_part(key));
                // Twemproxy takes 0 for the hash of the empty key, whatever the hash function.
                let hash = if part.is_empty() { 0 } else { hash.hash(*sign, part) };
                continuum.lookup(hash)
            }
            Rule::Alone { live } => live.then_some(0),
            Rule::Random { continuum } => continuum.lookup(random.next()),
            Rule::RedisShard { ring, live } => match ring.lookup(key) {
                Ok(node) => node.filter(|&node| live[node]),
                Err(error) => return Route::BadKey(error),
            },
        };
        match member {
            Some(member) => Route::Shard(usize::from(self.order[member])),
            None => Route::NoneLive,
        }
    }

    /// For each place in server order (by which Twemproxy lists its statistics and sends the parts of
    /// a split command) the index into [`Pool::shards`].
    #[must_use]
    pub fn order(&self) -> &[u16] {
        &self.order
    }
}
