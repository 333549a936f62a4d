//! The command line of the bench.

use std::path::{Path, PathBuf};

use clap::Parser;

use crate::contestant::Peer;

/// Measures proxies against each other on real Redis servers.
///
/// Relative paths are seen from the root of the repository.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    bin_name = "cargo bench -p shoal-e2e --bench proxies --",
    disable_version_flag = true
)]
pub struct Options {
    /// Rounds; in each, every contestant runs every workload once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,

    /// Two rounds of a fifth of the requests: to see that it works, not to compare.
    #[arg(long)]
    pub quick: bool,

    /// Only these workloads, by name.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub workloads: Vec<String>,

    /// Only these contestants: nutcracker, shoal, shoal-all, floor, direct, and names of peers.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub contestants: Vec<String>,

    /// One more contestant. Words of COMMAND may be {conf} (a nutcracker.yml), {port} (where to listen),
    /// {stats}, {log}, {dir} and {servers} (four words host:port); without any, nutcracker's flags follow.
    #[arg(long = "peer", value_name = "NAME=COMMAND")]
    pub peers: Vec<Peer>,

    /// Count the system calls of the proxy too, in a short run of its own after the first round's (needs perf).
    #[arg(long)]
    pub syscalls: bool,

    /// Measure memory under many connections instead; three rounds unless told otherwise.
    #[arg(long, conflicts_with_all = ["workloads", "contestants", "peers", "syscalls", "check"])]
    pub memory: bool,

    /// Measure writes that wait for a replica against those that don't instead; three rounds unless told otherwise.
    #[arg(long, conflicts_with_all = ["workloads", "contestants", "peers", "syscalls", "check", "memory"])]
    pub durability: bool,

    /// With --memory: how many clients connect.
    #[arg(long, value_name = "N", default_value_t = 10_000, requires = "memory")]
    pub clients: usize,

    /// How many cores servers, load and proxy share.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub cores: u16,

    /// The page to write; raw figures (.json) and plot (.svg) go beside it
    /// [default: docs/measurements/DATE-proxy-bench.md, DATE-memory.md or DATE-durability.md].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Measure nothing; compare the raw figures (.json) of an earlier run with the targets.
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,

    /// With --check: instead of the targets, this ratio of the proxy's CPU for every workload.
    #[arg(long, value_name = "RATIO", requires = "check")]
    pub at_most: Option<f64>,

    /// Given by `cargo bench`, and not by `cargo test --all-targets`, which should not measure.
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// Reads the command line, or ends the process with its help.
pub fn read() -> Options {
    Options::parse()
}

impl Options {
    /// How often each contestant runs each workload.
    pub fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(match (self.memory || self.durability, self.quick) {
            (true, true) => 1,
            (true, false) => 3,
            (false, true) => 2,
            (false, false) => 5,
        })
    }

    /// The page to write on the day `today`.
    pub fn out(&self, today: &str) -> PathBuf {
        let what = match (self.memory, self.durability) {
            (true, _) => "memory",
            (_, true) => "durability",
            _ => "proxy-bench",
        };
        let usual = || PathBuf::from(format!("docs/measurements/{today}-{what}.md"));
        in_repository(&self.out.clone().unwrap_or_else(usual))
    }
}

/// `path` as seen from the root of the repository (`cargo bench` runs in the crate's directory).
pub fn in_repository(path: &Path) -> PathBuf {
    root().join(path)
}

/// The root of the repository.
pub fn root() -> PathBuf {
    let crate_dir =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(crate_dir).join("../..")
}
