//! `shoal apply`, `shoal diff`, `shoal delete`.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use shoal_control::resource::Kind;

use super::files::Files;
use super::server::{Server, path, print, said};
use super::{show, wait};
use crate::http::Target;

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// One array of what control answered
    Json,
}

/// What `shoal apply` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  shoal apply -f examples/nodes.yaml -f examples/demo.yaml
  shoal apply -f examples/ --dry-run          what would change, and in which steps
  kubectl-style YAML | shoal apply -f -

Exit codes: 0, 1 when something was refused (the rest is done), 2 for a wrong command line.")]
pub struct Apply {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    files: Files,
    /// Change nothing, and say what would be
    #[arg(long)]
    dry_run: bool,
    /// What is printed
    #[arg(long, short = 'o', value_enum, default_value = "text", value_name = "FORM")]
    output: Output,
}

/// What `shoal diff` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  shoal diff -f examples/demo.yaml

Exit codes: 0, 1 when something would be refused, 2 for a wrong command line.")]
pub struct Diff {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    files: Files,
    /// What is printed
    #[arg(long, short = 'o', value_enum, default_value = "text", value_name = "FORM")]
    output: Output,
}

/// What `shoal delete` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  shoal delete standalone solo
  shoal delete -f examples/demo.yaml --wait
  shoal delete pool demo --dry-run

The data of what is deleted is removed with it. Exit codes: 0, 1 when something was refused, 2 for a wrong command line.")]
pub struct Delete {
    #[command(flatten)]
    server: Server,
    /// The kind
    #[arg(value_parser = super::server::kind, required_unless_present = "files", requires = "name", conflicts_with = "files")]
    kind: Option<Kind>,
    /// The name
    name: Option<String>,
    #[command(flatten)]
    files: Files,
    /// Change nothing, and say what would be
    #[arg(long)]
    dry_run: bool,
    /// Wait until it is gone, for at most 5 minutes each
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// What is printed
    #[arg(long, short = 'o', value_enum, default_value = "text", value_name = "FORM")]
    output: Output,
}

/// How long a deletion may take.
const GONE_WITHIN: Duration = Duration::from_secs(300);

/// What to ask, of which object.
struct Wish {
    kind: Kind,
    name: String,
    method: &'static str,
    body: String,
}

impl Apply {
    pub fn run(&self) -> Result<()> {
        ask_all(&self.server, put(&self.files)?, self.dry_run, self.output, |_| Ok(()))
    }
}

impl Diff {
    pub fn run(&self) -> Result<()> {
        ask_all(&self.server, put(&self.files)?, true, self.output, |_| Ok(()))
    }
}

impl Delete {
    pub fn run(&self) -> Result<()> {
        let mut named: Vec<(Kind, String)> = match (self.kind, &self.name) {
            (Some(kind), Some(name)) => vec![(kind, name.clone())],
            _ => {
                let declared = self.files.read()?.into_iter();
                declared.map(|object| (object.kind(), object.name().to_owned())).collect()
            }
        };
        // What others stand on goes last.
        named.reverse();
        let delete = |(kind, name)| Wish { kind, name, method: "DELETE", body: String::new() };
        let wishes = named.into_iter().map(delete).collect();
        ask_all(&self.server, wishes, self.dry_run, self.output, |wish| match self.wait {
            true => wait::until_gone(&self.server, wish.kind, &wish.name, GONE_WITHIN),
            false => Ok(()),
        })
    }
}

fn put(files: &Files) -> Result<Vec<Wish>> {
    let declared = files.read()?.into_iter().map(|object| {
        let body = serde_json::to_string(&object)?;
        Ok(Wish { kind: object.kind(), name: object.name().to_owned(), method: "PUT", body })
    });
    declared.collect()
}

/// Asks for each; one that is refused keeps no other back.
fn ask_all(
    server: &Server,
    wishes: Vec<Wish>,
    dry_run: bool,
    output: Output,
    then: impl Fn(&Wish) -> Result<()>,
) -> Result<()> {
    let (all, mut refused, mut answers) = (wishes.len(), 0, Vec::new());
    for wish in wishes {
        let target: Target = path(wish.kind, &wish.name).with("dryRun", dry_run.then_some("yes"));
        let (status, answer) = server.try_ask(wish.method, &target, &wish.body)?;
        let about = format!("{}/{}", wish.kind, wish.name);
        if status >= 300 {
            refused += 1;
            eprintln!("shoal: {about}: {}", said(status, &answer));
        } else if output == Output::Text {
            warn(&about, &answer);
            print(&if dry_run { show::preview(&about, &answer) } else { show::done(&about, &answer) })?;
            then(&wish)?;
        } else {
            then(&wish)?;
        }
        answers.push(answer);
    }
    if output == Output::Json {
        print(&format!("{}\n", json!(answers)))?;
    }
    match refused {
        0 => Ok(()),
        _ => bail!("{refused} of {all} refused"),
    }
}

fn warn(about: &str, answer: &Value) {
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        let text = |field: &str| warning[field].as_str().unwrap_or_default().to_owned();
        eprintln!("warning: {about}: {}: {}", text("path"), text("message"));
    }
}
