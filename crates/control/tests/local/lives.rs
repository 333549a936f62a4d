//! Started, seen, stopped, started again, adopted.

use std::time::Duration;

use rustix::process::Signal;
use shoal_control::runtime::{
    Change, Data, Gate, Life, Link, Logs as _, Persistence, Phase, Refused, Role, Runtime as _, Says,
    Silence, Stop, Target,
};
use shoal_topology::{Endpoint, Mode};

use crate::support::{World, kill, node, plain, process_of, processes, redis_of, redis_start, until};

#[test]
fn a_start_is_seen_and_done_once() {
    let world = World::new();
    let start = plain("demo-s0-r0");
    world.start(&start);
    let at_once = world.see("demo-s0-r0").expect("it is seen at once");
    assert!(matches!(at_once.phase, Phase::Starting | Phase::Running), "{at_once:?}");
    let says = world.redis("demo-s0-r0");
    assert_eq!((says.gate, says.maxmemory, says.keys), (Gate::Closed, 64 << 20, 0));
    assert_eq!(says.role, Role::Primary { replicas: vec![] });
    let pid = process_of(&world, "demo-s0-r0");
    for _ in 0..3 {
        world.start(&start);
    }
    assert_eq!(process_of(&world, "demo-s0-r0"), pid);
    let mut other = start.clone();
    other.uid = "another".to_owned();
    let refused = world.runtime().start(&other).unwrap_err();
    assert!(matches!(&refused, Refused::NameTaken { uid, .. } if *uid == start.uid), "{refused}");
    let observed = world.see("demo-s0-r0").unwrap();
    assert_eq!(observed.node, node(1));
    assert_eq!(observed.address.unwrap().ip(), node(1).address);
}

#[test]
fn a_process_outlives_control_and_is_adopted() {
    let mut world = World::new();
    world.start(&plain("a"));
    world.start(&plain("b"));
    let (a, b) = (world.redis("a"), world.redis("b"));
    let pids = (process_of(&world, "a"), process_of(&world, "b"));
    world.reopen();
    assert_eq!((world.redis("a").life, world.redis("b").life), (a.life, b.life));
    assert_eq!((process_of(&world, "a"), process_of(&world, "b")), pids);
    world.start(&plain("a"));
    assert_eq!(process_of(&world, "a"), pids.0, "it was started already");
    world.stop("a", Data::Remove).unwrap();
    world.gone("a");
    assert!(!world.file("a", "").exists());
    let session = std::fs::read_to_string(format!("/proc/{}/stat", pids.1)).unwrap();
    let session = session.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap().to_owned();
    assert_eq!(session, pids.1.to_string(), "it leads a session of its own");
}

#[test]
fn while_one_control_has_the_directory_no_other_gets_it() {
    let world = World::new();
    let refused = shoal_control::io::local::LocalRuntime::open(crate::support::options(world.place.path()));
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains(&format!("another control uses it already: process {}", std::process::id())),
        "{refused}"
    );
}

#[test]
fn what_is_written_survives_a_stop_and_a_start_closes_again() {
    let world = World::new();
    let start = redis_start("keep", Mode::Storage, Persistence::Rdb);
    world.start(&start);
    let before = world.redis("keep");
    world.tell("keep", &Change::Open);
    let mut client = world.enter("keep", "acme", "demo.tenant").unwrap();
    assert_eq!(client.said(&["SET", "key", "value"]), "OK");
    let old = world.target("keep");
    let address = world.see("keep").unwrap().address;
    world.stop("keep", Data::Keep).unwrap();
    let exit = world.until("keep", |observed| match &observed.phase {
        Phase::Ended(exit) => Some(exit.clone()),
        _ => None,
    });
    assert!(exit.asked && exit.unasked_in_a_row == 0, "{exit:?}");
    world.start(&start);
    let after = world.redis("keep");
    assert_eq!((after.keys, after.gate), (1, Gate::Closed));
    assert_ne!(after.life, before.life);
    assert_eq!(world.see("keep").unwrap().address, address, "ports are kept");
    // What was meant for the life before is not done to this one.
    let refused = world.runtime().configure(&old, &Change::Open).unwrap_err();
    assert_eq!(refused, Refused::OtherLife { name: "keep".to_owned() });
    assert_eq!(world.redis("keep").gate, Gate::Closed);
}

#[test]
fn a_cache_starts_empty_whatever_lies_there() {
    let world = World::new();
    // Persistence makes no sense for a cache; it starts empty all the same.
    let start = redis_start("hot", Mode::Cache, Persistence::Rdb);
    world.start(&start);
    world.redis("hot");
    world.tell("hot", &Change::Open);
    let mut client = world.enter("hot", "acme", "demo.tenant").unwrap();
    assert_eq!(client.said(&["SET", "stale", "1"]), "OK");
    assert_eq!(client.said(&["CONFIG", "GET", "maxmemory-policy"]).split(' ').next(), Some("NOPERM"));
    world.stop("hot", Data::Keep).unwrap();
    world.until("hot", |observed| matches!(observed.phase, Phase::Ended(_)).then_some(()));
    assert!(
        world.file("hot", "data/dump.rdb").exists(),
        "it was saved, so that there is something to be thrown away"
    );
    world.start(&start);
    assert_eq!(world.redis("hot").keys, 0);
}

#[test]
fn an_unasked_end_is_told_and_counted() {
    let mut world = World::new();
    world.start(&plain("x"));
    for count in 1..=2 {
        world.redis("x");
        kill(process_of(&world, "x"), Signal::KILL);
        let exit = world.until("x", |observed| match &observed.phase {
            Phase::Ended(exit) => Some(exit.clone()),
            _ => None,
        });
        assert!(exit.reason.contains("signal 9") && !exit.asked, "{exit:?}");
        assert_eq!(exit.unasked_in_a_row, count);
        assert!(matches!(world.see("x").unwrap().says, Says::Silent(Silence::NotRunning)));
        world.start(&plain("x"));
    }
    // One that ends while no control is there.
    world.redis("x");
    let pid = process_of(&world, "x");
    world.runtime = None;
    kill(pid, Signal::KILL);
    until("it is gone", || processes(world.place.path()).is_empty().then_some(()));
    world.reopen();
    // The kernel takes a process's files from it before it lets go of their locks.
    let exit = world.until("x", |observed| match &observed.phase {
        Phase::Ended(exit) => Some(exit.clone()),
        _ => None,
    });
    assert!(exit.reason.starts_with("it ended while nobody watched; its last words: "), "{exit:?}");
    assert_eq!(exit.unasked_in_a_row, 3);
}

#[test]
fn who_does_not_end_is_killed() {
    let world = World::new();
    world.start(&plain("x"));
    let uid = world.see("x").unwrap().uid;
    world.redis("x");
    let pid = process_of(&world, "x");
    kill(pid, Signal::STOP);
    let stop = Stop { grace: Duration::from_millis(300), data: Data::Keep };
    world.runtime().stop("x", &uid, stop).unwrap();
    assert_eq!(world.see("x").unwrap().phase, Phase::Stopping);
    world.runtime().stop("x", &uid, Stop { grace: Duration::from_secs(3600), data: Data::Keep }).unwrap();
    let exit = world.until("x", |observed| match &observed.phase {
        Phase::Ended(exit) => Some(exit.clone()),
        _ => None,
    });
    assert!(exit.asked && exit.reason.contains("signal 9"), "{exit:?}");
    let gone = world.runtime().stop("x", "another uid", stop).unwrap_err();
    assert!(matches!(gone, Refused::Gone { .. }), "{gone}");
}

#[test]
fn a_stop_that_control_did_not_live_to_see_is_carried_through() {
    let mut world = World::new();
    world.start(&plain("x"));
    world.redis("x");
    let pid = process_of(&world, "x");
    kill(pid, Signal::STOP);
    let uid = world.see("x").unwrap().uid;
    world.runtime().stop("x", &uid, Stop { grace: Duration::from_secs(600), data: Data::Remove }).unwrap();
    world.reopen();
    assert_eq!(world.see("x").unwrap().phase, Phase::Stopping);
    kill(pid, Signal::CONT);
    world.gone("x");
}

#[test]
fn one_that_hangs_delays_no_other() {
    let world = World::new();
    for name in ["a", "b", "c", "d"] {
        world.start(&plain(name));
        world.redis(name);
    }
    for name in ["a", "b", "c"] {
        kill(process_of(&world, name), Signal::STOP);
    }
    let observation = world.runtime().observe().unwrap();
    for observed in &observation.instances {
        let hangs = observed.name != "d";
        assert_eq!(observed.phase, Phase::Running);
        assert_eq!(matches!(observed.says, Says::Silent(Silence::TimedOut)), hangs, "{observed:?}");
    }
    let target = Target { name: "a".to_owned(), uid: "uid-of-a".to_owned(), life: Life("any".to_owned()) };
    let refused = world.runtime().configure(&target, &Change::Open).unwrap_err();
    assert!(matches!(&refused, Refused::NotRunning { why, .. } if why.contains("no answer")), "{refused}");
}

#[test]
fn a_replica_follows_once_its_primary_is_open() {
    let world = World::new();
    world.start(&plain("one"));
    let mut other = plain("two");
    other.node = node(2);
    world.start(&other);
    world.redis("one");
    world.redis("two");
    let address = world.see("one").unwrap().address.unwrap();
    let of = Endpoint::Tcp { host: address.ip().to_string(), port: address.port() };
    world.tell("two", &Change::ReplicaOf(of.clone()));
    let link = |observed: &shoal_control::runtime::Observed| match &redis_of(observed)?.role {
        Role::Replica { of, link } => Some((of.clone(), *link)),
        Role::Primary { .. } => None,
    };
    assert_eq!(world.until("two", link).0, of);
    // The primary is closed: what restarts empty empties nobody. Its own log says that somebody tried.
    until("a try of the replica's", || {
        let log = world.runtime().log("two", 50).unwrap();
        log.iter().any(|line| line.contains("Unable to AUTH to MASTER")).then_some(())
    });
    assert_eq!(world.until("two", link).1, Link::Down);
    world.tell("one", &Change::Open);
    world.until("two", |observed| (link(observed)?.1 == Link::Up).then_some(()));
    let mut client = world.enter("one", "acme", "demo.tenant").unwrap();
    assert_eq!(client.said(&["SET", "key", "value"]), "OK");
    assert_eq!(client.call(&["WAIT", "1", "20000"]), shoal_control::reply::Reply::Integer(1));
    let Role::Primary { replicas } = world.redis("one").role else { panic!("a primary") };
    assert_eq!(replicas.len(), 1);
    let two = world.see("two").unwrap().address.unwrap();
    assert_eq!(replicas[0].address, two.to_string().parse().unwrap(), "it names its own node's address");
    // Closing the primary cuts the replica off as well.
    world.tell("one", &Change::Close);
    world.until("two", |observed| (link(observed)?.1 == Link::Down).then_some(()));
    world.tell("two", &Change::Primary);
    let says = world.redis("two");
    assert!(matches!(says.role, Role::Primary { .. }));
    assert_eq!(says.keys, 1);
    world.tell("two", &Change::MaxMemory(32 << 20));
    assert_eq!(world.redis("two").maxmemory, 32 << 20);
}

#[test]
fn a_node_that_dies_takes_its_processes_with_it() {
    let mut world = World::new();
    world.start(&plain("a"));
    let mut other = plain("b");
    other.node = node(2);
    world.start(&other);
    world.redis("a");
    world.redis("b");
    world.runtime().take_node_down("n2", "somebody pulled the plug").unwrap();
    world.until("b", |observed| matches!(observed.phase, Phase::Unreachable { .. }).then_some(()));
    let observation = world.runtime().observe().unwrap();
    assert_eq!(observation.nodes_down.len(), 1);
    assert_eq!(observation.nodes_down[0].node, "n2");
    assert!(processes(&world.file("b", "")).is_empty());
    world.redis("a");
    for refused in [world.runtime().start(&other).unwrap_err(), world.stop("b", Data::Remove).unwrap_err()] {
        let is_running = matches!(refused, Refused::NodeDown { .. });
        assert!(is_running && refused.to_string().contains("somebody pulled the plug"), "{refused}");
    }
    world.reopen();
    world.runtime().bring_node_up("n2").unwrap();
    world.until("b", |observed| matches!(observed.phase, Phase::Ended(_)).then_some(()));
    world.start(&other);
    world.redis("b");
}
