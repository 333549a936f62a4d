//! The files that a process is started with, as text.
//!
//! Two files for each Redis and each Sentinel, since CONFIG REWRITE and Sentinel write to theirs:
//!
//! | file | whose | what is in it |
//! | --- | --- | --- |
//! | `redis.conf`, `sentinel.conf` | the process's own, once it is there | what it remembers: whom it follows, what it watches |
//! | `platform.conf` | control's, written anew before each start | everything that control decides |
//! | `users.acl` | control's, as well (Redis 6 and later) | users, all who are gated off |
//!
//! The command is `redis-server redis.conf --include platform.conf`. Tried on 7.0.15: arguments are read after the file, so
//! what control says is the last word. A line `include` *within* the file does not do it: CONFIG REWRITE keeps the line, but
//! writes every setting that differs from its default behind it, those of the included file too, and from then on these win
//! over whatever control writes there. CONFIG REWRITE never writes to an included file, nor to a file of users.

mod proxy;

pub use proxy::{ProxyFiles, proxy_yml};

use std::net::SocketAddr;

use crate::credentials::{Passwords, REPLICA, Renamed};
use crate::redis_version::RedisVersion;
use crate::runtime::{Access, Eviction, Monitor, Persistence, RedisStart, User};
use shoal_topology::{Endpoint, Mode};

/// The name of the file of users, beside the others.
pub const USERS_FILE: &str = "users.acl";

/// What stands at the head of the file that the process may rewrite.
pub const OWN_FILE_HEAD: &str =
    "# Written to by the process itself. What Shoal decides stands in platform.conf and wins.\n";

/// What control alone sets. By the beginning of the name.
const OWNED: &[&str] = &[
    "acl",
    "always-show-logo",
    "append",
    "bind",
    "cluster",
    "daemonize",
    "dbfilename",
    "dir",
    "enable-",
    "include",
    "loadmodule",
    "logfile",
    "masterauth",
    "masteruser",
    "maxmemory",
    "pidfile",
    "port",
    "proc-title-template",
    "protected-mode",
    "rdb-del-sync-files",
    "rename-command",
    "replica-announce",
    "replica-read-only",
    "replicaof",
    "requirepass",
    "sanitize-dump-payload",
    "save",
    "sentinel",
    "set-proc-title",
    "slave-announce",
    "slave-read-only",
    "slaveof",
    "supervised",
    "syslog",
    "tls",
    "tracking-table",
    "unixsocket",
    "user",
];

/// What a Redis is told, beside what it is started with.
#[derive(Clone, Copy, Debug)]
pub struct RedisConf<'a> {
    /// The version that will read it.
    pub version: RedisVersion,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its folder, in which it works and keeps its data.
    pub dir: &'a str,
    /// The file of users, from Redis 6 on.
    pub users_file: &'a str,
    /// What replicas give their primary.
    pub replication: Option<&'a Passwords>,
    /// Before Redis 6: the password that stands while the gate is closed.
    pub closed_by: Option<&'a Passwords>,
    /// Before Redis 6: what is hidden.
    pub renamed: &'a [Renamed],
}

/// `platform.conf` of a Redis. It holds the replication's password, and before Redis 6 the platform's: mode 0600.
#[must_use]
pub fn redis_conf(start: &RedisStart, conf: &RedisConf<'_>) -> String {
    let mut lines = Lines::new(conf.address, conf.dir);
    let acl = conf.version.has_acl();
    if acl {
        lines.add("aclfile", conf.users_file.to_owned().quoted());
    }
    if let Some(closed_by) = conf.closed_by.filter(|_| !acl) {
        lines.add("requirepass", closed_by.preferred().reveal());
    }
    for renamed in conf.renamed {
        lines.add("rename-command", format!("{} {}", renamed.command, renamed.name));
    }
    if let Some(replication) = conf.replication {
        if acl {
            lines.add("masteruser", REPLICA);
        }
        lines.add("masterauth", replication.preferred().reveal());
    }
    // By itself a replica connects from any address of the machine, and Sentinel would take that one for its own (7.0).
    for (since, name) in [(RedisVersion::new(5, 0, 0), "replica"), (RedisVersion::new(3, 2, 2), "slave")] {
        if conf.version >= since {
            lines.add(&format!("{name}-announce-ip"), conf.address.ip());
            lines.add(&format!("{name}-announce-port"), conf.address.port());
            break;
        }
    }
    lines.add("maxmemory", start.maxmemory);
    lines.add("maxmemory-policy", start.eviction.name());
    for (name, value) in persistence(start.persistence) {
        lines.add(name, value);
    }
    if start.persistence == Persistence::None && acl {
        // What a whole copy left on a replica's disk is not kept there.
        lines.add("rdb-del-sync-files", "yes");
    }
    if conf.version.has_channels() {
        // Who may RESTORE may not crash the process by it.
        lines.add("sanitize-dump-payload", "clients");
    }
    // A whole copy goes out at once: there are few replicas, and nobody to wait for.
    lines.add("repl-diskless-sync", "yes");
    lines.add("repl-diskless-sync-delay", 0);
    for (name, value) in &start.settings {
        lines.add(name, value);
    }
    lines.text
}

/// `platform.conf` of a Sentinel. It holds the password that Sentinels give each other: mode 0600.
#[must_use]
pub fn sentinel_conf(conf: &RedisConf<'_>, peers: Option<(&str, &Passwords)>) -> String {
    let mut lines = Lines::new(conf.address, conf.dir);
    if conf.version.has_channels() {
        lines.add("aclfile", conf.users_file.to_owned().quoted());
        if let Some((user, passwords)) = peers {
            lines.add("sentinel sentinel-user", user);
            lines.add("sentinel sentinel-pass", passwords.preferred().reveal());
        }
    }
    lines.add("sentinel announce-ip", conf.address.ip());
    lines.add("sentinel announce-port", conf.address.port());
    lines.text
}

/// What a new Sentinel's own file says; afterwards it is the Sentinel's, and changes go by [`monitor_commands`].
#[must_use]
pub fn sentinel_own(monitors: &[(Monitor, Passwords)]) -> Option<String> {
    let mut text = OWN_FILE_HEAD.to_owned();
    for (monitor, passwords) in monitors {
        let Endpoint::Tcp { host, port } = &monitor.primary else { return None };
        let name = &monitor.name;
        text.push_str(&format!("sentinel monitor {name} {host} {port} {}\n", monitor.quorum));
        for (key, value) in monitor_settings(monitor, passwords) {
            text.push_str(&format!("sentinel {key} {name} {value}\n"));
        }
    }
    Some(text)
}

/// What a running Sentinel is told so that it watches this; `known`: it watches a primary of that name already. `None` for
/// an endpoint that Sentinel cannot watch.
#[must_use]
pub fn monitor_commands(monitor: &Monitor, passwords: &Passwords, known: bool) -> Option<Vec<Vec<String>>> {
    let Endpoint::Tcp { host, port } = &monitor.primary else { return None };
    let own = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<String>>();
    let mut commands = Vec::new();
    if !known {
        let (port, quorum) = (port.to_string(), monitor.quorum.to_string());
        commands.push(own(&["SENTINEL", "MONITOR", &monitor.name, host, &port, &quorum]));
    }
    let mut set = own(&["SENTINEL", "SET", &monitor.name, "quorum", &monitor.quorum.to_string()]);
    for (key, value) in monitor_settings(monitor, passwords) {
        set.extend([key.to_owned(), value]);
    }
    commands.push(set);
    Some(commands)
}

fn monitor_settings(monitor: &Monitor, passwords: &Passwords) -> Vec<(&'static str, String)> {
    vec![
        ("auth-user", monitor.user.name.clone()),
        ("auth-pass", passwords.preferred().reveal().to_owned()),
        ("down-after-milliseconds", monitor.down_after_ms.to_string()),
        ("failover-timeout", monitor.failover_timeout_ms.to_string()),
        ("parallel-syncs", monitor.parallel_syncs.to_string()),
    ]
}

/// Why a tenant's or operator's own setting cannot stand beside the platform's: in a sentence. `None`: it can.
#[must_use]
pub fn setting_refused(name: &str, value: &str) -> Option<String> {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || !name.bytes().all(letters) {
        return Some("a setting's name has small letters, digits and hyphens".to_owned());
    }
    if value.is_empty() || value.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Some("a setting's value is one line, and not empty".to_owned());
    }
    OWNED.iter().find(|owned| name.starts_with(**owned)).map(|_| {
        format!("{name} is set by the platform itself; say what you want by the spec's own fields, or leave it out")
    })
}

/// What a mode does when memory is full, where nobody says otherwise.
#[must_use]
pub const fn eviction_default(mode: Mode) -> Eviction {
    match mode {
        Mode::Storage => Eviction::Noeviction,
        Mode::Cache => Eviction::AllkeysLru,
    }
}

/// The user of some access among these.
#[must_use]
pub fn user_of(users: &[User], access: Access) -> Option<&User> {
    users.iter().find(|user| user.access == access)
}

/// In this order: `save ""` forgets the rules of before, the process's own and Redis's defaults, and each further line adds
/// one. (One line with several rules is Redis 7's alone: 6.2 takes it, and then saves nothing at its end.)
fn persistence(persistence: Persistence) -> Vec<(&'static str, &'static str)> {
    let mut lines = vec![("save", "\"\"")];
    match persistence {
        Persistence::None => lines.push(("appendonly", "no")),
        Persistence::Rdb => lines.extend([
            ("save", "3600 1"),
            ("save", "300 100"),
            ("save", "60 10000"),
            ("appendonly", "no"),
        ]),
        Persistence::Aof => lines.extend([("appendonly", "yes"), ("appendfsync", "everysec")]),
    }
    lines
}

/// The text of a file as it grows.
struct Lines {
    text: String,
}

impl Lines {
    fn new(address: SocketAddr, dir: &str) -> Self {
        let mut lines =
            Self { text: "# Written by Shoal before each start: changes here are lost.\n".to_owned() };
        lines.add("bind", address.ip());
        lines.add("port", address.port());
        lines.add("dir", dir.to_owned().quoted());
        // Standard output, which the runtime keeps and rotates.
        lines.add("logfile", "\"\"");
        lines.add("daemonize", "no");
        lines
    }

    fn add(&mut self, name: &str, value: impl ToString) {
        self.text.push_str(name);
        self.text.push(' ');
        self.text.push_str(&value.to_string());
        self.text.push('\n');
    }
}

/// A value in quotes, as Redis reads it.
trait Quoted {
    fn quoted(self) -> String;
}

impl Quoted for String {
    fn quoted(self) -> String {
        format!("\"{}\"", self.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

#[cfg(test)]
mod tests;
