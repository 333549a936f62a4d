//! The ways from a client to Redis.

use std::net::SocketAddr;

use shoal_e2e::process::Process;
use shoal_e2e::{Config, Pool, Proxy, RawClient, RedisServer, ShoalProxy, Workplace, ports, wait};

/// Shards behind the proxy.
const SHARDS: usize = 4;

/// How often a start is tried with another port.
const TRIES: usize = 3;

/// Servers, what stands before them, and the address that a client is given.
pub struct Way {
    addr: SocketAddr,
    front: Front,
    // Dropped after the front, in this order.
    _servers: Vec<RedisServer>,
    _workplace: Workplace,
}

/// What stands before the servers.
enum Front {
    Nutcracker(ShoalProxy),
    Proxy(Process),
    Nothing,
}

impl Way {
    /// Through `shoal proxy --nutcracker nutcracker.yml`.
    pub fn nutcracker_yml() -> Self {
        let (workplace, servers) = shards(SHARDS);
        let lines = servers.iter().map(|server| format!("{}:1", server.addr())).collect();
        let pool = Pool::new("clients", lines).key("hash", "fnv1a_64").key("distribution", "ketama");
        let proxy = ShoalProxy::start_with(&workplace, &Config::of(pool), &[]);
        let addr = proxy.addr("clients");
        Self { addr, front: Front::Nutcracker(proxy), _servers: servers, _workplace: workplace }
    }

    /// Through `shoal proxy --config proxy.yml`.
    pub fn proxy_yml() -> Self {
        let (workplace, servers) = shards(SHARDS);
        let (addr, process) = start_with_proxy_yml(&workplace, &servers, "");
        Self { addr, front: Front::Proxy(process), _servers: servers, _workplace: workplace }
    }

    /// Through a pool of four shards that keeps keys of one hash tag together.
    pub fn tagged() -> Self {
        let (workplace, servers) = shards(SHARDS);
        let (addr, process) = start_with_proxy_yml(&workplace, &servers, "    hash_tag: \"{}\"\n");
        Self { addr, front: Front::Proxy(process), _servers: servers, _workplace: workplace }
    }

    /// Through a pool of one shard.
    pub fn one_shard() -> Self {
        let (workplace, servers) = shards(1);
        let (addr, process) = start_with_proxy_yml(&workplace, &servers, "");
        Self { addr, front: Front::Proxy(process), _servers: servers, _workplace: workplace }
    }

    /// To one server, with nothing between.
    pub fn redis_itself() -> Self {
        let (workplace, servers) = shards(1);
        Self { addr: servers[0].addr(), front: Front::Nothing, _servers: servers, _workplace: workplace }
    }

    /// Where the client connects.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Shows the proxy's log beside the failure of a session.
impl Drop for Way {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = match &self.front {
                Front::Nutcracker(proxy) => proxy.log(),
                Front::Proxy(process) => process.log(),
                Front::Nothing => return,
            };
            eprintln!("the proxy's log:\n{log}");
        }
    }
}

fn shards(count: usize) -> (Workplace, Vec<RedisServer>) {
    let workplace = Workplace::new();
    let servers = (0..count).map(|_| RedisServer::start(&workplace, &[])).collect();
    (workplace, servers)
}

/// Our own configuration, as small as it can be written; `admin` is there since tests run side by side.
fn proxy_yml(listen: SocketAddr, admin: SocketAddr, servers: &[RedisServer], more: &str) -> String {
    let mut yml = format!(
        "admin: {admin}\npools:\n  - name: clients\n    mode: storage\n    listen: {listen}\n{more}    servers:\n"
    );
    for server in servers {
        yml.push_str(&format!("      - address: {}\n", server.addr()));
    }
    yml
}

/// Starts the proxy on a free port and waits until it answers.
fn start_with_proxy_yml(workplace: &Workplace, servers: &[RedisServer], more: &str) -> (SocketAddr, Process) {
    let mut last = String::new();
    for _ in 0..TRIES {
        let [addr, admin] =
            [ports::free(), ports::free()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let yml = proxy_yml(addr, admin, servers, more);
        let file = workplace.write("proxy.yml", &yml);
        let log = file.with_file_name("log");
        let args = ["proxy", "--config", &file.to_string_lossy()];
        let mut process = Process::start(&ShoalProxy::program(), &args, &log);
        let answers = wait::at_most(wait::DEADLINE, || match process.ended() {
            Some(_) => Some(false),
            None => answers_ping(addr).then_some(true),
        });
        if answers == Some(true) {
            return (addr, process);
        }
        last = format!("{}\n{yml}", process.log());
    }
    panic!("shoal proxy --config does not start:\n{last}")
}

fn answers_ping(addr: SocketAddr) -> bool {
    let Ok(mut client) = RawClient::try_connect(addr) else { return false };
    client.send_command(&["PING"]);
    client.reply().is_ok_and(|pong| pong.starts_with(b"+PONG"))
}
