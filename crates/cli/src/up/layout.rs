//! The demo as a plan: which processes there are, where they listen, and what their files say.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Shards of each pool.
const SHARDS: u16 = 4;

/// Ports that the demo takes: two pools, statistics, `/metrics`, and the shards of both pools.
const PORTS: u16 = 4 + 2 * SHARDS;

/// The last port that the twelve can begin with.
pub const FIRST_PORT_MAX: i64 = (u16::MAX - PORTS + 1) as i64;

/// Everything that will run.
#[derive(Debug)]
pub struct Layout {
    dir: PathBuf,
    first_port: u16,
    /// The pools, `demo` and `hot`.
    pub pools: [Pool; 2],
    /// Where the proxy's statistics are read.
    pub stats: SocketAddr,
    /// Where the proxy serves `/metrics`, `/healthz` and `/readyz`.
    pub admin: SocketAddr,
}

/// One pool.
#[derive(Debug)]
pub struct Pool {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub mode: Mode,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Its shards, in order.
    pub servers: Vec<Server>,
}

/// One Redis server.
#[derive(Debug)]
pub struct Server {
    /// The shard's name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where its files are; it runs in this directory.
    pub dir: PathBuf,
}

/// What a pool is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Data lives there: it is written to disk, and refused when memory is full.
    Storage,
    /// Data can be had again: it is in memory alone, and evicted when memory is full.
    Cache,
}

impl Layout {
    /// The plan for an absolute directory and the first of the ports.
    pub fn new(dir: &Path, first_port: u16) -> Layout {
        let address = |offset: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, first_port + offset));
        let pool = |name: &'static str, mode, index: u16| Pool {
            name,
            mode,
            listen: address(index),
            servers: (0..SHARDS)
                .map(|shard| {
                    let name = format!("{name}-{}", shard + 1);
                    let dir = dir.join(&name);
                    Server { name, address: address(4 + index * SHARDS + shard), dir }
                })
                .collect(),
        };
        Layout {
            dir: dir.to_owned(),
            first_port,
            pools: [pool("demo", Mode::Storage, 0), pool("hot", Mode::Cache, 1)],
            stats: address(2),
            admin: address(3),
        }
    }

    /// All Redis servers with their pools.
    pub fn servers(&self) -> impl Iterator<Item = (&Pool, &Server)> {
        self.pools.iter().flat_map(|pool| pool.servers.iter().map(move |server| (pool, server)))
    }

    /// Where the proxy runs, and its configuration and log are.
    pub fn proxy_dir(&self) -> PathBuf {
        self.dir.join("proxy")
    }

    /// Where a pool's password is kept.
    pub fn password_file(&self, pool: &Pool) -> PathBuf {
        self.dir.join(password_name(pool))
    }

    /// `proxy.yml`.
    pub fn proxy_yml(&self) -> String {
        let mut yml = format!(
            "# Written anew by each `shoal up`; config/ has a commented example.\nadmin: {}\nstats: {}\npools:\n",
            self.admin, self.stats
        );
        for pool in &self.pools {
            yml.push_str(&format!(
                "  - name: {}\n    mode: {}\n    listen: {}\n",
                pool.name, pool.mode, pool.listen
            ));
            yml.push_str(&format!("    password_file: ../{}\n    timeout: 2000\n", password_name(pool)));
            if pool.mode == Mode::Cache {
                // Soon enough to be seen by whoever kills a shard and starts it again.
                yml.push_str("    eject: {failure_limit: 3, retry_after: 10000}\n");
            }
            yml.push_str("    servers:\n");
            for server in &pool.servers {
                yml.push_str(&format!(
                    "      - {{name: {}, address: \"{}\"}}\n",
                    server.name, server.address
                ));
            }
        }
        yml
    }

    /// What to type, a line for each pool, with the directory as the user wrote it.
    pub fn what_to_type(&self, dir: &Path) -> String {
        let mut text = String::from("serving. In another terminal:\n");
        let password = |pool: &Pool| format!("$(cat {})", shell_word(&dir.join(password_name(pool))));
        for pool in &self.pools {
            let (name, mode, port) = (pool.name, pool.mode, pool.listen.port());
            text.push_str(&format!(
                "\n  {name:<4} {mode:<7}  REDISCLI_AUTH={} redis-cli -p {port}",
                password(pool)
            ));
        }
        let [demo, _] = &self.pools;
        text.push_str(&format!(
            "\n  some load     redis-benchmark -p {} -a \"{}\" -t get,set -r 100000 -q\n",
            demo.listen.port(),
            password(demo)
        ));
        text.push_str(&format!(
            "  the figures   curl http://{}/metrics\n\nCtrl-C ends it all.\n",
            self.admin
        ));
        text
    }

    /// Refuses, by name, a port that somebody listens on.
    pub fn demand_free_ports(&self) -> Result<()> {
        for (port, use_of_it) in self.ports() {
            match bind(port) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                    bail!(
                        "port {port} of 127.0.0.1, meant for {use_of_it}, is taken: end what listens there, or choose \
                         twelve other ports with --port FIRST{}",
                        self.free_ports_elsewhere()
                    );
                }
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("cannot listen on port {port} of 127.0.0.1, meant for {use_of_it}; --port FIRST chooses others")
                    });
                }
            }
        }
        Ok(())
    }

    fn ports(&self) -> Vec<(u16, String)> {
        let mut ports = Vec::new();
        for pool in &self.pools {
            ports.push((pool.listen.port(), format!("the pool {}", pool.name)));
        }
        ports.push((self.stats.port(), "the proxy's statistics".to_owned()));
        ports.push((self.admin.port(), "the proxy's /metrics".to_owned()));
        ports.extend(
            self.servers()
                .map(|(_, server)| (server.address.port(), format!("the Redis server {}", server.name))),
        );
        ports
    }

    /// Names the next place where the whole demo would fit.
    fn free_ports_elsewhere(&self) -> String {
        let mut first = self.first_port.saturating_add(PORTS);
        for _ in 0..100 {
            if i64::from(first) > FIRST_PORT_MAX {
                break;
            }
            if (first..first + PORTS).all(|port| bind(port).is_ok()) {
                return format!(" (--port {first} would do)");
            }
            first = first.saturating_add(PORTS);
        }
        String::new()
    }
}

impl Server {
    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.join("redis.conf")
    }

    /// What stands in that file. It runs in its own directory, so no path does.
    pub fn redis_conf(&self, mode: Mode, password: &str) -> String {
        let (append_only, policy) = match mode {
            Mode::Storage => ("yes", "noeviction"),
            Mode::Cache => ("no", "allkeys-lru"),
        };
        let (host, port) = (self.address.ip(), self.address.port());
        format!(
            "# Written anew by each `shoal up`.\nbind {host}\nport {port}\nrequirepass {password}\ndaemonize no\nmaxmemory 64mb\n\
             maxmemory-policy {policy}\nappendonly {append_only}\nsave \"\"\n"
        )
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad` keeps the width that the caller asked for.
        out.pad(match self {
            Mode::Storage => "storage",
            Mode::Cache => "cache",
        })
    }
}

fn bind(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

fn password_name(pool: &Pool) -> String {
    format!("{}.password", pool.name)
}

/// A path as a shell takes it for one word.
fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,@%".contains(c);
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_meant_for_two_things() {
        let layout = Layout::new(Path::new("/d"), 22121);
        let mut ports: Vec<u16> = layout.ports().into_iter().map(|(port, _)| port).collect();
        ports.sort_unstable();
        assert_eq!(ports, (22121..22121 + PORTS).collect::<Vec<_>>());
        assert_eq!(Layout::new(Path::new("/d"), FIRST_PORT_MAX as u16).ports().len(), usize::from(PORTS));
    }

    #[test]
    fn the_proxy_takes_what_is_written_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), 22121);
        for pool in &layout.pools {
            let path = layout.password_file(pool);
            std::fs::write(&path, "secret\n").unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        std::fs::create_dir(layout.proxy_dir()).unwrap();
        let path = layout.proxy_dir().join("proxy.yml");
        let config = shoal_proxy::config::from_proxy_yml(&path, &layout.proxy_yml(), 2).unwrap();
        let pools: Vec<_> = config
            .settings
            .pools
            .iter()
            .map(|pool| (pool.pool.name.as_str(), pool.pool.shards.len()))
            .collect();
        assert_eq!(pools, [("demo", 4), ("hot", 4)]);
        assert_eq!(
            (config.stats.as_deref(), config.admin.as_str()),
            (Some("127.0.0.1:22123"), "127.0.0.1:22124")
        );
    }

    #[test]
    fn what_is_typed_survives_the_shell() {
        assert_eq!(shell_word(Path::new(".shoal/up")), ".shoal/up");
        assert_eq!(shell_word(Path::new("/my demo's")), r"'/my demo'\''s'");
        let text = Layout::new(Path::new("/d"), 22121).what_to_type(Path::new(".shoal/up"));
        assert!(text.contains("REDISCLI_AUTH=$(cat .shoal/up/demo.password) redis-cli -p 22121\n"), "{text}");
        assert!(text.contains("REDISCLI_AUTH=$(cat .shoal/up/hot.password) redis-cli -p 22122\n"), "{text}");
    }

    #[test]
    fn a_taken_port_is_named_with_what_to_do() {
        let taken = bind(0).unwrap();
        let port = taken.local_addr().unwrap().port();
        // Whichever of the twelve is met first, the sentence has the same form.
        let first = port.min(FIRST_PORT_MAX as u16);
        let error = Layout::new(Path::new("/d"), first).demand_free_ports().unwrap_err().to_string();
        assert!(error.starts_with("port ") && error.contains("is taken: end what listens there"), "{error}");
        assert!(error.contains("--port FIRST"), "{error}");
    }
}
