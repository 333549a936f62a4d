//! What happened.

use super::{Kind, NoStatus, ObjectRef, Spec};
use crate::quantity::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happened to an object, in one sentence. The same again counts up; events are kept a bounded time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventSpec {
    /// The object it is about.
    pub regarding: ObjectRef,
    /// Whether somebody should look.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The reason in one word, for programs: `InstanceStarted`.
    pub reason: String,
    /// What happened and why, in one sentence, for people. Never a secret.
    pub message: String,
    /// How often it happened.
    pub count: u64,
    /// When it happened first.
    pub first_timestamp: Timestamp,
    /// When it happened last.
    pub last_timestamp: Timestamp,
}

/// Whether somebody should look at an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum EventType {
    /// All is as it should be.
    #[default]
    Normal,
    /// Somebody should look.
    Warning,
}

impl Spec for EventSpec {
    const KIND: Kind = Kind::Event;
    type Status = NoStatus;
}
