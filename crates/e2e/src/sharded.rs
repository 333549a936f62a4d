//! Real servers behind a pool of ours, filled with keys whose homes are known.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::raw_client::encode;
use crate::{OwnPool, OwnProxy, Proxy, RawClient, RedisServer, Workplace, wait};

/// Name of the pool.
pub const POOL: &str = "demo";

/// A proxy with the pool [`POOL`] over real servers that hold the keys `k0`, `k1` and so on.
#[derive(Debug)]
pub struct Sharded {
    /// The proxy. Dropped before its servers.
    pub proxy: OwnProxy,
    /// The shards, in the order of the file.
    pub servers: Vec<RedisServer>,
    /// The shard of each key.
    pub homes: BTreeMap<String, usize>,
    /// Where they live.
    pub workplace: Workplace,
}

impl Sharded {
    /// Starts `shards` servers and a proxy of `workers` workers with the pool that `pool` makes of their addresses, and
    /// fills it with `keys` keys.
    ///
    /// # Panics
    /// When something does not start, or a key cannot be set or found.
    #[must_use]
    pub fn start(
        shards: usize,
        workers: usize,
        keys: usize,
        pool: impl FnOnce(&[SocketAddr]) -> OwnPool,
    ) -> Self {
        let workplace = Workplace::new();
        let options = ["--enable-debug-command", "yes"];
        let servers: Vec<_> = (0..shards).map(|_| RedisServer::start(&workplace, &options)).collect();
        let addrs: Vec<_> = servers.iter().map(RedisServer::addr).collect();
        let proxy = OwnProxy::start(&workplace, workers, &[pool(&addrs)]);
        let mut all = Self { proxy, servers, homes: BTreeMap::new(), workplace };
        let keys: Vec<String> = (0..keys).map(|i| format!("k{i}")).collect();
        all.set(&mut all.client(), &keys);
        for (index, server) in all.servers.iter().enumerate() {
            let mut client = server.client();
            for key in &keys {
                if client.call(&["EXISTS", key]) == b":1\r\n" {
                    all.homes.insert(key.clone(), index);
                }
            }
        }
        assert_eq!(all.homes.len(), keys.len(), "each key is on a shard");
        all
    }

    /// A client of the pool.
    #[track_caller]
    #[must_use]
    pub fn client(&self) -> RawClient {
        self.proxy.client(POOL)
    }

    /// The keys whose home is `shard`, or is not.
    #[must_use]
    pub fn keys(&self, shard: usize, at_home: bool) -> Vec<String> {
        let wanted = self.homes.iter().filter(|(_, home)| (**home == shard) == at_home);
        wanted.map(|(key, _)| key.clone()).collect()
    }

    /// Gives each of these keys its value, waiting until that works.
    ///
    /// # Panics
    /// When it does not.
    pub fn set(&self, client: &mut RawClient, keys: &[String]) {
        for key in keys {
            wait::until("a SET", || (client.call(&["SET", key, &text(key)]) == b"+OK\r\n").then_some(()));
        }
    }

    /// Reads these keys in one pipeline: each must have its own value.
    ///
    /// # Panics
    /// When one has not.
    #[track_caller]
    pub fn expect(&self, client: &mut RawClient, keys: &[String]) {
        ask(client, keys);
        for key in keys {
            client.expect(&value(key));
        }
    }
}

/// Sends a GET of each key.
pub fn ask(client: &mut RawClient, keys: &[String]) {
    client.send(&keys.iter().flat_map(|key| encode(&["GET", key])).collect::<Vec<_>>());
}

/// The reply to GET of a key that has its value.
#[must_use]
pub fn value(key: &str) -> Vec<u8> {
    let text = text(key);
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

fn text(key: &str) -> String {
    format!("the value of {key}")
}
