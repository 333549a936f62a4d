//! `shoal proxy`.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use shoal_proxy::config::{self, ProxyConfig};
use shoal_proxy::process::{AdminAddress, Process, check_names, log};
use shoal_proxy::settings::{MultiKey, Settings};
use shoal_proxy::succession::{DRAIN_TIMEOUT, Succession, TakeOver};

use crate::inspect;

/// Examples of calls, shown by `--help`.
const EXAMPLES: &str = "\
Examples:
  shoal proxy --config config/proxy.yml                 serve what our own file says
  shoal proxy --config config/proxy.yml --check         say whether the file is right, and bind nothing
  shoal proxy --nutcracker /etc/nutcracker/nutcracker.yml --workers 1
                                                        serve what Twemproxy's file says, as Twemproxy would
  shoal proxy --config config/proxy.yml --hand-over /run/shoal/proxy.sock
                                                        serve so that a next process can take over
  shoal proxy --config config/proxy.yml --hand-over /run/shoal/proxy.sock --take-over
                                                        be the next process: after an upgrade, nobody is refused
  shoal proxy --config config/proxy.yml --hand-over /run/shoal/proxy.sock --take-over=if-running
                                                        the same, or start as any if nobody runs
  shoal proxy sessions --order output_bytes             ask a running proxy which clients do not read their replies
  shoal proxy slowlog --admin /run/shoal/admin.sock     ask one that listens on a unix socket what was slow

Signals: SIGINT stops, SIGTERM lets clients leave first (for drain_timeout at
most; a second one stops, and with --nutcracker the first), SIGHUP opens the log
file again and reloads the configuration, SIGTTIN and SIGTTOU change the log
level.";

/// What `shoal proxy` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Arguments {
    /// Instead of serving: ask a running proxy
    #[command(subcommand)]
    ask: Option<inspect::Verb>,
    /// Our own configuration file
    #[arg(long, value_name = "FILE", required_unless_present = "nutcracker", conflicts_with = "nutcracker")]
    config: Option<PathBuf>,
    /// Twemproxy's configuration file, with its keys, defaults and meanings
    #[arg(long, value_name = "FILE")]
    nutcracker: Option<PathBuf>,
    /// Only say whether the configuration is right; bind nothing
    #[arg(long, short = 't', visible_alias = "test-conf")]
    check: bool,
    /// Event loops [default: what the file says, else the cores that this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    workers: Option<u16>,
    /// The admin port: host:port, /path of a unix socket, or `none` [default: 127.0.0.1:9180]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// Let other machines reach the admin port: whoever does sees keys and can end clients
    #[arg(long)]
    admin_exposed: bool,
    /// Port of the statistics in Twemproxy's form [default with --nutcracker: 22222]
    #[arg(long, short = 's', value_name = "PORT")]
    stats_port: Option<u16>,
    /// Address of that port
    #[arg(long, short = 'a', value_name = "HOST", default_value = "127.0.0.1")]
    stats_addr: String,
    /// With --nutcracker: what commands do whose keys lie on several shards
    #[arg(long, value_enum, default_value = "refuse", value_name = "HOW")]
    multi_key: MultiKeyArgument,
    /// Make the distribution `random` choose the same each time [default: from the time]
    #[arg(long, value_name = "SEED")]
    random_seed: Option<u32>,
    #[command(flatten)]
    succession: SuccessionArguments,
    /// Append the log to this file instead of standard error
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the process id to this file
    #[arg(long, short = 'p', value_name = "FILE")]
    pid_file: Option<PathBuf>,
}

/// Who comes before and after the process.
#[derive(Debug, Args)]
pub struct SuccessionArguments {
    /// Unix socket at which the next process takes over the listening sockets [default: what the file says, else none]
    #[arg(long, value_name = "PATH")]
    hand_over: Option<PathBuf>,
    /// Take over from the process that runs with the same --hand-over: it stops accepting when this one accepts, and its
    /// clients leave over the drain timeout. Without WHEN there must be one
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "required")]
    take_over: Option<TakeOverArgument>,
    /// Milliseconds over which clients leave [default: what the file says, else 30000]
    #[arg(long, value_name = "MS")]
    drain_timeout: Option<u64>,
}

/// Whether there must be a process to take over from.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum TakeOverArgument {
    /// If nobody runs, do not start
    Required,
    /// If nobody runs, start as any
    IfRunning,
}

impl SuccessionArguments {
    /// What the flags and the file say together; the path that the file names is `hand_over`.
    pub fn mean(
        &self,
        hand_over: Option<&Path>,
        drain_timeout: Duration,
        drain_on_terminate: bool,
    ) -> Result<Succession> {
        let hand_over = self.hand_over.as_deref().or(hand_over);
        if self.take_over.is_some() && hand_over.is_none() {
            bail!(
                "--take-over: from whom? Name the socket by --hand-over or by hand_over in the file, \
                 as for the process that runs"
            );
        }
        let hand_over = match hand_over {
            Some(path) => {
                let path = std::path::absolute(path).context("cannot find the working directory")?;
                let text = path.to_str().map(str::to_owned);
                Some(text.with_context(|| format!("{} is not UTF-8", path.display()))?)
            }
            None => None,
        };
        Ok(Succession {
            hand_over,
            take_over: match self.take_over {
                None => TakeOver::No,
                Some(TakeOverArgument::Required) => TakeOver::Required,
                Some(TakeOverArgument::IfRunning) => TakeOver::IfRunning,
            },
            drain_timeout: self.drain_timeout.map_or(drain_timeout, Duration::from_millis),
            drain_on_terminate,
        })
    }
}

/// What commands do whose keys lie on several shards.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum MultiKeyArgument {
    /// They are refused with an error that says why
    Refuse,
    /// They go to the server of their first argument, as Twemproxy sends them
    AsNutcracker,
}

impl From<MultiKeyArgument> for MultiKey {
    fn from(argument: MultiKeyArgument) -> MultiKey {
        match argument {
            MultiKeyArgument::Refuse => MultiKey::Refuse,
            MultiKeyArgument::AsNutcracker => MultiKey::AsNutcracker,
        }
    }
}

/// Serves, or checks the configuration.
pub fn run(mut arguments: Arguments) -> Result<()> {
    if let Some(verb) = arguments.ask.take() {
        return inspect::run(verb);
    }
    let config = arguments.read()?;
    let own = arguments.config.is_some();
    let succession = arguments.succession.mean(config.hand_over.as_deref(), config.drain_timeout, own)?;
    let admin = arguments.admin.as_deref().unwrap_or(&config.admin);
    let admin = AdminAddress::parse(admin, arguments.admin_exposed || config.admin_exposed)?;
    if arguments.check {
        check_names(&config.settings)?;
        let (pools, workers) = (config.settings.pools.len(), config.settings.workers);
        eprintln!("shoal: the configuration is right: {pools} pools, {workers} workers");
        return Ok(());
    }
    if let Some(path) = &arguments.output {
        log::write_to(path).with_context(|| format!("cannot write the log to {}", path.display()))?;
    }
    raise_descriptor_limit();
    let stats = match (arguments.stats_port, config.stats) {
        (Some(port), _) => Some(format!("{}:{port}", arguments.stats_addr)),
        (None, stats) => stats,
    };
    let process = Process {
        settings: config.settings,
        stats: stats.as_deref().map(resolve).transpose()?,
        admin,
        seed: arguments.random_seed,
        pid_file: arguments.pid_file.clone(),
        succession,
        reread: Box::new(move || {
            arguments.read().map(|config| config.settings).map_err(|error| format!("{error:#}"))
        }),
    };
    process.run(|| {})?;
    Ok(())
}

impl Arguments {
    /// What the configuration file and the flags say together.
    fn read(&self) -> Result<ProxyConfig> {
        let mut config = match (&self.config, &self.nutcracker) {
            (Some(path), None) => config::read_proxy_yml(path, cores())?,
            (None, Some(path)) => ProxyConfig {
                settings: read_nutcracker(path, cores(), self.multi_key.into())?,
                admin: config::ADMIN.to_owned(),
                admin_exposed: false,
                stats: Some(format!("{}:22222", self.stats_addr)),
                hand_over: None,
                drain_timeout: DRAIN_TIMEOUT,
            },
            _ => bail!("give either --config or --nutcracker"),
        };
        if let Some(workers) = self.workers {
            config.settings.workers = workers.into();
        }
        Ok(config)
    }
}

/// Reads a `nutcracker.yml`, and prints what its author should be warned of.
pub fn read_nutcracker(path: &Path, workers: usize, multi_key: MultiKey) -> Result<Settings> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (settings, warnings) = config::from_nutcracker(path, &bytes, workers, multi_key)?;
    for warning in warnings {
        eprintln!("shoal: {}: warning: {warning}", path.display());
    }
    Ok(settings)
}

/// The address behind `host:port`.
pub fn resolve(text: &str) -> Result<SocketAddr> {
    let mut addresses =
        text.to_socket_addrs().with_context(|| format!("{text} is no address: write host:port"))?;
    addresses.next().with_context(|| format!("{text} has no address"))
}

/// The cores that this process may use: affinity and the limits of cgroups, version 1 or 2, counted.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Lets the process have as many descriptors as it may ask for: each client and each upstream is one.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // A limit that stays as it was shows when it is reached, in the log, with what to do.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
