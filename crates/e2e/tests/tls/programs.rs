//! Programs and libraries as they are: Redis's own tools, redis-py and ioredis, with certificates on both sides.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use shoal_e2e::process::installed;
use shoal_e2e::tls::Identity;
use shoal_e2e::{OwnProxy, Proxy as _, RedisServer};

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

    fn tool(&self, name: &str, args: &[&str]) -> Output {
        let [ca, cert, key] = self.files();
        let mut command = Command::new("timeout");
        command.arg("60").arg(installed(name, "redis-tools"));
        command.args(["-h", "127.0.0.1", "-p", &self.addr.port().to_string(), "--tls"]);
        command.arg("--cacert").arg(ca).arg("--cert").arg(cert).arg("--key").arg(key);
        command.args(args).output().expect("start the tool")
    }

    fn script(&self, program: &Path, script: &Path) {
        let mut command = Command::new("timeout");
        command.arg("60").arg(program).arg(script);
        command.args([self.addr.ip().to_string(), self.addr.port().to_string()]);
        let output = command.args(self.files()).output().expect("start the client");
        demand(&script.display().to_string(), &output);
    }
}

#[track_caller]
fn demand(what: &str, output: &Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{stdout}{stderr}", output.status);
    stdout.into_owned()
}

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

#[test]
fn redis_cli_and_redis_benchmark() {
    let entrance = Entrance::new();
    assert_eq!(demand("redis-cli", &entrance.tool("redis-cli", &["SET", "key", "value"])), "OK\n");
    assert_eq!(demand("redis-cli", &entrance.tool("redis-cli", &["-3", "GET", "key"])), "value\n");
    for options in [&["-P", "1"][..], &["-P", "32", "-c", "100", "-d", "1000"]] {
        let args = [options, &["-t", "set,get,mset,lpush", "-n", "4000", "-r", "1000", "-q"]].concat();
        let said = demand("redis-benchmark", &entrance.tool("redis-benchmark", &args));
        assert!(!said.contains("rror"), "{said}");
        assert_eq!(said.matches(" requests per second").count(), 4, "{said}");
    }
}

#[test]
fn redis_py() {
    let entrance = Entrance::new();
    for environment in ["redis5", "redis-newest"] {
        let python = repository(&format!("target/clients/{environment}/bin/python"));
        assert!(python.exists(), "redis-py is not installed: run tools/setup-clients");
        entrance.script(&python, &repository("clients/python/tls.py"));
    }
}

#[test]
fn ioredis() {
    let entrance = Entrance::new();
    let node = repository("clients/node/node_modules/node/bin/node");
    assert!(node.exists(), "ioredis is not installed: run tools/setup-clients");
    entrance.script(&node, &repository("clients/node/tls.mjs"));
}
