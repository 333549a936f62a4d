//! What standalones and pools have in common: both serve clients.

use super::{Condition, Uid};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shoal_topology::Endpoint;
use std::collections::BTreeMap;

/// Whose the processes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Managed {
    /// Shoal starts, changes and stops them.
    #[default]
    Shoal,
    /// Somebody else started them, and `existing` says where they are: they are shown and measured, and left alone.
    Observe,
}

/// What of an instance's data outlives its process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Persistence {
    /// Nothing.
    #[default]
    None,
    /// A snapshot now and then: what was written since the last one is lost with the process. Forks need memory.
    Rdb,
    /// A log of writes, flushed each second: the last second is lost with the machine. Rewriting it forks as well.
    Aof,
}

/// What an instance does when its memory is full; the names are those of Redis's `maxmemory-policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Eviction {
    /// Writes are refused with an OOM error.
    Noeviction,
    /// The keys not used for longest go, of all.
    AllkeysLru,
    /// The keys used least often go, of all.
    AllkeysLfu,
    /// Any keys go, of all.
    AllkeysRandom,
    /// The keys not used for longest go, of those with a time to live.
    VolatileLru,
    /// The keys used least often go, of those with a time to live.
    VolatileLfu,
    /// Any keys go, of those with a time to live.
    VolatileRandom,
    /// The keys that would expire next go.
    VolatileTtl,
}

impl Eviction {
    /// The word of `redis.conf`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Eviction::Noeviction => "noeviction",
            Eviction::AllkeysLru => "allkeys-lru",
            Eviction::AllkeysLfu => "allkeys-lfu",
            Eviction::AllkeysRandom => "allkeys-random",
            Eviction::VolatileLru => "volatile-lru",
            Eviction::VolatileLfu => "volatile-lfu",
            Eviction::VolatileRandom => "volatile-random",
            Eviction::VolatileTtl => "volatile-ttl",
        }
    }
}

/// How much it hurts when it is slow or away: who is placed first, and who gives way.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum SloClass {
    /// Gives way to the others.
    BestEffort,
    /// As most.
    #[default]
    Standard,
    /// The product stands still without it.
    Critical,
}

/// Where instances may stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placement {
    /// Whether the instances stand in one site or in several.
    #[serde(default)]
    pub sites: Sites,
    /// The site, if it matters which. Any that has room, otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Only nodes with all these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
}

/// Whether instances stand in one site or in several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Sites {
    /// All in one: a request never leaves it.
    #[default]
    One,
    /// A shard's replicas in other sites than its primary, where there are several.
    Spread,
}

/// Sentinels that watch an existing primary, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExistingSentinels {
    /// Where they listen.
    #[schemars(with = "Vec<String>")]
    pub endpoints: Vec<Endpoint>,
    /// By which name they know the primary; of a pool's shards each has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_name: Option<String>,
    /// The name under which the platform keeps their password, if they ask for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
}

/// What is known of a standalone or a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceStatus {
    /// What is true of it; `Ready` is among them.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Where clients find it.
    #[serde(default)]
    pub endpoints: Vec<StatusEndpoint>,
    /// Who may enter, and where the passwords are; never the passwords.
    #[serde(default)]
    pub credentials: Vec<Credential>,
    /// The shards in their order; a standalone has one.
    #[serde(default)]
    pub shards: Vec<ShardStatus>,
    /// The epoch of the topology that proxies were given last; 0 before the first, and for a standalone.
    #[serde(default)]
    pub epoch: u64,
    /// The generation of the spec that this is about.
    #[serde(default)]
    pub observed_generation: u64,
}

/// Where clients find a standalone or a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatusEndpoint {
    /// Who answers there.
    pub role: StatusEndpointRole,
    /// `host:port`.
    #[schemars(with = "String")]
    pub address: Endpoint,
}

/// Who answers at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StatusEndpointRole {
    /// A proxy of a pool: reads and writes of all keys.
    Proxy,
    /// The primary of a standalone: reads and writes.
    Primary,
    /// Replicas: reads that may be a moment old.
    Readers,
}

/// Somebody who may enter, and where the password is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credential {
    /// The user's name in Redis, such as `tenant-acme`.
    pub user: String,
    /// The name under which the platform keeps the password.
    pub name: String,
}

/// What is known of one shard. **Who is primary is decided here**, by a compare-and-set on the whole object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShardStatus {
    /// Its name, `s0` for the first; part of the placement of keys under ketama, so it never changes.
    pub name: String,
    /// The instance that may take writes; none while nobody may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<Primary>,
    /// Grows each time `primary` changes; who acts for an older one is refused.
    #[serde(default)]
    pub epoch: u64,
}

/// The instance that may take a shard's writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Primary {
    /// Its name.
    pub name: String,
    /// Its uid: an instance made again under the same name is another one.
    pub uid: Uid,
}
