//! Real `redis-sentinel` processes, and a shard that they watch.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use rustix::process::Signal;

use crate::process::{self, Process};
use crate::tls::{Authority, Identity};
use crate::{RawClient, RedisServer, Workplace, ports, wait};

/// The name under which the sentinels monitor the shard.
pub const WATCHED_AS: &str = "watched";

/// How often a start is tried with another port.
const TRIES: usize = 3;

/// A sentinel, killed on drop.
#[derive(Debug)]
pub struct Sentinel {
    process: Process,
    port: u16,
    tls_port: Option<u16>,
    dir: PathBuf,
}

/// What instances and sentinels that speak TLS show, and whom they trust.
#[derive(Clone, Copy)]
pub struct Shown<'s> {
    /// Who signs the certificates of all.
    pub authority: &'s Authority,
    /// What they show; others must show one as well.
    pub own: &'s Identity,
}

impl Shown<'_> {
    /// The options of `redis-server` and `redis-sentinel`, a name and a value each: who copies and watches, does so by TLS.
    fn options(&self, tls_port: u16) -> [(&'static str, String); 5] {
        let file = |path: &std::path::Path| path.to_string_lossy().into_owned();
        [
            ("tls-port", tls_port.to_string()),
            ("tls-cert-file", file(&self.own.cert)),
            ("tls-key-file", file(&self.own.key)),
            ("tls-ca-cert-file", file(&self.authority.file)),
            ("tls-replication", "yes".to_owned()),
        ]
    }

    /// Starts a server with these further options; and where it speaks TLS.
    ///
    /// # Panics
    /// When it does not answer within the deadline.
    #[must_use]
    pub fn start_server(&self, workplace: &Workplace, options: &[&str]) -> (RedisServer, SocketAddr) {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
        let own = self.options(addr.port()).map(|(name, value)| [format!("--{name}"), value]);
        let mut all: Vec<&str> = own.iter().flatten().map(String::as_str).collect();
        all.extend(options);
        (RedisServer::start(workplace, &all), addr)
    }
}

impl Sentinel {
    /// Starts one that watches `primary`, with this quorum, and holds it for dead after `down_after_ms`.
    ///
    /// # Panics
    /// When it is not installed, or does not answer within the deadline on any of the ports that are tried.
    #[must_use]
    pub fn start(workplace: &Workplace, primary: SocketAddr, quorum: usize, down_after_ms: u64) -> Self {
        Self::start_by(workplace, primary, quorum, down_after_ms, None)
    }

    /// The same, by TLS if something is shown: then `primary` is where that one speaks TLS.
    ///
    /// # Panics
    /// When it does not answer within the deadline.
    #[must_use]
    pub fn start_by(
        workplace: &Workplace,
        primary: SocketAddr,
        quorum: usize,
        down_after_ms: u64,
        shown: Option<Shown<'_>>,
    ) -> Self {
        let mut log = String::new();
        for _ in 0..TRIES {
            let (dir, port) = (workplace.subdir("sentinel"), ports::free());
            let (host, primary_port) = (primary.ip(), primary.port());
            let tls_port = shown.map(|_| ports::free());
            let mut conf = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {WATCHED_AS} {host} {primary_port} {quorum}\n\
                 sentinel down-after-milliseconds {WATCHED_AS} {down_after_ms}\n\
                 sentinel failover-timeout {WATCHED_AS} 3000\n",
                dir.display()
            );
            for (name, value) in shown.zip(tls_port).iter().flat_map(|(shown, port)| shown.options(*port)) {
                conf.push_str(&format!("{name} {value}\n"));
            }
            std::fs::write(dir.join("sentinel.conf"), conf).expect("write the configuration of a sentinel");
            match launch(&dir, port) {
                Ok(process) => return Self { process, port, tls_port, dir },
                Err(text) => log = text,
            }
        }
        panic!("redis-sentinel does not start:\n{log}")
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Where it speaks TLS.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn tls_addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.tls_port.expect("a sentinel that speaks TLS")).into()
    }

    /// Asks it.
    #[must_use]
    pub fn ask(&self, words: &[&str]) -> String {
        String::from_utf8_lossy(&RawClient::connect(self.addr()).call(words)).into_owned()
    }

    /// Where it says that the primary is.
    ///
    /// # Panics
    /// When it says nothing of the kind.
    #[must_use]
    pub fn primary(&self) -> SocketAddr {
        let said = self.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", WATCHED_AS]);
        let words: Vec<&str> = said.split("\r\n").collect();
        format!("{}:{}", words[2], words[4]).parse().expect("an address")
    }

    /// Kills it (`SIGKILL`).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port with what it had written down.
    ///
    /// # Panics
    /// When it does not answer within the deadline.
    pub fn restart(&mut self) {
        self.process.kill();
        match launch(&self.dir, self.port) {
            Ok(process) => self.process = process,
            Err(log) => panic!("redis-sentinel does not start again:\n{log}"),
        }
    }

    /// Stops it (`SIGSTOP`).
    pub fn stop(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Lets it go on (`SIGCONT`).
    pub fn resume(&self) {
        self.process.signal(Signal::CONT);
    }
}

fn launch(dir: &std::path::Path, port: u16) -> Result<Process, String> {
    let program = process::installed("redis-sentinel", "redis-sentinel");
    let conf = dir.join("sentinel.conf");
    let mut process = Process::start(&program, &[&conf], &dir.join("log"));
    let answers = wait::at_most(wait::DEADLINE, || {
        if process.ended().is_some() {
            return Some(false);
        }
        let mut client = RawClient::try_connect((Ipv4Addr::LOCALHOST, port).into()).ok()?;
        client.send_command(&["PING"]);
        Some(client.reply().ok()?.starts_with(b"+PONG"))
    });
    if answers == Some(true) { Ok(process) } else { Err(process.log()) }
}

/// A primary, a replica, and three sentinels that agree about them.
#[derive(Debug)]
pub struct Watched {
    /// The instances; the first was the primary at the start.
    pub instances: Vec<RedisServer>,
    /// The sentinels; a majority is needed, and two must hold the primary for dead.
    pub sentinels: Vec<Sentinel>,
    /// Where the instances are by TLS, if they speak it.
    pub tls_addrs: Vec<SocketAddr>,
}

impl Watched {
    /// Starts them, and waits until every sentinel knows the replica and the other sentinels.
    ///
    /// # Panics
    /// When that does not come about within the deadline.
    #[must_use]
    pub fn start(workplace: &Workplace, down_after_ms: u64) -> Self {
        Self::start_by(workplace, down_after_ms, None)
    }

    /// The same, all of them by TLS if something is shown: one copies from the other, and the sentinels watch them and each
    /// other, by TLS. Plain ports are there for the harness.
    ///
    /// # Panics
    /// When that does not come about within the deadline.
    #[must_use]
    pub fn start_by(workplace: &Workplace, down_after_ms: u64, shown: Option<Shown<'_>>) -> Self {
        let mut tls_addrs = Vec::new();
        let mut start = |options: &[&str]| {
            let options = [&["--repl-diskless-sync-delay", "0"], options].concat();
            let Some(shown) = shown else {
                let server = RedisServer::start(workplace, &options);
                let addr = server.addr();
                return (server, addr);
            };
            let (server, addr) = shown.start_server(workplace, &options);
            tls_addrs.push(addr);
            (server, addr)
        };
        let (primary, watched_at) = start(&[]);
        let (replica, _) = start(&["--replicaof", &format!("{} {}", watched_at.ip(), watched_at.port())]);
        wait::until("the replica to have synced", || {
            replica.client().info("master_link_status").filter(|status| status == "up").map(drop)
        });
        let sentinels: Vec<Sentinel> =
            (0..3).map(|_| Sentinel::start_by(workplace, watched_at, 2, down_after_ms, shown)).collect();
        for sentinel in &sentinels {
            wait::until("the sentinels to know each other and the replica", || {
                let said = sentinel.ask(&["SENTINEL", "MASTER", WATCHED_AS]);
                let field = |name: &str| {
                    let mut lines = said.split("\r\n").skip_while(move |line| *line != name);
                    lines.nth(2).map(str::to_owned)
                };
                let knows = field("num-other-sentinels").as_deref() == Some("2")
                    && field("num-slaves").as_deref() == Some("1");
                // A replica that was not asked yet cannot be chosen.
                let asked = sentinel
                    .ask(&["SENTINEL", "REPLICAS", WATCHED_AS])
                    .contains("master-link-status\r\n$2\r\nok");
                (knows && asked).then_some(())
            });
        }
        Self { instances: vec![primary, replica], sentinels, tls_addrs }
    }

    /// Where the sentinels are.
    #[must_use]
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().map(Sentinel::addr).collect()
    }
}
