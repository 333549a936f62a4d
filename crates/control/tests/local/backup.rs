//! A pool's data into files and back, with real servers.

use rustix::process::Signal;
use shoal_control::io::local::read_backup;
use shoal_control::reply::Reply;
use shoal_control::runtime::{Change, Link, NodeRef, Persistence, Refused, Role};
use shoal_topology::{Endpoint, Mode, Pool, Topology};

use crate::support::{World, kill, node, process_of, redis_of, redis_start};

fn start(world: &World, name: &str, node: NodeRef, persistence: Persistence) {
    let mut start = redis_start(name, Mode::Storage, persistence);
    start.node = node;
    world.start(&start);
    world.redis(name);
}

/// A pool of two shards of one replica each, with a thousand keys.
fn pool(world: &World) -> (Pool, Vec<Vec<String>>) {
    let mut shards = Vec::new();
    let mut entries = Vec::new();
    for shard in 0..2 {
        let (primary, replica) = (format!("demo-s{shard}-r0"), format!("demo-s{shard}-r1"));
        start(world, &primary, node(1), Persistence::None);
        start(world, &replica, node(2), Persistence::None);
        world.tell(&primary, &Change::Open);
        let address = world.see(&primary).unwrap().address.unwrap();
        let of = Endpoint::Tcp { host: address.ip().to_string(), port: address.port() };
        world.tell(&replica, &Change::ReplicaOf(of));
        let mut client = world.enter(&primary, "acme", "demo.tenant").unwrap();
        for key in 0..500 {
            assert_eq!(client.said(&["SET", &format!("s{shard}:{key}"), &format!("value {key}")]), "OK");
        }
        assert!(matches!(client.call(&["RPUSH", &format!("list{shard}"), "a", "b", "c"]), Reply::Integer(3)));
        world.until(&replica, |observed| match &redis_of(observed)?.role {
            Role::Replica { link: Link::Up, .. } => (redis_of(observed)?.keys == 501).then_some(()),
            _ => None,
        });
        entries.push(format!(r#"{{"name": "demo-{shard}", "primary": "{address}"}}"#));
        shards.push(vec![primary, replica]);
    }
    let json = format!(
        r#"{{"format": 1, "epoch": 1, "pools": [{{"name": "demo", "mode": "storage", "hash": "fnv1a_64",
            "distribution": "modula", "shards": [{}]}}]}}"#,
        entries.join(",")
    );
    (Topology::from_json(json.as_bytes()).unwrap().pools.remove(0), shards)
}

#[test]
fn a_backup_comes_from_replicas_and_is_restored_whole() {
    let world = World::new();
    let (pool, shards) = pool(&world);
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("backup");
    let manifest = world.runtime().back_up(&pool, &shards, &into).unwrap();
    assert!(manifest.shards.iter().all(|shard| shard.from_replica && shard.bytes > 1000), "{manifest:?}");
    assert_eq!(read_backup(&into).unwrap(), manifest);
    let again = world.runtime().back_up(&pool, &shards, &into).unwrap_err().to_string();
    assert!(again.contains("holds a backup already"), "{again}");
    for (shard, secret) in manifest.shards.iter().zip(["demo.platform", "demo.platform"]) {
        let text = std::fs::read(into.join(&shard.file)).unwrap();
        let secret = world.password(secret);
        assert!(!text.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()));
    }

    // Into a new pool, in each way of keeping data.
    assert_eq!(manifest.fits(&pool), Ok(()));
    for (persistence, prefix) in
        [(Persistence::Rdb, "rdb"), (Persistence::Aof, "aof"), (Persistence::None, "none")]
    {
        for shard in 0..2 {
            let name = format!("{prefix}-s{shard}-r0");
            let new = redis_start(&name, Mode::Storage, persistence);
            world.runtime().lay_data(&new, &manifest, shard, &into).unwrap();
            world.start(&new);
            assert_eq!(
                world.until(&name, |o| redis_of(o).filter(|says| !says.loading).map(|says| says.keys)),
                501
            );
            world.tell(&name, &Change::Open);
            let mut client = world.enter(&name, "acme", "demo.tenant").unwrap();
            assert_eq!(client.said(&["GET", &format!("s{shard}:499")]), "value 499");
            assert_eq!(client.call(&["LLEN", &format!("list{shard}")]), Reply::Integer(3));
            let refused = world.runtime().lay_data(&new, &manifest, shard, &into).unwrap_err().to_string();
            assert!(refused.contains("its data is not overwritten"), "{refused}");
            kill(process_of(&world, &name), Signal::KILL);
        }
    }
}

#[test]
fn without_its_replica_the_primary_is_asked_and_without_both_nobody() {
    let world = World::new();
    let (pool, shards) = pool(&world);
    let folder = tempfile::tempdir().unwrap();
    kill(process_of(&world, "demo-s0-r1"), Signal::KILL);
    let manifest = world.runtime().back_up(&pool, &shards, &folder.path().join("one")).unwrap();
    assert_eq!(manifest.shards.iter().map(|shard| shard.from_replica).collect::<Vec<_>>(), [false, true]);
    kill(process_of(&world, "demo-s0-r0"), Signal::STOP);
    let two = folder.path().join("two");
    let refused = world.runtime().back_up(&pool, &shards, &two).unwrap_err();
    assert!(matches!(refused, Refused::NotRunning { .. }), "{refused}");
    assert!(refused.to_string().starts_with("shard demo-0 of demo does not run"), "{refused}");
    assert!(read_backup(&two).unwrap_err().to_string().contains("it is no backup"));
}

#[test]
fn a_damaged_file_is_found_before_anything_is_restored() {
    let world = World::new();
    let (pool, shards) = pool(&world);
    let folder = tempfile::tempdir().unwrap();
    let manifest = world.runtime().back_up(&pool, &shards, folder.path()).unwrap();
    let path = folder.path().join(&manifest.shards[1].file);
    let whole = std::fs::read(&path).unwrap();
    let mut other = whole.clone();
    let middle = other.len() / 2;
    other[middle] ^= 1;
    for (bytes, why) in [(&other[..], "SHA-256 differs"), (&whole[..middle], "bytes, and had")] {
        std::fs::write(&path, bytes).unwrap();
        let refused = read_backup(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("shard-1.rdb of shard demo-1") && refused.contains(why), "{refused}");
        let new = redis_start("new-s1-r0", Mode::Storage, Persistence::Rdb);
        let refused = world.runtime().lay_data(&new, &manifest, 1, folder.path()).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}
