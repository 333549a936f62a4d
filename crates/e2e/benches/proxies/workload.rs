//! What is asked of the contestants.

use crate::Fallible;

/// `redis-benchmark` puts a random number of twelve digits here, another one each time.
const RANDOM: &str = "__rand_int__";

/// A set of keys that every server holds, all with values of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// What stands before the twelve digits.
    pub prefix: &'static str,
    /// How many there are.
    pub count: u32,
    /// Bytes of each value.
    pub value_bytes: usize,
}

/// Small values.
pub const SMALL: Keys = Keys { prefix: "bench:64:", count: 100_000, value_bytes: 64 };
/// Large values; fewer of them, so that four servers hold 250 MiB and not 6 GiB.
pub const LARGE: Keys = Keys { prefix: "bench:16k:", count: 4_000, value_bytes: 16 * 1024 };

/// One kind of load.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Its name in options and tables.
    pub name: &'static str,
    /// The command.
    pub command: Command,
    /// The keys it draws from.
    pub keys: Keys,
    /// Client connections.
    pub connections: u32,
    /// Requests that a client has outstanding.
    pub pipeline: u32,
    /// Requests of one measurement.
    pub requests: u32,
}

/// A command, with the number of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// One key.
    Get,
    /// One key.
    Set,
    /// Ten keys, spread over the servers.
    Mget,
    /// Ten keys, spread over the servers.
    Mset,
}

/// All of them, in the order of the tables.
pub const WORKLOADS: [Workload; 10] = [
    Workload::new("get64", Command::Get, SMALL, 120_000),
    Workload::new("set64", Command::Set, SMALL, 120_000),
    Workload::new("get64-p16", Command::Get, SMALL, 480_000).pipeline(16),
    Workload::new("set64-p16", Command::Set, SMALL, 480_000).pipeline(16),
    Workload::new("get16k", Command::Get, LARGE, 60_000),
    Workload::new("set16k", Command::Set, LARGE, 60_000),
    Workload::new("mget10", Command::Mget, SMALL, 50_000),
    Workload::new("mset10", Command::Mset, SMALL, 50_000),
    Workload::new("get64-c1000", Command::Get, SMALL, 160_000).connections(1000),
    Workload::new("get64-c1", Command::Get, SMALL, 25_000).connections(1),
];

impl Workload {
    const fn new(name: &'static str, command: Command, keys: Keys, requests: u32) -> Self {
        Self { name, command, keys, connections: 50, pipeline: 1, requests }
    }

    const fn pipeline(self, pipeline: u32) -> Self {
        Self { pipeline, ..self }
    }

    const fn connections(self, connections: u32) -> Self {
        Self { connections, ..self }
    }

    /// One line for a reader.
    pub fn describe(&self) -> String {
        let command = match self.command {
            Command::Get => "GET",
            Command::Set => "SET",
            Command::Mget => "MGET of 10 keys",
            Command::Mset => "MSET of 10 keys",
        };
        format!(
            "{command}, values of {} B, {} connections, pipeline {}, {} requests",
            self.keys.value_bytes, self.connections, self.pipeline, self.requests
        )
    }

    /// Words of the command, with places for random numbers.
    pub fn words(&self) -> Vec<String> {
        let key = format!("{}{RANDOM}", self.keys.prefix);
        let value = value(self.keys.value_bytes);
        let (verb, key_with_value): (&str, Vec<String>) = match self.command {
            Command::Get => ("GET", vec![key]),
            Command::Mget => ("MGET", vec![key]),
            Command::Set => ("SET", vec![key, value]),
            Command::Mset => ("MSET", vec![key, value]),
        };
        let mut words = vec![verb.to_owned()];
        for _ in 0..self.command.keys() {
            words.extend(key_with_value.iter().cloned());
        }
        words
    }
}

impl Command {
    /// Keys of one request.
    pub fn keys(self) -> u32 {
        match self {
            Self::Get | Self::Set => 1,
            Self::Mget | Self::Mset => 10,
        }
    }

    /// Whether it only reads.
    pub fn reads(self) -> bool {
        matches!(self, Self::Get | Self::Mget)
    }
}

/// A value of this many bytes.
pub fn value(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// The workloads of these names, all for none, with a fifth of the requests where `quick`.
pub fn chosen(names: &[String], quick: bool) -> Fallible<Vec<Workload>> {
    if let Some(name) = names.iter().find(|name| WORKLOADS.iter().all(|workload| workload.name != **name)) {
        let known: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
        return Err(format!("no workload {name}; there are {}", known.join(", ")).into());
    }
    let chosen =
        WORKLOADS.into_iter().filter(|w| names.is_empty() || names.iter().any(|name| name == w.name));
    Ok(chosen.map(|w| Workload { requests: if quick { w.requests / 5 } else { w.requests }, ..w }).collect())
}
