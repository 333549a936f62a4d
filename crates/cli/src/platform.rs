//! The platform's verbs: each asks control, and shows what is answered. What is allowed, and what follows, control says.

use anyhow::Result;
use clap::Subcommand;
pub use server::print;

mod connect;
mod copies;
mod declare;
mod edit;
mod files;
mod look;
mod node;
mod server;
mod show;
mod token;
mod wait;

/// The platform's verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make it so: create or change what files declare
    Apply(declare::Apply),
    /// What apply would change, and in which steps
    Diff(declare::Diff),
    /// Change one object's declaration in an editor
    Edit(edit::Edit),
    /// Let objects go; their processes are ended first
    Delete(declare::Delete),
    /// Show objects of a kind
    Get(look::Get),
    /// Show all that is known of one object
    Describe(look::Describe),
    /// Wait until an object is ready, or gone
    Wait(wait::Wait),
    /// What happened, and why
    Events(look::Events),
    /// The last lines that an instance wrote
    Logs(look::Logs),
    /// Open redis-cli on a standalone or a pool
    Connect(connect::Connect),
    /// Take machines out of placement, and back
    Node(node::Node),
    /// Give tenants tokens of their own
    Token(token::Token),
    /// Copy what control keeps
    Backup(copies::Backup),
    /// Bring a copy back
    Restore(copies::Restore),
}

/// Does what was asked.
pub fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Apply(apply) => apply.run(),
        Verb::Diff(diff) => diff.run(),
        Verb::Edit(edit) => edit.run(),
        Verb::Delete(delete) => delete.run(),
        Verb::Get(get) => get.run(),
        Verb::Describe(describe) => describe.run(),
        Verb::Wait(wait) => wait.run(),
        Verb::Events(events) => events.run(),
        Verb::Logs(logs) => logs.run(),
        Verb::Connect(connect) => connect.run(),
        Verb::Node(node) => node.run(),
        Verb::Token(token) => token.run(),
        Verb::Backup(backup) => backup.run(),
        Verb::Restore(restore) => restore.run(),
    }
}
