//! Before Redis 6 there are no users: one password for all, and commands that are hidden under other names.
//!
//! The gate is the password itself: while it is closed the password is the platform's, whom Sentinel enters as; open, it is
//! the credential that tenants, proxies and replicas share. Whoever is connected when it closes is cut.

use sha2::{Digest, Sha256};

use super::password::{Password, hex};
use crate::redis_version::RedisVersion;

/// What a tenant must not call there, and Redis would let everybody call; with the version from which on there is such a
/// command (Redis does not start if told of one that it does not know).
const HIDDEN: &[(&str, RedisVersion)] = &[
    ("BGREWRITEAOF", RedisVersion::new(1, 0, 0)),
    ("BGSAVE", RedisVersion::new(1, 0, 0)),
    ("CLIENT", RedisVersion::new(2, 4, 0)),
    ("CLUSTER", RedisVersion::new(3, 0, 0)),
    ("CONFIG", RedisVersion::new(2, 0, 0)),
    ("DEBUG", RedisVersion::new(1, 0, 0)),
    ("MIGRATE", RedisVersion::new(2, 6, 0)),
    ("MODULE", RedisVersion::new(4, 0, 0)),
    ("MONITOR", RedisVersion::new(1, 0, 0)),
    ("PFDEBUG", RedisVersion::new(2, 8, 9)),
    ("PFSELFTEST", RedisVersion::new(2, 8, 9)),
    ("REPLICAOF", RedisVersion::new(5, 0, 0)),
    ("SAVE", RedisVersion::new(1, 0, 0)),
    ("SHUTDOWN", RedisVersion::new(1, 0, 0)),
    ("SLAVEOF", RedisVersion::new(1, 0, 0)),
];

/// A command and the name that it has instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// Redis's name.
    pub command: &'static str,
    /// What nobody guesses who does not know the platform's password.
    pub name: String,
}

/// The commands that are hidden, by names that follow from the platform's password: nothing has to be remembered, and every
/// control that knows the password knows them. Redis 6 and later: none, since users have rules.
///
/// SYNC, PSYNC and REPLCONF keep their names, since replicas call them so: they are behind the password alone. CLIENT is
/// hidden for KILL and PAUSE; SETNAME goes with it.
#[must_use]
pub fn renamed(platform: &Password, version: RedisVersion) -> Vec<Renamed> {
    if version.has_acl() {
        return Vec::new();
    }
    let name = |command: &str| {
        let mut hash = Sha256::new();
        hash.update(b"shoal rename-command ");
        hash.update(command.as_bytes());
        hash.update(b" ");
        hash.update(platform.reveal().as_bytes());
        format!("{command}-{}", &hex(&hash.finalize())[..40])
    };
    let known = HIDDEN.iter().filter(|(_, since)| version >= *since);
    known.map(|(command, _)| Renamed { command, name: name(command) }).collect()
}
