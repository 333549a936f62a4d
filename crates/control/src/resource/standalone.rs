//! One primary with its replicas.

use super::{
    Eviction, ExistingSentinels, Kind, Managed, Persistence, Placement, ServiceStatus, SloClass, Spec,
};
use crate::quantity::{Bytes, Cores};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shoal_topology::Endpoint;

/// One primary with its replicas, watched by Sentinel, to which clients speak themselves; every Redis command.
///
/// What is optional has a default, which [`admission`](crate::admission) writes down; the methods tell it beforehand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StandaloneSpec {
    /// Whose it is; `default` by default. Cannot be changed.
    #[serde(default = "super::tenant::default_name")]
    pub tenant: String,
    /// `maxmemory` of the primary, and of each replica. 0 only where nothing is managed.
    #[serde(default)]
    pub memory: Bytes,
    /// How many replicas; 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u16>,
    /// How many Sentinels watch it: 0, 3 or 5; by default 3 if there are replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinels: Option<u16>,
    /// What each instance is promised of processor, whatever its memory; a tenth of a core by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<Cores>,
    /// What outlives the processes; `rdb` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// What is done when memory is full; `noeviction` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eviction: Option<Eviction>,
    /// What is expected at the peak, in requests a second; counted against the tenant's quota.
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
    pub existing: Option<ExistingStandalone>,
}

/// Redis processes that somebody else started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExistingStandalone {
    /// Where they listen; which of them is the primary, they say themselves.
    #[schemars(with = "Vec<String>")]
    pub instances: Vec<Endpoint>,
    /// The Sentinels that watch them, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinels: Option<ExistingSentinels>,
    /// The name under which the platform keeps their password, if they ask for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
}

impl StandaloneSpec {
    /// One of that much memory; all else by default.
    #[must_use]
    pub fn of(memory: Bytes) -> Self {
        StandaloneSpec {
            tenant: super::tenant::default_name(),
            memory,
            replicas: None,
            sentinels: None,
            cores: None,
            persistence: None,
            eviction: None,
            requests_per_second: None,
            slo_class: SloClass::default(),
            placement: Placement::default(),
            version: None,
            managed: Managed::Shoal,
            existing: None,
        }
    }

    /// How many replicas.
    #[must_use]
    pub fn replicas(&self) -> u16 {
        self.replicas.unwrap_or(1)
    }

    /// How many Sentinels.
    #[must_use]
    pub fn sentinels(&self) -> u16 {
        self.sentinels.unwrap_or(if self.replicas() == 0 { 0 } else { 3 })
    }

    /// What each instance is promised of processor.
    #[must_use]
    pub fn cores(&self) -> Cores {
        self.cores.unwrap_or(super::instance::CORES_DEFAULT)
    }

    /// What outlives the processes.
    #[must_use]
    pub fn persistence(&self) -> Persistence {
        self.persistence.unwrap_or(Persistence::Rdb)
    }

    /// What is done when memory is full.
    #[must_use]
    pub fn eviction(&self) -> Eviction {
        self.eviction.unwrap_or(Eviction::Noeviction)
    }
}

impl Spec for StandaloneSpec {
    const KIND: Kind = Kind::Standalone;
    type Status = ServiceStatus;
}
