//! `GET /metrics`.

use std::sync::atomic::Ordering;

use shoal_resp::command::Group;
use shoal_telemetry::{Exposition, Kind, Snapshot};

use crate::following::shard::{Followed, Primary};
use crate::health::Health;
use crate::io::observed::{Observed, ObservedPool};
use crate::io::visits::Workers;
use crate::snapshot::{Census, HoldReason};
use crate::stats::{PoolStats, ServerStats};
use crate::tls::fault::Reason;

type OfPool = fn(&PoolStats) -> i64;
type OfServer = fn(&ServerStats) -> i64;

const POOL_FAMILIES: &[(&str, Kind, &str, OfPool)] = &[
    ("shoal_sessions", Kind::Gauge, "Client connections open now.", |pool| pool.sessions.get()),
    ("shoal_sessions_total", Kind::Counter, "Client connections accepted.", |pool| {
        pool.sessions_total.get() as i64
    }),
    (
        "shoal_requests_total",
        Kind::Counter,
        "Requests of clients, answered by the proxy or forwarded.",
        |pool| pool.requests.get() as i64,
    ),
    ("shoal_forward_errors_total", Kind::Counter, "Errors made up because a shard did not answer.", |pool| {
        pool.forward_error.get() as i64
    }),
    (
        "shoal_client_errors_total",
        Kind::Counter,
        "Sessions ended by an error of socket or protocol.",
        |pool| pool.client_err.get() as i64,
    ),
    (
        "shoal_clients_stalled_total",
        Kind::Counter,
        "Clients cut, or replies dropped, because others waited too long behind them (client_stall_timeout).",
        |pool| pool.client_stalled.get() as i64,
    ),
    ("shoal_sessions_killed_total", Kind::Counter, "Sessions ended by an operator.", |pool| {
        pool.killed.get() as i64
    }),
    ("shoal_auth_failures_total", Kind::Counter, "Names and passwords of clients that were wrong.", |pool| {
        pool.auth_failed.get() as i64
    }),
    ("shoal_denied_total", Kind::Counter, "Requests that their user's rules do not allow.", |pool| {
        pool.denied.get() as i64
    }),
    (
        "shoal_over_max_connections_total",
        Kind::Counter,
        "Clients refused over max_connections of the pool or of their user.",
        |pool| pool.over_max_connections.get() as i64,
    ),
    (
        "shoal_over_requests_per_second_total",
        Kind::Counter,
        "Requests refused over requests_per_second of the pool or of their user.",
        |pool| pool.over_requests_per_second.get() as i64,
    ),
    (
        "shoal_over_bytes_per_second_total",
        Kind::Counter,
        "Requests refused over bytes_per_second of the pool or of their user.",
        |pool| pool.over_bytes_per_second.get() as i64,
    ),
    (
        "shoal_slow_requests_total",
        Kind::Counter,
        "Requests that took as long as slow_log.slower_than or longer, remembered in the slow log or not.",
        |pool| pool.slow.get() as i64,
    ),
];

const SERVER_FAMILIES: &[(&str, Kind, &str, OfServer)] = &[
    ("shoal_upstreams", Kind::Gauge, "Connections to the shard, open or being opened.", |server| {
        server.connections.get()
    }),
    (
        "shoal_upstream_requests_total",
        Kind::Counter,
        "Requests sent; parts of split ones, and the proxy's own such as WAIT, counted each.",
        |server| server.requests.get() as i64,
    ),
    ("shoal_upstream_request_bytes_total", Kind::Counter, "Bytes of requests forwarded.", |server| {
        server.request_bytes.get() as i64
    }),
    ("shoal_upstream_replies_total", Kind::Counter, "Replies received.", |server| {
        server.responses.get() as i64
    }),
    ("shoal_upstream_reply_bytes_total", Kind::Counter, "Bytes of replies received.", |server| {
        server.response_bytes.get() as i64
    }),
    (
        "shoal_upstream_batches_total",
        Kind::Counter,
        "Writes to the shard; requests / batches is the company found.",
        |server| server.batches.get() as i64,
    ),
    (
        "shoal_upstream_waits_total",
        Kind::Counter,
        "WAITs sent behind batches of writes, where durability is replicated.",
        |server| server.waits.get() as i64,
    ),
    (
        "shoal_unreplicated_writes_total",
        Kind::Counter,
        "Writes applied and answered by UNREPLICATED: replicas are not known to have them.",
        |server| server.unreplicated.get() as i64,
    ),
    ("shoal_upstream_closed_total", Kind::Counter, "Connections that the shard closed.", |server| {
        server.server_eof.get() as i64
    }),
    ("shoal_upstream_errors_total", Kind::Counter, "Connections that failed.", |server| {
        server.server_err.get() as i64
    }),
    ("shoal_upstream_timeouts_total", Kind::Counter, "Connections given up for silence.", |server| {
        server.server_timedout.get() as i64
    }),
    ("shoal_upstream_unsent", Kind::Gauge, "Requests queued and not sent.", |server| server.in_queue.get()),
    ("shoal_upstream_unanswered", Kind::Gauge, "Requests sent and not answered.", |server| {
        server.out_queue.get()
    }),
];

type OfHealth = fn(&Health, usize) -> i64;

const RETURN_FAMILIES: &[(&str, Kind, &str, OfHealth)] = &[
    (
        "shoal_shard_emptied_total",
        Kind::Counter,
        "How often this proxy emptied the shard as it returned.",
        |health, server| health.emptied(server) as i64,
    ),
    (
        "shoal_shard_held_back",
        Kind::Gauge,
        "1 if the shard answers and stays out until somebody has looked at it: the log says why.",
        |health, server| i64::from(health.is_held_back(server)),
    ),
];

type OfFollowed = fn(&Followed) -> i64;

const FOLLOWED_FAMILIES: &[(&str, Kind, &str, OfFollowed)] = &[
    (
        "shoal_primary_known",
        Kind::Gauge,
        "1 if the shard has a primary, 0 while sentinels name none that says that it is one.",
        |followed| i64::from(followed.primary == Primary::Known),
    ),
    ("shoal_primary_switches_total", Kind::Counter, "Changes of the shard's primary.", |followed| {
        followed.status.switches.load(Ordering::Relaxed) as i64
    }),
    ("shoal_sentinel_looks_total", Kind::Counter, "Looks at the shard's sentinels.", |followed| {
        followed.status.looks.load(Ordering::Relaxed) as i64
    }),
    ("shoal_sentinels_reachable", Kind::Gauge, "Sentinels that answered when last asked.", |followed| {
        i64::from(followed.status.reachable.load(Ordering::Relaxed))
    }),
    ("shoal_sentinel_config_epoch", Kind::Gauge, "The configuration epoch that is believed.", |followed| {
        followed.status.config_epoch.load(Ordering::Relaxed) as i64
    }),
];

/// The whole text. The workers are asked for what no counter holds; of one that hangs it is missing, and
/// `shoal_worker_answers` says so.
pub fn text(observed: &Observed, workers: &Workers) -> Result<String, shoal_telemetry::Error> {
    let mut exposition = Exposition::new();
    exposition
        .family("shoal_uptime_seconds", Kind::Gauge, "Since the process began.")
        .sample(&[], observed.epoch.elapsed().as_secs() as i64);
    exposition
        .family("shoal_workers", Kind::Gauge, "Event loops.")
        .sample(&[], observed.workers.len() as i64);
    for &(name, kind, help, number) in POOL_FAMILIES {
        let mut family = exposition.family(name, kind, help);
        for (index, pool) in observed.pools.iter().enumerate() {
            family.sample(&[("pool", &pool.settings.pool.name)], observed.pool(index, number));
        }
    }
    for &(name, kind, help, number) in SERVER_FAMILIES {
        let mut family = exposition.family(name, kind, help);
        for_each_server(observed, |index, pool, server| {
            family.sample(&labels(pool, server), observed.server(index, server, number));
        });
    }
    write_handshakes(&mut exposition, observed);
    write_latencies(&mut exposition, observed);
    let mut family =
        exposition.family("shoal_shard_up", Kind::Gauge, "1 if the shard takes keys, 0 if it is ejected.");
    for_each_server(observed, |_, pool, server| {
        family.sample(&labels(pool, server), i64::from(pool.health.live()[server]));
    });
    for (name, kind, help, number) in RETURN_FAMILIES {
        let mut family = exposition.family(name, *kind, help);
        for_each_server(observed, |_, pool, server| {
            family.sample(&labels(pool, server), number(&pool.health, server));
        });
    }
    let mut family = exposition.family(
        "shoal_ejections_total",
        Kind::Counter,
        "How often shards of the pool were ejected.",
    );
    for pool in &observed.pools {
        family.sample(&[("pool", &pool.settings.pool.name)], pool.health.ejections());
    }
    write_followed(&mut exposition, observed);
    write_census(&mut exposition, observed, workers);
    exposition.finish()
}

/// Handshakes of TLS, of those pools that have any.
fn write_handshakes(exposition: &mut Exposition, observed: &Observed) {
    let accepting = |pool: &ObservedPool| pool.settings.tls.is_some();
    let connecting = |pool: &ObservedPool| pool.settings.server_tls.is_some();
    if observed.pools.iter().any(accepting) {
        let pools = || observed.pools.iter().enumerate().filter(|(_, pool)| accepting(pool));
        let mut family =
            exposition.family("shoal_tls_handshakes_total", Kind::Counter, "TLS handshakes with clients.");
        for (index, pool) in pools() {
            let done = observed.pool(index, |pool| pool.tls.handshakes.get() as i64);
            family.sample(&[("pool", &pool.settings.pool.name)], done);
        }
        let mut family = exposition.family(
            "shoal_tls_handshake_failures_total",
            Kind::Counter,
            "TLS handshakes with clients that came to nothing, by reason.",
        );
        for (index, pool) in pools() {
            for reason in Reason::ALL {
                let failed = observed.pool(index, |pool| pool.tls.failures[reason as usize].get() as i64);
                family.sample(&[("pool", &pool.settings.pool.name), ("reason", reason.name())], failed);
            }
        }
        let mut family = exposition.family(
            "shoal_tls_certificate_expires_seconds",
            Kind::Gauge,
            "When the certificate that clients are shown expires, in seconds since the Unix epoch.",
        );
        for (_, pool) in pools() {
            let expires_at = pool.settings.tls.as_ref().map_or(0, |tls| tls.expires_at);
            family.sample(&[("pool", &pool.settings.pool.name)], expires_at as i64);
        }
    }
    if observed.pools.iter().any(connecting) {
        let mut family = exposition.family(
            "shoal_upstream_tls_handshakes_total",
            Kind::Counter,
            "TLS handshakes with the shard.",
        );
        for_each_server(observed, |index, pool, server| {
            if connecting(pool) {
                let done = observed.server(index, server, |server| server.tls.handshakes.get() as i64);
                family.sample(&labels(pool, server), done);
            }
        });
        let mut family = exposition.family(
            "shoal_upstream_tls_handshake_failures_total",
            Kind::Counter,
            "TLS handshakes with the shard that came to nothing, by reason.",
        );
        for_each_server(observed, |index, pool, server| {
            for reason in Reason::ALL.into_iter().filter(|_| connecting(pool)) {
                let failures = |server: &ServerStats| server.tls.failures[reason as usize].get() as i64;
                let [own, shard] = labels(pool, server);
                let labels = [own, shard, ("reason", reason.name())];
                family.sample(&labels, observed.server(index, server, failures));
            }
        });
    }
}

fn write_latencies(exposition: &mut Exposition, observed: &Observed) {
    let pools: Vec<_> = observed
        .pools
        .iter()
        .enumerate()
        .map(|(index, pool)| (pool.settings.pool.name.as_str(), observed.latency(index)))
        .collect();
    let whole = |groups: &[(Group, Snapshot)]| {
        groups.iter().fold(Snapshot::empty(), |mut sum, (_, of_group)| {
            sum.merge(of_group);
            sum
        })
    };
    let mut family = exposition.family(
        "shoal_latency_seconds",
        Kind::Summary,
        "From a request's queueing for its shard to its whole reply, since the start; requests that failed are not in it.",
    );
    for (pool, groups) in &pools {
        family.summary(&[("pool", pool)], &whole(groups));
    }
    let mut family =
        exposition.family("shoal_latency_max_seconds", Kind::Gauge, "The longest of shoal_latency_seconds.");
    for (pool, groups) in &pools {
        family.sample(&[("pool", pool)], whole(groups).max().as_secs_f64());
    }
    let mut family = exposition.family(
        "shoal_group_latency_seconds",
        Kind::Summary,
        "shoal_latency_seconds by the group of the command in Redis's documentation; groups that nobody used are left out.",
    );
    for (pool, groups) in &pools {
        for (group, snapshot) in groups {
            family.summary(&[("pool", pool), ("group", group.name())], snapshot);
        }
    }
    let mut family = exposition.family(
        "shoal_group_latency_max_seconds",
        Kind::Gauge,
        "The longest of shoal_group_latency_seconds.",
    );
    for (pool, groups) in &pools {
        for (group, snapshot) in groups {
            family.sample(&[("pool", pool), ("group", group.name())], snapshot.max().as_secs_f64());
        }
    }
}

type OfCensus = fn(&Census) -> usize;

const BUFFERS: &[(&str, OfCensus)] = &[
    ("session_input", |census| census.session_input),
    ("session_output", |census| census.session_output),
    ("upstream_output", |census| census.upstream_output),
    ("upstream_in_flight", |census| census.upstream_kept),
];

fn write_census(exposition: &mut Exposition, observed: &Observed, workers: &Workers) {
    let answers = workers.ask(|engine| engine.census());
    let mut family = exposition.family(
        "shoal_worker_answers",
        Kind::Gauge,
        "1 if the event loop answered within a second; what it holds is missing below if not.",
    );
    for worker in 0..observed.workers.len() {
        family.sample(&[("worker", &worker.to_string())], i64::from(!answers.silent.contains(&worker)));
    }
    let census_of = |name: &str| {
        let own = answers.given.iter().flat_map(|(_, (pools, _))| pools).filter(|(pool, _)| pool == name);
        own.fold(Census::default(), |mut sum, (_, census)| {
            sum.add(census);
            sum
        })
    };
    let pools: Vec<_> = observed
        .pools
        .iter()
        .map(|pool| (pool.settings.pool.name.as_str(), census_of(&pool.settings.pool.name)))
        .collect();
    let mut family = exposition.family(
        "shoal_sessions_held",
        Kind::Gauge,
        "Sessions whose requests are not taken at the moment: too many outstanding, output unread by the client, a request that \
         waits for all before it, an upstream's queue full, no dedicated upstream free, a shard that returns.",
    );
    for (pool, census) in &pools {
        for reason in HoldReason::ALL {
            family.sample(&[("pool", pool), ("reason", reason.name())], census.held[reason as usize] as i64);
        }
    }
    let mut family = exposition.family(
        "shoal_buffer_bytes",
        Kind::Gauge,
        "Bytes held: not taken from clients, not sent to clients, not sent to shards, and sent to shards but kept for the slow \
         log until they are answered.",
    );
    for (pool, census) in &pools {
        for (kind, number) in BUFFERS {
            family.sample(&[("pool", pool), ("buffer", kind)], number(census) as i64);
        }
    }
    let mut family = exposition.family(
        "shoal_buffer_idle_bytes",
        Kind::Gauge,
        "Memory of buffers that nobody uses at the moment.",
    );
    for (worker, (_, idle)) in &answers.given {
        family.sample(&[("worker", &worker.to_string())], *idle as i64);
    }
}

/// Of shards that follow Sentinel; nothing where there are none.
fn write_followed(exposition: &mut Exposition, observed: &Observed) {
    if observed.pools.iter().all(|pool| pool.settings.followed.is_empty()) {
        return;
    }
    for (name, kind, help, number) in FOLLOWED_FAMILIES {
        let mut family = exposition.family(name, *kind, help);
        for_each_server(observed, |_, pool, server| {
            if let Some(followed) = pool.settings.followed(server) {
                family.sample(&labels(pool, server), number(followed));
            }
        });
    }
}

fn for_each_server(observed: &Observed, mut each: impl FnMut(usize, &ObservedPool, usize)) {
    for (index, pool) in observed.pools.iter().enumerate() {
        for &server in &pool.order {
            each(index, pool, server);
        }
    }
}

fn labels(pool: &ObservedPool, server: usize) -> [(&str, &str); 2] {
    [("pool", &pool.settings.pool.name), ("shard", &pool.settings.pool.shards[server].name)]
}

#[cfg(test)]
mod tests {
    /// Every family whose name stands here, and the guide's, whose braces stand for several.
    #[test]
    fn every_metric_is_in_the_guide() {
        let guide = include_str!("../../../../../docs/guide/seeing-inside.md");
        let mut told: Vec<String> = Vec::new();
        for name in guide.split('`').filter(|text| text.starts_with("shoal_")) {
            match name.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?))) {
                Some((head, (each, tail))) => {
                    told.extend(each.split(',').map(|one| format!("{head}{one}{tail}")));
                }
                None => told.push(name.to_owned()),
            }
        }
        let own = include_str!("metrics.rs").split('"').filter(|text| {
            text.strip_prefix("shoal_").is_some_and(|rest| {
                !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            })
        });
        let missing: Vec<&str> = own.filter(|name| !told.iter().any(|told| told == name)).collect();
        assert!(missing.is_empty() && told.len() > 40, "{missing:?}, {} told", told.len());
    }
}
