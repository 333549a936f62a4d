//! A cache pool of ours: a dead server is left out once a process, its keys go to the others, it returns only when it is
//! fit, and nothing that is no failure counts as one.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use shoal_e2e::raw_client::encode;
use shoal_e2e::sharded::ask;
use shoal_e2e::{Answer, FakeServer, OwnPool, OwnProxy, Proxy, RawClient, Sharded, Workplace, escape, wait};

const VICTIM: usize = 1;
const BY_NAME: &[u8] = b"-ERR shard demo-1 of pool demo ";

/// The statistics of the pool `demo`.
fn stats(proxy: &OwnProxy) -> Value {
    let mut stats: Value = serde_json::from_slice(&proxy.stats()).expect("JSON");
    stats["demo"].take()
}

fn cache(workers: usize, keys: usize, failure_limit: u32, retry_after: u32) -> Sharded {
    Sharded::start(3, workers, keys, |addrs| {
        let eject = format!("{{failure_limit: {failure_limit}, retry_after: {retry_after}}}");
        // With md5 the few and similar keys of a test spread over all servers.
        OwnPool::cache("demo", addrs).key("hash", "md5").key("timeout", "30000").key("eject", &eject)
    })
}

#[test]
fn failures_are_counted_once_a_process_and_the_keys_go_to_the_others() {
    const LIMIT: u64 = 4;
    let mut demo = cache(2, 64, LIMIT as u32, 600_000);
    let lost = demo.keys(VICTIM, true);
    let mut clients = demo.proxy.one_each("demo");
    for client in &mut clients {
        demo.expect(client, &lost);
    }
    demo.servers[VICTIM].kill();
    // Nobody was waiting, so that the connections ended is no failure yet.
    wait::until("both ends are seen", || (stats(&demo.proxy)["demo-1"]["server_eof"] == 2).then_some(()));
    let mut turn = 0;
    wait::until("the ejection", || {
        // In turns, one at a time: the workers' failures add up.
        turn += 1;
        let reply = clients[turn % 2].call(&["GET", &lost[0]]);
        assert!(reply == b"$-1\r\n" || reply.starts_with(BY_NAME), "{}", escape::show(&reply));
        (reply == b"$-1\r\n").then_some(())
    });
    let told = stats(&demo.proxy);
    assert_eq!((&told["server_ejects"], &told["demo-1"]["server_err"]), (&1.into(), &LIMIT.into()));
    assert!(told["demo-1"]["server_ejected_at"].as_u64() > Some(0));
    for client in &mut clients {
        demo.set(client, &lost);
        demo.expect(client, &lost);
    }
    let held = |shard: usize, key: &String| demo.servers[shard].client().call(&["EXISTS", key]) == b":1\r\n";
    assert!(lost.iter().all(|key| held(0, key) != held(2, key)), "each is on one of the others");
    // And those that were elsewhere stayed there.
    demo.expect(&mut clients[0], &demo.keys(VICTIM, false));
}

#[test]
fn a_storm_of_failures_ejects_once() {
    let mut demo = cache(2, 64, 3, 600_000);
    let lost = demo.keys(VICTIM, true);
    demo.servers[VICTIM].kill();
    let storm: Vec<_> = (0..16)
        .map(|_| {
            let (mut client, key) = (demo.client(), lost[0].clone());
            thread::spawn(move || {
                wait::until("the ejection", || (client.call(&["GET", &key]) == b"$-1\r\n").then_some(()));
            })
        })
        .collect();
    storm.into_iter().for_each(|client| client.join().expect("a client"));
    assert_eq!(stats(&demo.proxy)["server_ejects"], 1);
}

#[test]
fn a_server_that_was_ejected_returns_when_it_answers_again() {
    let mut demo = cache(2, 64, 2, 200);
    let lost = demo.keys(VICTIM, true);
    let mut clients = demo.proxy.one_each("demo");
    demo.servers[VICTIM].kill();
    for client in &mut clients {
        wait::until("the ejection", || (client.call(&["GET", &lost[0]]) == b"$-1\r\n").then_some(()));
    }
    wait::until("a probe that fails", || said(&demo.proxy, "shard demo-1 of pool demo stays out: "));
    // It is still out, for all that its time is over.
    for client in &mut clients {
        demo.set(client, &lost);
        demo.expect(client, &lost);
    }
    demo.servers[VICTIM].restart();
    wait::until("the return", || said(&demo.proxy, "shard demo-1 of pool demo is back"));
    for client in &mut clients {
        demo.set(client, &lost);
        demo.expect(client, &lost);
    }
    let mut server = demo.servers[VICTIM].client();
    assert!(lost.iter().all(|key| server.call(&["EXISTS", key]) == b":1\r\n"), "its keys are at home again");
    assert_eq!(stats(&demo.proxy)["server_ejects"], 1);
}

#[test]
fn a_server_that_is_not_fit_stays_out_and_the_log_says_why() {
    let workplace = Workplace::new();
    let states = [
        ("loading", "-LOADING Redis is loading the dataset in memory\r\n", "LOADING"),
        ("loads", &info("loading:1\r\nrole:master\r\n"), "it is loading its data"),
        ("replica", &info("loading:0\r\nrole:slave\r\n"), "it is a replica"),
        ("noauth", "-NOAUTH Authentication required.\r\n", "NOAUTH"),
        ("behind", "-MASTERDOWN Link with MASTER is down\r\n", "MASTERDOWN"),
        ("strange", ":1\r\n", "it answers "),
    ];
    let servers: Vec<_> = states
        .iter()
        .map(|_| [FakeServer::start(Answer::Close), FakeServer::start(Answer::index(1))])
        .collect();
    let pools: Vec<_> = states
        .iter()
        .zip(&servers)
        .map(|((name, ..), [first, second])| {
            OwnPool::cache(name, &[first.addr(), second.addr()])
                .key("hash", "md5")
                .key("eject", "{failure_limit: 1, retry_after: 100, empty_on_return: false}")
        })
        .collect();
    let proxy = OwnProxy::start(&workplace, 2, &pools);
    for ((name, answer, _), [first, second]) in states.iter().zip(&servers) {
        // A key of the first server: the one that it fails to answer.
        let mut client = proxy.client(name);
        let failed = (0..100).find(|i| client.call(&["GET", &format!("k{i}")]).starts_with(b"-"));
        assert!(failed.is_some(), "no key of pool {name} is on its first server");
        second.set_answer(Answer::index(2));
        first.set_answer(Answer::Bytes((*answer).into()));
    }
    for (name, _, why) in &states {
        wait::until(&format!("pool {name}: {why}"), || {
            said(&proxy, &format!("shard {name}-0 of pool {name} stays out: {why}"))
        });
        let mut client = proxy.client(name);
        for i in 0..100 {
            assert_eq!(client.call(&["GET", &format!("k{i}")]), b"$2\r\n02\r\n", "pool {name}");
        }
        assert!(said(&proxy, &format!("pool {name} is back")).is_none());
    }
    let fit = info("loading:0\r\nrole:master\r\n");
    for ((name, ..), [first, _]) in states.iter().zip(&servers) {
        first.set_answer(Answer::Bytes(fit.clone().into_bytes()));
        wait::until("the return", || said(&proxy, &format!("shard {name}-0 of pool {name} is back")));
        let mut client = proxy.client(name);
        wait::until("keys of it", || {
            let replies = (0..100).map(|i| client.call(&["GET", &format!("k{i}")]));
            replies.into_iter().any(|reply| reply == fit.as_bytes()).then_some(())
        });
    }
}

fn info(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn said(proxy: &OwnProxy, what: &str) -> Option<()> {
    proxy.log().contains(what).then_some(())
}

#[test]
fn an_idle_connection_that_the_server_closes_is_no_failure() {
    let demo = cache(2, 64, 1, 600_000);
    let keys: Vec<String> = demo.homes.keys().cloned().collect();
    let mut clients = demo.proxy.one_each("demo");
    let ends = |proxy: &OwnProxy| -> u64 {
        let stats = stats(proxy);
        (0..3).filter_map(|shard| stats[format!("demo-{shard}")]["server_eof"].as_u64()).sum()
    };
    let all_used =
        |clients: &mut [RawClient; 2]| clients.iter_mut().for_each(|client| demo.expect(client, &keys));
    let mut seen = ends(&demo.proxy);
    for _ in 0..3 {
        all_used(&mut clients);
        for server in &demo.servers {
            assert_eq!(server.client().call(&["CLIENT", "KILL", "TYPE", "normal"]), b":2\r\n");
        }
        wait::until("all ends are seen", || (ends(&demo.proxy) == seen + 6).then_some(()));
        seen += 6;
    }
    all_used(&mut clients);
    // The server's own `timeout`, in seconds.
    for server in &demo.servers {
        assert_eq!(server.client().call(&["CONFIG", "SET", "timeout", "1"]), b"+OK\r\n");
    }
    wait::until("all ends are seen", || (ends(&demo.proxy) == seen + 6).then_some(()));
    all_used(&mut clients);
    let stats = stats(&demo.proxy);
    assert_eq!((&stats["server_ejects"], &stats["forward_error"]), (&0.into(), &0.into()));
}

#[test]
fn a_neighbour_whose_write_finds_no_memory_harms_nobody() {
    let demo = cache(1, 64, 1, 600_000);
    let keys = demo.keys(VICTIM, true);
    let before = stats(&demo.proxy);
    assert_eq!(demo.servers[VICTIM].client().call(&["CONFIG", "SET", "maxmemory", "1"]), b"+OK\r\n");
    let (mut writer, mut reader) = (demo.client(), demo.client());
    for _ in 0..20 {
        ask(&mut reader, &keys);
        writer.send(&keys.iter().flat_map(|key| encode(&["APPEND", key, "x"])).collect::<Vec<_>>());
        for key in &keys {
            reader.expect(&shoal_e2e::sharded::value(key));
            let reply = writer.reply().expect("the server's own words");
            assert!(reply.starts_with(b"-OOM command not allowed"), "{}", escape::show(&reply));
        }
    }
    unharmed(&before, &stats(&demo.proxy));
}

#[test]
fn answers_of_a_server_that_cannot_serve_are_passed_on() {
    let workplace = Workplace::new();
    let server = FakeServer::start(Answer::index(0));
    let pool =
        OwnPool::cache("demo", &[server.addr()]).key("eject", "{failure_limit: 1, retry_after: 600000}");
    let proxy = OwnProxy::start(&workplace, 1, &[pool]);
    let (mut one, mut other) = (proxy.client("demo"), proxy.client("demo"));
    assert_eq!(one.call(&["GET", "a"]), b"$2\r\n00\r\n");
    let before = stats(&proxy);
    for error in [
        "-LOADING Redis is loading the dataset in memory\r\n",
        "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n",
        "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
        "-MISCONF Redis is configured to save RDB snapshots.\r\n",
        "-READONLY You can't write against a read only replica.\r\n",
        "-NOAUTH Authentication required.\r\n",
    ] {
        server.set_answer(Answer::Bytes(error.into()));
        for client in [&mut one, &mut other] {
            client.send(&encode(&["SET", "a", "1"]).repeat(10));
            client.expect(&error.as_bytes().repeat(10));
        }
    }
    server.set_answer(Answer::index(0));
    assert_eq!(other.call(&["GET", "a"]), b"$2\r\n00\r\n");
    unharmed(&before, &stats(&proxy));
}

#[test]
fn a_server_that_is_slow_within_the_time_limit_harms_nobody() {
    let demo = cache(1, 64, 1, 600_000);
    let (slow, others) = (demo.keys(VICTIM, true), demo.keys(VICTIM, false));
    let before = stats(&demo.proxy);
    let (mut waiting, mut free) = (demo.client(), demo.client());
    demo.servers[VICTIM].stop();
    ask(&mut waiting, &slow);
    demo.expect(&mut free, &others);
    waiting.set_deadline(Duration::from_millis(1));
    assert!(waiting.reply().is_err(), "the server was not stopped");
    waiting.set_deadline(wait::DEADLINE);
    demo.servers[VICTIM].resume();
    for key in &slow {
        waiting.expect(&shoal_e2e::sharded::value(key));
    }
    unharmed(&before, &stats(&demo.proxy));
}

/// No connection ended, nobody was ejected, no error was made up.
#[track_caller]
fn unharmed(before: &Value, after: &Value) {
    for field in ["server_ejects", "forward_error", "client_err"] {
        assert_eq!(before[field], after[field], "{field}");
    }
    for (name, server) in after.as_object().expect("a pool").iter().filter(|(_, value)| value.is_object()) {
        for field in ["server_eof", "server_err", "server_timedout", "server_connections"] {
            assert_eq!(before[name][field], server[field], "{field} of {name}");
        }
    }
}

#[test]
fn a_dead_shard_fails_an_mget_by_name_and_keeps_the_session() {
    let mut demo = cache(1, 64, 1000, 600_000);
    let (lost, others) = (demo.keys(VICTIM, true), demo.keys(VICTIM, false));
    demo.servers[VICTIM].kill();
    let mut client = demo.client();
    let mget = |keys: &[String]| encode(&[&["MGET".to_owned()], keys].concat());
    let mixed = [&lost[..2], &others[..2]].concat();
    for _ in 0..3 {
        client.send(&[mget(&mixed), encode(&["PING"])].concat());
        let reply = client.reply().expect("an error");
        assert!(reply.starts_with(BY_NAME), "{}", escape::show(&reply));
        client.expect(b"+PONG\r\n");
        demo.expect(&mut client, &others);
    }
}

#[test]
fn when_all_are_ejected_each_key_fails_at_once_and_says_so() {
    let workplace = Workplace::new();
    let dead: Vec<SocketAddr> = (0..2).map(|_| ([127, 0, 0, 1], shoal_e2e::ports::free()).into()).collect();
    let pool = OwnPool::cache("demo", &dead).key("eject", "{failure_limit: 1, retry_after: 600000}");
    let proxy = OwnProxy::start(&workplace, 1, &[pool]);
    let mut client = proxy.client("demo");
    wait::until("both are ejected", || {
        let replies = ["a", "b", "c", "d", "e"].map(|key| client.call(&["GET", key]));
        let all = b"-ERR all shards of pool demo are ejected\r\n";
        assert!(replies.iter().all(|reply| reply.starts_with(b"-ERR ")));
        replies.iter().all(|reply| reply == all).then_some(())
    });
    assert_eq!(client.call(&["MGET", "a", "b"]), b"-ERR all shards of pool demo are ejected\r\n");
    assert_eq!(client.call(&["PING"]), b"+PONG\r\n");
    assert_eq!(stats(&proxy)["server_ejects"], 2);
}
