//! Twemproxy's own command line, for a `shoal` that is started under the name `nutcracker`.
//!
//! Flags, defaults, exit codes and the habit of printing help to standard error are those of nutcracker 0.5.0.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use clap::error::ErrorKind;
use shoal_proxy::process::{AdminAddress, Process, Stopped, check_names, log};
use shoal_proxy::succession::DRAIN_TIMEOUT;

use crate::proxy::{self, MultiKeyArgument, SuccessionArguments};
use crate::{complain, daemon};

#[derive(Debug, Parser)]
#[command(name = "nutcracker", disable_version_flag = true, disable_help_flag = true)]
struct Arguments {
    /// this help
    #[arg(short = 'h', long)]
    help: bool,
    /// show version and exit
    #[arg(short = 'V', long)]
    version: bool,
    /// test configuration for syntax errors and exit
    #[arg(short = 't', long)]
    test_conf: bool,
    /// run as a daemon
    #[arg(short = 'd', long)]
    daemonize: bool,
    /// print stats description and exit
    #[arg(short = 'D', long)]
    describe_stats: bool,
    /// set logging level (default: 5, min: 0, max: 11)
    #[arg(short = 'v', long, value_name = "N", default_value_t = u32::from(log::NOTICES))]
    verbose: u32,
    /// set logging file (default: stderr)
    #[arg(short = 'o', long, value_name = "filename")]
    output: Option<PathBuf>,
    /// set configuration file (default: conf/nutcracker.yml, else /etc/nutcracker/nutcracker.yml)
    #[arg(short = 'c', long, value_name = "filename")]
    conf_file: Option<PathBuf>,
    /// set stats monitoring port (default: 22222)
    #[arg(short = 's', long, value_name = "N", default_value_t = 22222)]
    stats_port: u16,
    /// set stats monitoring ip (default: 0.0.0.0)
    #[arg(short = 'a', long, value_name = "IP", default_value = "0.0.0.0")]
    stats_addr: String,
    /// set stats aggregation interval in msec; taken and not needed: figures are never old
    #[arg(short = 'i', long, value_name = "N", default_value_t = 30000)]
    stats_interval: u32,
    /// set pid file (default: off)
    #[arg(short = 'p', long, value_name = "filename")]
    pid_file: Option<PathBuf>,
    /// set size of mbuf chunk in bytes; taken and not needed: keys may be of any length
    #[arg(short = 'm', long, value_name = "N", default_value_t = 16384, value_parser = clap::value_parser!(u32).range(512..=16_777_216))]
    mbuf_size: u32,
    /// words without a flag are passed over, as nutcracker passes over them
    #[arg(hide = true)]
    overlooked: Vec<String>,
    /// Shoal's own: event loops (default: the cores that this process may use)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    workers: Option<u16>,
    /// Shoal's own: what commands do whose keys lie on several servers
    #[arg(long, value_enum, default_value = "refuse", value_name = "HOW")]
    multi_key: MultiKeyArgument,
    /// Shoal's own: the admin port, host:port or /path of a unix socket (default: none)
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// Shoal's own: let other machines reach the admin port
    #[arg(long)]
    admin_exposed: bool,
    #[command(flatten)]
    succession: SuccessionArguments,
}

/// Whether the program was started under Twemproxy's name.
pub fn is_our_name() -> bool {
    let name = std::env::args_os().next().unwrap_or_default();
    Path::new(&name).file_name().is_some_and(|name| name == "nutcracker")
}

/// The whole program under that name.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("nutcracker: {}", first_line(&error));
            print_help();
            return ExitCode::FAILURE;
        }
    };
    if arguments.help || arguments.version {
        eprintln!("This is nutcracker, as shoal {} does it", env!("CARGO_PKG_VERSION"));
        if arguments.help {
            print_help();
        }
        if !arguments.describe_stats {
            return ExitCode::SUCCESS;
        }
    }
    if arguments.describe_stats {
        eprint!("{}", shoal_proxy::DESCRIBED_STATS);
        return ExitCode::SUCCESS;
    }
    let file = configuration(&arguments);
    if arguments.test_conf {
        return test(&file, &arguments);
    }
    match serve(&file, arguments) {
        Ok(Stopped::TakenOver) => ExitCode::SUCCESS,
        // Twemproxy ends with 1, whatever ended it.
        Ok(Stopped::Interrupted | Stopped::Terminated) => ExitCode::FAILURE,
        Err(error) => {
            complain("nutcracker", &error);
            ExitCode::FAILURE
        }
    }
}

fn test(file: &Path, arguments: &Arguments) -> ExitCode {
    let read = proxy::read_nutcracker(file, 1, arguments.multi_key.into());
    match read.and_then(|settings| Ok(check_names(&settings)?)) {
        Ok(()) => {
            eprintln!("nutcracker: configuration file '{}' syntax is ok", file.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("nutcracker: configuration file '{}' syntax is invalid: {error:#}", file.display());
            ExitCode::FAILURE
        }
    }
}

fn serve(file: &Path, arguments: Arguments) -> Result<Stopped> {
    if arguments.daemonize && daemon::is_parent() {
        match daemon::start()? {}
    }
    let succession = arguments.succession.mean(None, DRAIN_TIMEOUT, false)?;
    let path = file.to_owned();
    let workers = arguments.workers.map_or_else(proxy::cores, usize::from);
    let settings = proxy::read_nutcracker(file, workers, arguments.multi_key.into())?;
    log::set_level(u8::try_from(arguments.verbose).unwrap_or(log::LEVEL_MAX));
    if let Some(path) = &arguments.output {
        log::write_to(path).with_context(|| format!("cannot write the log to {}", path.display()))?;
    }
    proxy::raise_descriptor_limit();
    let multi_key = arguments.multi_key;
    let reread = move || {
        proxy::read_nutcracker(&path, workers, multi_key.into()).map_err(|error| format!("{error:#}"))
    };
    let process = Process {
        settings,
        reread: Box::new(reread),
        stats: Some(proxy::resolve(&format!("{}:{}", arguments.stats_addr, arguments.stats_port))?),
        admin: AdminAddress::parse(arguments.admin.as_deref().unwrap_or("none"), arguments.admin_exposed)?,
        seed: None,
        pid_file: arguments.pid_file,
        succession,
    };
    let stopped = process.run(|| {
        if arguments.daemonize {
            daemon::ready();
        }
    })?;
    Ok(stopped)
}

fn configuration(arguments: &Arguments) -> PathBuf {
    let upstream = Path::new("conf/nutcracker.yml");
    match &arguments.conf_file {
        Some(path) => path.clone(),
        None if upstream.exists() => upstream.to_owned(),
        None => PathBuf::from("/etc/nutcracker/nutcracker.yml"),
    }
}

fn print_help() {
    use clap::CommandFactory as _;
    eprintln!("{}", Arguments::command().render_help());
}

fn first_line(error: &clap::Error) -> String {
    match error.kind() {
        ErrorKind::UnknownArgument => "invalid option".to_owned(),
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    }
}
