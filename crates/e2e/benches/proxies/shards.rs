//! The four Redis servers behind every contestant.

use shoal_e2e::{RedisServer, Workplace};

use crate::Fallible;
use crate::workload::{self, Keys, Workload};

/// How many servers there are.
const SHARDS: usize = 4;
/// Bytes of values written by one command while filling.
const FILL_BYTES: usize = 64 * 1024;

/// Running servers, ended on drop. Each holds every key, so that whoever is asked has it: a proxy spreads the
/// keys as it hashes them, the floor and the direct load ask where they are connected.
pub struct Shards {
    servers: Vec<RedisServer>,
}

/// What the servers counted since [`Shards::reset`], summed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    commands: u64,
    hits: u64,
    misses: u64,
}

impl Shards {
    /// Starts them, without persistence and latency monitoring, and fills in the keys of these workloads.
    pub fn start(workplace: &Workplace, workloads: &[Workload]) -> Self {
        let options = ["--latency-monitor-threshold", "0", "--loglevel", "warning"];
        let servers: Vec<_> = (0..SHARDS).map(|_| RedisServer::start(workplace, &options)).collect();
        for keys in [workload::SMALL, workload::LARGE] {
            if workloads.iter().any(|workload| workload.keys == keys) {
                servers.iter().for_each(|server| fill(server, keys));
            }
        }
        Self { servers }
    }

    /// `host:port` of each.
    pub fn addrs(&self) -> Vec<String> {
        self.servers.iter().map(|server| server.addr().to_string()).collect()
    }

    /// The port of the first: where direct load goes.
    pub fn first_port(&self) -> u16 {
        self.servers[0].addr().port()
    }

    /// The process ids.
    pub fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(RedisServer::pid).collect()
    }

    /// Stops them (`SIGSTOP`): they answer nothing.
    pub fn stop(&self) {
        self.servers.iter().for_each(RedisServer::stop);
    }

    /// Lets them go on.
    pub fn resume(&self) {
        self.servers.iter().for_each(RedisServer::resume);
    }

    /// Lets the servers count from 0.
    pub fn reset(&self) {
        for server in &self.servers {
            server.client().call(&["CONFIG", "RESETSTAT"]);
        }
    }

    /// What they have counted.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for server in &self.servers {
            let info = server.client().call(&["INFO", "stats"]);
            let info = String::from_utf8_lossy(&info);
            let count = |field: &str| -> u64 {
                let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
                line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
            };
            counts.commands += count("total_commands_processed");
            counts.hits += count("keyspace_hits");
            counts.misses += count("keyspace_misses");
        }
        counts
    }
}

impl Counts {
    /// Whether the servers really did this workload: every key read was there, and none was left out.
    pub fn agree(&self, workload: &Workload) -> Fallible<()> {
        let keys = u64::from(workload.requests) * u64::from(workload.command.keys());
        let done = if workload.command.reads() {
            self.misses == 0 && self.hits >= keys
        } else {
            self.commands >= u64::from(workload.requests)
        };
        if done { Ok(()) } else { Err(format!("the servers did something else: {self:?}").into()) }
    }
}

fn fill(server: &RedisServer, keys: Keys) {
    let value = workload::value(keys.value_bytes);
    let numbers: Vec<u32> = (0..keys.count).collect();
    let mut client = server.client();
    for some in numbers.chunks((FILL_BYTES / keys.value_bytes).max(1)) {
        let mut words = vec!["MSET".to_owned()];
        for number in some {
            words.extend([format!("{}{number:012}", keys.prefix), value.clone()]);
        }
        assert_eq!(client.call(&words), b"+OK\r\n", "filling a server");
    }
}
