//! `shoal proxy topology|sessions|upstreams|slowlog|kill`: asks a running proxy by its admin port.
//!
//! Prints tables for people, or the JSON as it came. Exit codes: 0, 1 when the proxy cannot be asked, refuses, or could answer in
//! part only (a worker hangs), 2 for a wrong command line.

use std::io::Write as _;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use crate::http::{self, Target};

mod table;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show pools and shards: which are ejected, until when, and why
    Topology(Topology),
    /// List clients
    Sessions(Sessions),
    /// List connections to shards, and their queues
    Upstreams(Upstreams),
    /// List slow requests, newest first
    Slowlog(SlowLog),
    /// End clients' sessions
    Kill(Kill),
}

/// Where the proxy is asked, and how it is shown.
#[derive(Debug, Args)]
struct Port {
    /// The proxy's admin port: host:port, or /path of its unix socket
    #[arg(long, value_name = "ADDRESS", default_value = shoal_proxy::config::ADMIN)]
    admin: String,
    /// A table for people, or the proxy's JSON as it is
    #[arg(long, value_enum, default_value = "table", value_name = "FORM")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  shoal proxy topology --admin /run/shoal/admin.sock")]
pub struct Topology {
    #[command(flatten)]
    port: Port,
}

/// Which clients.
#[derive(Debug, Args)]
struct Filter {
    /// Those of this pool
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// Those from this address, with its port or without
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<String>,
    /// Those with this name, which the client set by CLIENT SETNAME
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Those whose requests are held back at the moment
    #[arg(long)]
    held: bool,
    /// Those whose client has sent nothing for so long
    #[arg(long, value_name = "SECONDS")]
    idle: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shoal proxy sessions --pool demo --order output_bytes --limit 10
  shoal proxy sessions --peer 10.1.2.3 --all --output json
  shoal proxy sessions --held

Columns: HELD says why requests are not taken: outstanding (too many), output (the
client does not read), barrier (one waits for all before it), upstream (its queue is
full), dedicated (a large request waits for an upstream of its own), returning (its
keys change their place). IN and OUT are bytes that wait in the proxy.")]
pub struct Sessions {
    #[command(flatten)]
    port: Port,
    #[command(flatten)]
    filter: Filter,
    /// By what they are put in order: id, age, idle, outstanding, input_bytes, output_bytes, requests, bytes_in or bytes_out
    #[arg(long, default_value = "id", value_name = "COLUMN")]
    order: String,
    /// How many at most
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: usize,
    /// All of them, by id, page by page
    #[arg(long, conflicts_with_all = ["order", "limit"])]
    all: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  shoal proxy upstreams --pool demo --shard demo-3")]
pub struct Upstreams {
    #[command(flatten)]
    port: Port,
    /// Those of this pool
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// Those of this shard
    #[arg(long, value_name = "NAME")]
    shard: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 1000, value_name = "N")]
    limit: usize,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shoal proxy slowlog --pool demo --limit 20
  shoal proxy slowlog --reset

Columns: TOOK is QUEUED (in the proxy) and SERVER (network, shard, and the replies
before it) together. Which requests are slow: slow_log in the configuration.")]
pub struct SlowLog {
    #[command(flatten)]
    port: Port,
    /// Those of this pool
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 100, value_name = "N", conflicts_with = "reset")]
    limit: usize,
    /// Forget them instead
    #[arg(long)]
    reset: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shoal proxy kill 17 18                     these two, by the ids that `sessions` lists
  shoal proxy kill --peer 10.1.2.3:40112
  shoal proxy kill --pool demo --idle 3600   everybody in demo who was silent for an hour

What they had outstanding ends as if they had closed. A client that does not stop
comes again.")]
pub struct Kill {
    /// Ids of sessions
    #[arg(value_name = "ID", conflicts_with_all = ["pool", "peer", "name", "held", "idle"])]
    ids: Vec<u64>,
    #[command(flatten)]
    port: Port,
    #[command(flatten)]
    filter: Filter,
}

/// Asks the proxy.
pub fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Topology(Topology { port }) => port.show("GET", Target::new("/topology"), table::topology),
        Verb::Sessions(sessions) => sessions.run(),
        Verb::Upstreams(Upstreams { port, pool, shard, limit }) => {
            let target = Target::new("/upstreams").with("pool", pool).with("shard", shard);
            port.show("GET", target.with("limit", Some(limit)), table::upstreams)
        }
        Verb::Slowlog(SlowLog { port, pool, limit, reset }) => {
            let target = Target::new("/slowlog").with("pool", pool);
            match reset {
                true => port.show("DELETE", target, |body| count(body, "forgotten", "slow request")),
                false => port.show("GET", target.with("limit", Some(limit)), table::slow_log),
            }
        }
        Verb::Kill(kill) => kill.run(),
    }
}

impl Sessions {
    fn run(self) -> Result<()> {
        if !self.all {
            let target = self.filter.apply(Target::new("/sessions")).with("order", Some(self.order));
            return self.port.show("GET", target.with("limit", Some(self.limit)), table::sessions);
        }
        let (mut rows, mut after, mut silent) = (Vec::new(), 0, Vec::new());
        loop {
            let target = self.filter.apply(Target::new("/sessions")).with("after", Some(after));
            let (mut body, _) = self.port.ask("GET", &target.with("limit", Some(PAGE)))?;
            if let Some(Value::Array(page)) = body.get_mut("sessions").map(Value::take) {
                rows.extend(page);
            }
            if let Value::Array(more) = body["silent_workers"].take() {
                silent.extend(more);
            }
            match body["next"].as_u64() {
                Some(next) => after = next,
                None => break,
            }
        }
        silent.dedup();
        let matching = rows.len();
        let body = serde_json::json!({"sessions": rows, "matching": matching, "next": null, "silent_workers": silent});
        self.port.print(&body, &format!("{body}\n"), table::sessions)
    }
}

/// Sessions that are asked for at a time where all are.
const PAGE: usize = 1000;

impl Kill {
    fn run(self) -> Result<()> {
        if self.ids.is_empty() {
            let target = self.filter.apply(Target::new("/sessions"));
            return self.port.show("DELETE", target, |body| count(body, "killed", "session"));
        }
        for id in self.ids {
            let target = Target::new(&format!("/sessions/{id}"));
            self.port
                .show("DELETE", target, |_| format!("session {id} is ended\n"))
                .with_context(|| format!("session {id}"))?;
        }
        Ok(())
    }
}

impl Filter {
    fn apply(&self, target: Target) -> Target {
        target
            .with("pool", self.pool.as_ref())
            .with("peer", self.peer.as_ref())
            .with("name", self.name.as_ref())
            .with("held", self.held.then_some("yes"))
            .with("idle", self.idle)
    }
}

impl Port {
    /// Asks, and prints what is answered.
    fn show(&self, method: &str, target: Target, table: impl Fn(&Value) -> String) -> Result<()> {
        let (body, text) = self.ask(method, &target)?;
        self.print(&body, &text, table)
    }

    /// What is answered, read and as it came.
    fn ask(&self, method: &str, target: &Target) -> Result<(Value, String)> {
        let (status, body) = http::ask(&self.admin, method, target)?;
        if status != 200 {
            bail!("{}", body.trim_end());
        }
        let read = serde_json::from_str(&body)
            .with_context(|| format!("{} does not answer as a proxy of Shoal's does", self.admin))?;
        Ok((read, body))
    }

    fn print(&self, body: &Value, text: &str, table: impl Fn(&Value) -> String) -> Result<()> {
        let text = match self.output {
            Output::Json => text.to_owned(),
            Output::Table => table(body),
        };
        match std::io::stdout().write_all(text.as_bytes()) {
            // Whoever reads has read enough (`| head`).
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            other => other.context("cannot print")?,
        }
        match body["silent_workers"].as_array() {
            Some(silent) if !silent.is_empty() => {
                let silent: Vec<String> = silent.iter().map(ToString::to_string).collect();
                bail!("worker {} did not answer within a second, so this is not all", silent.join(", "))
            }
            _ => Ok(()),
        }
    }
}

fn count(body: &Value, field: &str, of: &str) -> String {
    match body[field].as_u64().unwrap_or_default() {
        1 => format!("1 {of} is {field}\n"),
        many => format!("{many} {of}s are {field}\n"),
    }
}
