//! What every object says of itself.

use super::Kind;
use crate::quantity::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What every object says of itself; the words are Kubernetes'.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Unique among objects of its kind: a DNS label of at most 40 characters. Cannot be changed.
    pub name: String,
    /// Tells this object from an earlier one of the same name. Given by the platform.
    #[serde(default, skip_serializing_if = "Uid::is_empty")]
    pub uid: Uid,
    /// Which version of the object this is. Given by the store; sent back, it says "unless somebody changed it since".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// Grows by one with each change of the spec. Given by the platform.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: u64,
    /// What objects are selected by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Remarks that nothing here reads.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// When it was created. Given by the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Timestamp>,
    /// When its deletion was asked for: it goes when `finalizers` is empty. Given by the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Timestamp>,
    /// Who has something to do before it may go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
    /// The object for whose sake this one exists; it goes when that one goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_reference: Option<ObjectRef>,
}

impl Metadata {
    /// Of an object that is to be created under that name.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Metadata { name: name.into(), ..Metadata::default() }
    }

    /// Whether its deletion was asked for.
    #[must_use]
    pub const fn is_deleted(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

/// Tells an object from an earlier one of the same name; opaque, and never used twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Uid(pub String);

impl Uid {
    /// Whether none was given yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A version of an object, or of all objects of a kind. Opaque: two of them are the same or not, neither is the later.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Revision(pub String);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its uid; empty where any object of the name is meant.
    #[serde(default, skip_serializing_if = "Uid::is_empty")]
    pub uid: Uid,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}
