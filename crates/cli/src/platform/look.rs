//! `shoal get`, `shoal describe`, `shoal events`, `shoal logs`.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use shoal_control::resource::{Kind, Resource, to_yaml};

use super::server::{Server, path, print};
use super::{show, wait::Watcher};
use crate::http::Target;

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Columns
    Table,
    /// Columns, with what is said of each object
    Wide,
    /// The objects as control answers them
    Json,
    /// The objects as `shoal apply` reads them
    Yaml,
}

/// What is printed of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// As control answers it
    Json,
}

/// What `shoal get` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  shoal get pools
  shoal get pool demo -o yaml
  shoal get instances -o wide --watch

Kinds: nodes, tenants, standalones, pools, instances, events.
Exit codes: 0, 1 when control cannot be asked or refuses, 2 for a wrong command line.")]
pub struct Get {
    #[command(flatten)]
    server: Server,
    /// The kind
    #[arg(value_parser = super::server::kind)]
    kind: Kind,
    /// The name; all of the kind without it
    name: Option<String>,
    /// What is printed
    #[arg(long, short = 'o', value_enum, default_value = "table", value_name = "FORM")]
    output: Form,
    /// Go on: print again what changes, until Ctrl-C
    #[arg(long, short = 'w')]
    watch: bool,
}

/// What `shoal describe` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  shoal describe pool demo
  shoal describe instance demo-s0-r1")]
pub struct Describe {
    #[command(flatten)]
    server: Server,
    /// The kind
    #[arg(value_parser = super::server::kind)]
    kind: Kind,
    /// The name
    name: String,
    /// What is printed
    #[arg(long, short = 'o', value_enum, default_value = "text", value_name = "FORM")]
    output: Output,
}

/// What `shoal events` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  shoal events
  shoal events pool demo")]
pub struct Events {
    #[command(flatten)]
    server: Server,
    /// Only about an object of that kind
    #[arg(value_parser = super::server::kind, requires = "name")]
    kind: Option<Kind>,
    /// Only about the object of that name
    name: Option<String>,
    /// What is printed
    #[arg(long, short = 'o', value_enum, default_value = "text", value_name = "FORM")]
    output: Output,
}

/// What `shoal logs` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  shoal logs demo-s0-r1
  shoal logs demo-proxy-0 --lines 1000")]
pub struct Logs {
    #[command(flatten)]
    server: Server,
    /// The instance's name: `shoal get instances` lists them
    instance: String,
    /// How many lines, from the end
    #[arg(long, short = 'n', default_value_t = 100)]
    lines: usize,
    /// What is printed
    #[arg(long, short = 'o', value_enum, default_value = "text", value_name = "FORM")]
    output: Output,
}

impl Get {
    pub fn run(&self) -> Result<()> {
        if !self.watch {
            return match &self.name {
                Some(name) => self.show(&[self.server.ask("GET", &path(self.kind, name), "")?]),
                None => self.show(&list(&self.server, self.kind)?),
            };
        }
        let mut watcher = Watcher::new(&self.server, self.kind);
        let is_asked = |object: &Value| match &self.name {
            Some(name) => object["metadata"]["name"] == name.as_str(),
            None => true,
        };
        loop {
            let (objects, gone) = watcher.next()?;
            let shown: Vec<Value> = objects.into_iter().filter(is_asked).collect();
            if !shown.is_empty() {
                self.show(&shown)?;
            }
            for object in gone.iter().filter(|object| is_asked(object)) {
                eprintln!("{}/{} is gone", self.kind, show::text(&object["metadata"]["name"]));
            }
        }
    }

    fn show(&self, objects: &[Value]) -> Result<()> {
        print(&match self.output {
            Form::Table | Form::Wide => show::table(self.kind, objects, self.output == Form::Wide),
            Form::Json => match (&self.name, objects) {
                (Some(_), [one]) => format!("{}\n", serde_json::to_string_pretty(one)?),
                _ => format!("{}\n", serde_json::to_string_pretty(objects)?),
            },
            Form::Yaml => {
                let read =
                    |object: &Value| Ok(to_yaml(&serde_json::from_value::<Resource>(object.clone())?)?);
                let texts: Vec<String> = objects.iter().map(read).collect::<Result<_>>()?;
                texts.join("---\n")
            }
        })
    }
}

impl Describe {
    pub fn run(&self) -> Result<()> {
        let object = self.server.ask("GET", &path(self.kind, &self.name), "")?;
        let mut instances = match self.kind {
            Kind::Pool | Kind::Standalone | Kind::Node => list(&self.server, Kind::Instance)?,
            _ => Vec::new(),
        };
        instances.retain(|instance| match self.kind {
            Kind::Node => instance["spec"]["node"] == self.name.as_str(),
            _ => {
                let owner = &instance["spec"]["owner"];
                owner["kind"] == self.kind.name() && owner["name"] == self.name.as_str()
            }
        });
        let happened = happened(&self.server, self.kind, &self.name)?;
        match self.output {
            Output::Text => print(&show::describe(self.kind, &object, &instances, &happened)),
            Output::Json => {
                let all = json!({ "object": object, "instances": instances, "events": happened });
                print(&format!("{}\n", serde_json::to_string_pretty(&all)?))
            }
        }
    }
}

impl Events {
    pub fn run(&self) -> Result<()> {
        let events = match (self.kind, &self.name) {
            (Some(kind), Some(name)) => happened(&self.server, kind, name)?,
            _ => list(&self.server, Kind::Event)?,
        };
        match self.output {
            Output::Text => print(&show::events(&events)),
            Output::Json => print(&format!("{}\n", serde_json::to_string_pretty(&events)?)),
        }
    }
}

impl Logs {
    pub fn run(&self) -> Result<()> {
        let target = Target::new("/v1/instances/").then(&self.instance);
        let target = target.and("/logs").with("lines", Some(self.lines));
        let answer = self.server.ask("GET", &target, "")?;
        if self.output == Output::Json {
            return print(&format!("{answer}\n"));
        }
        let lines: Vec<String> = show::rows(&answer["lines"]).iter().map(show::text).collect();
        print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())
    }
}

/// All objects of a kind.
pub fn list(server: &Server, kind: Kind) -> Result<Vec<Value>> {
    let mut listed = server.ask("GET", &Target::new(&format!("/v1/{}", kind.plural())), "")?;
    match listed["items"].take() {
        Value::Array(items) => Ok(items),
        _ => bail!("control's answer has no items: is it control's address?"),
    }
}

fn happened(server: &Server, kind: Kind, name: &str) -> Result<Vec<Value>> {
    let target = Target::new("/v1/events").with("regarding", Some(format!("{kind}/{name}")));
    let mut listed = server.ask("GET", &target, "")?;
    Ok(show::rows(&listed["items"].take()).to_vec())
}
