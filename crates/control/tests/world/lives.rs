//! Declared, entered, hurt, changed, deleted.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};

use rustix::process::Signal;
use shoal_control::quantity::Bytes;
use shoal_control::resource::{Condition, Event, Instance, Kind, PoolSpec, READY, StatusEndpointRole};
use shoal_control::runtime::{Gate, Link, Role};
use shoal_control::store::{Store as _, Typed as _};

use crate::fleet::{Control, Fleet, demo, hot, solo};
use crate::support::{Client, kill, processes, until};

const KEYS: usize = 200;

#[test]
fn what_is_declared_comes_to_be_and_serves() {
    let mut fleet = Fleet::new();
    fleet.begin();
    for object in [solo(), demo(), hot()] {
        fleet.control().store.create(object).unwrap();
    }
    let control = fleet.control();
    control.settled();
    fleet.check_nothing_is_left_over();

    for (pool, shards) in [("demo", 4), ("hot", 3)] {
        let proxies = control.endpoints(Kind::Pool, pool, StatusEndpointRole::Proxy);
        assert_eq!(proxies.len(), 2, "{pool}");
        let mut writer = fleet.enter(&proxies[0], pool).unwrap();
        let mut reader = fleet.enter(&proxies[1], pool).unwrap();
        for key in 0..KEYS {
            assert_eq!(writer.said(&["SET", &format!("key:{key}"), &key.to_string()]), "OK");
        }
        for key in 0..KEYS {
            assert_eq!(reader.said(&["GET", &format!("key:{key}")]), key.to_string());
        }
        let mut counts = Vec::new();
        for shard in 0..shards {
            let primary = control.primary(Kind::Pool, pool, shard);
            counts.push(control.redis(&primary).unwrap().keys);
        }
        assert!(counts.iter().all(|keys| *keys > 0), "{pool}: every shard has some: {counts:?}");
        assert_eq!(counts.iter().sum::<u64>(), KEYS as u64, "{pool}: {counts:?}");
    }
    let primaries = control.endpoints(Kind::Standalone, "solo", StatusEndpointRole::Primary);
    let readers = control.endpoints(Kind::Standalone, "solo", StatusEndpointRole::Readers);
    assert_eq!((primaries.len(), readers.len()), (1, 1));
    let mut client = fleet.enter(&primaries[0], "solo").unwrap();
    assert_eq!(client.said(&["SET", "key", "value"]), "OK");
    let mut reader = fleet.enter(&readers[0], "solo").unwrap();
    control
        .until("the reader has what was written", || (reader.said(&["GET", "key"]) == "value").then_some(()));
    assert!(reader.said(&["SET", "key", "other"]).starts_with("READONLY"));
    assert!(fleet.enter(&primaries[0], "demo").is_err(), "another's password opens nothing");

    // A shard's copies stand on two nodes, and so do a pool's proxies.
    for owner in ["demo-s0", "demo-s1", "demo-s2", "demo-s3", "solo-r", "demo-proxy", "hot-proxy"] {
        let instances: Vec<Instance> = control.store.find_all().unwrap();
        let of_owner = instances.iter().filter(|instance| instance.name().starts_with(owner));
        let nodes: Vec<&String> = of_owner.map(|instance| instance.spec.node.as_ref().unwrap()).collect();
        assert_eq!(nodes.len(), 2, "{owner}");
        assert_ne!(nodes[0], nodes[1], "{owner}");
    }
    let events: Vec<Event> = control.store.find_all().unwrap();
    let reasons: BTreeSet<&str> = events.iter().map(|event| event.spec.reason.as_str()).collect();
    for reason in ["Created", "Placed", "Started", "PrimaryNamed", "Opened", "Following"] {
        assert!(reasons.contains(reason), "{reason} is not among {reasons:?}");
    }
    let warnings: Vec<&Event> = events
        .iter()
        .filter(|event| event.spec.kind == shoal_control::resource::EventType::Warning)
        .collect();
    assert!(warnings.is_empty(), "{warnings:#?}");

    // It stays as it is: nothing is done where all is as it should be.
    let before = events.iter().map(|event| event.spec.count).sum::<u64>();
    let mut still =
        shoal_control::io::reconciler::Reconciler::new(control.store.clone(), control.runtime.clone());
    for _ in 0..3 {
        let outcome = still.pass().unwrap();
        assert_eq!((outcome.done, outcome.refused.len()), (0, 0));
    }
    let events: Vec<Event> = control.store.find_all().unwrap();
    assert_eq!(events.iter().map(|event| event.spec.count).sum::<u64>(), before);
}

/// A replica follows: whose name comes back.
fn replica(control: &Control, shard: usize) -> Option<String> {
    let primary = control.primary(Kind::Pool, "demo", shard);
    let instances: Vec<Instance> = control.store.find_all().unwrap();
    let other = instances.into_iter().find(|instance| {
        instance.spec.shard == Some(shard as u16)
            && instance.spec.owner.name == "demo"
            && *instance.name() != primary
    })?;
    let (of, is) = (control.redis(&primary)?, control.redis(other.name())?);
    let follows = matches!(is.role, Role::Replica { link: Link::Up, .. }) && is.gate == Gate::Open;
    (follows && is.offset == of.offset).then(|| other.name().to_owned())
}

#[test]
fn what_is_killed_comes_back_and_what_the_replica_had_is_not_lost() {
    let mut fleet = Fleet::new();
    fleet.begin();
    fleet.control().store.create(demo()).unwrap();
    let control = fleet.control();
    control.settled();
    let proxies = control.endpoints(Kind::Pool, "demo", StatusEndpointRole::Proxy);
    let mut client = fleet.enter(&proxies[0], "demo").unwrap();

    let follower = control.until("a replica follows", || replica(control, 0));
    let life = control.redis(&follower).unwrap().life;
    fleet.crash(&follower);
    control.until("it is started again", || (control.redis(&follower)?.life != life).then_some(()));
    assert_eq!(control.until("it follows again", || replica(control, 0)), follower);
    control.settled();

    let primary = control.primary(Kind::Pool, "demo", 0);
    let epoch = control.status(Kind::Pool, "demo").unwrap().epoch;
    for key in 0..KEYS {
        assert_eq!(client.said(&["SET", &format!("key:{key}"), &key.to_string()]), "OK");
    }
    control.until("the replica has all of it", || replica(control, 0));
    fleet.crash(&primary);
    control
        .until("the replica is named", || (control.primary(Kind::Pool, "demo", 0) == follower).then_some(()));
    control.until("the proxy goes there", || read_all(&mut client));
    assert_eq!(client.said(&["SET", "key:0", "anew"]), "OK");
    control.settled();
    assert_eq!(control.until("the one before follows", || replica(control, 0)), primary);
    assert_eq!(control.status(Kind::Pool, "demo").unwrap().epoch, epoch + 1);

    let proxy = "demo-proxy-0";
    let before = fleet.process(proxy);
    fleet.crash(proxy);
    control.until("a proxy is started again", || {
        let found = processes(&fleet.folder_of(proxy));
        (found.len() == 1 && found[0] != before).then_some(())
    });
    control.settled();
    let again = control.endpoints(Kind::Pool, "demo", StatusEndpointRole::Proxy);
    assert_eq!(again, proxies, "where clients find it stays");
    let mut client = fleet.enter(&again[0], "demo").unwrap();
    assert_eq!(client.said(&["GET", "key:0"]), "anew");
    fleet.check_nothing_is_left_over();
}

/// Whether every key is there; a shard that has no primary answers errors meanwhile, and never another value.
fn read_all(client: &mut Client) -> Option<()> {
    for key in 0..KEYS {
        let said = client.said(&["GET", &format!("key:{key}")]);
        if said != key.to_string() {
            assert!(said.starts_with("ERR") || said.starts_with("LOADING"), "key:{key} is {said}");
            return None;
        }
    }
    Some(())
}

#[test]
fn what_is_changed_reaches_the_processes_and_what_is_deleted_leaves_nothing() {
    let mut fleet = Fleet::new();
    fleet.begin();
    for object in [demo(), hot()] {
        fleet.control().store.create(object).unwrap();
    }
    let control = fleet.control();
    control.settled();
    let names = ["demo-s0-r0", "demo-s0-r1", "demo-s3-r0"];
    let lives = names.map(|name| control.redis(name).unwrap().life);
    control.change::<PoolSpec>("demo", |spec| {
        spec.memory = Bytes::mib(96);
        spec.proxies.count = 1;
    });
    control.until("every Redis has the new limit", || {
        let all = (0..4).flat_map(|shard| [0, 1].map(|ordinal| format!("demo-s{shard}-r{ordinal}")));
        let limits: Option<Vec<u64>> = all.map(|name| Some(control.redis(&name)?.maxmemory)).collect();
        limits?.iter().all(|limit| *limit == 96 << 20).then_some(())
    });
    let platform = fleet.password("platform");
    let mut redis = Client::connect(control.see("demo-s0-r0").unwrap().address.unwrap());
    assert_eq!(redis.said(&["AUTH", "shoal-platform", &platform]), "OK");
    let said = format!("{:?}", redis.call(&["CONFIG", "GET", "maxmemory"]));
    assert!(said.contains("100663296"), "{said}");
    control.settled();
    assert_eq!(names.map(|name| control.redis(name).unwrap().life), lives, "nothing was restarted for it");
    control.until("a proxy is gone", || (!fleet.folder_of("demo-proxy-1").exists()).then_some(()));
    assert_eq!(control.endpoints(Kind::Pool, "demo", StatusEndpointRole::Proxy).len(), 1);

    control.delete(Kind::Pool, "hot");
    control.until("hot is gone", || control.status(Kind::Pool, "hot").is_none().then_some(()));
    fleet.check_nothing_is_left_over();
    control.settled();
    control.delete(Kind::Pool, "demo");
    control.until("demo is gone", || control.status(Kind::Pool, "demo").is_none().then_some(()));
    fleet.check_nothing_is_left_over();
    assert!(processes(&fleet.dir().join("instances")).is_empty());
    assert_eq!(std::fs::read_dir(fleet.dir().join("instances")).unwrap().count(), 0);
}

#[test]
fn what_the_machine_refuses_stands_in_the_condition() {
    let mut fleet = Fleet::new();
    fleet.begin_with(|options| options.programs.redis_servers = vec!["/nonexistent/redis-server".into()]);
    let control = fleet.control();
    control.store.create(solo()).unwrap();
    let says = |control: &Control, words: &str| {
        let status = control.status(Kind::Standalone, "solo").unwrap();
        let ready = Condition::find(&status.conditions, READY)?;
        (!ready.status && ready.message.contains(words)).then_some(())
    };
    control.until("what to install is said", || says(control, "apt install redis-server"));
    fleet.end();
    fleet.begin().settled();

    // Somebody takes a Redis's port while it is down.
    let control = fleet.control();
    let primary = control.primary(Kind::Standalone, "solo", 0);
    let address = control.see(&primary).unwrap().address.unwrap();
    let pid = fleet.process(&primary);
    fleet.end();
    kill(pid, Signal::KILL);
    let squatter = squat(address);
    let control = fleet.begin();
    let taken = format!("port {address} is taken by process {}", std::process::id());
    control.until("who has the port is said", || says(control, &taken));
    control.until("the other serves meanwhile", || {
        (control.primary(Kind::Standalone, "solo", 0) != primary).then_some(())
    });
    let events: Vec<Event> = control.store.find_all().unwrap();
    assert!(events.iter().any(|event| event.spec.reason == "PortTaken"), "{events:#?}");
    drop(squatter);
    control.settled();
    assert_eq!(control.see(&primary).unwrap().address, Some(address));
}

/// Listens where somebody just ended.
fn squat(address: SocketAddr) -> TcpListener {
    until("the port is free", || TcpListener::bind(address).ok())
}
