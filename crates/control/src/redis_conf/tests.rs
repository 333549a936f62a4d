use std::collections::BTreeMap;

use shoal_topology::Topology;

use super::*;
use crate::credentials::{self, Password};
use crate::runtime::ProxyStart;

const SEVEN: RedisVersion = RedisVersion::new(7, 0, 15);

fn start(mode: Mode, persistence: Persistence) -> RedisStart {
    RedisStart {
        version: None,
        mode,
        maxmemory: 8 << 30,
        eviction: eviction_default(mode),
        persistence,
        settings: BTreeMap::from([("hash-max-listpack-entries".to_owned(), "64".to_owned())]),
    }
}

fn conf<'a>(version: RedisVersion, replication: &'a Passwords, renamed: &'a [Renamed]) -> RedisConf<'a> {
    RedisConf {
        version,
        address: "127.0.1.2:7001".parse().unwrap(),
        dir: "/var/lib/a \"b\"",
        users_file: "/var/lib/users.acl",
        replication: Some(replication),
        closed_by: Some(replication),
        renamed,
    }
}

fn one(text: &str) -> Passwords {
    Passwords::one(Password::new(text).unwrap())
}

#[test]
fn a_storage_redis_evicts_nothing_and_a_cache_evicts() {
    let secret = one("copy");
    let storage = redis_conf(&start(Mode::Storage, Persistence::Aof), &conf(SEVEN, &secret, &[]));
    for line in [
        "bind 127.0.1.2",
        "port 7001",
        "dir \"/var/lib/a \\\"b\\\"\"",
        "aclfile \"/var/lib/users.acl\"",
        "replica-announce-ip 127.0.1.2",
        "maxmemory 8589934592",
        "maxmemory-policy noeviction",
        "appendonly yes",
        "appendfsync everysec",
        "masteruser shoal-replica",
        "masterauth copy",
        "hash-max-listpack-entries 64",
    ] {
        assert!(storage.lines().any(|own| own == line), "{line} in\n{storage}");
    }
    assert!(!storage.contains("requirepass") && !storage.contains("rename-command"));
    let cache = redis_conf(&start(Mode::Cache, Persistence::None), &conf(SEVEN, &secret, &[]));
    assert!(cache.contains("maxmemory-policy allkeys-lru\n") && cache.contains("save \"\"\n"));
}

#[test]
fn before_redis_6_the_password_closes_and_commands_are_hidden() {
    let secret = one("platform");
    let version = RedisVersion::new(5, 0, 14);
    let renamed = credentials::renamed(secret.preferred(), version);
    let text = redis_conf(&start(Mode::Storage, Persistence::Rdb), &conf(version, &secret, &renamed));
    assert!(text.contains("requirepass platform\n") && text.contains("masterauth platform\n"));
    assert!(
        text.contains("rename-command CONFIG CONFIG-") && text.contains("rename-command SHUTDOWN SHUTDOWN-")
    );
    for later in ["aclfile", "masteruser", "sanitize-dump-payload", "rdb-del-sync-files"] {
        assert!(!text.contains(later), "{later} in\n{text}");
    }
}

#[test]
fn settings_of_the_platform_s_are_refused() {
    for (name, value) in [
        ("dir", "/"),
        ("maxmemory-policy", "volatile-lru"),
        ("requirepass", "x"),
        ("user", "default on nopass"),
        ("save", "1 1"),
        ("enable-debug-command", "yes"),
        ("tls-port", "1"),
        ("include", "/etc/passwd"),
        ("loadmodule", "x.so"),
    ] {
        assert!(setting_refused(name, value).is_some_and(|why| why.contains("platform")), "{name}");
    }
    assert!(setting_refused("timeout", "0\nrequirepass x").is_some_and(|why| why.contains("one line")));
    assert!(setting_refused("Timeout x", "0").is_some_and(|why| why.contains("small letters")));
    assert_eq!(setting_refused("hz", "20"), None);
    assert_eq!(setting_refused("client-output-buffer-limit", "pubsub 32mb 8mb 60"), None);
}

#[test]
fn a_sentinel_is_told_alike_at_first_and_later() {
    let monitor = Monitor {
        name: "demo-s0".to_owned(),
        primary: "127.0.1.1:7000".parse().unwrap(),
        quorum: 2,
        down_after_ms: 30_000,
        failover_timeout_ms: 60_000,
        parallel_syncs: 1,
        user: User {
            name: "shoal-sentinel".to_owned(),
            credential: "c".to_owned(),
            access: Access::Sentinel,
        },
    };
    let text = sentinel_own(&[(monitor.clone(), one("watch"))]).unwrap();
    assert!(text.contains("\nsentinel monitor demo-s0 127.0.1.1 7000 2\n"), "{text}");
    assert!(text.contains("\nsentinel auth-pass demo-s0 watch\n"), "{text}");
    let commands = monitor_commands(&monitor, &one("watch"), false).unwrap();
    assert_eq!(commands[0].join(" "), "SENTINEL MONITOR demo-s0 127.0.1.1 7000 2");
    assert_eq!(
        commands[1].join(" "),
        "SENTINEL SET demo-s0 quorum 2 auth-user shoal-sentinel auth-pass watch down-after-milliseconds 30000 \
         failover-timeout 60000 parallel-syncs 1"
    );
    assert_eq!(monitor_commands(&monitor, &one("watch"), true).unwrap().len(), 1);
    let unix = Monitor { primary: "/run/redis.sock".parse().unwrap(), ..monitor };
    assert_eq!(monitor_commands(&unix, &one("watch"), true), None);
}

#[test]
fn a_proxy_s_configuration_names_files_and_no_password() {
    let topology = Topology::from_json(
        br#"{"format": 1, "epoch": 3, "pools": [{"name": "demo", "mode": "storage", "hash": "fnv1a_64",
            "distribution": "modula", "hash_tag": "{}",
            "shards": [{"name": "demo-0", "primary": "127.0.1.1:7000"},
                       {"name": "demo-1", "primary": "127.0.1.2:7000", "weight": 2}]}]}"#,
    )
    .unwrap();
    let proxy = ProxyStart {
        epoch: 3,
        pool: topology.pools[0].clone(),
        upstream: Some(User {
            name: "shoal-proxy-3".to_owned(),
            credential: "demo.proxy-3".to_owned(),
            access: Access::Proxy,
        }),
        workers: Some(1),
        timeout_ms: Some(1000),
    };
    let tenant =
        User { name: "acme".to_owned(), credential: "demo.tenant".to_owned(), access: Access::Tenant };
    let files = ProxyFiles { admin: "/d/admin.sock".to_owned(), credentials: "/c".to_owned() };
    let text = proxy_yml(&proxy, &[tenant], "127.0.1.3:7002".parse().unwrap(), &files);
    let read: serde_json::Value = serde_json::from_str(&text).unwrap();
    let pool = &read["pools"][0];
    assert_eq!(read["admin"], "/d/admin.sock");
    assert_eq!(pool["listen"], "127.0.1.3:7002");
    assert_eq!(pool["server_auth"]["password_file"], "/c/demo.proxy-3");
    assert_eq!(pool["users"][0]["password_file"], "/c/demo.tenant");
    assert_eq!(
        pool["servers"][1],
        serde_json::json!({"name": "demo-1", "address": "127.0.1.2:7000", "weight": 2})
    );
    assert_eq!(pool["hash_tag"], "{}");
}
