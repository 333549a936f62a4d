//! A shard that returns to a cache pool of ours: nothing stale is served, it is emptied once if it must be, and not at all if
//! somebody kept using it. Two proxies with two workers each, real servers, a link that is cut and healed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shoal_e2e::load::StopAtEnd;
use shoal_e2e::{
    Config, Link, OwnPool, OwnProxy, Pool, Proxy, RawClient, RedisServer, ShoalProxy, Workplace, escape, wait,
};

/// The shard that is lost and returns.
const VICTIM: usize = 1;
const NAME: &str = "demo-1 of pool demo";
const NIL: &[u8] = b"$-1\r\n";
const RETRY_AFTER: &str = "{failure_limit: 1, retry_after: 300}";

/// Two proxies over the same three servers; the first reaches the victim by a link that can be cut.
struct Two {
    a: OwnProxy,
    b: OwnProxy,
    link: Link,
    servers: Vec<RedisServer>,
    /// The home of each of the keys `k0` to `k47`.
    homes: BTreeMap<String, usize>,
    _workplace: Workplace,
}

impl Two {
    fn start(eject_of_a: &str, eject_of_b: &str) -> Self {
        let workplace = Workplace::new();
        let servers: Vec<_> = (0..3).map(|_| RedisServer::start(&workplace, &[])).collect();
        let link = Link::to(servers[VICTIM].addr());
        let direct: Vec<_> = servers.iter().map(RedisServer::addr).collect();
        let mut linked = direct.clone();
        linked[VICTIM] = link.addr();
        let proxy = |addrs: &[_], eject: &str| {
            // With md5 the few and similar keys of a test spread over all servers.
            let pool =
                OwnPool::cache("demo", addrs).key("hash", "md5").key("timeout", "200").key("eject", eject);
            OwnProxy::start(&workplace, 2, &[pool])
        };
        let (a, b) = (proxy(&linked, eject_of_a), proxy(&direct, eject_of_b));
        let mut two = Self { a, b, link, servers, homes: BTreeMap::new(), _workplace: workplace };
        let keys: Vec<String> = (0..48).map(|number| format!("k{number}")).collect();
        for client in &mut two.clients() {
            set_all(client, &keys, "old");
        }
        for (index, server) in two.servers.iter().enumerate() {
            let mut client = server.client();
            let here = keys.iter().filter(|key| client.call(&["EXISTS", key]) == b":1\r\n");
            two.homes.extend(here.map(|key| (key.clone(), index)));
        }
        assert_eq!(two.homes.len(), keys.len());
        two
    }

    /// A client of each worker of each proxy; those of `a` first.
    fn clients(&self) -> Vec<RawClient> {
        [self.a.one_each("demo"), self.b.one_each("demo")].into_iter().flatten().collect()
    }

    /// The keys at home on the victim.
    fn lost(&self) -> Vec<String> {
        self.homes.iter().filter(|(_, home)| **home == VICTIM).map(|(key, _)| key.clone()).collect()
    }

    fn victim(&self) -> &RedisServer {
        &self.servers[VICTIM]
    }

    fn calls(&self, command: &str) -> u64 {
        self.victim().calls(command)
    }
}

fn value(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

#[track_caller]
fn set_all(client: &mut RawClient, keys: &[String], text: &str) {
    for key in keys {
        assert_eq!(client.call(&["SET", key, text]), b"+OK\r\n", "{key}");
    }
}

#[track_caller]
fn expect_all(client: &mut RawClient, keys: &[String], reply: &[u8]) {
    for key in keys {
        let got = client.call(&["GET", key]);
        assert_eq!(got, reply, "{key}: {}", escape::show(&got));
    }
}

/// Asks for `key` until its shard is out, which shows by another answer than an error or what it holds.
fn until_out(client: &mut RawClient, key: &str, held: &str) {
    wait::until("the ejection", || {
        let reply = client.call(&["GET", key]);
        (!reply.starts_with(b"-") && reply != value(held)).then_some(())
    });
}

fn until_said(proxy: &OwnProxy, what: &str) {
    wait::until(&format!("the log says: {what}"), || proxy.log().contains(what).then_some(()));
}

fn said(proxy: &OwnProxy, what: &str) -> usize {
    proxy.log().matches(what).count()
}

#[test]
fn who_never_lost_its_link_keeps_its_keys_and_who_did_serves_nothing_stale() {
    let two = Two::start(RETRY_AFTER, RETRY_AFTER);
    let lost = two.lost();
    let (by_a, by_b) = lost.split_at(lost.len() / 2);
    let (deleted, overwritten) = by_a.split_at(2);
    let mut clients = two.clients();
    set_all(&mut clients[2], by_b, "b's before the cut");
    two.link.cut();
    for client in &mut clients[..2] {
        until_out(client, &by_a[0], "old");
    }
    for (turn, key) in overwritten.iter().enumerate() {
        assert_eq!(clients[turn % 2].call(&["SET", key, "new"]), b"+OK\r\n");
    }
    for key in deleted {
        assert_eq!(
            clients[1].call(&["DEL", key]),
            b":0\r\n",
            "it was not there, and must not be there again"
        );
    }
    let (first, second) = by_b.split_at(by_b.len() / 2);
    set_all(&mut clients[3], second, "b's in the cut");
    two.link.heal();
    until_said(&two.a, &format!("{NAME} is back: not emptied, since another proxy kept using it"));
    for client in &mut clients {
        expect_all(client, by_a, NIL);
        expect_all(client, first, &value("b's before the cut"));
        expect_all(client, second, &value("b's in the cut"));
    }
    assert_eq!(two.calls("flushdb"), 0);
    // What was written elsewhere is not there any more: the next ejection finds nothing stale.
    for server in [0, 2] {
        let mut server = two.servers[server].client();
        assert!(lost.iter().all(|key| server.call(&["EXISTS", key]) == b":0\r\n"));
    }
    set_all(&mut clients[0], overwritten, "newer");
    two.link.cut();
    for client in &mut clients[..2] {
        until_out(client, &overwritten[0], "newer");
        expect_all(client, overwritten, NIL);
    }
}

#[test]
fn no_reader_ever_goes_back_in_time_while_a_link_is_cut_and_healed_again_and_again() {
    println!("slow: a link is cut and healed three times under load");
    let two = Two::start(RETRY_AFTER, RETRY_AFTER);
    let lost = two.lost();
    let keys = &lost[..4];
    let kept: Vec<String> = lost[4..].to_vec();
    let mut of_b = two.b.one_each("demo");
    set_all(&mut of_b[0], &kept, "b's own");
    let answered: Vec<AtomicU64> = keys.iter().map(|_| AtomicU64::new(0)).collect();
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        let [mut writer, mut reader] = two.a.one_each("demo");
        let (answered, stop, reads) = (&answered, &stop, &reads);
        scope.spawn(move || {
            // From 1 on: what was there before is no number.
            for number in 1.. {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                let place = number as usize % keys.len();
                // Where the fate of a write is unknown, it may be read or not.
                if writer.call(&["SET", &keys[place], &number.to_string()]) == b"+OK\r\n" {
                    answered[place].store(number, Ordering::Release);
                }
            }
        });
        scope.spawn(move || {
            for turn in 0.. {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                let place = turn % keys.len();
                let least = answered[place].load(Ordering::Acquire);
                let reply = reader.call(&["GET", &keys[place]]);
                if reply.starts_with(b"-") || reply == NIL || least == 0 {
                    continue;
                }
                let text = String::from_utf8_lossy(&reply).into_owned();
                let number: u64 = text.split("\r\n").nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
                assert!(number >= least, "{} was {least} and is {text:?} again", keys[place]);
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        for round in 1..=3 {
            two.link.cut();
            wait::until("the ejection", || (ejections(&two.a) == round).then_some(()));
            let before = reads.load(Ordering::Relaxed);
            wait::until("reads elsewhere", || (reads.load(Ordering::Relaxed) > before + 200).then_some(()));
            two.link.heal();
            let back = format!("{NAME} is back: not emptied");
            wait::until("the return", || (said(&two.a, &back) as u64 == round).then_some(()));
            let before = reads.load(Ordering::Relaxed);
            wait::until("reads at home", || (reads.load(Ordering::Relaxed) > before + 200).then_some(()));
        }
    });
    expect_all(&mut of_b[1], &kept, &value("b's own"));
    assert_eq!(two.calls("flushdb"), 0);
}

fn ejections(proxy: &OwnProxy) -> u64 {
    let stats: serde_json::Value = serde_json::from_slice(&proxy.stats()).expect("JSON");
    stats["demo"]["server_ejects"].as_u64().expect("a number")
}

#[test]
fn a_server_that_hung_is_emptied_once_though_two_proxies_return() {
    let two = Two::start(RETRY_AFTER, RETRY_AFTER);
    let lost = two.lost();
    let mut clients = two.clients();
    two.victim().stop();
    for client in &mut clients {
        until_out(client, &lost[0], "old");
    }
    let (of_a, of_b) = lost.split_at(lost.len() / 2);
    set_all(&mut clients[1], of_a, "a's");
    set_all(&mut clients[3], of_b, "b's");
    two.victim().resume();
    for proxy in [&two.a, &two.b] {
        until_said(proxy, &format!("{NAME} is back: "));
    }
    for client in &mut clients {
        expect_all(client, &lost, NIL);
    }
    assert_eq!(two.calls("flushdb"), 1);
    let emptied = said(&two.a, "is back: emptied") + said(&two.b, "is back: emptied");
    assert_eq!(emptied, 1);
    let metrics = [&two.a, &two.b].map(|proxy| proxy.get("/metrics").1);
    let counted = "shoal_shard_emptied_total{pool=\"demo\",shard=\"demo-1\"} 1";
    assert_eq!(metrics.iter().filter(|text| text.contains(counted)).count(), 1);
}

#[test]
fn a_server_that_started_with_an_old_file_is_emptied_once() {
    let mut two = Two::start(RETRY_AFTER, RETRY_AFTER);
    let lost = two.lost();
    let mut clients = two.clients();
    assert_eq!(two.victim().client().call(&["SAVE"]), b"+OK\r\n");
    set_all(&mut clients[0], &lost, "newer than the file");
    two.servers[VICTIM].kill();
    for client in &mut clients {
        until_out(client, &lost[0], "old");
    }
    two.servers[VICTIM].restart();
    for proxy in [&two.a, &two.b] {
        until_said(proxy, &format!("{NAME} is back: "));
    }
    for client in &mut clients {
        expect_all(client, &lost, NIL);
    }
    assert_eq!(two.calls("flushdb"), 1);
}

#[test]
fn a_server_that_started_empty_is_not_emptied_of_what_others_filled_it_with() {
    println!("slow: Redis counts its uptime in seconds");
    let mut two = Two::start("{failure_limit: 1, retry_after: 5000}", RETRY_AFTER);
    let lost = two.lost();
    let mut clients = two.clients();
    two.servers[VICTIM].kill();
    for client in &mut clients {
        until_out(client, &lost[0], "old");
    }
    let ejected = Instant::now();
    wait::until("a start that is clearly later", || {
        (ejected.elapsed() > Duration::from_secs(2)).then_some(())
    });
    two.servers[VICTIM].restart();
    until_said(&two.b, &format!("{NAME} is back: it held nothing"));
    set_all(&mut clients[2], &lost, "b's");
    until_said(&two.a, &format!("{NAME} is back: not emptied, since it started empty after it was lost"));
    for client in &mut clients {
        expect_all(client, &lost, &value("b's"));
    }
    assert_eq!(two.calls("flushdb"), 0);
}

#[test]
fn without_the_right_it_stays_out_and_says_so_until_the_right_is_given() {
    let two = Two::start(RETRY_AFTER, RETRY_AFTER);
    let lost = two.lost();
    let [mut client, _] = two.a.one_each("demo");
    let mut admin = two.victim().client();
    assert_eq!(admin.call(&["ACL", "SETUSER", "default", "-flushdb"]), b"+OK\r\n");
    hang(&two, &mut client, &lost[0]);
    set_all(&mut client, &lost, "new");
    two.victim().resume();
    until_said(&two.a, &format!("{NAME} stays out: NOPERM"));
    assert_eq!(said(&two.a, "POST /return/demo/demo-1 on the admin port"), 1, "what to do is said once");
    let gauge = "shoal_shard_held_back{pool=\"demo\",shard=\"demo-1\"} 1";
    wait::until("the metric", || two.a.get("/metrics").1.contains(gauge).then_some(()));
    assert!(two.a.get("/shards").1.contains("demo demo-1") && two.a.get("/shards").1.contains("held back"));
    expect_all(&mut client, &lost, &value("new"));
    let mut admin = two.victim().client();
    assert_eq!(admin.call(&["ACL", "SETUSER", "default", "+flushdb"]), b"+OK\r\n");
    until_said(&two.a, &format!("{NAME} is back: emptied"));
    expect_all(&mut client, &lost, NIL);
    assert!(!two.a.get("/metrics").1.contains(gauge));
}

#[test]
fn a_person_may_let_it_in_as_it_is_and_still_nothing_is_stale() {
    let two = Two::start(RETRY_AFTER, "{failure_limit: 1000, retry_after: 300}");
    let lost = two.lost();
    let (written, untouched) = lost.split_at(lost.len() / 2);
    let [mut client, _] = two.a.one_each("demo");
    let mut admin = two.victim().client();
    assert_eq!(admin.call(&["ACL", "SETUSER", "default", "-flushdb"]), b"+OK\r\n");
    hang(&two, &mut client, &lost[0]);
    set_all(&mut client, written, "new");
    two.victim().resume();
    until_said(&two.a, &format!("{NAME} stays out: NOPERM"));
    assert_eq!(two.a.post("/return/demo/nobody").0, 404);
    assert_eq!(two.a.post("/return/demo/demo-0").0, 409);
    assert_eq!(two.a.post("/return/demo/demo-1").0, 202);
    until_said(&two.a, &format!("{NAME} is back: with what it holds"));
    expect_all(&mut client, written, NIL);
    expect_all(&mut client, untouched, &value("old"));
}

/// Hangs the victim and waits until the first proxy has ejected it. The connections of the second, which would show that it
/// kept using the server, end.
fn hang(two: &Two, client: &mut RawClient, key: &str) {
    let mut admin = two.victim().client();
    admin.call(&["CLIENT", "KILL", "TYPE", "normal"]);
    two.victim().stop();
    until_out(client, key, "old");
}

#[test]
fn where_keys_fail_rather_than_move_nothing_is_written_elsewhere_and_nothing_emptied() {
    let fail = "{failure_limit: 1, retry_after: 300, keys: fail}";
    let two = Two::start(fail, fail);
    let (lost, others) = {
        let (lost, others): (Vec<_>, Vec<_>) = two.homes.iter().partition(|(_, home)| **home == VICTIM);
        let names =
            |all: Vec<(&String, &usize)>| all.into_iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
        (names(lost), names(others))
    };
    let mut clients = two.a.one_each("demo");
    two.link.cut();
    let ejected = format!("-ERR shard {NAME} is ejected\r\n").into_bytes();
    for client in &mut clients {
        wait::until("the ejection", || (client.call(&["GET", &lost[0]]) == ejected).then_some(()));
        for key in &lost {
            assert_eq!(client.call(&["SET", key, "new"]), ejected);
        }
        assert_eq!(client.call(&["MGET", &others[0], &lost[0]]), ejected);
        expect_all(client, &others, &value("old"));
    }
    two.link.heal();
    until_said(&two.a, &format!("{NAME} is back"));
    for client in &mut clients {
        expect_all(client, &lost, &value("old"));
    }
    assert_eq!(two.calls("flushdb") + two.calls("unlink") + two.calls("client|setname"), 0);
}

#[test]
fn as_nutcracker_nothing_is_emptied_and_connections_have_no_names() {
    let workplace = Workplace::new();
    let servers: Vec<_> = (0..2).map(|_| RedisServer::start(&workplace, &[])).collect();
    let lines = servers.iter().enumerate().map(|(index, server)| format!("{}:1 s{index}", server.addr()));
    let pool = Pool::new("demo", lines.collect())
        .key("hash", "md5")
        .key("distribution", "ketama")
        .key("timeout", "200")
        .key("auto_eject_hosts", "true")
        .key("server_failure_limit", "1")
        .key("server_retry_timeout", "300");
    let proxy = ShoalProxy::start(&workplace, &Config::of(pool));
    let mut client = proxy.client("demo");
    let keys: Vec<String> = (0..16).map(|number| format!("k{number}")).collect();
    set_all(&mut client, &keys, "old");
    let key = keys.iter().find(|key| servers[0].client().call(&["EXISTS", key]) == b":1\r\n").expect("a key");
    servers[0].stop();
    until_out(&mut client, key, "old");
    assert_eq!(client.call(&["SET", key, "new"]), b"+OK\r\n");
    servers[0].resume();
    wait::until("Twemproxy's way", || (client.call(&["GET", key]) == value("old")).then_some(()));
    assert_eq!(
        servers[0].calls("flushdb") + servers[0].calls("unlink") + servers[0].calls("client|setname"),
        0
    );
}
