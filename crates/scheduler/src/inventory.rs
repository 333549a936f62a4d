//! What there is: nodes, the instances that stand on them, and those that want a place.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Cores, Memory};

/// All that a plan is made from, beside the policy. The order in the lists means nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Machines. Of two with one name the lesser counts, by all fields in their order.
    pub nodes: Vec<Node>,
    /// Instances that have their place; it is not put in question. One on a node that is not listed keeps its name, and
    /// counts for nothing else.
    pub placed: Vec<Placed>,
    /// Instances that want a place. One whose name is taken is refused.
    pub wanted: Vec<Instance>,
}

/// A machine that runs instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// Unique.
    pub name: String,
    /// The cloud region or data centre.
    pub site: String,
    /// The part of the site that fails as a whole; empty where the site is not divided.
    pub zone: String,
    /// The rack inside its zone. A node without one is a rack of its own.
    pub rack: String,
    /// The node group.
    pub group: String,
    /// Memory that instances may ask for: what the machine itself needs is taken off already.
    pub memory: Memory,
    /// Cores that instances may ask for.
    pub cores: Cores,
    /// What it costs, in any unit that is the same for all nodes. Of nodes that are otherwise as good, the cheapest is
    /// taken.
    pub cost: u64,
    /// Asked for by name and value ([`Constraints::labels`]).
    pub labels: BTreeMap<String, String>,
    /// It keeps what it has and takes nothing new.
    pub cordoned: bool,
    /// A dead node takes nothing new; what stands on it counts as standing there until somebody takes it off.
    pub alive: bool,
}

/// An instance and the name of the node where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placed {
    /// The instance.
    pub instance: Instance,
    /// The node's name.
    pub node: String,
}

/// One process that needs a place: a Redis, a Sentinel or a proxy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// Unique in the inventory.
    pub name: String,
    /// Whose name space the owner's name is in; two tenants may each have a pool `demo`.
    pub tenant: String,
    /// What it belongs to.
    pub owner: Owner,
    /// What it does.
    pub role: Role,
    /// Which shard of its owner it holds, from 0. Without meaning for proxies and sentinels.
    pub shard: u32,
    /// What it may use at most: for Redis `maxmemory` and the reserve for replication and forks.
    pub memory: Memory,
    /// What it is promised.
    pub cores: Cores,
    /// Where it may stand.
    pub constraints: Constraints,
}

/// What an instance belongs to. Instances of one owner are spread.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A pool, by name: its shards and its proxies.
    Pool(String),
    /// A standalone, by name: one shard, number 0.
    Standalone(String),
    /// A Sentinel group, by name.
    Sentinels(String),
}

/// What an instance does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Takes a shard's writes.
    Primary,
    /// Follows the shard's primary.
    Replica,
    /// A cache shard's only instance.
    Cache,
    /// Stands between clients and a pool.
    Proxy,
    /// Watches primaries, with the others of its group.
    Sentinel,
}

/// Where an instance may stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Constraints {
    /// On this site alone.
    pub site: Option<String>,
    /// Whether it must be where the rest of its owner is; without meaning beside [`site`](Self::site).
    pub sites: Sites,
    /// On a node of this node group alone.
    pub group: Option<String>,
    /// On nodes that have all of these labels.
    pub labels: BTreeMap<String, String>,
}

/// Whether an owner may be on several sites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sites {
    /// All of an owner's instances that name no site are on one site.
    #[default]
    One,
    /// Anywhere.
    Any,
}

impl Owner {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Pool(name) | Self::Standalone(name) | Self::Sentinels(name) => name,
        }
    }

    /// What kind of thing it is, in a word or two.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pool(_) => "pool",
            Self::Standalone(_) => "standalone",
            Self::Sentinels(_) => "sentinel group",
        }
    }
}

impl Role {
    /// Whether it holds a copy of a shard's data.
    #[must_use]
    pub fn is_copy(self) -> bool {
        matches!(self, Self::Primary | Self::Replica | Self::Cache)
    }

    /// The word for several of them.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Primary => "primaries",
            Self::Replica => "replicas",
            Self::Cache => "cache shards",
            Self::Proxy => "proxies",
            Self::Sentinel => "sentinels",
        }
    }
}

impl Node {
    /// Whether it takes new instances at all.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.alive && !self.cordoned
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::Cache => "cache shard",
            Self::Proxy => "proxy",
            Self::Sentinel => "sentinel",
        })
    }
}
