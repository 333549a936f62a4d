//! Who asks, and what they may.

use super::{Call, Denied};
use crate::resource::{Kind, Resource};
use crate::store::Store;
use serde::{Deserialize, Serialize};

/// Somebody with a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Caller {
    /// The token's name.
    pub token: String,
    /// What they may.
    #[serde(flatten)]
    pub role: Role,
}

/// What somebody may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "role", content = "tenant")]
pub enum Role {
    /// Sees everything and changes nothing.
    Viewer,
    /// Everything.
    Operator,
    /// Sees and changes what is that tenant's own, and knows of nothing else.
    Tenant(String),
}

impl Caller {
    /// Whose things these are, if only one tenant's.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        match &self.role {
            Role::Tenant(tenant) => Some(tenant),
            Role::Viewer | Role::Operator => None,
        }
    }

    /// Whether that may be asked at all; which objects of a kind they see is [`sees`](Self::sees)'s to say.
    pub(super) fn permit(&self, call: &Call) -> Result<(), Denied> {
        let is_operator_s = call.is_change() || matches!(call, Call::Backup | Call::Tokens);
        match &self.role {
            Role::Operator => Ok(()),
            Role::Viewer if !is_operator_s => Ok(()),
            Role::Viewer => Err(Denied::forbidden(format!(
                "the token {} is a viewer's and changes nothing: use an operator's",
                self.token
            ))),
            Role::Tenant(tenant) => {
                let (kind, what) = match call {
                    Call::Health | Call::Schema | Call::OpenApi | Call::Logs { .. } => return Ok(()),
                    Call::List { kind, .. } | Call::Watch { kind, .. } | Call::Get { kind, .. } => {
                        (*kind, *kind != Kind::Node)
                    }
                    Call::Apply { kind, .. } | Call::Delete { kind, .. } => {
                        (*kind, matches!(kind, Kind::Standalone | Kind::Pool))
                    }
                    Call::Tokens | Call::CreateToken { .. } | Call::RevokeToken { .. } | Call::Backup => {
                        let message = format!(
                            "the token {} is of tenant {tenant}: tokens and the store are the operator's",
                            self.token
                        );
                        return Err(Denied::forbidden(message));
                    }
                };
                if what {
                    return Ok(());
                }
                let verb =
                    if matches!(call, Call::Apply { .. } | Call::Delete { .. }) { "changes" } else { "sees" };
                let what = kind.plural();
                Err(Denied::forbidden(format!(
                    "the token {} is of tenant {tenant} and {verb} no {what}: ask an operator",
                    self.token
                )))
            }
        }
    }

    /// Whether that object is any of theirs.
    pub(super) fn sees(&self, object: &Resource, store: &dyn Store) -> Result<bool, Denied> {
        let Some(tenant) = self.tenant() else { return Ok(true) };
        Ok(match object {
            Resource::Tenant(object) => object.name() == tenant,
            Resource::Event(event) => {
                let about = &event.spec.regarding;
                // Of what is gone nobody knows any more whose it was; a later one of the name may be another's.
                let is_that = |object: &Resource| about.uid.is_empty() || object.metadata().uid == about.uid;
                let object = store.get(about.kind, &about.name)?;
                object.is_some_and(|object| object.tenant() == Some(tenant) && is_that(&object))
            }
            other => other.tenant() == Some(tenant),
        })
    }
}
