//! What a configuration means: complete, checked, and the same whether it was written as `proxy.yml` or `nutcracker.yml`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::following::shard::Followed;
use serde::Deserialize;
use shoal_topology::Pool;
pub use shoal_topology::nutcracker::Listen;

use crate::access::Access;
use crate::replication::WRITE_LANES;
use crate::server_auth::ServerAuth;
use crate::tls::{ListenTls, ServerTls};

/// Whether both are one socket: a unix socket is its path, whatever permissions it is to have.
pub fn is_same_place(one: &Listen, other: &Listen) -> bool {
    match (one, other) {
        (Listen::Unix { path: one, .. }, Listen::Unix { path: other, .. }) => one == other,
        _ => one == other,
    }
}

/// Everything that a proxy process is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The pools, in the order in which statistics show them.
    pub pools: Vec<PoolSettings>,
    /// Event loops; each is one thread.
    pub workers: usize,
}

/// Everything about one pool.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// Who owns which key, and where the servers are.
    pub pool: Pool,
    /// Where clients connect.
    pub listen: Listen,
    /// How clients speak TLS, if they do.
    pub tls: Option<Arc<ListenTls>>,
    /// How servers are spoken to by TLS, if they are; also those that sentinels name.
    pub server_tls: Option<ServerTls>,
    /// How the sentinels of its shards are spoken to by TLS, if they are.
    pub sentinel_tls: Option<ServerTls>,
    /// Connections that may wait to be accepted, as `listen(2)` takes it.
    pub backlog: u32,
    /// Whether sockets of clients get `SO_KEEPALIVE`.
    pub tcp_keepalive: bool,
    /// From when a request is queued to when its reply must have come; `None` waits for ever.
    pub timeout: Option<Duration>,
    /// Who may enter, and what they may do.
    pub access: Access,
    /// As whom the proxy enters the servers, if they ask.
    pub server_auth: Option<ServerAuth>,
    /// The database that is selected on the servers.
    pub database: u32,
    /// Whether every server is connected to before clients are accepted.
    pub preconnect: bool,
    /// Connections to each server, for each worker and each version of RESP.
    pub server_connections: u16,
    /// When a server that fails is left out; `None` never.
    pub ejection: Option<Ejection>,
    /// How long a server may stand unread, in all for one reply, because the client whose reply comes next does not read, while
    /// others wait behind it. Then that client is cut.
    pub client_stall_timeout: Duration,
    /// Whether requests wait for company while the last batch to their server is unanswered.
    pub gather: bool,
    /// Which requests are remembered as slow.
    pub slow_log: SlowLogSettings,
    /// What commands do whose keys lie on several shards.
    pub multi_key: MultiKey,
    /// When a write is answered.
    pub durability: Durability,
    /// Whether clients may empty the pool by FLUSHDB and FLUSHALL.
    pub allow_flush: bool,
    /// Whether the one shard of the pool is given the commands that concern one server (DEBUG, CONFIG SET …): for Redis's own
    /// tests.
    pub pass_admin_commands: bool,
    /// The shard, by its index, on which scripts run that name no key; `None` refuses them.
    pub keyless_scripts: Option<u16>,
    /// Whose error texts and whose habits after a failure.
    pub dialect: Dialect,
    /// For each shard whether Sentinel says where its primary is; empty if it does for none.
    pub followed: Vec<Option<Followed>>,
}

/// The default of [`PoolSettings::client_stall_timeout`].
pub const CLIENT_STALL_TIMEOUT: Duration = Duration::from_secs(1);

/// Which requests of a pool are remembered as slow, and how many. The defaults are those of Redis's own slow log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowLogSettings {
    /// From a request's queueing to its whole reply; what takes as long or longer is slow.
    pub slower_than: Duration,
    /// How many are remembered, the newest, by each worker; 0 for no slow log.
    pub entries: usize,
}

impl SlowLogSettings {
    /// Whether there is a slow log.
    #[inline]
    pub fn is_kept(&self) -> bool {
        self.entries > 0
    }

    /// The threshold in microseconds; never reached if there is no slow log.
    #[inline]
    pub fn slow_micros(&self) -> u64 {
        if self.is_kept() { self.slower_than.as_micros() as u64 } else { u64::MAX }
    }
}

impl Default for SlowLogSettings {
    fn default() -> SlowLogSettings {
        SlowLogSettings { slower_than: Duration::from_millis(10), entries: 128 }
    }
}

/// When a server is left out of its pool, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row, without a reply between them.
    pub failure_limit: u32,
    /// How long the server stays out at least.
    pub retry_after: Duration,
    /// What becomes of its keys meanwhile.
    pub keys: EjectedKeys,
}

/// What becomes of the keys of a server that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EjectedKeys {
    /// They go to the other servers.
    Move {
        /// Whether the server is rid of what may be stale before it serves again ([`crate::returning`]).
        empty_on_return: bool,
    },
    /// They fail at once, by name: nothing is written elsewhere, so nothing is stale when it returns.
    Fail,
}

impl PoolSettings {
    /// Where clients connect, and how they speak TLS there, if they do.
    pub fn listens(&self) -> impl Iterator<Item = (&Listen, Option<&Arc<ListenTls>>)> {
        let apart = self.tls.as_ref().and_then(|tls| Some((tls.listen.as_ref()?, self.tls.as_ref())));
        let main = if apart.is_some() { None } else { self.tls.as_ref() };
        std::iter::once((&self.listen, main)).chain(apart)
    }

    /// Whether a server that returns is rid of what may be stale before it serves.
    pub fn empties(&self) -> bool {
        matches!(self.ejection, Some(Ejection { keys: EjectedKeys::Move { empty_on_return: true }, .. }))
    }

    /// Connections to each server that sessions share, for each worker and each version of RESP.
    pub fn lanes(&self) -> u16 {
        match self.durability {
            Durability::Async => self.server_connections,
            Durability::Replicated { .. } => self.server_connections + WRITE_LANES,
        }
    }

    /// Whether the keys of a server that is out fail rather than move.
    pub fn ejected_keys_fail(&self) -> bool {
        matches!(self.ejection, Some(Ejection { keys: EjectedKeys::Fail, .. }))
    }
}

/// When a write is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When its server has executed it: Redis's own way. What replicas lack is lost with the primary.
    #[default]
    Async,
    /// When replicas have confirmed it, or with an error when they have not in time (`replication`).
    Replicated {
        /// How many replicas of its shard.
        replicas: u16,
        /// How long they have, from when the server has executed the batch.
        timeout: Duration,
    },
}

/// What happens to a command whose keys lie on several shards and that cannot be split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MultiKey {
    /// It is refused with an error that says why.
    #[default]
    Refuse,
    /// It goes whole to the server of its first argument, as Twemproxy sends it: keys may be missed or written where nobody
    /// looks for them.
    AsNutcracker,
}

/// Whose words and habits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Errors name shard, pool and cause; failures back off and are probed.
    Shoal,
    /// Errors, ejection and reconnects are Twemproxy's.
    Nutcracker,
}

/// A password. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` out of logs.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The password itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::new("hunter2");
        assert_eq!(secret.reveal(), "hunter2");
        assert!(!format!("{secret:?}").contains("hunter"));
    }
}
