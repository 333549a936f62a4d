//! One process.

use super::{Condition, Eviction, Kind, Persistence, SloClass, Spec};
use crate::quantity::{Bytes, Cores};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shoal_topology::{Endpoint, Mode};

/// What a Redis is promised of processor where nobody says: it is mostly idle, and pays for memory.
pub(super) const CORES_DEFAULT: Cores = Cores(100);

/// One process, as a planner wants it. Written by reconcilers alone.
///
/// Its name is told by its owner, shard and ordinal ([`InstanceSpec::name`]), so that making it twice is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstanceSpec {
    /// What runs.
    pub program: Program,
    /// The standalone or pool that it is part of.
    pub owner: Owner,
    /// Whose quota it counts for.
    pub tenant: String,
    /// The index of its shard; none for proxies and Sentinels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<u16>,
    /// Tells it from the others of its shard, or of its program. **Says nothing of its role**, which changes.
    pub ordinal: u16,
    /// What a Redis should be at the moment; a wish, which `status.shards[].primary` of the owner overrules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// What its data is: a cache always starts empty.
    #[schemars(with = "String")]
    pub mode: Mode,
    /// What outlives the process.
    #[serde(default)]
    pub persistence: Persistence,
    /// What a Redis does when its memory is full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eviction: Option<Eviction>,
    /// `maxmemory` of a Redis; what a proxy or a Sentinel takes.
    pub memory: Bytes,
    /// What its node keeps free for it beside `memory`: the replication backlog, output buffers, and what a fork copies.
    #[serde(default)]
    pub reserve: Bytes,
    /// What it is promised of processor.
    pub cores: Cores,
    /// How much it hurts when it is away.
    #[serde(default)]
    pub slo_class: SloClass,
    /// The node that it is on; none until it has been placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The version of the program; the one installed, by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where the process listens that somebody else started and that was adopted; none for one of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub adopted: Option<Endpoint>,
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Program {
    /// `redis-server`.
    Redis,
    /// `redis-sentinel`.
    Sentinel,
    /// `shoal proxy`.
    Proxy,
}

impl Program {
    /// As in names and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Program::Redis => "redis",
            Program::Sentinel => "sentinel",
            Program::Proxy => "proxy",
        }
    }
}

/// The standalone or pool that an instance is part of; its uid is in the metadata's owner reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Owner {
    /// `Standalone` or `Pool`.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// What a Redis is to its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows the primary.
    Replica,
}

/// What is known of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstanceStatus {
    /// How far it is.
    #[serde(default)]
    pub phase: InstancePhase,
    /// Where it listens; none before the runtime has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub address: Option<Endpoint>,
    /// Redis's own name for this life of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// What it says that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// How often the process has ended without being told to.
    #[serde(default)]
    pub restarts: u64,
    /// What is true of it; `Ready` is among them.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this is about.
    #[serde(default)]
    pub observed_generation: u64,
}

/// How far a process is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum InstancePhase {
    /// It has no node, or was not started.
    #[default]
    Pending,
    /// It was started, and does not answer yet.
    Starting,
    /// It answers.
    Running,
    /// It was told to end.
    Stopping,
    /// It has ended, and is started again after a pause.
    Failed,
    /// Its node does not answer: nobody knows.
    Unknown,
}

impl InstanceSpec {
    /// The name of an instance: `demo-s0-r1`, `demo-proxy-0`, `demo-sentinel-2`; of a standalone `solo-r0`.
    #[must_use]
    pub fn name(&self) -> String {
        let (owner, ordinal) = (&self.owner.name, self.ordinal);
        match (self.program, self.shard) {
            (Program::Redis, Some(shard)) if self.owner.kind == Kind::Pool => {
                format!("{owner}-s{shard}-r{ordinal}")
            }
            (Program::Redis, _) => format!("{owner}-r{ordinal}"),
            (program, _) => format!("{owner}-{}-{ordinal}", program.name()),
        }
    }
}

impl Spec for InstanceSpec {
    const KIND: Kind = Kind::Instance;
    type Status = InstanceStatus;
}
