//! What it costs that writes are answered when a replica has them: latency, throughput, and how many WAITs.
//!
//! ```text
//!   redis-benchmark ──▶ shoal, durability async | replicated ──▶ primary ──▶ replica       all on this machine
//! ```
//!
//! Both take turns inside a round, each started afresh. On a network the way to the replica and back comes on top, once a batch.

use shoal_e2e::{OwnPool, OwnProxy, Proxy, RedisServer, Workplace, wait};

use crate::metric::Spread;
use crate::options::Options;
use crate::workload::{Command, SMALL, Workload};
use crate::{Fallible, cost, load, machine};

const POOL: &str = "bench";

/// Connections, pipeline, and requests of one measurement.
const LOADS: [(u32, u32, u32); 6] =
    [(1, 1, 10_000), (8, 1, 40_000), (50, 1, 100_000), (200, 1, 100_000), (1, 16, 40_000), (50, 16, 200_000)];

const MODES: [(&str, &str); 2] = [("async", "{mode: async}"), ("replicated", "{mode: replicated}")];

/// Figures of one mode under one load, a round each.
#[derive(Default)]
struct Row {
    rate: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    proxy_cpu: Vec<f64>,
    redis_cpu: Vec<f64>,
    waits: Vec<f64>,
}

/// Measures, and gives the Markdown page.
pub fn run(options: &Options) -> Fallible<String> {
    let workplace = Workplace::new();
    let mut facts = machine::facts(&[], options)?;
    let servers = ["--repl-diskless-sync-delay", "0", "--loglevel", "warning"];
    let primary = RedisServer::start(&workplace, &servers);
    let port = primary.addr().port().to_string();
    let replica = RedisServer::start(&workplace, &["--replicaof", "127.0.0.1", &port]);
    let mut asked = replica.client();
    wait::until("the replica's first sync", || {
        asked.info("master_link_status").filter(|status| status == "up").map(drop)
    });
    let mut rows: Vec<[Row; 2]> = LOADS.iter().map(|_| Default::default()).collect();
    for round in 1..=options.rounds() {
        for ((connections, pipeline, requests), rows) in LOADS.into_iter().zip(&mut rows) {
            let requests = if options.quick { requests / 5 } else { requests };
            let load = Workload {
                name: "set64",
                command: Command::Set,
                keys: SMALL,
                connections,
                pipeline,
                requests,
            };
            for ((mode, durability), row) in MODES.into_iter().zip(rows) {
                let pool = OwnPool::storage(POOL, &[primary.addr()]).key("durability", durability);
                let proxy = OwnProxy::start(&workplace, 1, &[pool]);
                measure(&proxy, [&primary, &replica], &load, row)?;
                let last = |figures: &[f64]| figures.last().copied().unwrap_or_default();
                eprintln!(
                    "round {round} c{connections} p{pipeline} {mode:10} {:7.0} requests/s  p50 {:.3} ms  p99 {:.3} ms",
                    last(&row.rate),
                    last(&row.p50),
                    last(&row.p99)
                );
            }
        }
    }
    facts.push(("load average at the end".to_owned(), machine::load_average()?));
    Ok(page(&facts, &rows))
}

fn measure(proxy: &OwnProxy, servers: [&RedisServer; 2], load: &Workload, row: &mut Row) -> Fallible<()> {
    let port = proxy.addr(POOL).port();
    load::send(load, (load.requests / 8).max(load.connections * load.pipeline), port, &[])?;
    let proxy_pid = [proxy.pid()];
    let server_pids = servers.map(RedisServer::pid);
    let all = [&proxy_pid[..], &server_pids].concat();
    cost::rest(&all)?;
    let waits_before = waits(proxy);
    let before = (cost::cpu(&proxy_pid)?, cost::cpu(&server_pids)?);
    let seen = load::send(load, load.requests, port, &[])?;
    cost::rest(&all)?;
    let after = (cost::cpu(&proxy_pid)?, cost::cpu(&server_pids)?);
    let requests = f64::from(load.requests);
    row.rate.push(seen.rate);
    row.p50.push(seen.p50_ms);
    row.p99.push(seen.p99_ms);
    row.proxy_cpu.push(after.0.saturating_sub(before.0).as_secs_f64() * 1e6 / requests);
    row.redis_cpu.push(after.1.saturating_sub(before.1).as_secs_f64() * 1e6 / requests);
    row.waits.push((waits(proxy) - waits_before) / requests);
    Ok(())
}

fn waits(proxy: &OwnProxy) -> f64 {
    let (_, metrics) = proxy.get("/metrics");
    let samples = metrics.lines().filter(|line| line.starts_with("shoal_upstream_waits_total{"));
    samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// The page for a reader.
fn page(facts: &[(String, String)], rows: &[[Row; 2]]) -> String {
    let mut page = "# The price of `durability: replicated`\n\n| | |\n|---|---|\n".to_owned();
    facts.iter().for_each(|(name, value)| page.push_str(&format!("| {name} | {value} |\n")));
    page.push_str(
        "\nSET of 64 B through one worker to one primary with one replica; medians, with the smallest and the largest in brackets. \
         Servers, load and proxy share the cores, so the rates say what all of it costs together. CPU is in µs a request, that of \
         Redis is the primary's and the replica's.\n\n\
         | connections × pipeline | durability | requests/s | p50, ms | p99, ms | CPU of proxy | CPU of Redis | WAITs a write |\n\
         |---|---|---:|---:|---:|---:|---:|---:|\n",
    );
    let shown = |figures: &[f64], digits| {
        Spread::of(figures.to_vec()).map_or_else(|| "–".to_owned(), |spread| spread.show(digits))
    };
    for ((connections, pipeline, _), rows) in LOADS.iter().zip(rows) {
        for ((mode, _), row) in MODES.iter().zip(rows) {
            page.push_str(&format!(
                "| {connections} × {pipeline} | {mode} | {} | {} | {} | {} | {} | {} |\n",
                shown(&row.rate, 0),
                shown(&row.p50, 3),
                shown(&row.p99, 3),
                shown(&row.proxy_cpu, 2),
                shown(&row.redis_cpu, 2),
                shown(&row.waits, 3),
            ));
        }
    }
    page.push_str("\n## Replicated over async, inside a round\n\n| connections × pipeline | requests/s | p50 |\n|---|---:|---:|\n");
    for ((connections, pipeline, _), [one, other]) in LOADS.iter().zip(rows) {
        let ratio = |one: &[f64], other: &[f64]| {
            let ratios: Vec<f64> = one.iter().zip(other).map(|(one, other)| other / one).collect();
            shown(&ratios, 2)
        };
        let (rate, p50) = (ratio(&one.rate, &other.rate), ratio(&one.p50, &other.p50));
        page.push_str(&format!("| {connections} × {pipeline} | {rate} | {p50} |\n"));
    }
    page
}
