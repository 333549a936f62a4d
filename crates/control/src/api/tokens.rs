//! The tokens that are known: of each its SHA-256 alone.

use super::{Answer, Caller, Denied, Role};
use crate::admission::is_dns_label;
use crate::credentials::Password;
use crate::quantity::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

/// The most tokens that are known at a time: each request is compared with all of them.
const TOKENS_MAX: usize = 1000;

/// The tokens that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tokens(Vec<KnownToken>);

/// What is kept of a token. It tells nobody the token: that has 256 bits of chance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownToken {
    /// Who comes with it.
    #[serde(flatten)]
    pub caller: Caller,
    /// In hexadecimal digits.
    pub sha256: String,
    /// When it was made.
    pub created: Timestamp,
}

impl Tokens {
    /// Who comes with that token. Takes as long whichever token it is, and whether or not it is one.
    #[must_use]
    pub fn caller(&self, token: &str) -> Option<&Caller> {
        let given = Password::new(token).ok()?.sha256();
        let mut found = None;
        for known in &self.0 {
            if bool::from(known.sha256.as_bytes().ct_eq(given.as_bytes())) {
                found = Some(&known.caller);
            }
        }
        found
    }

    /// Whether there is one of that role.
    #[must_use]
    pub fn has(&self, role: &Role) -> bool {
        self.0.iter().any(|known| known.caller.role == *role)
    }

    /// Makes one known, in the place of another of its name.
    pub fn add(&mut self, caller: Caller, token: &Password, now: Timestamp) {
        self.0.retain(|known| known.caller.token != caller.token);
        self.0.push(KnownToken { caller, sha256: token.sha256(), created: now });
    }

    /// Makes one known for a tenant; the answer is the only place where it ever stands.
    ///
    /// # Errors
    /// Who may not, a name that is no name or is taken, too many.
    pub fn create(
        &mut self,
        caller: &Caller,
        (name, tenant): (&str, &str),
        token: &Password,
        now: Timestamp,
    ) -> Result<Answer, Denied> {
        caller.permit(&super::Call::Tokens)?;
        for (what, text) in [("the token's name", name), ("the tenant", tenant)] {
            if !is_dns_label(text) {
                let message = format!("{what} {text:?} is no name: small letters, digits and hyphens");
                return Err(Denied::bad(message));
            }
        }
        if self.0.iter().any(|known| known.caller.token == name) {
            let message = format!("there is a token {name}: revoke it first, or choose another name");
            return Err(Denied::new(409, "Conflict", message));
        }
        if self.0.len() >= TOKENS_MAX {
            return Err(Denied::new(
                422,
                "Refused",
                format!("there are {TOKENS_MAX} tokens: revoke some first"),
            ));
        }
        self.add(Caller { token: name.to_owned(), role: Role::Tenant(tenant.to_owned()) }, token, now);
        let body = json!({ "verb": "created", "name": name, "tenant": tenant, "token": token.reveal() });
        Ok(Answer { status: 201, ..Answer::of(body) })
    }

    /// Forgets one.
    ///
    /// # Errors
    /// Who may not; there is none; it is the one that is used.
    pub fn revoke(&mut self, caller: &Caller, name: &str) -> Result<Answer, Denied> {
        caller.permit(&super::Call::Tokens)?;
        if caller.token == name {
            let message = format!("{name} is the token in use: whoever revoked it would be locked out");
            return Err(Denied::new(409, "Conflict", message));
        }
        let before = self.0.len();
        self.0.retain(|known| known.caller.token != name);
        if self.0.len() == before {
            return Err(Denied::new(404, "NotFound", format!("there is no token {name}")));
        }
        Ok(Answer::of(json!({ "verb": "revoked", "name": name })))
    }

    /// Which there are.
    ///
    /// # Errors
    /// Who may not see them.
    pub fn list(&self, caller: &Caller) -> Result<Answer, Denied> {
        caller.permit(&super::Call::Tokens)?;
        let shown = |known: &KnownToken| {
            let mut shown = json!(known.caller);
            shown["created"] = json!(known.created);
            shown
        };
        let items: Vec<Value> = self.0.iter().map(shown).collect();
        Ok(Answer::of(json!({ "items": items })))
    }
}
