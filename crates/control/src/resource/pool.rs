//! Shards behind proxies.

use super::{
    Eviction, ExistingSentinels, Kind, Managed, Persistence, Placement, ServiceStatus, SloClass, Spec,
};
use crate::quantity::{Bytes, Cores, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shoal_topology::{Distribution, Endpoint, Hash, HashTag, Mode, serde_text};
use std::time::Duration;

/// Shards behind proxies that share out one key space.
///
/// What is optional has a default that depends on the mode, which [`admission`](crate::admission) writes down; the
/// methods tell it beforehand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolSpec {
    /// Whose it is; `default` by default. Cannot be changed.
    #[serde(default = "super::tenant::default_name")]
    pub tenant: String,
    /// `storage`: data that stands nowhere else; `cache`: data that can be made again. Cannot be changed.
    #[schemars(with = "ModeSchema")]
    pub mode: Mode,
    /// Twemproxy's name of the hash; `fnv1a_64` by default. Cannot be changed: keys would lie elsewhere.
    #[serde(default, with = "serde_text::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub hash: Option<Hash>,
    /// Twemproxy's name of the distribution; by default `modula` (storage) or `ketama` (cache). Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DistributionSchema>")]
    pub distribution: Option<Distribution>,
    /// Two characters, such as `{}`: of a key that has them, only what stands between them is hashed. Cannot be changed.
    #[serde(default, with = "serde_text::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub hash_tag: Option<HashTag>,
    /// How many shards. Cannot be changed yet.
    pub shards: u16,
    /// Replicas of each shard; by default 1 (storage) or 0 (cache).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u16>,
    /// How many Sentinels watch its primaries: 0, 3 or 5; by default 3 if there are replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinels: Option<u16>,
    /// `maxmemory` of a shard's primary, and of each replica. 0 only where nothing is managed.
    #[serde(default)]
    pub memory: Bytes,
    /// What each Redis is promised of processor, whatever its memory; a tenth of a core by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<Cores>,
    /// What outlives the processes; by default `rdb` (storage) or `none` (cache, which always starts empty).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// What is done when memory is full; by default `noeviction` (storage: an OOM error) or `allkeys-lru` (cache).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eviction: Option<Eviction>,
    /// When a write is answered; `async` by default.
    #[serde(default)]
    pub durability: Durability,
    /// When a dead shard is left out, and when it is tried again. Only of caches: a storage shard is never left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejection: Option<Ejection>,
    /// The proxies before it.
    #[serde(default)]
    pub proxies: Proxies,
    /// What is expected at the peak of the whole pool, in requests a second; counted against the tenant's quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u64>,
    /// How much it hurts when it is slow or away.
    #[serde(default)]
    pub slo_class: SloClass,
    /// Where its instances may stand.
    #[serde(default)]
    pub placement: Placement,
    /// The version of Redis, such as `7.0`; the one installed, by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whose the processes are.
    #[serde(default)]
    pub managed: Managed,
    /// Where the processes are that Shoal did not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<ExistingPool>,
}

/// When a write is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Durability {
    /// When its primary has executed it.
    #[default]
    Async,
    /// When the shard's replicas have confirmed it too. Needs replicas.
    Replicated,
}

/// When a cache's dead shard is left out, and when it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ejection {
    /// After so many failures in a row.
    #[serde(default = "Ejection::failures_default")]
    pub failures: u32,
    /// After that time.
    #[serde(default = "Ejection::retry_after_default")]
    pub retry_after: Period,
}

impl Ejection {
    const fn failures_default() -> u32 {
        3
    }

    const fn retry_after_default() -> Period {
        Period(Duration::from_secs(600))
    }
}

impl Default for Ejection {
    /// Three failures, ten minutes.
    fn default() -> Self {
        Ejection { failures: Ejection::failures_default(), retry_after: Ejection::retry_after_default() }
    }
}

/// The proxies before a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proxies {
    /// How many processes; 2 by default, so that one may end.
    #[serde(default = "Proxies::count_default")]
    pub count: u16,
    /// What each is promised of processor, and how many workers it runs (rounded up); 1 by default.
    #[serde(default = "Proxies::cores_default")]
    pub cores: Cores,
    /// What each may take of its node's memory; 128MiB by default.
    #[serde(default = "Proxies::memory_default")]
    pub memory: Bytes,
}

impl Proxies {
    const fn count_default() -> u16 {
        2
    }

    const fn cores_default() -> Cores {
        Cores::whole(1)
    }

    const fn memory_default() -> Bytes {
        Bytes::mib(128)
    }
}

impl Default for Proxies {
    fn default() -> Self {
        Proxies {
            count: Proxies::count_default(),
            cores: Proxies::cores_default(),
            memory: Proxies::memory_default(),
        }
    }
}

/// A pool whose processes somebody else started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExistingPool {
    /// Where its proxies listen: nutcracker, or Shoal's own.
    #[schemars(with = "Vec<String>")]
    pub proxies: Vec<Endpoint>,
    /// Its shards, as many as `shards`, in the order and under the names of `nutcracker.yml`.
    pub shards: Vec<ExistingShard>,
    /// The Sentinels that watch its primaries, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinels: Option<ExistingSentinels>,
    /// The name under which the platform keeps the servers' password, if they ask for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
}

/// A shard whose processes somebody else started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExistingShard {
    /// Its name: part of the placement of keys under ketama.
    pub name: String,
    /// Its share of the keys relative to its neighbours'; 1 by default.
    #[serde(default = "weight_default")]
    pub weight: u32,
    /// Where its processes listen; which of them is the primary, they say themselves.
    #[schemars(with = "Vec<String>")]
    pub instances: Vec<Endpoint>,
}

impl PoolSpec {
    /// One of that mode, so many shards, and so much memory in each; all else by default.
    #[must_use]
    pub fn of(mode: Mode, shards: u16, memory: Bytes) -> Self {
        PoolSpec {
            tenant: super::tenant::default_name(),
            mode,
            hash: None,
            distribution: None,
            hash_tag: None,
            shards,
            replicas: None,
            sentinels: None,
            memory,
            cores: None,
            persistence: None,
            eviction: None,
            durability: Durability::default(),
            ejection: None,
            proxies: Proxies::default(),
            requests_per_second: None,
            slo_class: SloClass::default(),
            placement: Placement::default(),
            version: None,
            managed: Managed::Shoal,
            existing: None,
        }
    }

    /// What is done to keys.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash.unwrap_or(Hash::Fnv1a64)
    }

    /// What is done to the hash.
    #[must_use]
    pub fn distribution(&self) -> Distribution {
        self.distribution.unwrap_or(match self.mode {
            Mode::Storage => Distribution::Modula,
            Mode::Cache => Distribution::Ketama,
        })
    }

    /// Replicas of each shard.
    #[must_use]
    pub fn replicas(&self) -> u16 {
        self.replicas.unwrap_or(match self.mode {
            Mode::Storage => 1,
            Mode::Cache => 0,
        })
    }

    /// How many Sentinels.
    #[must_use]
    pub fn sentinels(&self) -> u16 {
        self.sentinels.unwrap_or(if self.replicas() == 0 { 0 } else { 3 })
    }

    /// What each Redis is promised of processor.
    #[must_use]
    pub fn cores(&self) -> Cores {
        self.cores.unwrap_or(super::instance::CORES_DEFAULT)
    }

    /// What outlives the processes.
    #[must_use]
    pub fn persistence(&self) -> Persistence {
        self.persistence.unwrap_or(match self.mode {
            Mode::Storage => Persistence::Rdb,
            Mode::Cache => Persistence::None,
        })
    }

    /// What is done when memory is full.
    #[must_use]
    pub fn eviction(&self) -> Eviction {
        self.eviction.unwrap_or(match self.mode {
            Mode::Storage => Eviction::Noeviction,
            Mode::Cache => Eviction::AllkeysLru,
        })
    }

    /// When a dead shard is left out; never, in a storage pool.
    #[must_use]
    pub fn ejection(&self) -> Option<Ejection> {
        match self.mode {
            Mode::Storage => None,
            Mode::Cache => Some(self.ejection.unwrap_or_default()),
        }
    }

    /// The name of the shard of that index, as in [`ShardStatus`](super::ShardStatus).
    #[must_use]
    pub fn shard_name(&self, index: u16) -> String {
        let existing = self.existing.as_ref().and_then(|existing| existing.shards.get(usize::from(index)));
        existing.map_or_else(|| format!("s{index}"), |shard| shard.name.clone())
    }
}

impl Spec for PoolSpec {
    const KIND: Kind = Kind::Pool;
    type Status = ServiceStatus;
}

const fn weight_default() -> u32 {
    1
}

/// What a pool is for.
#[derive(JsonSchema)]
#[schemars(rename = "Mode", rename_all = "snake_case")]
#[expect(dead_code, reason = "the schema of a type whose crate knows no schemas")]
enum ModeSchema {
    /// Data that stands nowhere else: shards have replicas and are never left out.
    Storage,
    /// Data that can be made again: a dead shard is left out, its keys go to the others.
    Cache,
}

/// How a pool gives keys to its shards.
#[derive(JsonSchema)]
#[schemars(rename = "Distribution", rename_all = "snake_case")]
#[expect(dead_code, reason = "the schema of a type whose crate knows no schemas")]
enum DistributionSchema {
    /// A ring of points: a shard that is left out moves its own keys only.
    Ketama,
    /// The hash modulo the number of shards.
    Modula,
    /// Any shard, whatever the key.
    Random,
    /// The ring of redis-shard.
    RedisShard {
        /// Its hash.
        hash: Option<String>,
        /// How its clients passed their keys.
        tags: Option<String>,
    },
}
