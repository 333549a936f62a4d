//! The first formats, which every later version must read and mean the same by: `testdata/formats`.

#![expect(clippy::disallowed_methods, reason = "a password's file is written")]
#![expect(clippy::unwrap_used, reason = "a test, with the functions that it is made of")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use shoal_hashkit::{CharSign, Hash};
use shoal_proxy::config::{ProxyConfig, from_proxy_yml};
use shoal_proxy::hand_over::{Decoder, Message, Offered, Use, Who};
use shoal_proxy::settings::{EjectedKeys, Ejection, Listen, MultiKey, PoolSettings};
use shoal_topology::{Distribution, Mode};

/// A golden file: its name and its bytes.
macro_rules! golden {
    ($path:literal) => {
        ($path, &include_bytes!(concat!("../../../testdata/formats/", $path))[..])
    };
}

fn socket(used_for: Use, name: &str, listen: &str) -> Message {
    Message::Socket(Offered { used_for, name: name.to_owned(), listen: listen.to_owned() })
}

fn who(pid: u32) -> Who {
    Who { pid, program: "0.1.0".to_owned() }
}

#[test]
fn every_message_of_the_first_hand_over_is_read_and_written_as_it_was() {
    let messages = [
        (golden!("hand-over-1/ask"), Message::Ask(who(4711))),
        (golden!("hand-over-1/offer"), Message::Offer { from: who(42), sockets: 4 }),
        (golden!("hand-over-1/socket-pool"), socket(Use::Pool, "größe", "127.0.0.1:22121")),
        (golden!("hand-over-1/socket-admin"), socket(Use::Admin, "", "127.0.0.1:9180")),
        (golden!("hand-over-1/socket-statistics"), socket(Use::Statistics, "", "[::1]:22222")),
        (golden!("hand-over-1/socket-hand-over"), socket(Use::HandOver, "", "/run/shoal/proxy.sock")),
        (golden!("hand-over-1/ready"), Message::Ready { kept: vec![0, 1, 3] }),
        (golden!("hand-over-1/ready-none"), Message::Ready { kept: Vec::new() }),
        (golden!("hand-over-1/yielded"), Message::Yielded),
        (golden!("hand-over-1/refused"), Message::Refused("process 7 is taking over already".to_owned())),
    ];
    for ((name, bytes), message) in messages {
        let mut decoder = Decoder::default();
        decoder.handle_bytes(bytes);
        assert_eq!(decoder.poll(), Ok(Some(message.clone())), "{name}");
        assert!(decoder.is_between(), "{name}");
        assert_eq!(message.encode(), bytes, "{name}: a process of the first version would not read this");
    }
}

fn read((name, bytes): (&str, &[u8])) -> ProxyConfig {
    let text = std::str::from_utf8(bytes).unwrap();
    from_proxy_yml(&Path::new("/etc/shoal").join(name), text, 7).unwrap()
}

#[test]
fn every_key_of_the_first_proxy_yml_is_read_and_means_what_it_meant() {
    let config = read(golden!("proxy-yml-1/full.yml"));
    assert_eq!(config.settings.workers, 3);
    assert_eq!((config.admin.as_str(), config.stats.as_deref()), ("127.0.0.1:9181", Some("127.0.0.1:22223")));
    assert_eq!(config.hand_over.as_deref(), Some(Path::new("/etc/shoal/proxy-yml-1/run/proxy.sock")));
    assert_eq!(config.drain_timeout, Duration::from_millis(1500));
    let [store, cache, shards] = &config.settings.pools[..] else { panic!("three pools") };

    assert_eq!((store.pool.name.as_str(), store.pool.mode), ("store", Mode::Storage));
    assert_eq!(store.listen, Listen::Tcp { host: "127.0.0.1".to_owned(), port: 22121 });
    assert_eq!(store.backlog, 100);
    assert_eq!((store.pool.hash, store.pool.char_sign), (Hash::Murmur, CharSign::Unsigned));
    assert_eq!(store.pool.distribution, Distribution::Ketama);
    assert_eq!(store.pool.hash_tag, Some("{}".parse().unwrap()));
    assert_eq!(store.timeout, Some(Duration::from_secs(1)));
    assert_eq!(store.client_stall_timeout, Duration::from_millis(2500));
    assert_eq!((store.database, store.server_connections), (2, 4));
    assert_eq!((store.preconnect, store.tcp_keepalive, store.gather), (true, true, false));
    assert_eq!((store.multi_key, store.ejection), (MultiKey::AsNutcracker, None));
    assert_eq!(
        servers(store),
        [("one", "127.0.0.1:6401".to_owned(), 2), ("two", "/run/redis/two.sock".to_owned(), 1)]
    );

    assert_eq!((cache.pool.name.as_str(), cache.pool.mode), ("cache", Mode::Cache));
    assert_eq!(cache.listen, Listen::Unix { path: "/run/shoal/cache.sock".to_owned(), mode: None });
    assert_eq!(cache.multi_key, MultiKey::Refuse);
    let keys = EjectedKeys::Move { empty_on_return: true }; // what the file, older than the choice, leaves out
    let ejection = Ejection { failure_limit: 2, retry_after: Duration::from_secs(5), keys };
    assert_eq!((cache.ejection, cache.pool.distribution), (Some(ejection), Distribution::Ketama));
    let name = "redis.example.org:6379";
    assert_eq!(servers(cache), [(name, name.to_owned(), 1)]);

    assert_eq!(shards.listen, Listen::Tcp { host: "::1".to_owned(), port: 22123 });
    assert!(matches!(shards.pool.distribution, Distribution::RedisShard { .. }));
}

#[test]
fn what_the_first_proxy_yml_leaves_out_means_what_it_meant() {
    let config = read(golden!("proxy-yml-1/least.yml"));
    assert_eq!((config.settings.workers, config.admin.as_str()), (7, "127.0.0.1:9180"));
    assert_eq!((config.stats, config.hand_over), (None, None));
    assert_eq!(config.drain_timeout, Duration::from_secs(30));
    let [store] = &config.settings.pools[..] else { panic!("one pool") };
    assert_eq!((store.pool.hash, store.pool.char_sign), (Hash::Fnv1a64, CharSign::Signed));
    assert_eq!((store.pool.distribution, store.pool.hash_tag), (Distribution::Modula, None));
    assert_eq!((store.backlog, store.database, store.server_connections), (512, 0, 1));
    assert_eq!((store.preconnect, store.tcp_keepalive, store.gather), (false, false, true));
    assert_eq!((store.timeout, store.ejection, store.multi_key), (None, None, MultiKey::Refuse));
    assert_eq!(store.client_stall_timeout, Duration::from_secs(1));
    assert!(store.access.is_open() && !store.access.is_guarded() && store.server_auth.is_none());
    assert_eq!(servers(store), [("127.0.0.1:6401", "127.0.0.1:6401".to_owned(), 1)]);
}

#[test]
fn the_first_proxy_ymls_password_file_is_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "hunter2\n").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (name, bytes) = golden!("proxy-yml-1/password.yml");
    let text = std::str::from_utf8(bytes).unwrap();
    let config = from_proxy_yml(&folder.path().join(name.rsplit('/').next().unwrap()), text, 1).unwrap();
    let pool = &config.settings.pools[0];
    let passwords = pool.server_auth.as_ref().map(|auth| &auth.passwords[..]);
    assert_eq!(passwords.map(|all| all.iter().map(|one| one.reveal()).collect()), Some(vec!["hunter2"]));
    assert!(!pool.access.is_open() && pool.access.enter(b"default", b"hunter2") == Ok(0));
    assert!(pool.access.enter(b"default", b"hunter3").is_err());
}

/// Name, address and weight of each server.
fn servers(pool: &PoolSettings) -> Vec<(&str, String, u32)> {
    pool.pool
        .shards
        .iter()
        .map(|shard| (shard.name.as_str(), shard.primary.to_string(), shard.weight))
        .collect()
}
