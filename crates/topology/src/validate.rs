//! What a topology must keep to before anybody may use it.

use crate::{Distribution, Error, FORMAT, Mode, Pool, SHARDS_MAX, Topology};
use shoal_hashkit::redis_shard;
use std::collections::{BTreeMap, BTreeSet};

/// The largest sum of a pool's weights: Twemproxy adds them up in 32 bits.
const WEIGHT_SUM_MAX: u64 = u32::MAX as u64;

impl Topology {
    /// Whether everything in it can be used.
    ///
    /// # Errors
    /// The first thing that is wrong, by the pool's and the shard's name.
    pub fn validate(&self) -> Result<(), Error> {
        if self.format != FORMAT {
            return Err(Error::Format(self.format));
        }
        let mut names = BTreeSet::new();
        for pool in &self.pools {
            pool.validate()?;
            if !names.insert(&pool.name) {
                return Err(Error::DuplicatePool(pool.name.clone()));
            }
        }
        Ok(())
    }
}

impl Pool {
    /// Whether everything in it can be used.
    ///
    /// # Errors
    /// The first thing that is wrong, by the shard's name.
    pub fn validate(&self) -> Result<(), Error> {
        check_name(&self.name, || "pool".to_owned())?;
        if self.shards.is_empty() {
            return Err(Error::NoShards(self.name.clone()));
        }
        if self.shards.len() > SHARDS_MAX {
            return Err(Error::TooManyShards { pool: self.name.clone(), count: self.shards.len() });
        }
        self.validate_names()?;
        self.validate_endpoints()?;
        self.validate_weights()?;
        if let Distribution::RedisShard { hash, tags } = self.distribution {
            if self.hash_tag.is_some() {
                return Err(Error::HashTagWithRedisShard(self.name.clone()));
            }
            for shard in &self.shards {
                redis_shard::Ring::new(hash, tags, &[&shard.name])
                    .map_err(|source| Error::Hashkit { pool: self.name.clone(), source })?;
            }
        }
        match self.shards.iter().find(|shard| !shard.state.is_up()) {
            Some(shard) if self.mode == Mode::Storage => {
                Err(Error::EjectedInStorage { pool: self.name.clone(), shard: shard.name.clone() })
            }
            _ => Ok(()),
        }
    }

    fn validate_names(&self) -> Result<(), Error> {
        let mut names = BTreeSet::new();
        for shard in &self.shards {
            check_name(&shard.name, || format!("pool {}: shard", self.name))?;
            if !names.insert(&shard.name) {
                return Err(Error::DuplicateShard { pool: self.name.clone(), shard: shard.name.clone() });
            }
        }
        Ok(())
    }

    /// Primaries may share an address: Twemproxy lets servers with names do so. A replica may not.
    fn validate_endpoints(&self) -> Result<(), Error> {
        let mut owners = BTreeMap::new();
        for shard in &self.shards {
            owners.entry(&shard.primary).or_insert(&shard.name);
        }
        for shard in &self.shards {
            for replica in &shard.replicas {
                if let Some(first) = owners.insert(replica, &shard.name) {
                    return Err(Error::DuplicateEndpoint {
                        pool: self.name.clone(),
                        endpoint: replica.clone(),
                        first: first.clone(),
                        second: shard.name.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    fn validate_weights(&self) -> Result<(), Error> {
        let mut total = 0;
        for shard in &self.shards {
            total += u64::from(shard.weight);
            let reason = match self.distribution {
                _ if shard.weight == 0 => "a weight is at least 1",
                Distribution::RedisShard { .. } if shard.weight != 1 => "redis_shard knows no weights",
                _ if total > WEIGHT_SUM_MAX => "the weights of a pool add up to at most 4294967295",
                _ => continue,
            };
            return Err(Error::Weight {
                pool: self.name.clone(),
                shard: shard.name.clone(),
                weight: shard.weight,
                reason,
            });
        }
        Ok(())
    }
}

fn check_name(name: &str, what: impl Fn() -> String) -> Result<(), Error> {
    if name.is_empty() || name.contains(char::is_control) {
        return Err(Error::Name { what: what(), name: name.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::pool;
    use crate::{Shard, ShardState};

    #[test]
    fn each_fault_is_found_and_named() {
        type Break = fn(&mut Topology);
        let faults: [(Break, &str); 13] = [
            (|t| t.format = 2, "topology format 2 is unknown, this program reads format 1"),
            (|t| t.pools[0].name = String::new(), "pool name \"\" is empty or has control characters"),
            (|t| t.pools.push(pool(1)), "two pools are called alpha"),
            (|t| t.pools[0].shards.clear(), "pool alpha has no shards"),
            (|t| t.pools[0].shards[1].name = "s0".into(), "pool alpha: two shards are called s0"),
            (
                |t| t.pools[0].shards[1].name = "a\nb".into(),
                "pool alpha: shard name \"a\\nb\" is empty or has control characters",
            ),
            (
                |t| t.pools[0].shards[1].replicas.push("10.0.0.1:7000".parse().unwrap()),
                "pool alpha: 10.0.0.1:7000 belongs to shard s0 and again to shard s1",
            ),
            (
                |t| t.pools[0].shards[1].weight = 0,
                "pool alpha: shard s1 has weight 0, but a weight is at least 1",
            ),
            (
                |t| t.pools[0].shards[2].weight = u32::MAX,
                "pool alpha: shard s2 has weight 4294967295, but the weights of a pool add up to at most 4294967295",
            ),
            (
                |t| {
                    t.pools[0].distribution = redis_shard();
                    t.pools[0].shards[0].weight = 2;
                },
                "pool alpha: shard s0 has weight 2, but redis_shard knows no weights",
            ),
            (
                |t| {
                    t.pools[0].distribution = redis_shard();
                    t.pools[0].hash_tag = "{}".parse().ok();
                },
                "pool alpha: hash_tag does not go with redis_shard, which has tags of its own (remove hash_tag)",
            ),
            (
                |t| {
                    t.pools[0].distribution = redis_shard();
                    t.pools[0].shards[0].name = "你".into();
                },
                "pool alpha cannot be routed",
            ),
            (
                |t| {
                    t.pools[0].mode = Mode::Storage;
                    t.pools[0].shards[2].state = ShardState::Ejected;
                },
                "pool alpha: shard s2 is ejected, but a storage pool never ejects",
            ),
        ];
        for (fault, expected) in faults {
            let mut topology = Topology { format: FORMAT, epoch: 1, pools: vec![pool(3)] };
            topology.validate().unwrap();
            fault(&mut topology);
            assert_eq!(topology.validate().unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn more_shards_than_can_be_numbered() {
        let mut pool = pool(1);
        let shard = |i: usize| Shard { name: format!("s{i}"), ..pool.shards[0].clone() };
        pool.shards = (0..=SHARDS_MAX).map(shard).collect();
        assert!(matches!(pool.validate(), Err(Error::TooManyShards { count: 65536, .. })));
        pool.shards.pop();
        pool.validate().unwrap();
    }

    fn redis_shard() -> Distribution {
        Distribution::RedisShard { hash: redis_shard::Hash::Crc32, tags: redis_shard::Tags::Text }
    }
}
