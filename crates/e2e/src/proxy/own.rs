//! Our own proxy with our own kind of file, `proxy.yml`.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Listen, Proxy, Running, ShoalProxy, TRIES};
use crate::process::Process;
use crate::{RawClient, Workplace, ports, wait};

/// One pool of a `proxy.yml`; it listens on a free port unless told where.
#[derive(Clone, Debug)]
pub struct OwnPool {
    name: String,
    port: Option<u16>,
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

    /// The pool with these lines more, as they will stand below it.
    #[must_use]
    pub fn lines(mut self, text: &str) -> Self {
        self.lines.extend(text.lines().map(str::to_owned));
        self
    }

    /// The pool at this port.
    #[must_use]
    pub fn at(mut self, port: u16) -> Self {
        self.port = Some(port);
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
        Self {
            name: name.to_owned(),
            port: None,
            lines: vec![format!("mode: {mode}")],
            servers,
            watched: None,
        }
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
    workers: usize,
    file: PathBuf,
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

    /// A client of each worker, where there are two.
    ///
    /// # Panics
    /// When all connections go to one of them.
    #[must_use]
    #[track_caller]
    pub fn one_each(&self, pool: &str) -> [RawClient; 2] {
        // Sessions of one worker have ids that are all odd or all even.
        let is_odd = |client: &mut RawClient| {
            let id = client.call(&["CLIENT", "ID"]);
            id[id.len() - 3] % 2 == 1
        };
        let mut first = self.client(pool);
        let odd = is_odd(&mut first);
        // A client that has gone counts until its worker has noticed.
        let second = wait::until("a client of the other worker", || {
            let mut second = self.client(pool);
            (is_odd(&mut second) != odd).then_some(second)
        });
        [first, second]
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

    /// The value of a series on `/metrics`, which is named with all its labels.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn sample(&self, series: &str) -> String {
        let (_, text) = self.get("/metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in\n{text}")).to_owned()
    }

    /// The same of a series that counts.
    ///
    /// # Panics
    /// When there is none, or it is no whole number.
    #[must_use]
    #[track_caller]
    pub fn metric(&self, series: &str) -> u64 {
        let value = self.sample(series);
        value.parse().unwrap_or_else(|_| panic!("{series} is {value}"))
    }

    /// Its configuration file, which its owner alone may read.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Writes these pools into the file: what is read by the next reload. A pool stays where it listens; one that is new must
    /// be told.
    ///
    /// # Panics
    /// When it was not told.
    pub fn configure(&self, pools: &[OwnPool]) {
        let port = |pool: &OwnPool| match self.running.listens.iter().find(|(name, _)| *name == pool.name) {
            Some((_, Listen::Port(port))) => *port,
            _ => pool.port.unwrap_or_else(|| panic!("nobody said where pool {} listens", pool.name)),
        };
        let yaml = to_yaml(self.workers, self.admin_port, self.running.stats_port, pools, port);
        fs::write(&self.file, yaml).expect("write the configuration");
    }

    /// Has it go over to these pools.
    ///
    /// # Panics
    /// When it refuses.
    #[track_caller]
    pub fn reload(&self, pools: &[OwnPool]) {
        self.configure(pools);
        let (status, text) = self.post("/reload");
        assert_eq!(status, 200, "{text}");
    }

    fn launch(
        workplace: &Workplace,
        program: &Path,
        before: &[&str],
        workers: usize,
        pools: &[OwnPool],
    ) -> Result<Self, String> {
        let (stats_port, admin_port) = (ports::free(), ports::free());
        let mut listens = Vec::new();
        let yaml = to_yaml(workers, admin_port, stats_port, pools, |pool| {
            let port = pool.port.unwrap_or_else(ports::free);
            listens.push((pool.name.clone(), Listen::Port(port)));
            port
        });
        let file = workplace.write("proxy.yml", &yaml);
        // It may hold secrets, which the proxy takes from private files alone.
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("make it private");
        let log = file.with_file_name("log");
        let path = file.to_string_lossy();
        let mut args = before.to_vec();
        args.extend(["proxy", "--config", &*path]);
        let process = Process::start(program, &args, &log);
        let mut proxy = Self { running: Running { process, stats_port, listens }, admin_port, workers, file };
        let up = wait::at_most(wait::DEADLINE, || match proxy.running.process.ended() {
            Some(_) => Some(false),
            None => {
                let listens =
                    proxy.running.is_listening() && RawClient::try_connect(proxy.admin_addr()).is_ok();
                listens.then_some(true)
            }
        });
        if up == Some(true) { Ok(proxy) } else { Err(format!("{}\n{yaml}", proxy.log())) }
    }
}

fn to_yaml(
    workers: usize,
    admin: u16,
    stats: u16,
    pools: &[OwnPool],
    mut port: impl FnMut(&OwnPool) -> u16,
) -> String {
    let mut yaml =
        format!("workers: {workers}\nadmin: 127.0.0.1:{admin}\nstats: 127.0.0.1:{stats}\npools:\n");
    for pool in pools {
        yaml.push_str(&pool.to_yaml(port(pool)));
    }
    yaml
}

impl Proxy for OwnProxy {
    fn running(&self) -> &Running {
        &self.running
    }

    fn process(&mut self) -> &mut Process {
        &mut self.running.process
    }
}
