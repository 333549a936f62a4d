//! Real Sentinels over real Redis, with the users that they get.

use std::time::Duration;

use rustix::process::Signal;
use shoal_control::credentials::SENTINEL;
use shoal_control::runtime::{
    Access, Change, Data, Link, Monitor, Phase, Program, Role, Runtime as _, Says, SentinelStart, Start,
    Stop, User,
};
use shoal_topology::Endpoint;

use crate::support::{World, kill, node, plain, process_of, redis_of, until};

fn sentinel(name: &str, at: u8, monitors: Vec<Monitor>) -> Start {
    Start {
        node: node(at),
        program: Program::Sentinel(SentinelStart { version: None, monitors }),
        users: vec![
            User {
                name: "shoal-platform".to_owned(),
                credential: "watch.platform".to_owned(),
                access: Access::Platform,
            },
            User {
                name: SENTINEL.to_owned(),
                credential: "watch.sentinel".to_owned(),
                access: Access::Sentinel,
            },
        ],
        ..plain(name)
    }
}

fn monitor(primary: Endpoint) -> Monitor {
    Monitor {
        name: "demo-s0".to_owned(),
        primary,
        quorum: 2,
        down_after_ms: 1000,
        failover_timeout_ms: 10_000,
        parallel_syncs: 1,
        user: User {
            name: SENTINEL.to_owned(),
            credential: "demo.sentinel".to_owned(),
            access: Access::Sentinel,
        },
    }
}

fn endpoint(world: &World, name: &str) -> Endpoint {
    let address = world.see(name).unwrap().address.unwrap();
    Endpoint::Tcp { host: address.ip().to_string(), port: address.port() }
}

#[test]
fn three_sentinels_agree_by_their_own_user_and_fail_over() {
    println!("slow: a failover of Sentinel's takes its time");
    let mut world = World::new();
    world.start(&plain("one"));
    world.start(&Start { node: node(2), ..plain("two") });
    world.redis("one");
    world.redis("two");
    let (one, two) = (endpoint(&world, "one"), endpoint(&world, "two"));
    world.tell("two", &Change::ReplicaOf(one.clone()));
    world.tell("one", &Change::Open);
    world.tell("two", &Change::Open);
    let role = |name: &str| match &world.redis(name).role {
        Role::Replica { of, link } => Some((of.clone(), *link)),
        Role::Primary { .. } => None,
    };
    until("the replica follows", || (role("two")?.1 == Link::Up).then_some(()));
    // Two know it from their start, one is told.
    world.start(&sentinel("sent-0", 1, vec![monitor(one.clone())]));
    world.start(&sentinel("sent-1", 2, vec![monitor(one.clone())]));
    world.start(&sentinel("sent-2", 3, vec![]));
    let watched = |name: &str| {
        world.until(name, |observed| match &observed.says {
            Says::Sentinel(says) => Some(says.clone()),
            _ => None,
        })
    };
    assert!(watched("sent-2").watches.is_empty());
    world.tell("sent-2", &Change::Monitor(monitor(one.clone())));
    world.tell("sent-2", &Change::Monitor(monitor(one.clone())));
    for name in ["sent-0", "sent-1", "sent-2"] {
        until("each knows the others and the replica", || {
            let says = watched(name);
            let watch = says.watches.first()?;
            (watch.up && watch.sentinels == 3 && watch.replicas == 1 && watch.primary == one).then_some(())
        });
    }
    let own = || std::fs::read_to_string(world.file("sent-0", "sentinel.conf")).unwrap();
    assert!(own().contains("known-sentinel"), "{}", own());

    kill(process_of(&world, "one"), Signal::KILL);
    until("the replica is promoted by the Sentinels", || role("two").is_none().then_some(()));
    for name in ["sent-0", "sent-1", "sent-2"] {
        until("each names the new one", || (watched(name).watches.first()?.primary == two).then_some(()));
    }
    // CONFIG REWRITE did not fail: what Sentinel made it is remembered over a restart.
    let log = std::fs::read_to_string(world.file("two", "log")).unwrap();
    assert!(log.contains("CONFIG REWRITE executed with success"), "{log}");

    // Restarted, a Sentinel remembers what it found out, and control did not overwrite it.
    let uid = world.see("sent-0").unwrap().uid;
    let stop = Stop { grace: Duration::from_secs(20), data: Data::Keep };
    world.runtime().stop("sent-0", &uid, stop).unwrap();
    world.until("sent-0", |observed| matches!(observed.phase, Phase::Ended(_)).then_some(()));
    world.start(&sentinel("sent-0", 1, vec![monitor(one.clone())]));
    assert_eq!(watched("sent-0").watches[0].primary, two);

    // The old primary returns closed; Sentinel, whose user is on, makes it a replica.
    world.start(&plain("one"));
    world.until("one", |observed| match &redis_of(observed)?.role {
        Role::Replica { of, .. } => (*of == two).then_some(()),
        Role::Primary { .. } => None,
    });
    world.tell("sent-1", &Change::Unmonitor("demo-s0".to_owned()));
    world.tell("sent-1", &Change::Unmonitor("demo-s0".to_owned()));
    assert!(watched("sent-1").watches.is_empty());
    world.reopen();
    assert!(matches!(world.see("sent-1").unwrap().says, Says::Sentinel(_)), "adopted");
}
