//! Configuration files: what was written in them. What it means is [`crate::settings`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use shoal_hashkit::{CharSign, Hash, HashTag};
use shoal_topology::{Distribution, Endpoint, Mode, Pool, Shard, ShardState, Topology};

use crate::error::Error;
use crate::io::secret_file::Contents;
use crate::settings::{
    CLIENT_STALL_TIMEOUT, Dialect, EjectedKeys, Ejection, Listen, MultiKey, PoolSettings, Secret, Settings,
    SlowLogSettings, is_same_place,
};
use crate::succession::DRAIN_TIMEOUT;

mod access;
mod durability;
mod nutcracker;
mod sentinels;
mod tls;
mod yaml;

use access::{AccessEntry, LimitsEntry, ServerAuthEntry, UserEntry};

pub use nutcracker::from_nutcracker;

/// Where the admin port is unless the file says otherwise.
pub const ADMIN: &str = "127.0.0.1:9180";

/// Entries that a pool's slow log may have, on each worker.
const SLOW_LOG_ENTRIES_MAX: usize = 10_000;

/// `proxy.yml`, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxyFile {
    /// Event loops; default: the cores that the process may use.
    workers: Option<usize>,
    /// The admin port: `host:port`, `/path` of a unix socket, or `none`.
    admin: Option<String>,
    /// Whether other machines may reach the admin port.
    #[serde(default)]
    admin_exposed: bool,
    /// `host:port` of the statistics port, in Twemproxy's form. Default: none.
    stats: Option<String>,
    /// Path of the unix socket at which the next process takes over. Default: none.
    hand_over: Option<String>,
    /// Milliseconds.
    drain_timeout: Option<u64>,
    pools: Vec<PoolEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolEntry {
    name: String,
    mode: ModeEntry,
    listen: String,
    #[serde(default = "backlog_default")]
    backlog: u32,
    hash: Option<String>,
    char: Option<String>,
    distribution: Option<Distribution>,
    hash_tag: Option<String>,
    /// Milliseconds.
    timeout: Option<u64>,
    password: Option<Secret>,
    password_file: Option<String>,
    server_auth: Option<ServerAuthEntry>,
    #[serde(default)]
    users: Vec<UserEntry>,
    users_file: Option<String>,
    #[serde(default)]
    limits: LimitsEntry,
    #[serde(default)]
    database: u32,
    #[serde(default)]
    preconnect: bool,
    #[serde(default = "one")]
    server_connections: u16,
    #[serde(default)]
    tcp_keepalive: bool,
    /// Milliseconds.
    client_stall_timeout: Option<u64>,
    #[serde(default = "yes")]
    gather: bool,
    #[serde(default)]
    slow_log: SlowLogEntry,
    multi_key: Option<MultiKeyEntry>,
    #[serde(default)]
    durability: durability::DurabilityEntry,
    #[serde(default)]
    allow_flush: bool,
    #[serde(default)]
    pass_admin_commands: bool,
    keyless_scripts: Option<String>,
    eject: Option<EjectEntry>,
    tls: Option<tls::TlsEntry>,
    server_tls: Option<tls::ServerTlsEntry>,
    sentinel_tls: Option<tls::ServerTlsEntry>,
    servers: Vec<ServerEntry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ModeEntry {
    Storage,
    Cache,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum MultiKeyEntry {
    Refuse,
    AsNutcracker,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EjectEntry {
    #[serde(default = "failure_limit_default")]
    failure_limit: u32,
    /// Milliseconds.
    #[serde(default = "retry_after_default")]
    retry_after: u64,
    #[serde(default)]
    keys: EjectedKeysEntry,
    empty_on_return: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EjectedKeysEntry {
    #[default]
    Move,
    Fail,
}

impl EjectEntry {
    fn mean(&self) -> Result<Ejection, String> {
        if self.failure_limit == 0 {
            return Err("eject: failure_limit: must be at least 1".to_owned());
        }
        let keys = match (self.keys, self.empty_on_return) {
            (EjectedKeysEntry::Move, empty) => EjectedKeys::Move { empty_on_return: empty.unwrap_or(true) },
            (EjectedKeysEntry::Fail, None | Some(false)) => EjectedKeys::Fail,
            (EjectedKeysEntry::Fail, Some(true)) => {
                return Err("eject: empty_on_return: with `keys: fail` nothing is written elsewhere, so nothing is emptied; \
                            leave one of the two out"
                    .to_owned());
            }
        };
        let retry_after = Duration::from_millis(self.retry_after);
        Ok(Ejection { failure_limit: self.failure_limit, retry_after, keys })
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SlowLogEntry {
    /// Milliseconds.
    slower_than: Option<u64>,
    entries: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerEntry {
    name: Option<String>,
    address: Option<String>,
    sentinels: Option<Vec<String>>,
    #[serde(rename = "master_name")]
    watched_as: Option<String>,
    sentinel_user: Option<String>,
    sentinel_password_file: Option<String>,
    #[serde(default = "weight_default")]
    weight: u32,
}

fn backlog_default() -> u32 {
    512
}

fn one() -> u16 {
    1
}

fn yes() -> bool {
    true
}

fn weight_default() -> u32 {
    1
}

fn failure_limit_default() -> u32 {
    3
}

fn retry_after_default() -> u64 {
    600_000
}

/// What a configuration file of ours says.
#[derive(Debug)]
pub struct ProxyConfig {
    /// The pools and the workers.
    pub settings: Settings,
    /// Where the admin port is.
    pub admin: String,
    /// Whether other machines may reach it.
    pub admin_exposed: bool,
    /// Where statistics in Twemproxy's form are served, if anywhere.
    pub stats: Option<String>,
    /// Path of the unix socket at which the next process takes over, if there is one.
    pub hand_over: Option<PathBuf>,
    /// How long sessions have to leave when the process ends.
    pub drain_timeout: Duration,
}

/// Reads the `proxy.yml` at `path`. `cores` is how many event loops there are unless it says otherwise.
///
/// # Errors
/// [`Error::Unreadable`], and those of [`from_proxy_yml`].
pub fn read_proxy_yml(path: &Path, cores: usize) -> Result<ProxyConfig, Error> {
    let contents =
        Contents::read(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    mean(path, &contents.text, cores, || contents.check(path))
}

/// What this text means as a `proxy.yml`, which nobody else can read; files that it names are relative to the folder of `path`.
///
/// # Errors
/// [`Error::Config`] with the line and what is wrong there.
pub fn from_proxy_yml(path: &Path, text: &str, cores: usize) -> Result<ProxyConfig, Error> {
    mean(path, text, cores, || Ok(()))
}

/// The same; `check` says whether a password may stand in the text.
fn mean(
    path: &Path,
    text: &str,
    cores: usize,
    check: impl Fn() -> Result<(), String>,
) -> Result<ProxyConfig, Error> {
    let refuse = |reason: String| Error::Config { path: path.to_owned(), reason };
    let file: ProxyFile = yaml::read(text).map_err(refuse)?;
    if file.pools.is_empty() {
        return Err(refuse("there are no pools: write at least one under `pools`".to_owned()));
    }
    let workers = file.workers.unwrap_or(cores);
    if !(1..=512).contains(&workers) {
        return Err(refuse(format!("workers: {workers} is not between 1 and 512")));
    }
    let has_secret = |pool: &PoolEntry| {
        pool.password.is_some() || pool.server_auth.as_ref().is_some_and(ServerAuthEntry::is_inline)
    };
    if let Some(pool) = file.pools.iter().find(|pool| has_secret(pool)) {
        let why = |why| refuse(format!("pool {}: password: {why}, or use password_file", pool.name));
        check().map_err(why)?;
    }
    let mut pools = Vec::new();
    let folder = path.parent().unwrap_or(Path::new("."));
    for entry in file.pools {
        let name = entry.name.clone();
        pools.push(entry.mean(folder).map_err(|reason| refuse(format!("pool {name}: {reason}")))?);
    }
    let topology =
        Topology { format: 1, epoch: 1, pools: pools.iter().map(|pool| pool.pool.clone()).collect() };
    topology
        .validate()
        .map_err(|source| Error::Topology { path: path.to_owned(), source: Box::new(source) })?;
    for (index, pool) in pools.iter().enumerate() {
        for (place, (listen, _)) in pool.listens().enumerate() {
            let earlier =
                pools[..index].iter().flat_map(|other| other.listens().map(move |it| (other, it.0)));
            let earlier = earlier.chain(pool.listens().take(place).map(|it| (pool, it.0)));
            if let Some((other, _)) = earlier.into_iter().find(|(_, taken)| is_same_place(taken, listen)) {
                let (one, two) = (&other.pool.name, &pool.pool.name);
                return Err(refuse(match one == two {
                    true => {
                        format!("pool {one}: tls: listen: {listen} is where the pool listens without TLS")
                    }
                    false => format!("pools {one} and {two} both listen on {listen}"),
                }));
            }
        }
    }
    Ok(ProxyConfig {
        settings: Settings { pools, workers },
        admin: file.admin.unwrap_or_else(|| ADMIN.to_owned()),
        admin_exposed: file.admin_exposed,
        stats: file.stats,
        hand_over: file.hand_over.map(|socket| folder.join(socket)),
        drain_timeout: file.drain_timeout.map_or(DRAIN_TIMEOUT, Duration::from_millis),
    })
}

impl PoolEntry {
    fn mean(self, folder: &Path) -> Result<PoolSettings, String> {
        let cache = self.mode == ModeEntry::Cache;
        if self.eject.is_some() && !cache {
            return Err(
                "eject: only a pool of mode cache ejects; a storage pool's data is on its shard alone"
                    .to_owned(),
            );
        }
        if !(1..=64).contains(&self.server_connections) {
            return Err(format!("server_connections: {} is not between 1 and 64", self.server_connections));
        }
        if self.timeout == Some(0) {
            return Err("timeout: 0 would fail every request; leave the key out to wait for ever".to_owned());
        }
        let usual = if cache { Distribution::Ketama } else { Distribution::Modula };
        let distribution = self.distribution.unwrap_or(usual);
        let hash: Hash = match &self.hash {
            Some(text) => text.parse().map_err(|error| format!("hash: {error}"))?,
            None => Hash::default(),
        };
        let char_sign: CharSign = match &self.char {
            Some(text) => text.parse().map_err(|error| format!("char: {error}"))?,
            None => CharSign::default(),
        };
        let hash_tag: Option<HashTag> = match &self.hash_tag {
            Some(text) => Some(text.parse().map_err(|error| format!("hash_tag: {error}"))?),
            None => None,
        };
        let access = AccessEntry {
            password: self.password,
            password_file: self.password_file,
            server_auth: self.server_auth,
            users: self.users,
            users_file: self.users_file,
            limits: self.limits,
        };
        let (access, server_auth) = access.mean(folder)?;
        let slow_log = self.slow_log.mean()?;
        let durability = self.durability.mean(cache, self.timeout)?;
        let eject = self.eject.unwrap_or(EjectEntry {
            failure_limit: failure_limit_default(),
            retry_after: retry_after_default(),
            keys: EjectedKeysEntry::default(),
            empty_on_return: None,
        });
        let ejection = if cache { Some(eject.mean()?) } else { None };
        let mut shards = Vec::new();
        let mut followed = Vec::new();
        for server in self.servers {
            let (primary, found_by) = server.place(cache, folder)?;
            let usual = || match &found_by {
                Some(followed) => followed.sentinels.watched_as.clone(),
                None => primary.to_string(),
            };
            let name = server.name.clone().unwrap_or_else(usual);
            followed.push(found_by);
            shards.push(Shard {
                name,
                weight: server.weight,
                primary,
                replicas: Vec::new(),
                state: ShardState::Up,
            });
        }
        if self.pass_admin_commands && shards.len() != 1 {
            return Err(format!(
                "pass_admin_commands: these commands concern one server, and the pool has {}; it is for tests of a pool of one",
                shards.len()
            ));
        }
        sentinels::check_followed(&mut followed)?;
        if self.sentinel_tls.is_some() && followed.is_empty() {
            return Err("sentinel_tls: no server of the pool is found by sentinels: leave it out".to_owned());
        }
        let keyless_scripts = match &self.keyless_scripts {
            Some(name) => {
                let place = shards.iter().position(|shard: &Shard| shard.name == *name);
                let place = place.and_then(|place| u16::try_from(place).ok());
                Some(place.ok_or_else(|| format!("keyless_scripts: no server is called {name}"))?)
            }
            None => None,
        };
        let tls = self.tls.map(|tls| tls.mean(folder)).transpose()?;
        let server_tls = match self.server_tls {
            Some(tls) => Some(tls.mean("server_tls", folder, &sentinels::addresses(&shards, &followed))?),
            None => None,
        };
        let sentinel_tls = match self.sentinel_tls {
            Some(tls) => Some(tls.mean_of_sentinels(folder, &sentinels::asked(&shards, &followed))?),
            None => None,
        };
        Ok(PoolSettings {
            listen: listen(&self.listen)?,
            tls,
            server_tls,
            sentinel_tls,
            pool: Pool {
                name: self.name,
                mode: if cache { Mode::Cache } else { Mode::Storage },
                hash,
                char_sign,
                distribution,
                hash_tag,
                shards,
                credentials: None,
            },
            backlog: self.backlog,
            tcp_keepalive: self.tcp_keepalive,
            timeout: self.timeout.map(Duration::from_millis),
            access,
            server_auth,
            database: self.database,
            preconnect: self.preconnect,
            server_connections: self.server_connections,
            ejection,
            client_stall_timeout: self
                .client_stall_timeout
                .map_or(CLIENT_STALL_TIMEOUT, Duration::from_millis),
            gather: self.gather,
            slow_log,
            multi_key: match self.multi_key {
                Some(MultiKeyEntry::AsNutcracker) => MultiKey::AsNutcracker,
                Some(MultiKeyEntry::Refuse) | None => MultiKey::Refuse,
            },
            durability,
            allow_flush: self.allow_flush,
            pass_admin_commands: self.pass_admin_commands,
            keyless_scripts,
            dialect: Dialect::Shoal,
            followed,
        })
    }
}

impl SlowLogEntry {
    fn mean(self) -> Result<SlowLogSettings, String> {
        let usual = SlowLogSettings::default();
        let settings = SlowLogSettings {
            slower_than: self.slower_than.map_or(usual.slower_than, Duration::from_millis),
            entries: self.entries.unwrap_or(usual.entries),
        };
        match settings.entries {
            0..=SLOW_LOG_ENTRIES_MAX => Ok(settings),
            many => Err(format!(
                "slow_log: entries: {many} is more than {SLOW_LOG_ENTRIES_MAX}, which each worker would keep"
            )),
        }
    }
}

fn listen(text: &str) -> Result<Listen, String> {
    match text.parse::<Endpoint>() {
        Ok(Endpoint::Tcp { host, port }) => Ok(Listen::Tcp { host, port }),
        Ok(Endpoint::Unix { path }) => Ok(Listen::Unix { path, mode: None }),
        Err(error) => Err(format!("listen: {error}")),
    }
}

#[cfg(test)]
mod tests;
