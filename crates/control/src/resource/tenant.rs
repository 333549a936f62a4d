//! Who may ask for how much.

use super::{Kind, Spec};
use crate::quantity::{Bytes, Cores};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who owns standalones and pools, and how much they may ask for, all of them and all below together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantSpec {
    /// The tenant of whose quota this one's is a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// From each resource to its bounds; what is not named is not bounded here.
    #[serde(default)]
    pub quota: Quota,
}

/// From each resource to its bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quota {
    /// `maxmemory` of all instances together, replicas included.
    #[serde(default, skip_serializing_if = "Bounds::is_open")]
    pub memory: Bounds<Bytes>,
    /// Requested cores of all instances together.
    #[serde(default, skip_serializing_if = "Bounds::is_open")]
    pub cores: Bounds<Cores>,
    /// Processes: primaries, replicas, proxies and Sentinels.
    #[serde(default, skip_serializing_if = "Bounds::is_open")]
    pub instances: Bounds<u64>,
    /// What is expected at the peak, by `requestsPerSecond` of standalones and pools.
    #[serde(default, skip_serializing_if = "Bounds::is_open")]
    pub requests_per_second: Bounds<u64>,
}

/// What is kept for somebody at least, and what they may have at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "BoundsOf{T}")]
pub struct Bounds<T> {
    /// Kept for this tenant: its siblings cannot use it up. None: nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<T>,
    /// Never more than that. None: as much as the parent has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<T>,
}

/// What is known of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantStatus {
    /// What it and all tenants below it have asked for.
    #[serde(default)]
    pub used: Usage,
    /// The generation of the spec that this is about.
    #[serde(default)]
    pub observed_generation: u64,
}

/// How much of each resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Usage {
    /// As in [`Quota::memory`].
    pub memory: Bytes,
    /// As in [`Quota::cores`].
    pub cores: Cores,
    /// As in [`Quota::instances`].
    pub instances: u64,
    /// As in [`Quota::requests_per_second`].
    pub requests_per_second: u64,
}

impl<T> Bounds<T> {
    /// Whether nothing is bounded.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.min.is_none() && self.max.is_none()
    }
}

impl<T> Default for Bounds<T> {
    fn default() -> Self {
        Bounds { min: None, max: None }
    }
}

impl Spec for TenantSpec {
    const KIND: Kind = Kind::Tenant;
    type Status = TenantStatus;
}

/// The tenant of whatever names none. It is not bounded as long as nobody declares it.
pub(super) fn default_name() -> String {
    "default".to_owned()
}
