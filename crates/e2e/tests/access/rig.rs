//! Servers and a proxy before them, whose pool can be given other users, passwords and limits by a reload.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use shoal_e2e::raw_client::words;
use shoal_e2e::{OwnPool, OwnProxy, Proxy as _, RawClient, RedisServer, Workplace};

/// The pool.
const POOL: &str = "door";

pub struct Rig {
    pub proxy: OwnProxy,
    pub servers: Vec<RedisServer>,
    pub workplace: Workplace,
}

impl Rig {
    /// A pool over as many servers, started with these options; `keys` are more lines of the pool.
    pub fn start(shards: usize, options: &[&str], keys: &str) -> Rig {
        let workplace = Workplace::new();
        let servers: Vec<_> = (0..shards).map(|_| RedisServer::start(&workplace, options)).collect();
        let proxy = OwnProxy::start(&workplace, 2, &[pool(&servers, keys)]);
        Rig { proxy, servers, workplace }
    }

    /// The pool has these lines from now on.
    #[track_caller]
    pub fn reload(&self, keys: &str) {
        self.proxy.reload(&[pool(&self.servers, keys)]);
    }

    /// Where the pool listens.
    pub fn addr(&self) -> SocketAddr {
        self.proxy.addr(POOL)
    }

    /// A file that its owner alone may read; its path.
    pub fn private(&self, name: &str, text: &str) -> PathBuf {
        let file = self.workplace.write(name, text);
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("make it private");
        file
    }

    pub fn client(&self) -> RawClient {
        self.proxy.client(POOL)
    }

    /// A client that has given a name and password.
    pub fn entered(&self, user: &str, password: &str) -> RawClient {
        let mut client = self.client();
        assert_eq!(client.call(&["AUTH", user, password]), b"+OK\r\n");
        client
    }

    /// The number of a metric of the pool.
    #[track_caller]
    pub fn metric(&self, name: &str) -> u64 {
        self.proxy.metric(&format!("{name}{{pool=\"{POOL}\"}}"))
    }
}

fn pool(servers: &[RedisServer], keys: &str) -> OwnPool {
    let addrs: Vec<SocketAddr> = servers.iter().map(RedisServer::addr).collect();
    OwnPool::storage(POOL, &addrs).key("hash_tag", "'{}'").lines(keys)
}

/// What a server or the proxy says to a line, as text.
pub fn say(client: &mut RawClient, line: &str) -> String {
    let said = client.call(&words(line));
    String::from_utf8_lossy(&said).replace("\r\n", "\\r\\n")
}
