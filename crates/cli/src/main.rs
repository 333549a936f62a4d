//! The binary `shoal`. This file is its table of contents; started under the name `nutcracker` it takes Twemproxy's place.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

mod columns;
mod completion;
mod control;
mod daemon;
mod http;
mod inspect;
mod nutcracker;
mod platform;
mod proxy;
mod up;

/// It gives back what is free within seconds (decision 0018).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Redis for a whole company; of it there is the proxy, which takes Twemproxy's place
#[derive(Debug, Parser)]
#[command(name = "shoal", version, propagate_version = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve pools: clients on one side, their shards on the other
    Proxy(Box<proxy::Arguments>),
    /// Start a demo on this machine: eight Redis servers, two pools, one proxy
    Up(up::Arguments),
    /// Keep what is declared, and make it so: the store, the processes, and the API
    Control(control::Arguments),
    #[command(flatten)]
    Platform(platform::Verb),
    /// Print a shell's completion of these commands
    Completion(completion::Arguments),
}

fn main() -> ExitCode {
    if nutcracker::is_our_name() {
        return nutcracker::main();
    }
    let result = match Arguments::parse().command {
        Command::Proxy(arguments) => proxy::run(*arguments),
        Command::Up(arguments) => up::run(arguments),
        Command::Control(arguments) => control::run(arguments),
        Command::Platform(verb) => platform::run(verb),
        Command::Completion(arguments) => completion::run(&arguments, Arguments::command()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain("shoal", &error);
            ExitCode::FAILURE
        }
    }
}

/// Prints an error and everything behind it in one line.
fn complain(program: &str, error: &anyhow::Error) {
    eprintln!("{program}: {error:#}");
}
