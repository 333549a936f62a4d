//! Pools and shards as they are now: what the settings say, and which servers are in.

use std::sync::atomic::Ordering;

use serde::Serialize;
use shoal_topology::{Distribution, Mode};

use super::users::{self, LimitsRow, UserRow};
use crate::failure::FailureKind;
use crate::following::shard::{Followed, Primary};
use crate::health::Health;
use crate::settings::{Dialect, Durability, MultiKey, PoolSettings};

/// One pool. Durations are in the unit that their name ends in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolRow {
    /// Its name.
    pub name: String,
    /// `storage` or `cache`.
    pub mode: Mode,
    /// Where clients connect.
    pub listen: String,
    /// What is done to keys.
    pub hash: String,
    /// What is done to the hash.
    pub distribution: Distribution,
    /// The two bytes around the part of a key that is hashed.
    pub hash_tag: Option<String>,
    /// `shoal` or `nutcracker`: whose words and habits.
    pub dialect: &'static str,
    /// When a write is answered.
    pub durability: DurabilityRow,
    /// `refuse` or `as-nutcracker`.
    pub multi_key: &'static str,
    /// From a request's queueing to its reply; none waits for ever.
    pub timeout_ms: Option<u64>,
    /// Whether clients must give a password.
    pub password: bool,
    /// Who may enter, if the pool has users or limits.
    pub users: Vec<UserRow>,
    /// How much the whole pool may be asked for.
    pub limits: LimitsRow,
    /// The database on the servers.
    pub database: u32,
    /// Connections to each server, for each worker and version of RESP.
    pub server_connections: u16,
    /// Whether requests wait for company.
    pub gather: bool,
    /// From when on a request is slow.
    pub slower_than_ms: u64,
    /// Slow requests that are remembered, by each worker.
    pub slow_entries: usize,
    /// When a server is left out; none never is.
    pub eject: Option<EjectRow>,
    /// How often servers of this pool were ejected.
    pub ejections: u64,
    /// The shards, in the order given.
    pub shards: Vec<ShardRow>,
}

/// When a write is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "mode")]
pub enum DurabilityRow {
    /// When its primary has executed it.
    Async,
    /// When replicas have confirmed it.
    Replicated {
        /// How many.
        replicas: u16,
        /// How long they have.
        timeout_ms: u64,
    },
}

impl From<Durability> for DurabilityRow {
    fn from(durability: Durability) -> DurabilityRow {
        match durability {
            Durability::Async => DurabilityRow::Async,
            Durability::Replicated { replicas, timeout } => {
                DurabilityRow::Replicated { replicas, timeout_ms: timeout.as_millis() as u64 }
            }
        }
    }
}

/// When a server is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EjectRow {
    /// Failures in a row.
    pub failure_limit: u32,
    /// How long it stays out at least.
    pub retry_after_ms: u64,
    /// What becomes of its keys: `move` or `fail`.
    pub keys: &'static str,
    /// Whether it is rid of what may be stale before it serves again.
    pub empty_on_return: bool,
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShardRow {
    /// Its name.
    pub name: String,
    /// Its share of the keys.
    pub weight: u32,
    /// Where its primary is.
    pub endpoint: String,
    /// Where its replicas are.
    pub replicas: Vec<String>,
    /// `up` or `ejected`.
    pub state: &'static str,
    /// It answers, and stays out until somebody has looked at it.
    pub held_back: bool,
    /// How often this proxy emptied it as it returned.
    pub emptied: u64,
    /// Failures since its last reply, counted where servers are ejected.
    pub failures: u32,
    /// When it was last ejected, in microseconds since the Unix epoch.
    pub ejected_at_unix_us: Option<u64>,
    /// How long it stays out at least, if it is ejected.
    pub out_for_us: Option<u64>,
    /// What the last failure of a connection to it was.
    pub last_failure: Option<LastFailure>,
    /// What its sentinels say, if it is given by sentinels.
    pub sentinel: Option<SentinelRow>,
}

/// A shard whose primary Sentinel names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SentinelRow {
    /// Where its sentinels are.
    pub sentinels: Vec<String>,
    /// How many of them answered when last asked.
    pub reachable: u32,
    /// The others, each with why it did not.
    pub silent: Vec<String>,
    /// What they call it.
    #[serde(rename = "master_name")]
    pub watched_as: String,
    /// `known`, `switching` or `unknown`.
    pub primary: &'static str,
    /// Since when it is what it is, in microseconds since the Unix epoch.
    pub since_unix_us: Option<u64>,
    /// The configuration epoch that is believed.
    pub config_epoch: u64,
    /// Changes of the primary since the process began.
    pub switches: u64,
    /// Looks at the sentinels.
    pub looks: u64,
    /// Why there is no primary, or what is odd.
    pub remark: Option<String>,
}

impl SentinelRow {
    fn of(followed: &Followed) -> SentinelRow {
        let (sentinels, status) = (&followed.sentinels, &followed.status);
        SentinelRow {
            sentinels: sentinels.endpoints.iter().map(ToString::to_string).collect(),
            reachable: status.reachable.load(Ordering::Relaxed),
            silent: status.silent(),
            watched_as: sentinels.watched_as.clone(),
            primary: followed.primary.name(),
            since_unix_us: Some(status.since_unix_micros.load(Ordering::Relaxed)).filter(|&since| since != 0),
            config_epoch: status.config_epoch.load(Ordering::Relaxed),
            switches: status.switches.load(Ordering::Relaxed),
            looks: status.looks.load(Ordering::Relaxed),
            remark: Some(status.remark()).filter(|remark| !remark.is_empty()),
        }
    }
}

/// The last failure of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LastFailure {
    /// Its kind.
    pub kind: &'static str,
    /// When it was, in microseconds since the Unix epoch.
    pub at_unix_us: u64,
}

/// Describes a pool at `now` of the process's clock, in microseconds. `last_failure` tells when the last connection to a shard
/// failed, in microseconds since the Unix epoch, and the number of the kind.
pub fn describe(
    settings: &PoolSettings,
    health: &Health,
    now: u64,
    last_failure: impl Fn(usize) -> Option<(i64, i64)>,
) -> PoolRow {
    let shards = settings.pool.shards.iter().enumerate().map(|(index, shard)| {
        let out_until = health.out_until(index);
        let last_failure = last_failure(index).map(|(at, kind)| LastFailure {
            kind: usize::try_from(kind)
                .ok()
                .and_then(|kind| FailureKind::ALL.get(kind))
                .map_or("other", |kind| kind.name()),
            at_unix_us: at.unsigned_abs(),
        });
        ShardRow {
            name: shard.name.clone(),
            weight: shard.weight,
            endpoint: match settings.primary(index) {
                Primary::Known => shard.primary.to_string(),
                Primary::Switching | Primary::Unknown => "none".to_owned(),
            },
            replicas: shard.replicas.iter().map(ToString::to_string).collect(),
            state: if out_until.is_some() { "ejected" } else { "up" },
            held_back: health.is_held_back(index),
            emptied: health.emptied(index),
            failures: health.failures(index),
            ejected_at_unix_us: Some(health.ejected_at(index)).filter(|&at| at != 0),
            out_for_us: out_until.map(|until| until.saturating_sub(now)),
            last_failure,
            sentinel: settings.followed(index).map(SentinelRow::of),
        }
    });
    PoolRow {
        name: settings.pool.name.clone(),
        mode: settings.pool.mode,
        listen: settings.listen.to_string(),
        hash: settings.pool.hash.to_string(),
        distribution: settings.pool.distribution,
        hash_tag: settings.pool.hash_tag.map(|tag| tag.to_string()),
        dialect: match settings.dialect {
            Dialect::Shoal => "shoal",
            Dialect::Nutcracker => "nutcracker",
        },
        multi_key: match settings.multi_key {
            MultiKey::Refuse => "refuse",
            MultiKey::AsNutcracker => "as-nutcracker",
        },
        durability: settings.durability.into(),
        timeout_ms: settings.timeout.map(|timeout| timeout.as_millis() as u64),
        password: !settings.access.is_open(),
        users: users::rows(&settings.access),
        limits: settings.access.limits.into(),
        database: settings.database,
        server_connections: settings.server_connections,
        gather: settings.gather,
        slower_than_ms: settings.slow_log.slower_than.as_millis() as u64,
        slow_entries: settings.slow_log.entries,
        eject: settings.ejection.map(|ejection| EjectRow {
            failure_limit: ejection.failure_limit,
            retry_after_ms: ejection.retry_after.as_millis() as u64,
            keys: if settings.ejected_keys_fail() { "fail" } else { "move" },
            empty_on_return: settings.empties(),
        }),
        ejections: health.ejections(),
        shards: shards.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_proxy_yml;
    use crate::health::Now;
    use std::path::Path;

    #[test]
    fn a_shard_that_follows_sentinel_says_whom_and_since_when() {
        let text = "pools:\n  - name: p\n    mode: storage\n    listen: 127.0.0.1:1\n    servers:\n      - {name: a, sentinels: \
                    ['s:1', 't:2'], master_name: m}\n";
        let settings = from_proxy_yml(Path::new("proxy.yml"), text, 1).unwrap().settings.pools.remove(0);
        let health = Health::new(1, None);
        let row = |settings: &PoolSettings| describe(settings, &health, 1, |_| None).shards.remove(0);
        let unknown = row(&settings);
        let sentinel = unknown.sentinel.unwrap();
        assert_eq!((unknown.endpoint.as_str(), sentinel.primary), ("none", "unknown"));
        assert_eq!(
            (sentinel.sentinels, sentinel.since_unix_us),
            (vec!["s:1".to_owned(), "t:2".to_owned()], None)
        );
        let status = &settings.followed(0).unwrap().status;
        status.set_since(77);
        status.switches.store(2, Ordering::Relaxed);
        let known = row(&settings.with_primary(0, Primary::Known, "10.0.0.1:5".parse().ok().as_ref()));
        let sentinel = known.sentinel.unwrap();
        assert_eq!((known.endpoint.as_str(), sentinel.primary), ("10.0.0.1:5", "known"));
        assert_eq!((sentinel.since_unix_us, sentinel.switches, sentinel.remark), (Some(77), 2, None));
    }

    #[test]
    fn a_pool_says_when_a_write_is_answered() {
        let shown = |durability: &str| {
            let text = format!(
                "pools:\n  - name: p\n    mode: storage\n    listen: 127.0.0.1:1\n    timeout: 3000\n    durability: {durability}\n    \
                 servers:\n      - {{name: a, address: 's:1'}}\n"
            );
            let settings = from_proxy_yml(Path::new("proxy.yml"), &text, 1).unwrap().settings.pools.remove(0);
            let row = describe(&settings, &Health::new(1, None), 1, |_| None);
            serde_json::to_string(&row.durability).unwrap()
        };
        assert_eq!(shown("{mode: async}"), r#"{"mode":"async"}"#);
        let replicated = shown("{mode: replicated, replicas: 2, timeout: 700}");
        assert_eq!(replicated, r#"{"mode":"replicated","replicas":2,"timeout_ms":700}"#);
    }

    #[test]
    fn an_ejected_shard_says_until_when_and_why() {
        let text = "pools:\n  - name: hot\n    mode: cache\n    listen: 127.0.0.1:1\n    eject: {failure_limit: 1}\n    \
                    servers:\n      - {name: a, address: 127.0.0.1:2}\n      - {name: b, address: 127.0.0.1:3, weight: 7}\n";
        let settings = from_proxy_yml(Path::new("proxy.yml"), text, 1).unwrap().settings.pools.remove(0);
        let health = Health::new(2, settings.ejection);
        assert!(health.failed(1, 5, Now { monotonic: 1_000_000, unix: 77 }));
        let failure = (88, FailureKind::TimedOut as i64);
        let row = describe(&settings, &health, 3_000_000, |index| (index == 1).then_some(failure));
        let [a, b] = &row.shards[..] else { panic!("{:?}", row.shards) };
        assert_eq!((a.state, a.out_for_us, a.ejected_at_unix_us, &a.last_failure), ("up", None, None, &None));
        assert_eq!((b.state, b.weight, b.ejected_at_unix_us), ("ejected", 7, Some(77)));
        assert_eq!(b.out_for_us, Some(600_000_000 - 2_000_000));
        assert_eq!(b.last_failure, Some(LastFailure { kind: "timed_out", at_unix_us: 88 }));
        assert_eq!((row.ejections, row.eject.map(|eject| eject.failure_limit)), (1, Some(1)));
    }
}
