//! Who may enter an instance, and what that comes to in Redis's rules.
//!
//! ```text
//!   User (name, credential, access) ─┐
//!                   Passwords ───────┼──▶ a line of users.acl, the arguments of ACL SETUSER
//!   RedisVersion ────────────────────┘
//! ```
//!
//! The user `default` may do nothing. Who is [`Access::gated`] is off until the gate opens. Rules hold hashes, never
//! passwords, so that neither a file of users nor Redis's own log of commands has one.
//!
//! **What a tenant may do**: everything but what administers the process, its connections or its copies. Redis's categories
//! `admin` and `dangerous` are taken away, so that a later version's new commands are refused until somebody has looked at
//! them; and what of these concerns the tenant's own data alone is given back by name.
//!
//! **The channel of the Sentinels** is kept from tenants: who may publish to `__sentinel__:hello` on one primary tells the
//! Sentinels where *any* primary is that they watch, other tenants' too. Publishing is therefore in a selector of its own
//! (7.0) with patterns that name every channel but those. 6.2 has no selectors: there a tenant's channels are these
//! patterns, and PSUBSCRIBE, which must name a pattern literally, is refused. Before 6.2 nothing can be done: Sentinels
//! must not be shared between tenants there.

mod old;
mod password;

pub use old::{Renamed, renamed};
pub(crate) use password::hex;
pub use password::{BadPassword, Password, Passwords};

use crate::redis_version::RedisVersion;
use crate::runtime::{Access, Gate, User};

/// The platform's own name at every instance.
pub const PLATFORM: &str = "shoal-platform";

/// Sentinel's name at every Redis, and among themselves.
pub const SENTINEL: &str = "shoal-sentinel";

/// The replicas' name at their primary.
pub const REPLICA: &str = "shoal-replica";

/// What the tenants may not publish to: channels that begin so.
const SENTINEL_CHANNELS: &str = "__sentinel__:";

/// Of the categories that are taken from tenants, what they get back: it concerns their own data and connections, or only
/// reads. `SORT` and `KEYS` are slow, `FLUSHALL` and `SWAPDB` are grave; but of their own.
const TENANT_GETS_BACK: &[&str] = &[
    "keys",
    "sort",
    "flushdb",
    "flushall",
    "swapdb",
    "restore",
    "info",
    "role",
    "lastsave",
    "client|list",
    "client|unblock",
    "slowlog|get",
    "slowlog|len",
    "latency|latest",
    "latency|history",
    "latency|graph",
    "latency|doctor",
];

/// The same, only from 7.0 on.
const TENANT_GETS_BACK_7: &[&str] = &["sort_ro", "latency|histogram"];

/// Before 7.0 CLIENT is taken away whole, and is given back in parts.
const TENANT_GETS_BACK_6: &[&str] = &[
    "client|id",
    "client|getname",
    "client|setname",
    "client|reply",
    "client|tracking",
    "client|caching",
    "client|getredir",
    "client|info",
    "client|trackinginfo",
];

/// What Sentinel needs at a primary and at replicas, by Redis's document on Sentinel and by trial on 7.0.
const SENTINEL_RULES: &[&str] = &[
    "ping",
    "info",
    "role",
    "publish",
    "subscribe",
    "multi",
    "exec",
    "slaveof",
    "config|rewrite",
    "client|setname",
    "client|kill",
    "script|kill",
];

/// What clients ask a Sentinel: redis-py, ioredis, Jedis, Lettuce and go-redis use no others.
const SENTINEL_ASKED: &[&str] = &[
    "ping",
    "subscribe",
    "psubscribe",
    "unsubscribe",
    "punsubscribe",
    "client|setname",
    "sentinel|get-master-addr-by-name",
    "sentinel|master",
    "sentinel|masters",
    "sentinel|replicas",
    "sentinel|slaves",
    "sentinel|sentinels",
];

/// What a user may do at a Redis, in Redis's words: without `on` or `off`, without passwords, complete (nothing of before
/// stays).
#[must_use]
pub fn rules(access: Access, version: RedisVersion) -> Vec<String> {
    let mut rules = Rules { words: Vec::new(), version };
    rules.reset();
    match access {
        Access::Platform => rules.plain(&["~*", "+@all"]).all_channels(),
        Access::Sentinel => {
            rules.commands('+', SENTINEL_RULES);
            if version.has_channels() {
                rules.plain(&["&__sentinel__:hello"]);
            }
        }
        Access::Replica => rules.commands('+', &["psync", "replconf", "ping"]),
        Access::Proxy | Access::Tenant => rules.tenant(),
    }
    rules.words
}

/// What a user may do at a Sentinel, in the same form. Tenants and proxies may ask it where their primaries are, and listen.
/// (A Sentinel knows no other commands than these few, and does not start with rules that name others: tried on 7.0.)
#[must_use]
pub fn sentinel_rules(access: Access, version: RedisVersion) -> Vec<String> {
    let mut rules = Rules { words: Vec::new(), version };
    rules.reset();
    match access {
        Access::Platform => rules.plain(&["~*", "+@all"]).all_channels(),
        Access::Sentinel => {
            rules.commands('+', &["ping", "publish", "client|setname", "sentinel|is-master-down-by-addr"]);
            rules.plain(&["&__sentinel__:hello"]);
        }
        Access::Replica => {}
        Access::Proxy | Access::Tenant => {
            rules.commands('+', SENTINEL_ASKED);
            rules.all_channels();
        }
    }
    rules.words
}

/// The rules of one user, as they grow.
struct Rules {
    words: Vec<String>,
    version: RedisVersion,
}

impl Rules {
    /// What takes everything of before away, but passwords and `on`.
    fn reset(&mut self) {
        if self.version.has_selectors() {
            self.plain(&["clearselectors"]);
        }
        self.plain(&["resetkeys", "-@all"]);
        if self.version.has_channels() {
            self.plain(&["resetchannels"]);
        }
    }

    fn plain(&mut self, words: &[&str]) -> &mut Self {
        self.words.extend(words.iter().map(ToString::to_string));
        self
    }

    fn commands(&mut self, sign: char, names: &[&str]) {
        self.words.extend(names.iter().map(|name| format!("{sign}{name}")));
    }

    fn all_channels(&mut self) {
        if self.version.has_channels() {
            self.plain(&["&*"]);
        }
    }

    fn tenant(&mut self) {
        self.plain(&["~*", "+@all", "-@admin", "-@dangerous", "-cluster", "-acl", "+acl|whoami"]);
        self.commands('+', TENANT_GETS_BACK);
        if self.version.has_selectors() {
            self.commands('+', TENANT_GETS_BACK_7);
            self.plain(&["-publish"]).all_channels();
            self.words.push(format!("(+publish {})", publishable().join(" ")));
        } else {
            self.commands('+', TENANT_GETS_BACK_6);
            if self.version.has_channels() {
                self.words.extend(publishable());
            }
        }
    }
}

/// Patterns that together match every channel that does not begin with [`SENTINEL_CHANNELS`], and no other.
fn publishable() -> Vec<String> {
    let mut patterns = Vec::new();
    for (at, letter) in SENTINEL_CHANNELS.char_indices() {
        let before = &SENTINEL_CHANNELS[..at];
        patterns.push(format!("&{before}[^{letter}]*"));
        if at > 0 {
            patterns.push(format!("&{before}"));
        }
    }
    patterns
}

/// Where somebody enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// A Redis, whose gate is so.
    Redis(Gate),
    /// A Sentinel, which has no gate.
    Sentinel,
}

impl Door {
    fn rules(self, access: Access, version: RedisVersion) -> Vec<String> {
        match self {
            Door::Redis(_) => rules(access, version),
            Door::Sentinel => sentinel_rules(access, version),
        }
    }

    const fn state(self, access: Access) -> &'static str {
        match self {
            Door::Redis(Gate::Closed) if access.gated() => "off",
            _ => "on",
        }
    }
}

/// `users.acl`: all users, each from nothing; `default` without any right.
#[must_use]
pub fn acl_file(users: &[(User, Passwords)], door: Door, version: RedisVersion) -> String {
    let mut text = "user default off resetkeys -@all\n".to_owned();
    for (user, passwords) in users {
        let mut words = vec!["user".to_owned(), user.name.clone(), door.state(user.access).to_owned()];
        words.extend(hashes(passwords));
        words.extend(door.rules(user.access, version));
        text.push_str(&words.join(" "));
        text.push('\n');
    }
    text
}

/// What follows `ACL SETUSER` so that the user is this, whatever was before.
#[must_use]
pub fn set_user(user: &User, passwords: &Passwords, door: Door, version: RedisVersion) -> Vec<String> {
    let mut words = vec![user.name.clone(), "resetpass".to_owned(), door.state(user.access).to_owned()];
    words.extend(hashes(passwords));
    words.extend(door.rules(user.access, version));
    words
}

fn hashes(passwords: &Passwords) -> impl Iterator<Item = String> {
    passwords.iter().map(|password| format!("#{}", password.sha256()))
}

#[cfg(test)]
mod tests;
