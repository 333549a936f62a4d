//! `shoal connect`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use serde_json::Value;
use shoal_control::resource::Kind;

use super::server::{Server, print};
use super::show::{ready, rows, text};

/// What `shoal connect` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  shoal connect solo
  shoal connect demo -- SET greeting hello
  shoal connect demo --print                where it is, and which file has the password

It runs redis-cli as the tenant's user, by the primary of a standalone or a proxy of a pool. The password is read from
control's directory on this machine, and handed over by the environment variable REDISCLI_AUTH alone.")]
pub struct Connect {
    #[command(flatten)]
    server: Server,
    /// A standalone or a pool
    name: String,
    /// To replicas of a standalone: reads that may be a moment old
    #[arg(long)]
    readers: bool,
    /// Start nothing; print address, user, and the password's file
    #[arg(long)]
    print: bool,
    /// For redis-cli
    #[arg(last = true)]
    rest: Vec<OsString>,
}

impl Connect {
    pub fn run(&self) -> Result<()> {
        let object = self.find()?;
        let wanted: &[&str] = if self.readers { &["readers"] } else { &["primary", "proxy"] };
        let endpoints = rows(&object["status"]["endpoints"]);
        let found = endpoints.iter().find(|endpoint| wanted.iter().any(|role| endpoint["role"] == *role));
        let Some(endpoint) = found else {
            let (_, why) = ready(&object);
            bail!("{} has no {} now: {why}", self.name, wanted.join(" or "));
        };
        let address = text(&endpoint["address"]);
        let (host, port) = address.rsplit_once(':').with_context(|| format!("{address} is no address"))?;
        let credential = rows(&object["status"]["credentials"]).first();
        let credential = credential.with_context(|| format!("{} names no user yet", self.name))?;
        let user = text(&credential["user"]);
        let file = self.server.dir.join("credentials").join(text(&credential["name"]));
        if self.print {
            return print(&format!("address {address}\nuser {user}\npassword in {}\n", file.display()));
        }
        let cannot = || {
            format!(
                "the password of {user} cannot be read from {}: is this control's machine, and --dir its directory?",
                file.display()
            )
        };
        let passwords = fs::read_to_string(&file).with_context(cannot)?;
        let password = passwords.lines().next().with_context(cannot)?;
        let mut command = Command::new("redis-cli");
        command.args(["-h", host.trim_matches(['[', ']']), "-p", port, "--user", &user]).args(&self.rest);
        let failed = command.env("REDISCLI_AUTH", password).exec();
        Err(anyhow!(failed)
            .context("redis-cli cannot be started: is it installed? (Debian: apt install redis-tools)"))
    }

    fn find(&self) -> Result<Value> {
        for kind in [Kind::Standalone, Kind::Pool] {
            if let Some(object) = self.server.find(kind, &self.name)? {
                return Ok(object);
            }
        }
        bail!(
            "there is no standalone and no pool {}: `shoal get pools` lists those that there are",
            self.name
        )
    }
}
