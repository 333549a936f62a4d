//! What the proxy's statistics say happened between two looks at them.

use std::io::Read as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::layout::Layout;

/// How long the proxy may take to give its statistics.
const PATIENCE: Duration = Duration::from_secs(1);

/// The counters at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    at: Instant,
    pools: Vec<PoolCounters>,
}

#[derive(Clone, Debug, Default)]
struct PoolCounters {
    name: String,
    clients: u64,
    errors: u64,
    /// Requests that each shard was sent.
    shards: Vec<(String, u64)>,
}

/// What happened in a pool, by the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The pool's name.
    pub pool: String,
    /// Clients connected at the later look.
    pub clients: u64,
    /// Requests sent to the shards in a second; one that is split over several counts on each.
    pub requests: u64,
    /// Requests in a second that could not be forwarded or were not answered.
    pub errors: u64,
    /// Each shard's name and requests in a second.
    pub shards: Vec<(String, u64)>,
}

impl Sample {
    /// Asks the proxy.
    ///
    /// # Errors
    /// If it gives no statistics in time.
    pub fn take(layout: &Layout) -> Result<Sample> {
        let mut stream = TcpStream::connect_timeout(&layout.stats, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Sample::read(&text, layout, Instant::now()).context("they are not in the known form")
    }

    fn read(text: &str, layout: &Layout, at: Instant) -> Result<Sample> {
        let stats: Value = serde_json::from_str(text)?;
        let number = |value: &Value, field: &str| {
            value.get(field).and_then(Value::as_u64).with_context(|| format!("no number {field}"))
        };
        let mut pools = Vec::new();
        for pool in &layout.pools {
            let entry = stats.get(pool.name).with_context(|| format!("no pool {}", pool.name))?;
            let mut counters = PoolCounters {
                name: pool.name.to_owned(),
                clients: number(entry, "client_connections")?,
                errors: number(entry, "forward_error")?,
                shards: Vec::new(),
            };
            for server in &pool.servers {
                let shard = entry.get(&server.name).with_context(|| format!("no shard {}", server.name))?;
                counters.shards.push((server.name.clone(), number(shard, "requests")?));
            }
            pools.push(counters);
        }
        Ok(Sample { at, pools })
    }

    /// What happened since an earlier sample.
    pub fn since(&self, earlier: &Sample) -> Vec<Figures> {
        let seconds = self.at.saturating_duration_since(earlier.at).as_secs_f64();
        let rate = |now: u64, then: u64| match now.saturating_sub(then) {
            0 => 0,
            // Less than one in a second is still something.
            count => ((count as f64 / seconds.max(0.001)).round() as u64).max(1),
        };
        let both = self.pools.iter().zip(&earlier.pools);
        both.map(|(now, then)| {
            let shards = now.shards.iter().zip(&then.shards);
            Figures {
                pool: now.name.clone(),
                clients: now.clients,
                requests: rate(sum(now), sum(then)),
                errors: rate(now.errors, then.errors),
                shards: shards.map(|((name, now), (_, then))| (name.clone(), rate(*now, *then))).collect(),
            }
        })
        .collect()
    }
}

fn sum(pool: &PoolCounters) -> u64 {
    pool.shards.iter().map(|(_, requests)| requests).sum()
}

/// A table, one line a pool under a line of headings.
pub fn table(figures: &[Figures]) -> Vec<String> {
    let shards = figures.iter().map(|pool| pool.shards.len()).max().unwrap_or_default();
    let mut heading = format!("{:<6}{:>9}{:>12}{:>9}", "pool", "clients", "requests/s", "errors/s");
    for shard in 1..=shards {
        heading.push_str(&format!("{:>10}", format!("shard {shard}")));
    }
    let mut lines = vec![heading];
    for pool in figures {
        let mut line = format!(
            "{:<6}{:>9}{:>12}{:>9}",
            pool.pool,
            grouped(pool.clients),
            grouped(pool.requests),
            grouped(pool.errors)
        );
        for (_, requests) in &pool.shards {
            line.push_str(&format!("{:>10}", grouped(*requests)));
        }
        lines.push(line);
    }
    lines
}

/// The same in one line.
pub fn line(figures: &[Figures]) -> String {
    let pools: Vec<String> = figures
        .iter()
        .map(|pool| {
            let shards: Vec<String> =
                pool.shards.iter().map(|(name, requests)| format!("{name} {requests}")).collect();
            let (name, requests, clients) = (&pool.pool, pool.requests, pool.clients);
            let errors = pool.errors;
            format!(
                "{name}: {requests} requests/s ({}), {clients} clients, {errors} errors/s",
                shards.join(", ")
            )
        })
        .collect();
    pools.join("; ")
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn stats(requests: u64, clients: u64, errors: u64) -> String {
        let pool = |name: &str, times: u64| {
            let shards: Vec<String> = (1..=4)
                .map(|shard| {
                    format!(
                        "\"{name}-{shard}\": {{\"server_eof\":0, \"requests\":{}}}",
                        times * shard * requests
                    )
                })
                .collect();
            let shards = shards.join(", ");
            format!("\"{name}\": {{\"client_connections\":{clients}, \"forward_error\":{errors}, {shards}}}")
        };
        format!("{{\"service\":\"nutcracker\", {}, {}}}\n", pool("demo", 1), pool("hot", 0))
    }

    fn figures() -> Vec<Figures> {
        let layout = Layout::new(Path::new("/d"), 22121);
        let begun = Instant::now();
        let earlier = Sample::read(&stats(500, 9, 3), &layout, begun).unwrap();
        let later = Sample::read(&stats(1500, 7, 4), &layout, begun + Duration::from_secs(2)).unwrap();
        later.since(&earlier)
    }

    #[test]
    fn differences_are_by_the_second() {
        let figures = figures();
        assert_eq!(
            figures[0].shards.iter().map(|(_, requests)| *requests).collect::<Vec<_>>(),
            [500, 1000, 1500, 2000]
        );
        assert_eq!((figures[0].requests, figures[0].clients, figures[0].errors), (5000, 7, 1));
        assert_eq!((figures[1].requests, figures[1].clients, figures[1].errors), (0, 7, 1));
    }

    #[test]
    fn they_fit_into_eighty_columns() {
        let lines = table(&figures());
        assert_eq!(
            lines,
            [
                "pool    clients  requests/s errors/s   shard 1   shard 2   shard 3   shard 4",
                "demo          7       5,000        1       500     1,000     1,500     2,000",
                "hot           7           0        1         0         0         0         0",
            ]
        );
    }

    #[test]
    fn a_line_has_them_all() {
        let line = line(&figures());
        let demo = "demo: 5000 requests/s (demo-1 500, demo-2 1000, demo-3 1500, demo-4 2000), 7 clients, 1 errors/s; hot: 0";
        assert!(line.starts_with(demo), "{line}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let layout = Layout::new(Path::new("/d"), 22121);
        let error = Sample::read("{\"demo\": {}}", &layout, Instant::now()).unwrap_err();
        assert_eq!(error.to_string(), "no number client_connections");
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
