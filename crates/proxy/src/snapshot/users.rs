//! Users of a pool as they are now: what they may do, and how many are there. Never their passwords, nor the hashes of them.

use serde::Serialize;

use crate::access::{Access, Limits};

/// One user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserRow {
    /// The name.
    pub name: String,
    /// Whether it may enter.
    pub on: bool,
    /// Whether it enters by any password.
    pub nopass: bool,
    /// How many passwords are valid.
    pub passwords: usize,
    /// Its rules about commands.
    pub commands: String,
    /// Its patterns of keys.
    pub keys: Vec<String>,
    /// And of channels.
    pub channels: Vec<String>,
    /// How much it may ask for.
    pub limits: LimitsRow,
    /// Its connections now, of all workers.
    pub connections: usize,
}

/// How much is allowed; none is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "they are those of Limits")]
pub struct LimitsRow {
    pub max_connections: Option<u64>,
    pub requests_per_second: Option<u64>,
    pub bytes_per_second: Option<u64>,
}

impl From<Limits> for LimitsRow {
    fn from(limits: Limits) -> LimitsRow {
        let Limits { max_connections, requests_per_second, bytes_per_second } = limits;
        LimitsRow { max_connections, requests_per_second, bytes_per_second }
    }
}

/// The users of a pool; none, if it has neither users nor limits.
pub fn rows(access: &Access) -> Vec<UserRow> {
    let row = |user: &crate::access::User| UserRow {
        name: user.name.to_string(),
        on: user.rules.on,
        nopass: user.rules.nopass,
        passwords: user.rules.passwords.len(),
        commands: user.rules.commands_written(),
        keys: user.rules.keys.written('~'),
        channels: user.rules.channels.written('&'),
        limits: user.limits.into(),
        connections: user.meter().connections(),
    };
    if access.is_guarded() { access.users().iter().map(row).collect() } else { Vec::new() }
}
