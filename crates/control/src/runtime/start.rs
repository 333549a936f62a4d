//! What a start says.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use shoal_topology::{Endpoint, Mode, Pool};

use crate::resource::{Eviction, Persistence};

/// All that a runtime needs to know to start a process, again and again alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Of the instance: unique among all, and deterministic. Small letters, digits and hyphens, at most 63.
    pub name: String,
    /// Of the object in the store: a later one of the same name has another.
    pub uid: String,
    /// The generation of the object that this start is made from; comes back in [`Observed`](super::Observed).
    pub generation: u64,
    /// The thing that it is a part of: the standalone's or pool's name.
    pub owner: String,
    /// Whose it is.
    pub tenant: String,
    /// Where it runs.
    pub node: NodeRef,
    /// The port to listen on. `None`: the runtime chooses one of the node, and keeps it over restarts.
    pub port: Option<u16>,
    /// Whether the data of earlier lives is thrown away before the start. Always for a cache.
    pub empty: bool,
    /// Who may enter, by name.
    pub users: Vec<User>,
    /// Which program, and what only it needs.
    pub program: Program,
}

/// Where a process runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeRef {
    /// The node's name.
    pub name: String,
    /// Its address, on which its processes listen. On one machine: a loopback address of its own, 127.0.1.x.
    pub address: IpAddr,
}

/// Which program, and what only it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// `redis-server`.
    Redis(RedisStart),
    /// `redis-sentinel`.
    Sentinel(SentinelStart),
    /// `shoal proxy`.
    Proxy(Box<ProxyStart>),
}

/// What a Redis is started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisStart {
    /// The version wanted, as far as it matters (`7`, `7.0`, `7.0.15`). `None`: whichever is there.
    pub version: Option<String>,
    /// What it is for.
    pub mode: Mode,
    /// The most memory its data may take, in bytes; 0 for no limit.
    pub maxmemory: u64,
    /// What it does when that is reached.
    pub eviction: Eviction,
    /// What it writes to disk.
    pub persistence: Persistence,
    /// Further settings by Redis's own names. Those that the platform owns are refused ([`Refused::Invalid`](super::Refused)).
    pub settings: BTreeMap<String, String>,
}

/// What a Sentinel is started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentinelStart {
    /// The version wanted; see [`RedisStart::version`].
    pub version: Option<String>,
    /// What it watches when it is started for the first time. What it was told later, and found out, it remembers itself.
    pub monitors: Vec<Monitor>,
}

/// A primary to be watched by a Sentinel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Monitor {
    /// What Sentinel and its clients call it.
    pub name: String,
    /// Where it is now.
    pub primary: Endpoint,
    /// How many Sentinels must agree that it is down.
    pub quorum: u16,
    /// Milliseconds without an answer until a Sentinel takes it for down.
    pub down_after_ms: u64,
    /// Milliseconds after which a failover is tried again.
    pub failover_timeout_ms: u64,
    /// Replicas that go over to a new primary at a time.
    pub parallel_syncs: u16,
    /// As whom the Sentinel enters there: [`Access::Sentinel`].
    pub user: User,
}

/// What a proxy is started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyStart {
    /// The topology's number.
    pub epoch: u64,
    /// What it serves, and where that is.
    pub pool: Pool,
    /// As whom it enters its servers: [`Access::Proxy`]. `None`: they ask for nothing.
    pub upstream: Option<User>,
    /// Event loops. `None`: one for each core that it may use.
    pub workers: Option<u16>,
    /// Milliseconds from when a request is queued to when its reply must have come. `None`: for ever.
    pub timeout_ms: Option<u64>,
}

/// Somebody who may enter an instance, and by which credential. Never the password itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct User {
    /// As in `AUTH name password`.
    pub name: String,
    /// The name of the credential with the passwords, all of them valid, the first preferred. One that does not exist is
    /// made, once, with a password that nobody can guess. Instances that must know the same password name the same.
    pub credential: String,
    /// What they may do.
    pub access: Access,
}

/// What a user may do; which rules that comes to is [`crate::credentials`]'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Everything, always: control.
    Platform,
    /// What Sentinel needs, always.
    Sentinel,
    /// Copying, while the gate is open.
    Replica,
    /// What a tenant may do and a proxy needs besides, while the gate is open.
    Proxy,
    /// Everything but administration, while the gate is open.
    Tenant,
}

impl Access {
    /// Whether the gate holds this user out while it is closed.
    #[must_use]
    pub const fn gated(self) -> bool {
        matches!(self, Access::Replica | Access::Proxy | Access::Tenant)
    }
}
