//! What the real nutcracker and ours have in common: a configuration, pools, a statistics port.
//!
//! Both are started with the same file and the same flags: ours through a symbolic link called
//! `nutcracker`, or as `shoal proxy --nutcracker FILE` with switches of its own.

mod nutcracker;
mod own;
mod shoal;

pub use nutcracker::Nutcracker;
pub use own::{OwnPool, OwnProxy};
pub use shoal::ShoalProxy;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::{Process, RawClient, Workplace, ports, wait};

/// How often a start is tried with other ports.
const TRIES: usize = 3;

/// A running proxy.
pub trait Proxy: Send {
    /// Where a pool listens.
    ///
    /// # Panics
    /// When there is no such pool, or it listens on a unix socket.
    fn addr(&self, pool: &str) -> SocketAddr {
        match self.running().listen(pool) {
            Listen::Port(port) => (Ipv4Addr::LOCALHOST, *port).into(),
            Listen::Unix(path) => panic!("pool {pool} listens on {}", path.display()),
        }
    }

    /// Where the statistics are read.
    fn stats_addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.running().stats_port).into()
    }

    /// The process id.
    fn pid(&self) -> u32 {
        self.running().process.pid()
    }

    /// Memory that it holds at the moment (`VmRSS`), in KiB.
    ///
    /// # Panics
    /// When it is gone.
    fn memory_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// What the statistics port says, as it says it.
    ///
    /// # Panics
    /// When it says nothing.
    #[track_caller]
    fn stats(&self) -> Vec<u8> {
        RawClient::connect(self.stats_addr()).until_closed()
    }

    /// Log, standard output and standard error so far.
    fn log(&self) -> String {
        self.running().process.log()
    }

    /// A client of a pool.
    ///
    /// # Panics
    /// When the pool does not listen.
    #[track_caller]
    fn client(&self, pool: &str) -> RawClient {
        let client = match self.running().listen(pool) {
            Listen::Port(port) => RawClient::try_connect((Ipv4Addr::LOCALHOST, *port).into()),
            Listen::Unix(path) => RawClient::try_connect_unix(path),
        };
        match client {
            Ok(client) => client,
            Err(error) => panic!("pool {pool} takes no connection: {error}\n{}", self.log()),
        }
    }

    /// The process and its ports.
    fn running(&self) -> &Running;

    /// The process, to signal or to kill.
    fn process(&mut self) -> &mut Process;
}

/// A configuration file in Twemproxy's form, and further flags.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The pools.
    pub pools: Vec<Pool>,
    /// Twemproxy's flags beside `-c -o -s -a -i` (those the harness sets).
    pub flags: Vec<String>,
}

/// One pool of a [`Config`]. `listen` is a free port unless a key says otherwise.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Keys and values as they will stand in the file.
    pub keys: Vec<(String, String)>,
    /// Lines of the server list, `host:port:weight [name]`.
    pub servers: Vec<String>,
}

impl Config {
    /// One pool and no flags.
    #[must_use]
    pub fn of(pool: Pool) -> Self {
        Self { pools: vec![pool], flags: Vec::new() }
    }

    fn to_yaml(&self, listens: &[(String, Listen)]) -> String {
        let mut yaml = String::new();
        for (pool, (_, listen)) in self.pools.iter().zip(listens) {
            yaml.push_str(&pool.to_yaml(listen));
        }
        yaml
    }
}

impl Pool {
    /// A Redis pool of these servers: `fnv1a_64`, `ketama`, no time limit.
    #[must_use]
    pub fn new(name: &str, servers: Vec<String>) -> Self {
        let pool = Self { name: name.to_owned(), keys: Vec::new(), servers };
        pool.key("redis", "true")
    }

    /// The pool with one key more, or another value for it.
    #[must_use]
    pub fn key(mut self, key: &str, value: &str) -> Self {
        self.keys.retain(|(other, _)| other != key);
        self.keys.push((key.to_owned(), value.to_owned()));
        self
    }

    fn to_yaml(&self, listen: &Listen) -> String {
        let mut yaml = format!("{}:\n", self.name);
        if let Listen::Port(port) = listen {
            yaml.push_str(&format!("  listen: 127.0.0.1:{port}\n"));
        }
        for (key, value) in &self.keys {
            yaml.push_str(&format!("  {key}: {value}\n"));
        }
        yaml.push_str("  servers:\n");
        for server in &self.servers {
            yaml.push_str(&format!("    - {server}\n"));
        }
        yaml
    }
}

/// A started proxy's process and where it listens.
#[derive(Debug)]
pub struct Running {
    process: Process,
    stats_port: u16,
    listens: Vec<(String, Listen)>,
}

#[derive(Clone, Debug)]
enum Listen {
    Port(u16),
    Unix(PathBuf),
}

impl Running {
    /// Starts `program` with `args`, whose last takes the configuration file, and the flags that all take, and waits until all its ports listen.
    fn start(workplace: &Workplace, config: &Config, program: &Path, args: &[&str]) -> Self {
        let mut log = String::new();
        for _ in 0..TRIES {
            match Self::launch(workplace, config, program, args) {
                Ok(running) => return running,
                Err(text) => log = text,
            }
        }
        panic!("{} does not start:\n{log}", program.display())
    }

    fn launch(workplace: &Workplace, config: &Config, program: &Path, args: &[&str]) -> Result<Self, String> {
        let listens: Vec<_> = config.pools.iter().map(|pool| (pool.name.clone(), Listen::of(pool))).collect();
        let yaml = config.to_yaml(&listens);
        let file = workplace.write("nutcracker.yml", &yaml);
        let log = file.with_file_name("log");
        let (file, log_text) = (file.to_string_lossy(), log.to_string_lossy());
        let stats_port = ports::free();
        let stats = stats_port.to_string();
        let mut all = args.to_vec();
        all.extend([&*file, "-o", &log_text, "-s", &stats, "-a", "127.0.0.1"]);
        all.extend(config.flags.iter().map(String::as_str));
        let process = Process::start(program, &all, &log);
        let mut running = Self { process, stats_port, listens };
        let up = wait::at_most(wait::DEADLINE, || match running.process.ended() {
            Some(_) => Some(false),
            None => running.is_listening().then_some(true),
        });
        if up == Some(true) { Ok(running) } else { Err(format!("{}\n{yaml}", running.process.log())) }
    }

    fn listen(&self, pool: &str) -> &Listen {
        match self.listens.iter().find(|(name, _)| name == pool) {
            Some((_, listen)) => listen,
            None => panic!("no pool {pool} in the configuration"),
        }
    }

    /// Asks the kernel, not the port: a connection would show in the statistics.
    fn is_listening(&self) -> bool {
        let tcp = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let listening = |port: u16| {
            let end = format!(":{port:04X}");
            tcp.lines().any(|line| {
                let mut columns = line.split_whitespace().skip(1);
                columns.next().is_some_and(|local| local.ends_with(&end)) && columns.nth(1) == Some("0A")
            })
        };
        let all_pools = self.listens.iter().all(|(_, listen)| match listen {
            Listen::Port(port) => listening(*port),
            Listen::Unix(path) => path.exists(),
        });
        all_pools && listening(self.stats_port)
    }
}

/// Shows the log beside the failure of a test.
impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the proxy's log:\n{}", self.process.log());
        }
    }
}

impl Listen {
    fn of(pool: &Pool) -> Self {
        match pool.keys.iter().find(|(key, _)| key == "listen") {
            Some((_, path)) => Self::Unix(path.split(' ').next().unwrap_or_default().into()),
            None => Self::Port(ports::free()),
        }
    }
}

/// Twemproxy's own: statistics that are never old, and the configuration file.
const AS_NUTCRACKER: [&str; 3] = ["-i", "100", "-c"];
