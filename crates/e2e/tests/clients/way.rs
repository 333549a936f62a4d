//! The ways from a client to Redis.

use std::net::SocketAddr;

use shoal_e2e::{Config, OwnPool, OwnProxy, Pool, Proxy, RedisServer, ShoalProxy, Workplace};

/// Shards behind the proxy.
const SHARDS: usize = 4;

/// Servers, what stands before them, and the address that a client is given.
pub struct Way {
    addr: SocketAddr,
    // Dropped in this order.
    _front: Option<Box<dyn Proxy>>,
    _servers: Vec<RedisServer>,
    _workplace: Workplace,
}

impl Way {
    /// Through `shoal proxy --nutcracker nutcracker.yml`.
    pub fn nutcracker_yml() -> Self {
        let (workplace, servers) = shards(SHARDS);
        let lines = servers.iter().map(|server| format!("{}:1", server.addr())).collect();
        let pool = Pool::new("clients", lines).key("hash", "fnv1a_64").key("distribution", "ketama");
        let proxy = ShoalProxy::start_with(&workplace, &Config::of(pool), &[]);
        let addr = proxy.addr("clients");
        Self { addr, _front: Some(Box::new(proxy)), _servers: servers, _workplace: workplace }
    }

    /// Through `shoal proxy --config proxy.yml`.
    pub fn proxy_yml() -> Self {
        Self::through(SHARDS, |pool| pool)
    }

    /// Through a pool of four shards that keeps keys of one hash tag together.
    pub fn tagged() -> Self {
        Self::through(SHARDS, |pool| pool.key("hash_tag", "\"{}\""))
    }

    /// Through a pool of one shard.
    pub fn one_shard() -> Self {
        Self::through(1, |pool| pool)
    }

    fn through(count: usize, pool: impl FnOnce(OwnPool) -> OwnPool) -> Self {
        let (workplace, servers) = shards(count);
        let addrs: Vec<_> = servers.iter().map(RedisServer::addr).collect();
        let proxy = OwnProxy::start(&workplace, 2, &[pool(OwnPool::storage("clients", &addrs))]);
        let addr = proxy.addr("clients");
        Self { addr, _front: Some(Box::new(proxy)), _servers: servers, _workplace: workplace }
    }

    /// To one server, with nothing between.
    pub fn redis_itself() -> Self {
        let (workplace, servers) = shards(1);
        Self { addr: servers[0].addr(), _front: None, _servers: servers, _workplace: workplace }
    }

    /// Where the client connects.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

fn shards(count: usize) -> (Workplace, Vec<RedisServer>) {
    let workplace = Workplace::new();
    let servers = (0..count).map(|_| RedisServer::start(&workplace, &[])).collect();
    (workplace, servers)
}
