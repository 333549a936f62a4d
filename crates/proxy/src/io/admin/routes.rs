//! Which request is answered by what.

use std::sync::Arc;

use serde::Serialize;
use shoal_telemetry::Exposition;
use shoal_telemetry::http::{Method, Request, Response};

use super::{guard, inspect, metrics, refusal};
use crate::io::observed::{Current, Observed};
use crate::io::orders::Orders;
use crate::io::shards_page;
use crate::io::visits::Workers;

/// What there is, as `GET /` lists it: method, path, what it does, parameters.
const ROUTES: &[Route] = &[
    route("GET", "/", "this list", &[]),
    route("GET", "/metrics", "counters, gauges and latencies in Prometheus' text format", &[]),
    route("GET", "/healthz", "200 while the process answers", &[]),
    route("GET", "/readyz", "200 while every pool has a shard that is in, else 503", &[]),
    route(
        "GET",
        "/topology",
        "pools, shards, endpoints, weights; which shards are ejected, until when and why",
        &[],
    ),
    route("GET", "/sessions", "clients; `next` is the `after` of the next page", inspect::SESSION_PARAMETERS),
    route("DELETE", "/sessions/ID", "ends one client's session", &[]),
    route(
        "DELETE",
        "/sessions",
        "ends the sessions that are meant, by one parameter at least",
        inspect::KILL_PARAMETERS,
    ),
    route("GET", "/upstreams", "connections to shards and their queues", inspect::UPSTREAM_PARAMETERS),
    route("GET", "/slowlog", "the newest slow requests, newest first", inspect::SLOW_PARAMETERS),
    route("DELETE", "/slowlog", "forgets the slow requests", inspect::SLOW_RESET_PARAMETERS),
    route("GET", "/shards", "which shards are in, a line each", &[]),
    route("POST", "/return/POOL/SHARD", "lets a shard that is held back in, with what it holds", &[]),
    route("POST", "/reload", "reads the configuration again, and goes over to it", &[]),
];

/// Before a session's id.
const SESSION: &str = "/sessions/";
/// Before the names of a pool and a shard.
const RETURN: &str = "/return/";

#[derive(Debug, Serialize)]
struct Route {
    method: &'static str,
    path: &'static str,
    what: &'static str,
    parameters: &'static [&'static str],
}

const fn route(
    method: &'static str,
    path: &'static str,
    what: &'static str,
    parameters: &'static [&'static str],
) -> Route {
    Route { method, path, what, parameters }
}

/// Everything that the admin port answers from.
pub struct Admin {
    pub current: Arc<Current>,
    pub orders: Orders,
    pub workers: Workers,
    pub is_loopback: bool,
}

impl Admin {
    /// Answers one request.
    pub fn answer(&self, request: &Request) -> Response {
        if let Some(refused) = guard::refuse(request, self.is_loopback) {
            return refused;
        }
        let observed = self.current.get();
        let query = request.query.as_str();
        let answered = match (request.method, request.path.as_str()) {
            (Method::Get, "/") => json(ROUTES),
            (Method::Get, "/metrics") => metrics::text(&observed, &self.workers)
                .map(|text| Response {
                    status: 200,
                    content_type: Exposition::CONTENT_TYPE,
                    body: text.into_bytes(),
                })
                .map_err(|error| refusal(500, error)),
            // The process runs and answers.
            (Method::Get, "/healthz") => Ok(Response::text(200, "ok\n")),
            (Method::Get, "/readyz") => Ok(ready(&observed)),
            (Method::Get, "/topology") => inspect::topology(&observed, query),
            (Method::Get, "/sessions") => inspect::sessions(&self.workers, query),
            (Method::Delete, "/sessions") => inspect::kill(&self.workers, query),
            (Method::Get, "/upstreams") => inspect::upstreams(&self.workers, query),
            (Method::Get, "/slowlog") => inspect::slow_log(&self.workers, query),
            (Method::Delete, "/slowlog") => inspect::reset_slow_log(&self.workers, query),
            (Method::Post, "/reload") => Ok(match self.orders.reload() {
                Ok(done) => Response::text(200, format!("{done}\n")),
                Err(why) => refusal(409, format_args!("nothing was changed: {why}")),
            }),
            (Method::Get, "/shards") => Ok(shards_page::list(&observed)),
            (Method::Delete, path) if path.starts_with(SESSION) => {
                inspect::kill_one(&self.workers, &path[SESSION.len()..], query)
            }
            (Method::Post, path) if path.starts_with(RETURN) => {
                Ok(shards_page::let_in(&observed, &path[RETURN.len()..]))
            }
            (method, path) => Err(nowhere(method, path)),
        };
        answered.unwrap_or_else(|refused| refused)
    }
}

/// The path is not there, or not by this method.
fn nowhere(method: Method, path: &str) -> Response {
    // What is written in capitals stands for something.
    let front =
        |route: &Route| route.path.find(|c: char| c.is_ascii_uppercase()).map(|end| &route.path[..end]);
    let is_here =
        |route: &&Route| route.path == path || front(route).is_some_and(|front| path.starts_with(front));
    let methods: Vec<&str> = ROUTES.iter().filter(is_here).map(|route| route.method).collect();
    match methods.as_slice() {
        [] => refusal(404, format_args!("there is nothing at {path}: GET / lists what there is")),
        known => {
            refusal(405, format_args!("{method} is not answered at {path}, only {}", known.join(" and ")))
        }
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
        refusal(503, format_args!("all shards are ejected of: {}", dead.join(", ")))
    }
}

/// `value` as JSON, a line.
pub(super) fn json(value: &(impl Serialize + ?Sized)) -> Result<Response, Response> {
    match serde_json::to_string(value) {
        Ok(text) => Ok(Response::json(200, text + "\n")),
        Err(error) => Err(refusal(500, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_method_is_told_the_right_ones_and_a_wrong_path_where_to_look() {
        let words = |method, path: &str| {
            let refused = nowhere(method, path);
            (refused.status, String::from_utf8(refused.body).unwrap())
        };
        assert_eq!(
            words(Method::Post, "/sessions"),
            (405, "POST is not answered at /sessions, only GET and DELETE\n".into())
        );
        assert_eq!(words(Method::Get, "/sessions/3").0, 405);
        assert_eq!(words(Method::Delete, "/metrics").0, 405);
        assert!(words(Method::Get, "/return/a/b").1.contains("only POST"));
        assert!(words(Method::Get, "/nothing").1.contains("GET / lists"));
    }
}
