//! `shoal proxy`.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use shoal_proxy::config::{self, ProxyConfig};
use shoal_proxy::process::{Process, check_names, log};
use shoal_proxy::settings::{MultiKey, Settings};

/// Examples of calls, shown by `--help`.
const EXAMPLES: &str = "\
Examples:
  shoal proxy --config config/proxy.yml                 serve what our own file says
  shoal proxy --config config/proxy.yml --check         say whether the file is right, and bind nothing
  shoal proxy --nutcracker /etc/nutcracker/nutcracker.yml --workers 1
                                                        serve what Twemproxy's file says, as Twemproxy would

Signals: SIGINT and SIGTERM stop, SIGHUP opens the log file again and reloads
the configuration, SIGTTIN and SIGTTOU change the log level.";

/// What `shoal proxy` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
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
    /// host:port of /metrics, /healthz and /readyz; `none` for no such port [default: 127.0.0.1:9180]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
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
    /// Append the log to this file instead of standard error
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the process id to this file
    #[arg(long, short = 'p', value_name = "FILE")]
    pid_file: Option<PathBuf>,
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

/// Written for the address of `/metrics` where it is not to be served.
const NO_PORT: &str = "none";

/// Serves, or checks the configuration.
pub fn run(arguments: Arguments) -> Result<()> {
    let config = arguments.read()?;
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
        admin: match arguments.admin.as_deref().unwrap_or(&config.admin) {
            NO_PORT => None,
            address => Some(resolve(address)?),
        },
        seed: arguments.random_seed,
        pid_file: arguments.pid_file.clone(),
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
            (Some(path), None) => config::from_proxy_yml(path, &read(path)?, cores())?,
            (None, Some(path)) => ProxyConfig {
                settings: read_nutcracker(path, cores(), self.multi_key.into())?,
                admin: config::ADMIN.to_owned(),
                stats: Some(format!("{}:22222", self.stats_addr)),
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

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
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
