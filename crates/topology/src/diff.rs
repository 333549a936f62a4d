//! What changed between two topologies, as a value.
//!
//! Does not judge: whether a change may be applied is for whoever asked.

use crate::{Distribution, Endpoint, Pool, Shard, ShardState, Topology};
use shoal_hashkit::sort_key;
use std::fmt;

#[cfg(test)]
mod tests;

/// What changed from one topology to another; printed as one line per change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// The epoch before and after.
    pub epochs: (u64, u64),
    /// The changes, pool by pool in the order of the new topology, pools that are gone last.
    pub changes: Vec<Change>,
}

/// One change. Every variant names its pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields say what the variants' sentences say")]
pub enum Change {
    /// A pool that was not there.
    PoolAdded { pool: String, shards: usize },
    /// A pool that is no longer there.
    PoolRemoved { pool: String },
    /// A setting of the pool other than its shards, by its name in the JSON form.
    PoolSetting { pool: String, setting: &'static str, from: String, to: String },
    /// A shard that was not there.
    ShardAdded { pool: String, shard: String, primary: Endpoint, weight: u32 },
    /// A shard that is no longer there.
    ShardRemoved { pool: String, shard: String },
    /// A shard's primary is elsewhere.
    ShardReaddressed { pool: String, shard: String, from: Endpoint, to: Endpoint },
    /// A shard's replicas are others, or in another order.
    ShardReplicas { pool: String, shard: String, from: Vec<Endpoint>, to: Vec<Endpoint> },
    /// A shard has another weight.
    ShardReweighted { pool: String, shard: String, from: u32, to: u32 },
    /// A shard was ejected or has returned.
    ShardState { pool: String, shard: String, to: ShardState },
    /// The shards stand in another order in the file.
    ShardsReordered { pool: String },
    /// Keys of this pool may belong to other shards than before.
    Routing { pool: String },
}

impl Diff {
    /// What must change in `from` to make it `to`.
    #[must_use]
    pub fn between(from: &Topology, to: &Topology) -> Diff {
        let mut changes = Vec::new();
        for pool in &to.pools {
            match from.pool(&pool.name) {
                Some(before) => compare_pools(before, pool, &mut changes),
                None => {
                    changes.push(Change::PoolAdded { pool: pool.name.clone(), shards: pool.shards.len() })
                }
            }
        }
        for pool in from.pools.iter().filter(|pool| to.pool(&pool.name).is_none()) {
            changes.push(Change::PoolRemoved { pool: pool.name.clone() });
        }
        Diff { epochs: (from.epoch, to.epoch), changes }
    }

    /// Whether nothing but perhaps the epoch changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether keys of that pool may belong to other shards than before.
    #[must_use]
    pub fn routing_changed(&self, pool: &str) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::Routing { pool: of } if of == pool))
    }
}

fn compare_pools(from: &Pool, to: &Pool, changes: &mut Vec<Change>) {
    let settings = [
        ("mode", format!("{:?}", from.mode).to_lowercase(), format!("{:?}", to.mode).to_lowercase()),
        ("hash", from.hash.to_string(), to.hash.to_string()),
        ("char_sign", from.char_sign.to_string(), to.char_sign.to_string()),
        ("distribution", from.distribution.to_string(), to.distribution.to_string()),
        ("hash_tag", or_none(from.hash_tag), or_none(to.hash_tag)),
        ("credentials", or_none(from.credentials.as_ref()), or_none(to.credentials.as_ref())),
    ];
    for (setting, from, to_text) in settings {
        if from != to_text {
            changes.push(Change::PoolSetting { pool: to.name.clone(), setting, from, to: to_text });
        }
    }
    for shard in &to.shards {
        match from.shards.iter().find(|before| before.name == shard.name) {
            Some(before) => compare_shards(&to.name, before, shard, changes),
            None => changes.push(Change::ShardAdded {
                pool: to.name.clone(),
                shard: shard.name.clone(),
                primary: shard.primary.clone(),
                weight: shard.weight,
            }),
        }
    }
    let is_gone = |shard: &&Shard| to.shards.iter().all(|after| after.name != shard.name);
    for shard in from.shards.iter().filter(is_gone) {
        changes.push(Change::ShardRemoved { pool: to.name.clone(), shard: shard.name.clone() });
    }
    let kept = |these: &Pool, those: &Pool| -> Vec<String> {
        let is_in = |shard: &&Shard| those.shards.iter().any(|other| other.name == shard.name);
        these.shards.iter().filter(is_in).map(|shard| shard.name.clone()).collect()
    };
    if kept(from, to) != kept(to, from) {
        changes.push(Change::ShardsReordered { pool: to.name.clone() });
    }
    if placement(from) != placement(to) {
        changes.push(Change::Routing { pool: to.name.clone() });
    }
}

/// All that decides which shard gets a key, in a form that is equal when the decision is.
fn placement(pool: &Pool) -> (String, Vec<(&str, u32)>) {
    let mut shards: Vec<(&str, u32)> = Vec::new();
    for shard in &pool.shards {
        match pool.distribution {
            // It knows no dead shards: their keys go nowhere else.
            Distribution::RedisShard { .. } => shards.push((&shard.name, 1)),
            _ if !shard.state.is_up() => {}
            Distribution::Random => shards.push((&shard.name, 1)),
            Distribution::Ketama | Distribution::Modula => shards.push((&shard.name, shard.weight)),
        }
    }
    if shards.len() < 2 {
        return (String::new(), shards.into_iter().map(|(name, _)| (name, 1)).collect());
    }
    let rule = match pool.distribution {
        // Of two nodes with an equal point the later one has it.
        Distribution::RedisShard { .. } => pool.distribution.to_string(),
        Distribution::Random => {
            shards.sort_by_key(|(name, _)| sort_key(name));
            pool.distribution.to_string()
        }
        Distribution::Ketama | Distribution::Modula => {
            shards.sort_by_key(|(name, _)| sort_key(name));
            let (hash, sign, tag) = (pool.hash, pool.char_sign, or_none(pool.hash_tag));
            format!("{} {hash} {sign} {tag}", pool.distribution)
        }
    };
    (rule, shards)
}

fn compare_shards(pool: &str, from: &Shard, to: &Shard, changes: &mut Vec<Change>) {
    let (pool, shard) = (|| pool.to_owned(), || to.name.clone());
    if from.primary != to.primary {
        let (from, to) = (from.primary.clone(), to.primary.clone());
        changes.push(Change::ShardReaddressed { pool: pool(), shard: shard(), from, to });
    }
    if from.replicas != to.replicas {
        let (from, to) = (from.replicas.clone(), to.replicas.clone());
        changes.push(Change::ShardReplicas { pool: pool(), shard: shard(), from, to });
    }
    if from.weight != to.weight {
        let (from, to) = (from.weight, to.weight);
        changes.push(Change::ShardReweighted { pool: pool(), shard: shard(), from, to });
    }
    if from.state != to.state {
        changes.push(Change::ShardState { pool: pool(), shard: shard(), to: to.state });
    }
}

fn or_none(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.changes.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::PoolAdded { pool, shards } => write!(f, "pool {pool}: added, shards: {shards}"),
            Change::PoolRemoved { pool } => write!(f, "pool {pool}: removed"),
            Change::PoolSetting { pool, setting, from, to } => {
                write!(f, "pool {pool}: {setting} {from} -> {to}")
            }
            Change::ShardAdded { pool, shard, primary, weight } => {
                write!(f, "pool {pool}: shard {shard} added at {primary}, weight {weight}")
            }
            Change::ShardRemoved { pool, shard } => write!(f, "pool {pool}: shard {shard} removed"),
            Change::ShardReaddressed { pool, shard, from, to } => {
                write!(f, "pool {pool}: shard {shard} primary {from} -> {to}")
            }
            Change::ShardReplicas { pool, shard, from, to } => {
                write!(f, "pool {pool}: shard {shard} replicas {} -> {}", list(from), list(to))
            }
            Change::ShardReweighted { pool, shard, from, to } => {
                write!(f, "pool {pool}: shard {shard} weight {from} -> {to}")
            }
            Change::ShardState { pool, shard, to: ShardState::Ejected } => {
                write!(f, "pool {pool}: shard {shard} ejected")
            }
            Change::ShardState { pool, shard, to: ShardState::Up } => {
                write!(f, "pool {pool}: shard {shard} up again")
            }
            Change::ShardsReordered { pool } => write!(f, "pool {pool}: shards in another order"),
            Change::Routing { pool } => write!(f, "pool {pool}: keys may belong to other shards"),
        }
    }
}

fn list(endpoints: &[Endpoint]) -> String {
    let texts: Vec<String> = endpoints.iter().map(Endpoint::to_string).collect();
    format!("[{}]", texts.join(", "))
}
