//! `shoal token`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use super::server::{Server, print, write_private};
use super::show::{rows, text};
use crate::columns::Table;
use crate::http::Target;

/// What `shoal token` takes.
#[derive(Debug, Args)]
pub struct Token {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a token that sees and changes one tenant's things alone, and write it into a new file
    #[command(
        after_help = "Example:\n  shoal token create feed-ci --tenant feed --to feed.token\n  shoal get pools --token-file feed.token"
    )]
    Create {
        #[command(flatten)]
        server: Server,
        /// The token's name, in the audit log and for `revoke`
        name: String,
        /// Whose
        #[arg(long)]
        tenant: String,
        /// The file, of mode 0600; control keeps the token's SHA-256 alone
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Make a token worth nothing
    Revoke {
        #[command(flatten)]
        server: Server,
        /// The token's name
        name: String,
    },
    /// Show which there are
    List {
        #[command(flatten)]
        server: Server,
    },
}

impl Token {
    pub fn run(&self) -> Result<()> {
        match &self.verb {
            Verb::Create { server, name, tenant, to } => {
                let target = Target::new("/v1/tokens/").then(name).with("tenant", Some(tenant));
                let answer = server.ask("PUT", &target, "")?;
                let token = answer["token"].as_str().context("control's answer has no token")?;
                let written = write_private(to, format!("{token}\n").as_bytes());
                if written.is_err() {
                    // Nobody has it: it is not left behind.
                    server.ask("DELETE", &Target::new("/v1/tokens/").then(name), "")?;
                }
                written?;
                print(&format!("token {name} of tenant {tenant} is in {}\n", to.display()))
            }
            Verb::Revoke { server, name } => {
                server.ask("DELETE", &Target::new("/v1/tokens/").then(name), "")?;
                print(&format!("token {name} revoked\n"))
            }
            Verb::List { server } => {
                let answer = server.ask("GET", &Target::new("/v1/tokens"), "")?;
                let mut table = Table::new(&["NAME", "ROLE", "TENANT", "CREATED"]);
                for token in rows(&answer["items"]) {
                    let cell = |field: &str| text(&token[field]);
                    table.row([cell("token"), cell("role"), cell("tenant"), cell("created")]);
                }
                print(&table.finish())
            }
        }
    }
}
