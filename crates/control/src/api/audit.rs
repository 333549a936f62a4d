//! Who changed what, when, and what came of it; never a secret, and never what a body said.

use super::{Answer, Call, Caller};
use crate::quantity::Timestamp;
use serde::Serialize;

/// One line of the audit log, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// When.
    pub time: Timestamp,
    /// The request's number, which its answer bears too.
    pub request: String,
    /// Who.
    #[serde(flatten)]
    pub caller: Caller,
    /// What they asked for: `apply`, `delete`, `create token`, `revoke token`, `backup`.
    pub verb: &'static str,
    /// Of what: `Pool/demo`.
    pub object: String,
    /// HTTP's status code.
    pub status: u16,
    /// What came of it: what was done, or why not.
    pub result: String,
}

impl Audit {
    /// The line of a call; none for one that changes nothing.
    #[must_use]
    pub fn of(caller: &Caller, call: &Call, answer: &Answer, request: &str, now: Timestamp) -> Option<Self> {
        let (verb, object) = match call {
            Call::Apply { kind, name, dry_run: false, .. } => ("apply", format!("{kind}/{name}")),
            Call::Delete { kind, name, dry_run: false, .. } => ("delete", format!("{kind}/{name}")),
            Call::CreateToken { name, .. } => ("create token", name.clone()),
            Call::RevokeToken { name } => ("revoke token", name.clone()),
            Call::Backup => ("backup", "store".to_owned()),
            _ => return None,
        };
        let said = [&answer.body["error"]["message"], &answer.body["verb"]];
        let result = said.iter().find_map(|text| text.as_str()).unwrap_or("done").to_owned();
        Some(Audit {
            time: now,
            request: request.to_owned(),
            caller: caller.clone(),
            verb,
            object,
            status: answer.status,
            result,
        })
    }
}
