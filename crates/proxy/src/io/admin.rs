//! The admin port: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever looks after the process, `POST /reload`.

use std::net::TcpListener;
use std::sync::Arc;

use shoal_telemetry::http::{Method, Request, Response};
use shoal_telemetry::io::http::{Limits, Server};
use shoal_telemetry::{Exposition, Kind};

use super::observed::{Current, Observed, ObservedPool};
use super::orders::Orders;
use super::shards_page;
use crate::error::Error;
use crate::health::Health;
use crate::stats::{PoolStats, ServerStats};

/// Serves the admin port until the returned server is dropped.
///
/// # Errors
/// [`Error::Serve`].
pub fn serve(listener: TcpListener, current: Arc<Current>, orders: Orders) -> Result<Server, Error> {
    Server::start(listener, Limits::default(), move |request| answer(request, &current.get(), &orders))
        .map_err(|source| Error::Serve { what: "the admin port", source })
}

fn answer(request: &Request, observed: &Observed, orders: &Orders) -> Response {
    match (request.method, request.path.as_str()) {
        (Method::Get, "/metrics") => match metrics(observed) {
            Ok(text) => {
                Response { status: 200, content_type: Exposition::CONTENT_TYPE, body: text.into_bytes() }
            }
            Err(error) => Response::text(500, format!("{error}\n")),
        },
        // The process runs and answers.
        (Method::Get, "/healthz") => Response::text(200, "ok\n"),
        (Method::Get, "/readyz") => ready(observed),
        (Method::Post, "/reload") => match orders.reload() {
            Ok(done) => Response::text(200, format!("{done}\n")),
            Err(why) => Response::text(409, format!("nothing was changed: {why}\n")),
        },
        (Method::Get, "/shards") => shards_page::list(observed),
        (Method::Post, path) if path.starts_with("/return/") => {
            shards_page::let_in(observed, &path["/return/".len()..])
        }
        (_, "/reload") => Response::text(405, "POST to reload\n"),
        (_, "/metrics" | "/healthz" | "/readyz") => Response::text(405, "only GET is answered here\n"),
        _ => Response::text(
            404,
            "there are /metrics, /healthz, /readyz, /shards, POST /reload and POST /return/<pool>/<shard>\n",
        ),
    }
}

/// Ready is a proxy that has a living server for each pool: without one, every request would fail.
fn ready(observed: &Observed) -> Response {
    let dead: Vec<&str> = observed
        .pools
        .iter()
        .filter(|pool| !pool.health.live().contains(&true))
        .map(|pool| pool.settings.pool.name.as_str())
        .collect();
    if dead.is_empty() {
        Response::text(200, "ready\n")
    } else {
        Response::text(503, format!("all shards are ejected of: {}\n", dead.join(", ")))
    }
}

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
];

const SERVER_FAMILIES: &[(&str, Kind, &str, OfServer)] = &[
    ("shoal_upstreams", Kind::Gauge, "Connections to the shard, open or being opened.", |server| {
        server.connections.get()
    }),
    (
        "shoal_upstream_requests_total",
        Kind::Counter,
        "Requests forwarded, parts of split ones counted each.",
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

fn metrics(observed: &Observed) -> Result<String, shoal_telemetry::Error> {
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
    let mut family = exposition.family(
        "shoal_latency_seconds",
        Kind::Summary,
        "From a request's queueing for its shard to its whole reply, since the start.",
    );
    for (index, pool) in observed.pools.iter().enumerate() {
        family.summary(&[("pool", &pool.settings.pool.name)], &observed.latency(index));
    }
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
    exposition.finish()
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
