//! Topology, sessions, upstreams and slow requests as JSON.

use serde::Serialize;
use shoal_telemetry::http::{Query, Response};

use super::refusal;
use super::routes::json;
use crate::io::observed::Observed;
use crate::io::visits::{Answers, Workers};
use crate::snapshot::topology::describe;
use crate::snapshot::{SessionFilter, SessionOrder, SessionPage, SessionQuery};

/// What `GET /sessions` takes.
pub const SESSION_PARAMETERS: &[&str] = &["pool", "peer", "name", "held", "idle", "after", "order", "limit"];
/// What `DELETE /sessions` takes.
pub const KILL_PARAMETERS: &[&str] = &["pool", "peer", "name", "held", "idle"];
/// What `GET /upstreams` takes.
pub const UPSTREAM_PARAMETERS: &[&str] = &["pool", "shard", "limit"];
/// What `GET /slowlog` takes.
pub const SLOW_PARAMETERS: &[&str] = &["pool", "limit"];
/// What `DELETE /slowlog` takes.
pub const SLOW_RESET_PARAMETERS: &[&str] = &["pool"];

/// Entries of one answer, unless the request says otherwise; and at most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 10_000;

type Answer = Result<Response, Response>;

/// A row and the worker that it is of.
#[derive(Serialize)]
struct Of<T> {
    worker: usize,
    #[serde(flatten)]
    row: T,
}

/// `GET /topology`.
pub fn topology(observed: &Observed, query: &str) -> Answer {
    parameters(query)?.finish(&[]).map_err(wrong)?;
    let now = observed.epoch.elapsed().as_micros() as u64;
    let pools = observed.pools.iter().enumerate().map(|(index, pool)| {
        let last_failure = |server: usize| {
            let counts = observed.workers.iter().map(|worker| &worker.pools[index].servers[server]);
            let failures = counts.map(|counts| (counts.last_failure_at.get(), counts.last_failure.get()));
            failures.max().filter(|(at, _)| *at > 0)
        };
        describe(&pool.settings, &pool.health, now, last_failure)
    });
    #[derive(Serialize)]
    struct Body<P> {
        version: &'static str,
        workers: usize,
        uptime_us: u64,
        pools: Vec<P>,
    }
    json(&Body {
        version: env!("CARGO_PKG_VERSION"),
        workers: observed.workers.len(),
        uptime_us: now,
        pools: pools.collect(),
    })
}

/// `GET /sessions`.
pub fn sessions(workers: &Workers, query: &str) -> Answer {
    let query = session_query(query).map_err(wrong)?;
    let (limit, order) = (query.limit, query.order);
    let Answers { given, silent } = workers.ask(move |engine| engine.list_sessions(&query));
    let (matching, rows) = SessionPage::merge(given, limit);
    let next =
        rows.last().map(|(_, row)| row.id).filter(|_| matching > rows.len() && order == SessionOrder::Id);
    #[derive(Serialize)]
    struct Body<R> {
        sessions: Vec<R>,
        matching: usize,
        next: Option<u64>,
        silent_workers: Vec<usize>,
    }
    let sessions = rows.into_iter().map(|(worker, row)| Of { worker, row }).collect();
    json(&Body { sessions, matching, next, silent_workers: silent })
}

/// `DELETE /sessions`.
pub fn kill(workers: &Workers, query: &str) -> Answer {
    let mut parameters = parameters(query)?;
    let filter = session_filter(&mut parameters).map_err(wrong)?;
    parameters.finish(KILL_PARAMETERS).map_err(wrong)?;
    if filter.is_empty() {
        return Err(wrong(format!("say which sessions, by {}", KILL_PARAMETERS.join(", "))));
    }
    killed(workers, filter)
}

/// `DELETE /sessions/ID`.
pub fn kill_one(workers: &Workers, id: &str, query: &str) -> Answer {
    parameters(query)?.finish(&[]).map_err(wrong)?;
    let id = id.parse().map_err(|_| wrong(format!("{id} is no session's id, which is a number")))?;
    killed(workers, SessionFilter { id: Some(id), ..SessionFilter::default() })
}

fn killed(workers: &Workers, filter: SessionFilter) -> Answer {
    let Answers { given, silent } = workers.ask(move |engine| engine.kill_sessions(&filter));
    let killed: usize = given.iter().map(|(_, killed)| killed).sum();
    if killed == 0 && silent.is_empty() {
        return Err(refusal(404, "there is no such session"));
    }
    #[derive(Serialize)]
    struct Body {
        killed: usize,
        silent_workers: Vec<usize>,
    }
    json(&Body { killed, silent_workers: silent })
}

/// `GET /upstreams`.
pub fn upstreams(workers: &Workers, query: &str) -> Answer {
    let mut parameters = parameters(query)?;
    let (pool, shard) = (parameters.text("pool"), parameters.text("shard"));
    let limit = limit(&mut parameters).map_err(wrong)?;
    parameters.finish(UPSTREAM_PARAMETERS).map_err(wrong)?;
    let Answers { given, silent } =
        workers.ask(move |engine| engine.list_upstreams(pool.as_deref(), shard.as_deref(), limit));
    let mut more = given.iter().any(|(_, (_, more))| *more);
    let mut upstreams: Vec<_> = given
        .into_iter()
        .flat_map(|(worker, (rows, _))| rows.into_iter().map(move |row| Of { worker, row }))
        .collect();
    more |= upstreams.len() > limit;
    upstreams.truncate(limit);
    #[derive(Serialize)]
    struct Body<R> {
        upstreams: Vec<R>,
        more: bool,
        silent_workers: Vec<usize>,
    }
    json(&Body { upstreams, more, silent_workers: silent })
}

/// `GET /slowlog`.
pub fn slow_log(workers: &Workers, query: &str) -> Answer {
    let mut parameters = parameters(query)?;
    let pool = parameters.text("pool");
    let limit = limit(&mut parameters).map_err(wrong)?;
    parameters.finish(SLOW_PARAMETERS).map_err(wrong)?;
    let Answers { given, silent } = workers.ask(move |engine| engine.list_slow(pool.as_deref()));
    let mut requests: Vec<_> = given
        .into_iter()
        .flat_map(|(worker, rows)| rows.into_iter().map(move |row| Of { worker, row }))
        .collect();
    requests.sort_by_key(|of| std::cmp::Reverse(of.row.at_unix_us));
    requests.truncate(limit);
    #[derive(Serialize)]
    struct Body<R> {
        requests: Vec<R>,
        silent_workers: Vec<usize>,
    }
    json(&Body { requests, silent_workers: silent })
}

/// `DELETE /slowlog`.
pub fn reset_slow_log(workers: &Workers, query: &str) -> Answer {
    let mut parameters = parameters(query)?;
    let pool = parameters.text("pool");
    parameters.finish(SLOW_RESET_PARAMETERS).map_err(wrong)?;
    let Answers { given, silent } = workers.ask(move |engine| engine.reset_slow(pool.as_deref()));
    #[derive(Serialize)]
    struct Body {
        forgotten: usize,
        silent_workers: Vec<usize>,
    }
    json(&Body { forgotten: given.iter().map(|(_, count)| count).sum(), silent_workers: silent })
}

fn parameters(query: &str) -> Result<Query, Response> {
    Query::parse(query).map_err(wrong)
}

fn wrong(words: String) -> Response {
    refusal(400, words)
}

fn session_query(query: &str) -> Result<SessionQuery, String> {
    let mut parameters = Query::parse(query)?;
    let filter = session_filter(&mut parameters)?;
    let after = parameters.number("after")?.unwrap_or(0);
    let order = match parameters.text("order") {
        None => SessionOrder::default(),
        Some(name) => SessionOrder::named(&name).ok_or_else(|| {
            let known: Vec<&str> = SessionOrder::ALL.iter().map(|(_, name)| *name).collect();
            format!("order={name}: there are {}", known.join(", "))
        })?,
    };
    let limit = limit(&mut parameters)?;
    parameters.finish(SESSION_PARAMETERS)?;
    Ok(SessionQuery { filter, after, order, limit })
}

fn session_filter(parameters: &mut Query) -> Result<SessionFilter, String> {
    Ok(SessionFilter {
        id: None,
        pool: parameters.text("pool"),
        peer: parameters.text("peer"),
        name: parameters.text("name"),
        held: parameters.yes_or_no("held")?,
        idle_us: parameters.number::<u64>("idle")?.map(|seconds| seconds.saturating_mul(1_000_000)),
    })
}

fn limit(parameters: &mut Query) -> Result<usize, String> {
    let limit = parameters.number("limit")?.unwrap_or(LIMIT);
    match limit {
        1..=LIMIT_MAX => Ok(limit),
        _ => Err(format!("limit={limit} is not between 1 and {LIMIT_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_which_sessions() {
        let query = session_query("pool=a&peer=10.0.0.1&held=no&idle=2&after=9&order=idle&limit=7").unwrap();
        let filter = SessionFilter {
            id: None,
            pool: Some("a".into()),
            peer: Some("10.0.0.1".into()),
            name: None,
            held: Some(false),
            idle_us: Some(2_000_000),
        };
        assert_eq!(query, SessionQuery { filter, after: 9, order: SessionOrder::Idle, limit: 7 });
        assert_eq!(session_query("").unwrap(), SessionQuery { limit: LIMIT, ..SessionQuery::default() });
        for wrong in ["limit=0", "limit=10001", "order=colour", "after=x", "idle=-1", "pools=a", "held=1"] {
            assert!(session_query(wrong).is_err(), "{wrong}");
        }
    }
}
