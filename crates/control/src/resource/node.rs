//! Machines.

use super::{Condition, Kind, Spec};
use crate::quantity::{Bytes, Cores};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a machine offers, and where it stands. On one machine: a logical node with a loopback address of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSpec {
    /// The address that its instances listen at, such as `127.0.1.1`. Two nodes have two.
    pub address: String,
    /// The cloud region or data centre; `local` by default.
    #[serde(default = "local")]
    pub site: String,
    /// The part of the site that fails as one (power, network), if it has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What stands behind one switch: a shard's primary and replicas go to different racks where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Its kind of machine; nodes of one kind are planned together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_group: Option<String>,
    /// What it has for instances, all reserves of theirs included. Never promised twice.
    pub memory: Bytes,
    /// What it has for instances.
    pub cores: Cores,
    /// What it costs compared to others, in any unit that all nodes share: the cheaper of two that fit is taken.
    #[serde(default)]
    pub cost: u32,
    /// Cordoned: what runs there stays, nothing new comes.
    #[serde(default)]
    pub unschedulable: bool,
}

/// What is known of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeStatus {
    /// What is true of it; `Ready` is among them.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// What the instances placed there have been promised.
    #[serde(default)]
    pub allocated: Allocated,
    /// The generation of the spec that this is about.
    #[serde(default)]
    pub observed_generation: u64,
}

/// What has been promised of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Allocated {
    /// With the reserves for replication and forks.
    pub memory: Bytes,
    /// By request.
    pub cores: Cores,
    /// How many processes.
    pub instances: u64,
}

impl Spec for NodeSpec {
    const KIND: Kind = Kind::Node;
    type Status = NodeStatus;
}

fn local() -> String {
    "local".to_owned()
}
