//! A pool's keys: types, defaults, and what does not go together.

use super::document::{Section, Text, Value};
use super::{Error, Listen, Problem, Server};
use crate::SHARDS_MAX;
use crate::nearest;
use shoal_hashkit::{self as hashkit, Distribution, Hash, HashTag};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Every key, in the order of Twemproxy's own document; `reuseport` came after release 0.5.0.
const KEYS: &[&str] = &[
    "listen",
    "hash",
    "hash_tag",
    "distribution",
    "timeout",
    "backlog",
    "client_connections",
    "redis",
    "redis_auth",
    "redis_db",
    "preconnect",
    "auto_eject_hosts",
    "server_connections",
    "server_retry_timeout",
    "server_failure_limit",
    "tcpkeepalive",
    "reuseport",
    "servers",
];

/// A pool of `nutcracker.yml`. Fields are named as its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The pool's name.
    pub name: String,
    /// The line of the file where the name stands.
    pub line: usize,
    /// Where clients come in.
    pub listen: Listen,
    /// `listen` as it was written; Twemproxy's messages have it so.
    pub listen_text: String,
    /// What is done to keys; `fnv1a_64` by default.
    pub hash: Hash,
    /// The two bytes around the part of a key that is hashed.
    pub hash_tag: Option<HashTag>,
    /// What is done to the hash; `ketama` by default.
    pub distribution: Distribution,
    /// How long a server may take to connect or to answer; None (and a written 0) is for ever.
    pub timeout: Option<Duration>,
    /// What listen() is given; 512 by default.
    pub backlog: u32,
    /// Written by some, without effect in Twemproxy.
    pub client_connections: Option<u32>,
    /// Whether the pool speaks Redis. False by default, and then it speaks memcached.
    pub redis: bool,
    /// The password of clients and servers alike.
    pub redis_auth: Option<Password>,
    /// The database that each upstream selects; 0 by default.
    pub redis_db: u32,
    /// Whether to connect to all servers before listening.
    pub preconnect: bool,
    /// Whether a server that fails is left out for a while.
    pub auto_eject_hosts: bool,
    /// Upstreams to each server, at least 1; 1 by default.
    pub server_connections: u32,
    /// How long an ejected server is left out; 30 s by default.
    pub server_retry_timeout: Duration,
    /// Failures in a row that eject a server; 2 by default.
    pub server_failure_limit: u32,
    /// Whether client sockets get SO_KEEPALIVE.
    pub tcpkeepalive: bool,
    /// Whether listening sockets get SO_REUSEPORT. Release 0.5.0 refuses the key, later ones have it.
    pub reuseport: bool,
    /// The servers, in the order of the file. Never empty.
    pub servers: Vec<Server>,
}

/// A password, which `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The password itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Types a pool's keys and fills in the defaults. The pool's name is not added to errors.
pub(super) fn read(section: &Section) -> Result<Pool, Error> {
    let entries = Entries::read(section)?;
    let listen_text = entries.scalar("listen")?.ok_or_else(|| {
        let instead = "\"listen: host:port\" or \"listen: /path\"";
        Error::new(section.name.line, Problem::Missing { key: "listen", instead })
    })?;
    let redis_auth = entries.scalar("redis_auth")?;
    let pool = Pool {
        name: section.name.text.clone(),
        line: section.name.line,
        listen: Listen::read(listen_text)?,
        listen_text: listen_text.text.clone(),
        hash: entries
            .named("hash", || Hash::ALL.iter().map(|hash| hash.name()).collect())?
            .unwrap_or_default(),
        hash_tag: entries.named("hash_tag", Vec::new)?,
        distribution: entries
            .named("distribution", || Distribution::ALL.iter().map(|one| one.name()).collect())?
            .unwrap_or_default(),
        timeout: entries.number("timeout")?.filter(|&timeout| timeout > 0).map(milliseconds),
        backlog: entries.number("backlog")?.unwrap_or(512),
        client_connections: entries.number("client_connections")?,
        redis: entries.flag("redis")?,
        redis_auth: redis_auth.map(password).transpose()?,
        redis_db: entries.number("redis_db")?.unwrap_or(0),
        preconnect: entries.flag("preconnect")?,
        auto_eject_hosts: entries.flag("auto_eject_hosts")?,
        server_connections: entries.at_least_one("server_connections")?.unwrap_or(1),
        server_retry_timeout: milliseconds(entries.number("server_retry_timeout")?.unwrap_or(30_000)),
        server_failure_limit: entries.number("server_failure_limit")?.unwrap_or(2),
        tcpkeepalive: entries.flag("tcpkeepalive")?,
        reuseport: entries.flag("reuseport")?,
        servers: servers(&entries)?,
    };
    match redis_auth {
        Some(text) if !pool.redis => Err(Error::new(text.line, Problem::AuthWithoutRedis)),
        _ => Ok(pool),
    }
}

/// A decimal number without a sign, at most 2^31 - 1 as in Twemproxy. Leading zeros are allowed.
///
/// Twemproxy lets some larger ones wrap around; those are None here.
pub(super) fn unsigned(text: &str) -> Option<u32> {
    let is_decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number: u32 = is_decimal.then(|| text.parse().ok()).flatten()?;
    (number <= i32::MAX as u32).then_some(number)
}

fn milliseconds(number: u32) -> Duration {
    Duration::from_millis(u64::from(number))
}

fn password(text: &Text) -> Result<Password, Error> {
    if text.text.is_empty() {
        let problem = Problem::Value {
            key: "redis_auth",
            value: String::new(),
            wrong: "is no password",
            instead: "the password, or remove the key",
        };
        return Err(Error::new(text.line, problem));
    }
    Ok(Password(text.text.clone()))
}

fn servers(entries: &Entries<'_>) -> Result<Vec<Server>, Error> {
    let instead = "\"servers:\" and below it \"  - host:port:weight [name]\"";
    let missing = || Error::new(entries.line, Problem::Missing { key: "servers", instead });
    let (line, items) = match entries.by_key.get("servers") {
        None => return Err(missing()),
        Some((line, Value::Scalar(text))) if text.text.is_empty() => {
            return Err(Error { line: *line, ..missing() });
        }
        Some((line, Value::Scalar(_))) => {
            let wrong = "a text where a list belongs";
            let instead = "each server on a line of its own, behind \"- \"";
            return Err(Error::new(*line, Problem::Kind { key: "servers", wrong, instead }));
        }
        Some((line, Value::List(items))) => (*line, items),
    };
    if items.len() > SHARDS_MAX {
        let (wrong, instead) = ("more than 65535 servers", "fewer, or a second pool");
        return Err(Error::new(line, Problem::Kind { key: "servers", wrong, instead }));
    }
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    let mut servers = Vec::new();
    for item in items {
        let server = Server::read(item)?;
        if let Some(first) = lines.insert(server.name.clone(), item.line) {
            return Err(Error::new(item.line, Problem::DuplicateServer { name: server.name, first }));
        }
        servers.push(server);
    }
    let sum: u64 = servers.iter().map(|server| u64::from(server.weight)).sum();
    if sum > u64::from(u32::MAX) {
        return Err(Error::new(line, Problem::WeightSum));
    }
    if servers.is_empty() { Err(Error { line, ..missing() }) } else { Ok(servers) }
}

/// A pool's keys, known and each once, with the lines they stand in.
struct Entries<'s> {
    line: usize,
    by_key: BTreeMap<&'static str, (usize, &'s Value)>,
}

impl<'s> Entries<'s> {
    fn read(section: &'s Section) -> Result<Self, Error> {
        let mut by_key: BTreeMap<&'static str, (usize, &Value)> = BTreeMap::new();
        for (key, value) in &section.entries {
            let Some(&known) = KEYS.iter().find(|&&known| known == key.text) else {
                let suggestion = nearest(&key.text, KEYS);
                return Err(Error::new(key.line, Problem::UnknownKey { key: key.text.clone(), suggestion }));
            };
            if let Some((first, _)) = by_key.insert(known, (key.line, value)) {
                return Err(Error::new(key.line, Problem::DuplicateKey { key: known, first }));
            }
        }
        Ok(Entries { line: section.name.line, by_key })
    }

    fn scalar(&self, key: &'static str) -> Result<Option<&'s Text>, Error> {
        match self.by_key.get(key) {
            None => Ok(None),
            Some((_, Value::Scalar(text))) => Ok(Some(text)),
            Some((line, Value::List(_))) => {
                let (wrong, instead) = ("a list where one value belongs", "one value behind the colon");
                Err(Error::new(*line, Problem::Kind { key, wrong, instead }))
            }
        }
    }

    fn flag(&self, key: &'static str) -> Result<bool, Error> {
        let Some(text) = self.scalar(key)? else { return Ok(false) };
        match text.text.as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(value(key, text, "is neither true nor false", "true or false, in small letters")),
        }
    }

    fn number(&self, key: &'static str) -> Result<Option<u32>, Error> {
        let Some(text) = self.scalar(key)? else { return Ok(None) };
        match unsigned(&text.text) {
            Some(number) => Ok(Some(number)),
            None => Err(value(key, text, "is no number from 0 to 2147483647", "digits alone")),
        }
    }

    fn at_least_one(&self, key: &'static str) -> Result<Option<u32>, Error> {
        match (self.number(key)?, self.scalar(key)?) {
            (Some(0), Some(text)) => Err(value(key, text, "is too few", "at least 1")),
            (number, _) => Ok(number),
        }
    }

    /// A value that `hashkit` knows by name; `names` are those that a typing mistake may have meant.
    fn named<T>(&self, key: &'static str, names: fn() -> Vec<&'static str>) -> Result<Option<T>, Error>
    where
        T: FromStr<Err = hashkit::Error>,
    {
        let Some(text) = self.scalar(key)? else { return Ok(None) };
        text.text.parse().map(Some).map_err(|error: hashkit::Error| {
            let suggestion = nearest(&text.text, &names());
            Error::new(text.line, Problem::Name { key, message: error.to_string(), suggestion })
        })
    }
}

fn value(key: &'static str, text: &Text, wrong: &'static str, instead: &'static str) -> Error {
    let problem = Problem::Value { key, value: text.text.clone(), wrong, instead };
    Error::new(text.line, problem)
}
