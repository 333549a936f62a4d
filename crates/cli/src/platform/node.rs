//! `shoal node`.

use anyhow::Result;
use clap::{Args, Subcommand};
use shoal_control::resource::Kind;

use super::server::{Server, path, print};

/// What `shoal node` takes.
#[derive(Debug, Args)]
pub struct Node {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What runs there stays, nothing new comes
    #[command(after_help = "Example:\n  shoal node cordon n1")]
    Cordon(Which),
    /// New instances may come again
    #[command(after_help = "Example:\n  shoal node uncordon n1")]
    Uncordon(Which),
}

#[derive(Debug, Args)]
struct Which {
    #[command(flatten)]
    server: Server,
    /// The node
    name: String,
}

impl Node {
    pub fn run(&self) -> Result<()> {
        let (which, cordon) = match &self.verb {
            Verb::Cordon(which) => (which, true),
            Verb::Uncordon(which) => (which, false),
        };
        let target = path(Kind::Node, &which.name);
        let mut node = which.server.ask("GET", &target, "")?;
        node["spec"]["unschedulable"] = cordon.into();
        // It bears the revision that was seen: what somebody changed meanwhile is not undone.
        which.server.ask("PUT", &target, &node.to_string())?;
        let word = if cordon { "cordoned" } else { "uncordoned" };
        print(&format!("Node/{} {word}\n", which.name))
    }
}
