//! Who may enter when, and the rotation of passwords.

use shoal_control::credentials::{PLATFORM, REPLICA};
use shoal_control::reply::Reply;
use shoal_control::runtime::{Access, Change, Gate, Refused, Runtime as _, Says, Silence, User};

use crate::support::{Client, World, plain, users};

#[test]
fn closed_at_start_open_when_told_and_closed_again() {
    let world = World::new();
    world.start(&plain("x"));
    assert_eq!(world.redis("x").gate, Gate::Closed);
    let gated = [("acme", "demo.tenant"), ("shoal-proxy-1", "demo.proxy-1"), (REPLICA, "demo.replica")];
    for (user, credential) in gated {
        let refused = world.enter("x", user, credential).map(drop).unwrap_err();
        assert!(refused.starts_with("WRONGPASS"), "{user}: {refused}");
    }
    let mut nobody = Client::connect(world.see("x").unwrap().address.unwrap());
    assert!(nobody.said(&["PING"]).starts_with("NOAUTH"));
    assert!(nobody.said(&["AUTH", "anything"]).starts_with("WRONGPASS"), "`default` has no password");
    let mut sentinel = world.enter("x", "shoal-sentinel", "demo.sentinel").unwrap();
    assert_eq!(sentinel.said(&["PING"]), "PONG");

    world.tell("x", &Change::Open);
    assert_eq!(world.redis("x").gate, Gate::Open);
    let mut tenant = world.enter("x", "acme", "demo.tenant").unwrap();
    let mut blocked = world.enter("x", "acme", "demo.tenant").unwrap();
    let mut subscriber = world.enter("x", "shoal-proxy-1", "demo.proxy-1").unwrap();
    assert_eq!(tenant.said(&["SET", "key", "1"]), "OK");
    subscriber.call(&["SUBSCRIBE", "news"]);
    // Blocked in a command: it is cut as well, and the element that comes later stays.
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| blocked.said(&["BLPOP", "list", "0"]));
        let mut platform = world.enter("x", PLATFORM, "demo.platform").unwrap();
        crate::support::until("somebody blocks", || {
            platform.said(&["INFO", "clients"]).contains("blocked_clients:1").then_some(())
        });
        world.tell("x", &Change::Close);
        assert_eq!(waits.join().unwrap(), "closed");
        assert_eq!(platform.call(&["RPUSH", "list", "element"]), Reply::Integer(1));
    });
    assert_eq!(world.redis("x").gate, Gate::Closed);
    assert_eq!(tenant.said(&["SET", "key", "2"]), "closed");
    assert_eq!(subscriber.reply(), Reply::Error("closed".to_owned()));
    assert!(world.enter("x", "acme", "demo.tenant").is_err());
    assert_eq!(sentinel.said(&["PING"]), "PONG", "Sentinel stays");
    // Twice is once.
    world.tell("x", &Change::Close);
    world.tell("x", &Change::Open);
    world.tell("x", &Change::Open);
    assert_eq!(world.enter("x", "acme", "demo.tenant").unwrap().said(&["GET", "key"]), "1");
}

#[test]
fn passwords_rotate_without_cutting_anybody() {
    let world = World::new();
    world.start(&plain("x"));
    world.redis("x");
    world.tell("x", &Change::Open);
    let mut before = world.enter("x", "acme", "demo.tenant").unwrap();
    let (old, old_platform) = (world.password("demo.tenant"), world.password("demo.platform"));
    let credentials = world.runtime().credentials();
    for credential in ["demo.tenant", "demo.platform", "demo.replica"] {
        credentials.rotate(credential).unwrap();
    }
    // Told with both passwords: each enters.
    world.tell("x", &Change::Users(users()));
    let address = world.see("x").unwrap().address.unwrap();
    let enters = |user: &str, password: &str| Client::connect(address).said(&["AUTH", user, password]);
    assert_eq!(enters("acme", &old), "OK");
    assert_eq!(enters("acme", &world.password("demo.tenant")), "OK");
    assert_eq!(enters(PLATFORM, &old_platform), "OK");
    for credential in ["demo.tenant", "demo.platform", "demo.replica"] {
        credentials.settle(credential).unwrap();
    }
    world.tell("x", &Change::Users(users()));
    assert!(enters("acme", &old).starts_with("WRONGPASS"));
    assert!(enters(PLATFORM, &old_platform).starts_with("WRONGPASS"));
    assert_eq!(enters("acme", &world.password("demo.tenant")), "OK");
    assert_eq!(before.said(&["PING"]), "PONG", "who was in stays in");
    assert_eq!(world.redis("x").gate, Gate::Open, "the gate stays as it is");
    let mut platform = world.enter("x", PLATFORM, "demo.platform").unwrap();
    let Reply::Array(pair) = platform.call(&["CONFIG", "GET", "masterauth"]) else { panic!("a pair") };
    assert_eq!(pair[1], Reply::Text(world.password("demo.replica")), "it copies by the new password as well");
}

#[test]
fn another_epoch_s_proxies_come_and_the_last_one_s_go() {
    let world = World::new();
    world.start(&plain("x"));
    world.redis("x");
    world.tell("x", &Change::Open);
    let mut last = world.enter("x", "shoal-proxy-1", "demo.proxy-1").unwrap();
    let mut next: Vec<User> = users().into_iter().filter(|user| user.access != Access::Proxy).collect();
    next.push(User {
        name: "shoal-proxy-2".to_owned(),
        credential: "demo.proxy-2".to_owned(),
        access: Access::Proxy,
    });
    world.tell("x", &Change::Users(next));
    assert_eq!(last.said(&["PING"]), "closed");
    assert!(world.enter("x", "shoal-proxy-1", "demo.proxy-1").is_err());
    assert_eq!(world.enter("x", "shoal-proxy-2", "demo.proxy-2").unwrap().said(&["PING"]), "PONG");
    world.tell("x", &Change::Close);
    assert!(world.enter("x", "shoal-proxy-2", "demo.proxy-2").is_err(), "the gate knows the new one");
}

#[test]
fn a_wrong_password_of_the_platform_is_said() {
    let world = World::new();
    world.start(&plain("x"));
    world.redis("x");
    let target = world.target("x");
    // Settled before anybody was told.
    let credentials = world.runtime().credentials();
    credentials.rotate("demo.platform").unwrap();
    credentials.settle("demo.platform").unwrap();
    assert_eq!(world.see("x").unwrap().says, Says::Silent(Silence::WrongPassword));
    let refused = world.runtime().configure(&target, &Change::Open).unwrap_err();
    assert!(matches!(refused, Refused::Answered { .. }), "{refused}");
    assert!(refused.to_string().contains("the platform's password (AUTH): WRONGPASS"), "{refused}");
}
