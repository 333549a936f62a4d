//! `shoal wait`, and watching.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;
use shoal_control::quantity::Period;
use shoal_control::resource::Kind;

use super::server::{Server, WATCH_SECONDS, said};
use super::show;
use crate::http::Target;

/// What `shoal wait` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  shoal wait pool demo
  shoal wait standalone solo --for=Ready --timeout 2m
  shoal wait pool demo --for=deleted

Exit codes: 0, 1 when the time was up first, 2 for a wrong command line.")]
pub struct Wait {
    #[command(flatten)]
    server: Server,
    /// The kind
    #[arg(value_parser = super::server::kind)]
    kind: Kind,
    /// The name
    name: String,
    /// A condition that is to be true of the spec as it is now, or `deleted`
    #[arg(long = "for", value_name = "CONDITION", default_value = "Ready")]
    condition: String,
    /// How long at most
    #[arg(long, value_name = "TIME", default_value = "60s")]
    timeout: Period,
}

impl Wait {
    pub fn run(&self) -> Result<()> {
        if self.condition.eq_ignore_ascii_case("deleted") {
            return until_gone(&self.server, self.kind, &self.name, self.timeout.0);
        }
        let deadline = Instant::now() + self.timeout.0;
        let mut watcher = Watcher::new(&self.server, self.kind);
        let mut last = format!("there is no {} {}", self.kind, self.name);
        loop {
            let (objects, gone) = watcher.next_by(Some(deadline))?;
            if gone.iter().any(|object| object["metadata"]["name"] == self.name.as_str()) {
                bail!("{} {} is gone", self.kind, self.name);
            }
            if let Some(object) =
                objects.iter().find(|object| object["metadata"]["name"] == self.name.as_str())
            {
                match self.is_so(object) {
                    Ok(()) => return Ok(()),
                    Err(why) => last = why,
                }
            }
            if Instant::now() >= deadline {
                bail!("{} {} is not {} after {}: {last}", self.kind, self.name, self.condition, self.timeout);
            }
        }
    }

    /// Whether the condition is true of the spec as it is now; what is said of it otherwise.
    fn is_so(&self, object: &Value) -> Result<(), String> {
        let conditions = show::rows(&object["status"]["conditions"]);
        let found = conditions.iter().find(|condition| condition["type"] == self.condition.as_str());
        let Some(condition) = found else { return Err("nothing is known of it yet".to_owned()) };
        let seen = condition["observedGeneration"].as_u64();
        if condition["status"] == true && seen >= object["metadata"]["generation"].as_u64() {
            return Ok(());
        }
        Err(show::text(&condition["message"]))
    }
}

/// Waits until there is no such object.
pub fn until_gone(server: &Server, kind: Kind, name: &str, within: Duration) -> Result<()> {
    let deadline = Instant::now() + within;
    let mut watcher = Watcher::new(server, kind);
    loop {
        let (objects, _) = watcher.next_by(Some(deadline))?;
        match server.find(kind, name)? {
            None => return Ok(()),
            Some(object) if Instant::now() >= deadline => {
                let why = show::ready(&object).1;
                bail!("{kind} {name} is still there after {}: {why}", Period(within));
            }
            Some(_) => drop(objects),
        }
    }
}

/// Follows all objects of a kind.
pub struct Watcher<'a> {
    server: &'a Server,
    kind: Kind,
    /// From which to go on; none before the first list.
    revision: Option<String>,
}

impl<'a> Watcher<'a> {
    /// That has seen nothing yet.
    pub fn new(server: &'a Server, kind: Kind) -> Self {
        Watcher { server, kind, revision: None }
    }

    /// First all objects; from then on those that changed, as they are now, and those that went.
    pub fn next(&mut self) -> Result<(Vec<Value>, Vec<Value>)> {
        loop {
            let (changed, gone) = self.next_by(None)?;
            if !changed.is_empty() || !gone.is_empty() {
                return Ok((changed, gone));
            }
        }
    }

    /// The same, or nothing by then.
    pub fn next_by(&mut self, deadline: Option<Instant>) -> Result<(Vec<Value>, Vec<Value>)> {
        let all = Target::new(&format!("/v1/{}", self.kind.plural()));
        let left = deadline.map_or(WATCH_SECONDS, |deadline| {
            deadline.saturating_duration_since(Instant::now()).as_secs().clamp(1, WATCH_SECONDS)
        });
        if let Some(from) = &self.revision {
            let watch = all.clone().with("watch", Some(from)).with("timeout", Some(left));
            match self.server.try_ask("GET", &watch, "")? {
                (200, answer) => {
                    self.revision = answer["revision"].as_str().map(str::to_owned);
                    let (mut changed, mut gone) = (Vec::new(), Vec::new());
                    for change in show::rows(&answer["changes"]) {
                        let to = if change["type"] == "gone" { &mut gone } else { &mut changed };
                        to.push(change["object"].clone());
                    }
                    return Ok((changed, gone));
                }
                // Too much happened, or the store was restored: all of them again.
                (410, _) => {}
                (status, answer) => bail!("{}", said(status, &answer)),
            }
        }
        let listed = self.server.ask("GET", &all, "")?;
        self.revision = listed["revision"].as_str().map(str::to_owned);
        Ok((show::rows(&listed["items"]).to_vec(), Vec::new()))
    }
}
