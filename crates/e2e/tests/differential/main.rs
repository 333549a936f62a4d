//! Differential: the same commands, through a pool of four shards and to one plain Redis, are answered alike.
//!
//! ```text
//!   seed ──▶ draw (forms) ──▶ steps, of several clients ──┬──▶ shoal proxy ──▶ 4 redis-server ──┐
//!                                                         └──▶ 1 redis-server ──────────────────┴──▶ compare
//! ```
//!
//! Keys are chosen with hash tags, so that what needs its keys on one shard has them there. `SHOAL_SIM_SEED` gives another
//! seed, SHOAL_TEST_FULL=1 asks for more.

use std::collections::BTreeSet;

use shoal_e2e::raw_client::words;
use shoal_e2e::{OwnPool, Sharded};
use shoal_resp::command::{self, Command};

use draw::Chance;
use world::World;

mod compare;
mod draw;
mod forms;
mod left_out;
mod sequences;
mod steps;
mod world;

/// The newest version of Redis whose commands must be drawn.
const KNOWN_TO: (u32, u32) = (7, 0);

#[test]
fn random_sequences_are_answered_as_by_one_redis() {
    let given = std::env::var("SHOAL_SIM_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let full = std::env::var_os("SHOAL_TEST_FULL").is_some() || given.is_some();
    let (rounds, steps) = if full { (20, 4000) } else { (3, 2500) };
    let first: u64 = given.unwrap_or(1);
    if full {
        println!("slow: {rounds} rounds of {steps} steps");
    }
    let mut world = World::start();
    for round in 0..rounds {
        let seed = first + round;
        println!("seed {seed}");
        world.begin(&format!("seed {seed}: `make sim SEED={seed}` asks this first"), 4);
        steps::walk(&mut world, &mut Chance::new(seed), steps);
    }
}

/// The commands of the table that the plain server knows, containers by their subcommands.
fn known() -> impl Iterator<Item = &'static Command> {
    let leaves = |command: &'static Command| match command.is_container() {
        true => command.subs.iter().collect::<Vec<_>>(),
        false => vec![command],
    };
    let is_old = |command: &&Command| {
        let mut numbers = command.since.split('.').map(|number| number.parse::<u32>());
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor) <= KNOWN_TO,
            _ => false, // another program's
        }
    };
    command::all().iter().filter(is_old).flat_map(leaves).filter(is_old)
}

#[test]
fn every_command_is_drawn_or_left_out_with_a_reason() {
    let named = |line: &str| {
        let mut words = line.split(' ');
        let command = command::lookup(words.next()?.as_bytes())?;
        let sub = words.next().and_then(|word| command::lookup_sub(command, word.as_bytes()));
        Some(sub.unwrap_or(command).name)
    };
    let all = [forms::KEYED, forms::APART].map(draw::forms).concat();
    let mut told: BTreeSet<&str> = all.iter().filter_map(|(_, form)| named(form)).collect();
    told.extend(left_out::BY_NAME);
    told.extend(left_out::REFUSED.iter().filter_map(|(line, _)| named(line)));
    // Users, and what of their administration is answered, have tests of their own (`access`).
    let is_told = |command: &&Command| told.contains(command.name) || command.name.starts_with("ACL|");
    // Of a container whose subcommands all concern one server, one is asked.
    let silent = |command: &&Command| !is_told(command) && !command.name.starts_with("CLUSTER|");
    let missing: Vec<&str> = known().filter(silent).map(|command| command.name).collect();
    assert!(missing.is_empty(), "neither drawn nor left out: {missing:?}");
}

#[test]
fn what_is_refused_is_refused_with_the_reason() {
    let all = Sharded::start(4, 1, 0, |addrs| OwnPool::storage("demo", addrs).key("hash_tag", "\"{}\""));
    let mut client = all.client();
    let mut wrong = Vec::new();
    for (line, reason) in left_out::REFUSED {
        let reply = String::from_utf8_lossy(&client.call(&words(line))).into_owned();
        if !reply.starts_with('-') || !reply.contains(reason) {
            wrong.push(format!("{line}: {}, not {reason}", reply.trim_end()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
