//! `shoal control`: the store, the local runtime, the reconciler and the API, in one process.
//!
//! Redis servers and proxies outlive it: ending it, also by SIGKILL, changes nothing for clients, and the next one takes
//! them over.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use shoal_control::io::http::{Backend, Http};
use shoal_control::io::local::{LocalOptions, LocalRuntime, LogBounds, Programs};
use shoal_control::io::reconciler::Reconciler;
use shoal_control::io::sqlite::Sqlite;

use crate::platform::print;
use crate::up::interrupts::Interrupts;

/// Examples of calls, shown by `--help`.
const EXAMPLES: &str = "\
Examples:
  shoal control                                     keep everything in .shoal/up, listen at 127.0.0.1:7420
  shoal control --dir /var/lib/shoal --listen 127.0.0.1:8000

Then, in another shell:
  shoal apply -f examples/nodes.yaml -f examples/solo.yaml
  shoal wait standalone solo && shoal connect solo

The tokens of the operator and of a viewer are made at the first start, in tokens/ of the directory.
SIGINT (Ctrl-C), SIGTERM and SIGHUP end control; Redis and the proxies serve on, and the next control takes them over.";

/// What `shoal control` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Where everything is kept: the store, tokens, passwords, each instance's data and log; made if it is not there
    #[arg(long, value_name = "DIRECTORY", default_value = ".shoal/up", env = "SHOAL_DIR")]
    dir: PathBuf,
    /// Where the API listens: an address of loopback; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7420")]
    listen: SocketAddr,
    /// A redis-server that may be started; several times, the preferred one first
    #[arg(long, value_name = "PROGRAM", default_value = "redis-server")]
    redis_server: Vec<PathBuf>,
}

/// The ports of each node's address that are given out.
const PORTS: std::ops::RangeInclusive<u16> = 21_000..=21_999;

/// How often it is looked whether the reconciler still runs; a signal wakes at once.
const TICK: Duration = Duration::from_secs(1);

/// Serves until a signal comes.
///
/// # Errors
/// If the directory, the store or the address cannot be had.
pub fn run(arguments: Arguments) -> Result<()> {
    let interrupts = Interrupts::catch()?;
    let options = LocalOptions {
        dir: arguments.dir.clone(),
        programs: Programs {
            redis_servers: arguments.redis_server,
            redis_cli: "redis-cli".into(),
            shoal: std::env::current_exe().context("where this program is cannot be told")?,
        },
        ports: PORTS,
        logs: LogBounds::default(),
    };
    // First, since it holds the directory: one control has it at a time.
    let runtime = Arc::new(LocalRuntime::open(options)?);
    let store = Arc::new(Sqlite::open_or_create(&arguments.dir.join("store.db"))?);
    let copied = Arc::clone(&store);
    let backend = Backend {
        store: store.clone(),
        runtime: runtime.clone(),
        logs: runtime.clone(),
        backup: Box::new(move |to| copied.backup(to)),
    };
    let http = Http::start(&arguments.dir, arguments.listen, backend)?;
    let dir = arguments.dir.display();
    let stop = AtomicBool::new(false);
    let reconciler = Reconciler::new(store.clone(), runtime.clone());
    let told = thread::scope(|scope| {
        let reconciling = scope.spawn(|| reconciler.run(&stop));
        let told = print(&format!("control serves {dir} at http://{}\n", http.address()));
        // One that cannot say where it listens is of no use; one whose reconciler has died is of none either.
        while told.is_ok() && !reconciling.is_finished() && !interrupts.wait(TICK) {}
        stop.store(true, Ordering::Relaxed);
        told
    });
    told?;
    drop(http);
    print("control ends; Redis and the proxies serve on\n")
}
