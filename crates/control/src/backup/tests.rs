use super::*;
use shoal_topology::Topology;

fn pool(name: &str, mode: &str, distribution: &str, shards: &[&str]) -> Pool {
    let shards: Vec<String> = shards
        .iter()
        .enumerate()
        .map(|(at, name)| format!(r#"{{"name": "{name}", "primary": "127.0.1.1:{}"}}"#, 7000 + at))
        .collect();
    let json = format!(
        r#"{{"format": 1, "epoch": 1, "pools": [{{"name": "{name}", "mode": "{mode}", "hash": "fnv1a_64",
            "distribution": "{distribution}", "shards": [{}]}}]}}"#,
        shards.join(",")
    );
    Topology::from_json(json.as_bytes()).unwrap().pools.remove(0)
}

fn manifest(pool: Pool) -> Manifest {
    let shard = |at: usize, name: &str| ShardBackup {
        name: name.to_owned(),
        file: format!("shard-{at}.rdb"),
        bytes: 3,
        sha256: "0".repeat(64),
        from: "127.0.1.2:7000".parse().unwrap(),
        from_replica: true,
        taken_at: Timestamp(2),
        redis_version: "7.0.15".to_owned(),
        replication_id: "r".to_owned(),
        offset: 7,
    };
    let shards = pool.shards.iter().enumerate().map(|(at, own)| shard(at, &own.name)).collect();
    Manifest { format: FORMAT, began_at: Timestamp(1), ended_at: Timestamp(3), pool, shards }
}

#[test]
fn a_manifest_is_read_as_it_was_written() {
    let manifest = manifest(pool("demo", "storage", "modula", &["a", "b"]));
    assert_eq!(Manifest::read(&manifest.write()), Ok(manifest.clone()));
    assert_eq!(Manifest::read(r#"{"format": 2, "new": true}"#), Err(BadBackup::Format(2)));
    let outside = manifest.write().replace("shard-0.rdb", "../shard-0.rdb");
    assert!(matches!(Manifest::read(&outside), Err(BadBackup::Manifest(_))));
}

#[test]
fn it_fits_where_every_key_is_looked_for_where_it_lies() {
    let modula = manifest(pool("demo", "storage", "modula", &["a", "b"]));
    assert_eq!(modula.fits(&pool("other", "storage", "modula", &["a", "b"])), Ok(()));
    let ketama = manifest(pool("demo", "storage", "ketama", &["a", "b"]));
    assert_eq!(ketama.fits(&pool("other", "storage", "ketama", &["a", "b"])), Ok(()));
    for (into, why) in [
        (pool("other", "storage", "ketama", &["c", "d"]), "the shards' names"),
        (pool("other", "storage", "modula", &["a", "b"]), "keys are shared out otherwise"),
        (pool("other", "storage", "ketama", &["a", "b", "c"]), "it had 2 shards, and the new one has 3"),
        (pool("other", "cache", "ketama", &["a", "b"]), "a cache always starts empty"),
    ] {
        let refused = ketama.fits(&into).unwrap_err().to_string();
        assert!(refused.starts_with("the backup of demo cannot be restored into other: "), "{refused}");
        assert!(refused.contains(why), "{refused}");
    }
}
