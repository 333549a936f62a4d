//! What is true of an object, with the reason.

use crate::quantity::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The type of the condition that every Standalone, Pool, Node and Instance has: whether it does what it is for.
pub const READY: &str = "Ready";

/// One thing that is true of an object or not, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// What it is about: `Ready`, `Placed`, `Adopted`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it is so.
    pub status: bool,
    /// The reason in one word, for programs: `WaitingForReplica`.
    pub reason: String,
    /// What is happening and why, in one sentence, for people.
    pub message: String,
    /// When `status` last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Timestamp>,
    /// The generation of the spec that was looked at.
    #[serde(default)]
    pub observed_generation: u64,
}

impl Condition {
    /// Of that type in a list.
    #[must_use]
    pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
        conditions.iter().find(|condition| condition.kind == kind)
    }

    /// Puts a condition in the place of the one of its type. The time is kept while the status is the same; returns
    /// whether anything but the time is other than it was.
    pub fn set(conditions: &mut Vec<Condition>, mut new: Condition) -> bool {
        match conditions.iter_mut().find(|condition| condition.kind == new.kind) {
            Some(old) => {
                if old.status == new.status {
                    new.last_transition_time = old.last_transition_time;
                }
                let changed = *old != new;
                *old = new;
                changed
            }
            None => {
                conditions.push(new);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_the_last_change_of_status() {
        let at = |status, reason: &str, time| Condition {
            kind: READY.to_owned(),
            status,
            reason: reason.to_owned(),
            message: String::new(),
            last_transition_time: Some(Timestamp(time)),
            observed_generation: 1,
        };
        let mut conditions = Vec::new();
        assert!(Condition::set(&mut conditions, at(false, "Starting", 1)));
        assert!(!Condition::set(&mut conditions, at(false, "Starting", 2)));
        assert!(Condition::set(&mut conditions, at(false, "Loading", 3)));
        assert_eq!(Condition::find(&conditions, READY).unwrap().last_transition_time, Some(Timestamp(1)));
        assert!(Condition::set(&mut conditions, at(true, "Serving", 4)));
        assert_eq!(conditions, [at(true, "Serving", 4)]);
    }
}
