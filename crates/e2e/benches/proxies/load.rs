//! The load: Debian's `redis-benchmark`.

use std::process::Command;

use crate::Fallible;
use crate::workload::Workload;

/// Seconds after which a load is ended: against a port that nobody serves, `redis-benchmark` waits for ever.
const BOUND: &str = "120";

/// What the load saw.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Requests a second.
    pub rate: f64,
    /// Median latency, milliseconds.
    pub p50_ms: f64,
    /// Latency that one request in a hundred exceeds, milliseconds.
    pub p99_ms: f64,
}

/// Sends `requests` of the workload to a port and waits for every reply; `before` is put before the command.
///
/// `redis-benchmark` ends with an error at the first error reply, so that a success means replies without one.
pub fn send(workload: &Workload, requests: u32, port: u16, before: &[String]) -> Fallible<Seen> {
    let mut words = before.to_vec();
    words.extend(
        ["timeout", "--kill-after=5", BOUND, "redis-benchmark", "-h", "127.0.0.1"].map(str::to_owned),
    );
    let options = [
        ("-p", u32::from(port)),
        ("-c", workload.connections),
        ("-P", workload.pipeline),
        ("-n", requests),
        ("-r", workload.keys.count),
        ("--precision", 3),
    ];
    words.extend(options.iter().flat_map(|(option, number)| [(*option).to_owned(), number.to_string()]));
    words.push("--csv".to_owned());
    words.extend(workload.words());

    let output = Command::new(&words[0]).args(&words[1..]).output()?;
    let (csv, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() || errors.contains("Error") {
        let how = if output.status.code() == Some(124) { "not within the bound" } else { "failed" };
        return Err(format!("the load {how}: {}", errors.trim()).into());
    }
    parse(&csv).ok_or_else(|| format!("redis-benchmark printed {csv:?} {errors:?}").into())
}

/// Reads `"title","rps","avg","min","p50","p95","p99","max"` from the end, since the title is the command.
pub fn parse(csv: &str) -> Option<Seen> {
    let line = csv.lines().rfind(|line| line.starts_with('"') && !line.contains("\"rps\""))?;
    let mut fields = line.rsplit(',').map(|field| field.trim_matches('"').parse::<f64>().ok());
    let (_max, p99_ms, _p95) = (fields.next()??, fields.next()??, fields.next()??);
    let (p50_ms, _min, _avg) = (fields.next()??, fields.next()??, fields.next()??);
    Some(Seen { rate: fields.next()??, p50_ms, p99_ms })
}
