//! The configuration changes while clients are at work: every reply is checked by value, nobody is disconnected.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use shoal_e2e::load::{StopAtEnd, set_and_get};
use shoal_e2e::raw_client::{encode, reply_len};
use shoal_e2e::startup::local;
use shoal_e2e::{OwnPool, OwnProxy, Proxy as _, RawClient, RedisServer, Workplace, ports, wait};

const CLIENTS: usize = 6;
const PIPELINE: usize = 32;
const RELOADS: usize = 12;

fn addrs(servers: &[RedisServer]) -> Vec<SocketAddr> {
    servers.iter().map(RedisServer::addr).collect()
}

/// One storage pool whose keys change with each turn, and a second pool that comes and goes.
fn pools(servers: &[SocketAddr], turn: usize, second: u16) -> Vec<OwnPool> {
    let (timeout, gather) = ((5_000 + turn).to_string(), turn.is_multiple_of(2).to_string());
    let mut pools = vec![OwnPool::storage("first", servers).key("timeout", &timeout).key("gather", &gather)];
    if turn % 3 == 1 {
        pools.push(OwnPool::cache("second", servers).at(second));
    }
    pools
}

#[test]
fn reloads_at_full_load_lose_and_misplace_nothing() {
    let workplace = Workplace::new();
    let servers: Vec<RedisServer> = (0..4).map(|_| RedisServer::start(&workplace, &[])).collect();
    let (addrs, second) = (addrs(&servers), ports::free());
    let mut proxy = OwnProxy::start(&workplace, 2, &pools(&addrs, 0, second));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        let workers: Vec<_> = (0..CLIENTS)
            .map(|own| {
                let (client, stop) = (proxy.client("first"), &stop);
                scope.spawn(move || set_and_get(client, &own.to_string(), PIPELINE, stop))
            })
            .collect();
        for turn in 1..=RELOADS {
            let pools = pools(&addrs, turn, second);
            if turn % 2 == 0 {
                proxy.configure(&pools);
                proxy.process().signal(Signal::HUP);
                let done = format!("reload: {} pools", pools.len());
                let told = |log: &str| {
                    // Lines that are whole; each reload has one.
                    let lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
                    lines.filter(|line| line.contains("reload: ")).nth(turn - 1).map(str::to_owned)
                };
                let line = wait::until("the reload in the log", || told(&proxy.log()));
                assert!(line.contains(&done), "{}", proxy.log());
            } else {
                proxy.reload(&pools);
            }
            let reachable = || RawClient::try_connect(local(second)).is_ok() == (pools.len() == 2);
            wait::until("the second pool to come or go", || reachable().then_some(()));
        }
        stop.store(true, Ordering::Relaxed);
        let rounds: Vec<usize> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        assert!(rounds.iter().all(|&rounds| rounds > 1), "everybody worked: {rounds:?}");
    });
}

#[test]
fn a_key_goes_to_its_new_home_and_a_wrong_file_changes_nothing() {
    let workplace = Workplace::new();
    let servers: Vec<RedisServer> = (0..2).map(|_| RedisServer::start(&workplace, &[])).collect();
    let pool = |index: usize| OwnPool::storage("first", &[servers[index].addr()]);
    let proxy = OwnProxy::start(&workplace, 2, &[pool(0)]);
    let mut client = proxy.client("first");
    assert_eq!(client.call(&["SET", "a", "old"]), b"+OK\r\n");
    proxy.configure(&[pool(1).key("timeuot", "5000")]);
    let (status, refused) = proxy.post("/reload");
    assert!(status == 409 && refused.contains("timeuot"), "{status} {refused}");
    assert_eq!(client.call(&["GET", "a"]), b"$3\r\nold\r\n");
    proxy.reload(&[pool(1)]);
    wait::until("the new server to be asked", || (client.call(&["GET", "a"]) == b"$-1\r\n").then_some(()));
    assert_eq!(client.call(&["SET", "a", "new"]), b"+OK\r\n");
    assert_eq!(servers[0].client().call(&["GET", "a"]), b"$3\r\nold\r\n");
    assert_eq!(reply_len(&servers[1].client().call(&["GET", "a"])), Some(9));
}

#[test]
fn clients_at_work_in_a_pool_that_goes_have_their_replies_and_harm_nobody() {
    const ASKING: usize = 8;
    let workplace = Workplace::new();
    let servers: Vec<RedisServer> = (0..2).map(|_| RedisServer::start(&workplace, &[])).collect();
    let (addrs, second) = (addrs(&servers), ports::free());
    let first = || OwnPool::storage("first", &addrs);
    let goes = OwnPool::cache("second", &addrs).at(second).key("timeout", "60000");
    let proxy = OwnProxy::start(&workplace, 2, &[first(), goes]);
    let mut stays = proxy.client("first");
    assert_eq!(stays.call(&["SET", "a", "x"]), b"+OK\r\n");
    let mut clients: Vec<RawClient> = (0..ASKING).map(|_| RawClient::connect(local(second))).collect();
    let mut uploading = RawClient::connect(local(second));
    for client in clients.iter_mut().chain([&mut uploading]) {
        assert_eq!(client.call(&["PING"]), b"+PONG\r\n");
    }
    servers.iter().for_each(RedisServer::stop);
    let mget = ["MGET", "a", "b", "c", "d", "e", "f", "g", "h"];
    for client in &mut clients {
        client.send(&[encode(&["GET", "a"]), encode(&mget)].concat());
    }
    uploading.send(&encode(&["SET", "large", &"v".repeat(1_000_000)])[..200_000]);
    wait::until("all to have asked", || {
        let (_, page) = proxy.get("/sessions?pool=second");
        let asked = |count: usize| page.matches(&format!("\"outstanding\":{count},")).count();
        (asked(2) == ASKING && asked(1) == 1).then_some(())
    });
    proxy.reload(&[first()]);
    assert_eq!(uploading.until_closed(), b"", "the rest of it is not waited for");
    servers.iter().for_each(RedisServer::resume);
    let expected = format!("$1\r\nx\r\n*8\r\n$1\r\nx\r\n{}", "$-1\r\n".repeat(7));
    for client in &mut clients {
        assert_eq!(String::from_utf8_lossy(&client.until_closed()), expected);
    }
    assert_eq!(stays.call(&["GET", "a"]), b"$1\r\nx\r\n");
    assert!(!proxy.log().contains("panicked"), "{}", proxy.log());
}
