//! Our own proxy with our own kind of file, `proxy.yml`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use super::{Listen, Proxy, Running, ShoalProxy, TRIES};
use crate::process::Process;
use crate::{RawClient, Workplace, ports, wait};

/// One pool of a `proxy.yml`; it listens on a free port.
#[derive(Clone, Debug)]
pub struct OwnPool {
    name: String,
    lines: Vec<String>,
    servers: Vec<String>,
    watched: Option<String>,
}

impl OwnPool {
    /// A storage pool of these servers, called `<pool>-0`, `<pool>-1` and so on.
    #[must_use]
    pub fn storage(name: &str, servers: &[SocketAddr]) -> Self {
        Self::new(name, "storage", servers)
    }

    /// A cache pool of these servers, called `<pool>-0`, `<pool>-1` and so on.
    #[must_use]
    pub fn cache(name: &str, servers: &[SocketAddr]) -> Self {
        Self::new(name, "cache", servers)
    }

    /// The pool with one key more.
    #[must_use]
    pub fn key(mut self, key: &str, value: &str) -> Self {
        self.lines.push(format!("{key}: {value}"));
        self
    }

    /// The pool with one server more, at `host:port`.
    #[must_use]
    pub fn server(mut self, address: &str) -> Self {
        self.servers.push(address.to_owned());
        self
    }

    /// Name of the server number `index`.
    #[must_use]
    pub fn shard(&self, index: usize) -> String {
        format!("{}-{index}", self.name)
    }

    /// A storage pool whose only shard `<pool>-0` these sentinels watch as `master_name`.
    #[must_use]
    pub fn watched(name: &str, sentinels: &[SocketAddr], watched_as: &str) -> Self {
        let list: Vec<String> = sentinels.iter().map(|sentinel| format!("'{sentinel}'")).collect();
        let mut pool = Self::new(name, "storage", &[]);
        pool.watched = Some(format!("sentinels: [{}], master_name: {watched_as}", list.join(", ")));
        pool
    }

    fn new(name: &str, mode: &str, servers: &[SocketAddr]) -> Self {
        let servers = servers.iter().map(ToString::to_string).collect();
        Self { name: name.to_owned(), lines: vec![format!("mode: {mode}")], servers, watched: None }
    }

    fn to_yaml(&self, port: u16) -> String {
        let mut yaml = format!("  - name: {}\n    listen: 127.0.0.1:{port}\n", self.name);
        for line in &self.lines {
            yaml.push_str(&format!("    {line}\n"));
        }
        yaml.push_str("    servers:\n");
        if let Some(watched) = &self.watched {
            yaml.push_str(&format!("      - {{name: {}, {watched}}}\n", self.shard(0)));
        }
        for (index, address) in self.servers.iter().enumerate() {
            yaml.push_str(&format!("      - {{name: {}, address: '{address}'}}\n", self.shard(index)));
        }
        yaml
    }
}

/// A running `shoal proxy --config proxy.yml`, with its statistics and its admin port, killed on drop.
#[derive(Debug)]
pub struct OwnProxy {
    running: Running,
    admin_port: u16,
}

impl OwnProxy {
    /// Starts one and waits until all its ports listen.
    ///
    /// # Panics
    /// When it is not built or does not start.
    #[must_use]
    pub fn start(workplace: &Workplace, workers: usize, pools: &[OwnPool]) -> Self {
        Self::start_by(workplace, &ShoalProxy::program(), &[], workers, pools)
    }

    /// The same, started by another program (`unshare`): these words stand before `proxy --config FILE`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_by(
        workplace: &Workplace,
        program: &Path,
        before: &[&str],
        workers: usize,
        pools: &[OwnPool],
    ) -> Self {
        let mut log = String::new();
        for _ in 0..TRIES {
            match Self::launch(workplace, program, before, workers, pools) {
                Ok(proxy) => return proxy,
                Err(text) => log = text,
            }
        }
        panic!("shoal proxy --config does not start:\n{log}")
    }

    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.admin_port).into()
    }

    /// Asks the admin port for `path`: status and body.
    ///
    /// # Panics
    /// When what comes is no answer in HTTP.
    #[must_use]
    pub fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path)
    }

    /// Posts to `path` of the admin port: status and body.
    ///
    /// # Panics
    /// When what comes is no answer in HTTP.
    #[must_use]
    pub fn post(&self, path: &str) -> (u16, String) {
        self.ask("POST", path)
    }

    fn ask(&self, method: &str, path: &str) -> (u16, String) {
        self.admin(&format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        ))
    }

    /// Sends the admin port a request as it is: status and body.
    ///
    /// # Panics
    /// When what comes is no answer in HTTP.
    #[must_use]
    pub fn admin(&self, request: &str) -> (u16, String) {
        let mut client = RawClient::connect(self.admin_addr());
        client.send(request.as_bytes());
        let answer = String::from_utf8(client.until_closed()).expect("an answer in UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    fn launch(
        workplace: &Workplace,
        program: &Path,
        before: &[&str],
        workers: usize,
        pools: &[OwnPool],
    ) -> Result<Self, String> {
        let (stats_port, admin_port) = (ports::free(), ports::free());
        let mut yaml = format!(
            "workers: {workers}\nadmin: 127.0.0.1:{admin_port}\nstats: 127.0.0.1:{stats_port}\npools:\n"
        );
        let mut listens = Vec::new();
        for pool in pools {
            let port = ports::free();
            yaml.push_str(&pool.to_yaml(port));
            listens.push((pool.name.clone(), Listen::Port(port)));
        }
        let file = workplace.write("proxy.yml", &yaml);
        let log = file.with_file_name("log");
        let path = file.to_string_lossy();
        let mut args = before.to_vec();
        args.extend(["proxy", "--config", &*path]);
        let process = Process::start(program, &args, &log);
        let mut running = Running { process, stats_port, listens };
        let up = wait::at_most(wait::DEADLINE, || match running.process.ended() {
            Some(_) => Some(false),
            None => running.is_listening().then_some(true),
        });
        let proxy = Self { running, admin_port };
        if up == Some(true) { Ok(proxy) } else { Err(format!("{}\n{yaml}", proxy.log())) }
    }
}

impl Proxy for OwnProxy {
    fn running(&self) -> &Running {
        &self.running
    }

    fn process(&mut self) -> &mut Process {
        &mut self.running.process
    }
}

/// Shows the log beside the failure of a test.
impl Drop for OwnProxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the proxy's log:\n{}", self.log());
        }
    }
}
