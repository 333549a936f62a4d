use super::*;
use crate::{Distribution as PoolDistribution, Endpoint};
use proptest::prelude::*;
use shoal_hashkit::HashTag;
use std::time::Duration;

const FULL: &str = r#"alpha:
  listen: 127.0.0.1:22121
  hash: murmur
  hash_tag: "{}"
  distribution: modula
  timeout: 400
  backlog: 1024
  client_connections: 100
  redis: true
  redis_auth: secret
  redis_db: 3
  preconnect: true
  auto_eject_hosts: true
  server_connections: 2
  server_retry_timeout: 2000
  server_failure_limit: 1
  tcpkeepalive: true
  reuseport: true
  servers:
   - 127.0.0.1:6379:1 zeta
   - 127.0.0.1:6380:2
   - ::1:6379:1
   - 10.0.0.1:11211:1
   - /run/redis.sock:1
   - "[::1]:06379:01"
"#;

fn minimal(name: &str, more: &str) -> String {
    format!("{name}:\n  listen: {name}:1\n{more}  servers:\n   - 127.0.0.1:6379:1\n")
}

fn read(text: &str) -> Config {
    Config::from_text(text).unwrap()
}

#[test]
fn every_key_is_read() {
    let config = read(FULL);
    let pool = &config.pools[0];
    assert_eq!((pool.name.as_str(), pool.line), ("alpha", 1));
    assert_eq!(pool.listen, Listen::Tcp { host: "127.0.0.1".to_owned(), port: 22121 });
    assert_eq!((pool.hash, pool.distribution), (Hash::Murmur, Distribution::Modula));
    assert_eq!(pool.hash_tag, Some(HashTag { open: b'{', close: b'}' }));
    assert_eq!(pool.timeout, Some(Duration::from_millis(400)));
    assert_eq!((pool.backlog, pool.client_connections), (1024, Some(100)));
    assert!(pool.redis && pool.preconnect && pool.auto_eject_hosts && pool.tcpkeepalive && pool.reuseport);
    assert_eq!((pool.redis_auth.as_ref().map(Password::expose), pool.redis_db), (Some("secret"), 3));
    assert_eq!((pool.server_connections, pool.server_failure_limit), (2, 1));
    assert_eq!(pool.server_retry_timeout, Duration::from_secs(2));
    let names: Vec<&str> = pool.servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["zeta", "127.0.0.1:6380", "::1:6379", "10.0.0.1", "/run/redis.sock:", "[::1]:06379"]);
    let addresses: Vec<String> = pool.servers.iter().map(|server| server.address.to_string()).collect();
    let expected =
        ["127.0.0.1:6379", "127.0.0.1:6380", "[::1]:6379", "10.0.0.1:11211", "/run/redis.sock", "[::1]:6379"];
    assert_eq!(addresses, expected);
    let server = &pool.servers[1];
    assert_eq!((server.weight, server.named, server.line), (2, false, 21));
}

#[test]
fn what_is_not_written_has_twemproxys_default() {
    let config = read(&minimal("alpha", ""));
    let pool = &config.pools[0];
    assert_eq!((pool.hash, pool.distribution), (Hash::Fnv1a64, Distribution::Ketama));
    assert_eq!((pool.hash_tag, pool.timeout, pool.client_connections), (None, None, None));
    assert_eq!((pool.backlog, pool.redis_db, pool.server_connections), (512, 0, 1));
    assert_eq!((pool.server_retry_timeout, pool.server_failure_limit), (Duration::from_secs(30), 2));
    assert!(
        !pool.redis && !pool.preconnect && !pool.auto_eject_hosts && !pool.tcpkeepalive && !pool.reuseport
    );
    assert_eq!(pool.redis_auth, None);
    assert_eq!(read(&minimal("alpha", "  timeout: 0\n")).pools[0].timeout, None);
}

#[test]
fn listen_by_path() {
    let listen = |text: &str| {
        let text = minimal("alpha", "").replace("alpha:1", text);
        Config::from_text(&text).unwrap().pools.remove(0).listen
    };
    let unix = |path: &str, mode| Listen::Unix { path: path.to_owned(), mode };
    assert_eq!(listen("/run/a.sock"), unix("/run/a.sock", None));
    assert_eq!(listen("/run/a.sock 0660"), unix("/run/a.sock", Some(0o660)));
    assert_eq!(listen("/run/a.sock 0"), unix("/run/a.sock", None));
    // As tried on nutcracker 0.5.0: the path keeps the first of two blanks.
    assert_eq!(listen("/run/a.sock  0600"), unix("/run/a.sock ", Some(0o600)));
    assert_eq!(listen("/run/a.sock 0600").to_string(), "/run/a.sock 0600");
    assert_eq!(listen("::1:7000"), Listen::Tcp { host: "::1".to_owned(), port: 7000 });
}

#[test]
fn pools_come_in_twemproxys_order() {
    let text: String = ["zeta", "b", "alpha", "c"].iter().map(|name| minimal(name, "")).collect();
    let names: Vec<String> = read(&text).pools.into_iter().map(|pool| pool.name).collect();
    assert_eq!(names, ["b", "c", "zeta", "alpha"]);
}

#[test]
fn memcached_pools_are_refused_by_name() {
    read(&minimal("alpha", "  redis: true\n")).refuse_memcached().unwrap();
    let text = minimal("alpha", "  redis: true\n") + &minimal("beta", "") + &minimal("c", "  redis: false\n");
    assert_eq!(
        read(&text).refuse_memcached().unwrap_err().to_string(),
        "line 6: pool beta: redis: this is a memcached pool, and only Redis is spoken here (write \"redis: true\")"
    );
}

#[test]
fn warnings_say_what_has_no_effect() {
    let warnings = |more| -> Vec<WarningKind> {
        let config = read(&minimal("alpha", more));
        config.warnings().into_iter().map(|warning| warning.kind).collect()
    };
    assert_eq!(warnings("  hash: crc32\n"), [WarningKind::Crc32Ketama]);
    assert_eq!(warnings("  hash: crc32\n  distribution: modula\n"), []);
    assert_eq!(warnings("  client_connections: 0\n"), [WarningKind::ClientConnections]);
    assert_eq!(warnings("  redis: true\n  redis_auth: x\n  redis_db: 1\n"), [WarningKind::AuthThenDb]);
    let first = read(&minimal("alpha", "  hash: crc32\n")).warnings().remove(0).to_string();
    assert!(first.starts_with("line 1: pool alpha: hash crc32 yields 15 bits"), "{first}");
}

#[test]
fn a_topology_says_the_same() {
    let topology = read(&format!("{FULL}{}", minimal("beta", ""))).to_topology(7);
    topology.validate().unwrap();
    assert_eq!(Topology::from_json(topology.to_json().as_bytes()).unwrap(), topology);
    let (alpha, beta) = (topology.pool("alpha").unwrap(), topology.pool("beta").unwrap());
    assert_eq!((topology.epoch, alpha.mode, beta.mode), (7, Mode::Cache, Mode::Storage));
    assert_eq!((alpha.hash, alpha.char_sign), (Hash::Murmur, CharSign::Signed));
    assert_eq!(alpha.distribution, PoolDistribution::Modula);
    let shard = &alpha.shards[1];
    assert_eq!((shard.name.as_str(), shard.weight), ("127.0.0.1:6380", 2));
    assert_eq!(shard.primary, Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: 6380 });
}

#[test]
fn a_password_is_not_shown() {
    assert!(!format!("{:?}", read(FULL)).contains("secret"));
    assert!(!read(FULL).to_topology(1).to_json().contains("secret"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_with_a_line(bytes: Vec<u8>) {
        if let Err(error) = Config::from_bytes(&bytes) {
            prop_assert!(error.line >= 1 && error.line <= bytes.len() + 1);
            prop_assert_eq!(error.to_string().lines().count(), 1);
        }
    }

    #[test]
    fn a_bent_file_is_read_or_refused(at in 0..FULL.len(), byte in prop::sample::select(b" \n:-#\"'{}[]&*!|>?%@`\t\0\xff0a/".to_vec())) {
        let mut bytes = FULL.as_bytes().to_vec();
        bytes[at] = byte;
        if let Ok(config) = Config::from_bytes(&bytes) {
            config.to_topology(1).validate().unwrap();
        }
    }

    #[test]
    fn a_file_of_yaml_parts_is_read_or_refused(parts in prop::collection::vec(prop::sample::select(vec![
        "alpha", ":", " ", "\n", "  ", "- ", "servers", "listen", "a:1", ":1", "#", "\"", "|", "? ", "{", "[", "&a", "*a", "!",
    ]), 0..40)) {
        let text: String = parts.concat();
        if let Ok(config) = Config::from_text(&text) {
            config.to_topology(1).validate().unwrap();
        }
    }
}
