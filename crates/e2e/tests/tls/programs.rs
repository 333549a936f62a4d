//! Programs and libraries as they are: Redis's own tools, redis-py and ioredis, with certificates on both sides.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use shoal_e2e::process::installed;
use shoal_e2e::startup::{bounded, success};
use shoal_e2e::tls::Identity;
use shoal_e2e::{OwnProxy, Proxy as _, RedisServer, libraries};

use crate::Ground;

/// A proxy that asks clients for certificates.
struct Entrance {
    _proxy: OwnProxy,
    _servers: Vec<RedisServer>,
    ground: Ground,
    shown: Identity,
    addr: SocketAddr,
}

impl Entrance {
    fn new() -> Entrance {
        let ground = Ground::new();
        let servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start(&ground.workplace, &[])).collect();
        let more = format!(", client_ca: {}", ground.authority.file.display());
        let (proxy, addr) = ground.proxy(&crate::addrs(&servers), &more, |pool| pool.key("hash_tag", "'{}'"));
        let shown = ground.authority.issue(&ground.folder, "shown");
        assert!(proxy.log().contains("serving 1 pools"), "{}", proxy.log());
        Entrance { _proxy: proxy, _servers: servers, ground, shown, addr }
    }

    fn files(&self) -> [&Path; 3] {
        [&self.ground.authority.file, &self.shown.cert, &self.shown.key]
    }

    fn tool(&self, name: &str, args: &[&str]) -> String {
        let [ca, cert, key] = self.files();
        let mut command = bounded(&installed(name, "redis-tools"));
        command.args(["-h", "127.0.0.1", "-p", &self.addr.port().to_string(), "--tls"]);
        command.arg("--cacert").arg(ca).arg("--cert").arg(cert).arg("--key").arg(key);
        success(command.args(args))
    }

    fn session(&self, mut session: Command) {
        session.args([self.addr.ip().to_string(), self.addr.port().to_string()]);
        success(session.args(self.files()));
    }
}

#[test]
fn redis_cli_and_redis_benchmark() {
    let entrance = Entrance::new();
    assert_eq!(entrance.tool("redis-cli", &["SET", "key", "value"]), "OK\n");
    assert_eq!(entrance.tool("redis-cli", &["-3", "GET", "key"]), "value\n");
    for options in [&["-P", "1"][..], &["-P", "32", "-c", "100", "-d", "1000"]] {
        let args = [options, &["-t", "set,get,mset,lpush", "-n", "4000", "-r", "1000", "-q"]].concat();
        let said = entrance.tool("redis-benchmark", &args);
        assert!(!said.contains("rror"), "{said}");
        assert_eq!(said.matches(" requests per second").count(), 4, "{said}");
    }
}

#[test]
fn redis_py() {
    let entrance = Entrance::new();
    for environment in ["redis5", "redis-newest"] {
        entrance.session(libraries::python(environment, "tls.py"));
    }
}

#[test]
fn ioredis() {
    Entrance::new().session(libraries::node("tls.mjs"));
}
