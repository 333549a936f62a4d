//! A real proxy before real servers, started and told by the runtime. The binary is the one that `make test` names.

use shoal_control::io::local::LocalRuntime;
use shoal_control::reply::Reply;
use shoal_control::runtime::{
    Access, Change, Observed, Phase, Program, ProxySays, ProxyStart, Refused, Runtime as _, Says, Start,
    Target, User,
};
use shoal_topology::{Pool, Topology};

use crate::support::{Client, World, options, plain, process_of};

fn pool(addresses: &[String]) -> Pool {
    let shards: Vec<String> = addresses
        .iter()
        .enumerate()
        .map(|(at, address)| format!(r#"{{"name": "demo-{at}", "primary": "{address}"}}"#))
        .collect();
    let json = format!(
        r#"{{"format": 1, "epoch": 1, "pools": [{{"name": "demo", "mode": "storage", "hash": "fnv1a_64",
            "distribution": "modula", "hash_tag": "{{}}", "shards": [{}]}}]}}"#,
        shards.join(",")
    );
    Topology::from_json(json.as_bytes()).unwrap().pools.remove(0)
}

fn proxy_user(epoch: u64) -> User {
    User {
        name: format!("shoal-proxy-{epoch}"),
        credential: format!("demo.proxy-{epoch}"),
        access: Access::Proxy,
    }
}

fn proxy_of(observed: &Observed) -> Option<ProxySays> {
    match &observed.says {
        Says::Proxy(says) => Some(says.clone()),
        _ => None,
    }
}

#[test]
fn a_proxy_is_started_told_and_adopted() {
    let Some(shoal) = std::env::var_os("SHOAL_BIN") else {
        println!("skipped: SHOAL_BIN names no binary");
        return;
    };
    let mut world = World::closed();
    let open = |world: &World| {
        let mut own = options(world.place.path());
        own.programs.shoal = shoal.clone().into();
        Some(LocalRuntime::open(own).unwrap())
    };
    world.runtime = open(&world);
    let mut addresses = Vec::new();
    for name in ["demo-s0-r0", "demo-s1-r0"] {
        world.start(&plain(name));
        world.redis(name);
        world.tell(name, &Change::Open);
        addresses.push(world.see(name).unwrap().address.unwrap().to_string());
    }
    let tenant =
        User { name: "acme".to_owned(), credential: "demo.tenant".to_owned(), access: Access::Tenant };
    let start = Start {
        users: vec![tenant],
        program: Program::Proxy(Box::new(ProxyStart {
            epoch: 4,
            pool: pool(&addresses),
            upstream: Some(proxy_user(1)),
            workers: Some(1),
            timeout_ms: Some(20_000),
        })),
        ..plain("demo-proxy-0")
    };
    world.start(&start);
    let says = world.until("demo-proxy-0", proxy_of);
    assert_eq!((says.epoch, says.sessions), (4, 0));
    let address = world.see("demo-proxy-0").unwrap().address.unwrap();
    assert!(Client::connect(address).said(&["GET", "key"]).starts_with("NOAUTH"));
    let mut client = Client::connect(address);
    assert_eq!(client.said(&["AUTH", "acme", &world.password("demo.tenant")]), "OK");
    for key in 0..20 {
        assert_eq!(client.said(&["SET", &format!("key:{key}"), "1"]), "OK");
    }
    assert!(world.redis("demo-s0-r0").keys > 0 && world.redis("demo-s1-r0").keys > 0);
    assert_eq!(
        world.until("demo-proxy-0", |o| proxy_of(o).filter(|says| says.sessions == 1)).life,
        says.life
    );
    let pid = process_of(&world, "demo-proxy-0");
    let arguments = String::from_utf8(std::fs::read(format!("/proc/{pid}/cmdline")).unwrap()).unwrap();
    assert!(!arguments.contains(&world.password("demo.tenant")) && arguments.contains("proxy.yml"));

    // Another layout, as another user: clients stay.
    let target = Target {
        name: "demo-proxy-0".to_owned(),
        uid: world.see("demo-proxy-0").unwrap().uid,
        life: says.life.clone(),
    };
    let next = |epoch, addresses: &[String]| Change::Pool {
        epoch,
        pool: Box::new(pool(addresses)),
        upstream: Some(proxy_user(1)),
    };
    world.runtime().configure(&target, &next(5, &addresses[..1])).unwrap();
    assert_eq!(world.until("demo-proxy-0", proxy_of).epoch, 5);
    let before = world.redis("demo-s0-r0").keys;
    for key in 20..40 {
        assert_eq!(client.said(&["SET", &format!("key:{key}"), "1"]), "OK");
    }
    assert_eq!(world.redis("demo-s0-r0").keys, before + 20, "all go to the only shard");
    let refused = world.runtime().configure(&target, &next(4, &addresses)).unwrap_err();
    assert!(refused.to_string().contains("it serves epoch 5, and 4 is older"), "{refused}");
    let other = Target { life: shoal_control::runtime::Life("1-1".to_owned()), ..target.clone() };
    let refused = world.runtime().configure(&other, &next(6, &addresses)).unwrap_err();
    assert!(matches!(refused, Refused::OtherLife { .. }), "{refused}");
    let refused = world.runtime().configure(&target, &Change::Open).unwrap_err();
    assert!(matches!(refused, Refused::Invalid { .. }), "{refused}");

    // The tenant's password rotates at the proxy too.
    let old = world.password("demo.tenant");
    world.runtime().credentials().rotate("demo.tenant").unwrap();
    world.runtime().configure(&target, &Change::Users(start.users.clone())).unwrap();
    for password in [old.clone(), world.password("demo.tenant")] {
        assert_eq!(Client::connect(address).said(&["AUTH", "acme", &password]), "OK");
    }
    world.runtime().credentials().settle("demo.tenant").unwrap();
    world.runtime().configure(&target, &Change::Users(start.users.clone())).unwrap();
    assert!(Client::connect(address).said(&["AUTH", "acme", &old]).starts_with("WRONGPASS"));

    world.runtime = None;
    assert_eq!(client.said(&["SET", "key", "served while control is away"]), "OK");
    world.runtime = open(&world);
    let adopted = world.until("demo-proxy-0", proxy_of);
    assert_eq!((adopted.life, adopted.epoch), (says.life, 5));
    assert_eq!(client.said(&["GET", "key"]), "served while control is away");
    assert!(matches!(client.call(&["PING"]), Reply::Text(_)));
    drop(client);
    world.stop("demo-proxy-0", shoal_control::runtime::Data::Keep).unwrap();
    world.until("demo-proxy-0", |o| matches!(o.phase, Phase::Ended(_)).then_some(()));
}
