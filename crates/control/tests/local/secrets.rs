//! No password in arguments, environments, logs, or files that others may read.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use shoal_control::runtime::{Change, Data, Logs as _, Phase};

use crate::support::{World, plain, process_of, users};

const CREDENTIALS: [&str; 5] =
    ["demo.platform", "demo.sentinel", "demo.replica", "demo.proxy-1", "demo.tenant"];

#[test]
fn nobody_sees_a_password() {
    let world = World::new();
    world.start(&plain("x"));
    world.redis("x");
    let secrets: Vec<String> = CREDENTIALS.iter().map(|name| world.password(name)).collect();
    let shows = |what: &str, text: &str| {
        for (secret, name) in secrets.iter().zip(CREDENTIALS) {
            assert!(!text.contains(secret.as_str()), "{what} shows {name}");
        }
    };
    let pid = process_of(&world, "x");
    for file in ["cmdline", "environ"] {
        let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap();
        assert!(!bytes.is_empty());
        shows(file, &String::from_utf8_lossy(&bytes));
    }
    let environ = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    let names: Vec<&str> =
        environ.split('\0').filter_map(|entry| entry.split_once('=')).map(|entry| entry.0).collect();
    for name in &names {
        assert!(
            ["PATH", "TZ", "LANG", "SHOAL_INSTANCE", "PWD", "SHLVL", "_", "OLDPWD"].contains(name),
            "{names:?}"
        );
    }
    // All that is told to it, and its own word on that.
    world.tell("x", &Change::Open);
    world.runtime().credentials().rotate("demo.tenant").unwrap();
    world.tell("x", &Change::Users(users()));
    world.tell("x", &Change::Close);
    let mut platform = world.enter("x", "shoal-platform", "demo.platform").unwrap();
    platform.said(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
    world.tell("x", &Change::Users(users()));
    shows("SLOWLOG", &format!("{:?}", platform.call(&["SLOWLOG", "GET", "128"])));
    assert_eq!(platform.said(&["CONFIG", "REWRITE"]), "OK");
    let log = world.runtime().log("x", 1000).unwrap().join("\n");
    assert!(log.contains("Redis"), "{log}");
    shows("its log", &log);
    shows("its record", &std::fs::read_to_string(world.file("x", "record.json")).unwrap());
    shows("users.acl", &std::fs::read_to_string(world.file("x", "users.acl")).unwrap());
    shows("what is observed", &format!("{:?}", world.see("x")));
    modes(world.place.path(), true);
}

/// Every folder 0700, every file 0600, that of CONFIG REWRITE as well.
fn modes(path: &Path, top: bool) {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.is_dir() {
        assert_eq!(mode, 0o700, "{}", path.display());
        let entries: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!top || entries.len() >= 4, "{entries:?}");
        entries.iter().for_each(|entry| modes(entry, false));
    } else {
        assert_eq!(mode & 0o177, 0, "{} has {mode:o}", path.display());
    }
}

#[test]
fn what_control_decides_wins_over_what_config_rewrite_wrote() {
    let world = World::new();
    let start = plain("x");
    world.start(&start);
    world.redis("x");
    world.tell("x", &Change::Open);
    world.tell("x", &Change::MaxMemory(48 << 20));
    world.tell("x", &Change::ReplicaOf("127.0.0.1:9".parse().unwrap()));
    let mut platform = world.enter("x", "shoal-platform", "demo.platform").unwrap();
    assert_eq!(platform.said(&["CONFIG", "REWRITE"]), "OK");
    let own = std::fs::read_to_string(world.file("x", "redis.conf")).unwrap();
    assert!(own.contains("maxmemory 48mb") && own.contains("replicaof 127.0.0.1 9"), "{own}");
    assert!(!own.contains("\nuser "), "users stand in their own file alone: {own}");
    world.stop("x", Data::Keep).unwrap();
    world.until("x", |observed| matches!(observed.phase, Phase::Ended(_)).then_some(()));
    world.start(&start);
    let says = world.redis("x");
    assert_eq!(says.maxmemory, 64 << 20, "what the start says");
    assert_eq!(says.gate, shoal_control::runtime::Gate::Closed, "open users were not written down");
    let of = match says.role {
        shoal_control::runtime::Role::Replica { of, .. } => of.to_string(),
        role => panic!("{role:?}"),
    };
    assert_eq!(of, "127.0.0.1:9", "what the process remembers stays");
}
