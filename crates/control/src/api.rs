//! What people and programs ask of control, and what they are answered.
//!
//! ```text
//!   request ─▶ caller (token) ─▶ call (route) ─▶ may they? ─▶ see, change ─▶ Answer { status, body, audit line }
//!                                                             │     └─ admission ─▶ store
//!                                                             └─ tenants see what is their own, and nothing else
//! ```
//!
//! Functions of a store, a runtime and the time: sockets, files and chance are [`io::http`](crate::io::http)'s. A change
//! passes [`admission`](crate::admission), which sums over many objects, so changes come one behind the other: the caller
//! of [`handle`] sees to that. One queue serves all tenants, since a tenant's quota is a part of its parent's.

mod answer;
mod audit;
mod call;
mod caller;
mod change;
mod follow;
mod openapi;
mod see;
#[cfg(test)]
mod tests;
mod tokens;

pub use answer::{Answer, Denied};
pub use audit::Audit;
pub use call::{Call, LINES_MAX, PATIENCE_MAX};
pub use caller::{Caller, Role};
pub use follow::Following;
pub use openapi::openapi;
pub use tokens::{KnownToken, Tokens};

use crate::quantity::Timestamp;
use crate::runtime::{Logs, Runtime};
use crate::store::Store;
use serde_json::json;

/// What an answer is made from.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Where objects are kept.
    pub store: &'a dyn Store,
    /// Asked what runs, to say which steps a change would have.
    pub runtime: &'a dyn Runtime,
    /// What processes wrote.
    pub logs: &'a dyn Logs,
    /// The time.
    pub now: Timestamp,
    /// The number of the request, which its audit line bears.
    pub request: &'a str,
}

/// Answers a call of somebody who is known; tokens and backups are answered where they are kept.
#[must_use]
pub fn handle(caller: &Caller, call: &Call, around: &Surroundings<'_>) -> Answer {
    let answered = caller.permit(call).and_then(|()| match call {
        Call::Health => Ok(Answer::of(json!({ "status": "ok" }))),
        Call::Schema => Ok(Answer::of(crate::resource::schema())),
        Call::OpenApi => Ok(Answer::of(openapi())),
        Call::List { kind, regarding } => see::list(caller, *kind, regarding.as_ref(), around),
        Call::Watch { kind, from, .. } => see::watch(caller, *kind, from, around),
        Call::Get { kind, name } => see::get(caller, *kind, name, around),
        Call::Logs { instance, lines } => see::logs(caller, instance, *lines, around),
        Call::Apply { kind, name, body, dry_run } => {
            change::apply(caller, (*kind, name), body, *dry_run, around)
        }
        Call::Delete { kind, name, revision, dry_run } => {
            change::delete(caller, (*kind, name), revision.as_ref(), *dry_run, around)
        }
        Call::Tokens | Call::CreateToken { .. } | Call::RevokeToken { .. } | Call::Backup => {
            Err(Denied::internal("this is answered where it is kept"))
        }
    });
    let mut answer = answered.unwrap_or_else(Answer::from);
    answer.audit = Audit::of(caller, call, &answer, around.request, around.now);
    answer
}
