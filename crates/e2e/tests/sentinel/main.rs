//! Failovers by real sentinels, under load: every reply is checked by value, nothing goes to an old primary once the switch is
//! known, what was refused does not stand, and the time until writes are taken again is printed.

#![expect(clippy::print_stdout, reason = "the time that a failover took is to be seen")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shoal_e2e::load::StopAtEnd;
use shoal_e2e::raw_client::encode;
use shoal_e2e::sentinel::WATCHED_AS;
use shoal_e2e::{OwnPool, OwnProxy, Proxy as _, RawClient, RedisServer, Watched, Workplace, wait};

mod by_tls;

const WRITERS: usize = 4;
const DOWN_AFTER_MS: u64 = 300;

/// What one writer saw.
#[derive(Default)]
struct Seen {
    taken: u64,
    unknown: u64,
    /// Keys whose writes were not executed, by the word of who refused them.
    refused: Vec<String>,
    longest_gap: Duration,
}

fn start(workplace: &Workplace, watched: &Watched) -> OwnProxy {
    let pool = OwnPool::watched("w", &watched.addrs(), WATCHED_AS).key("timeout", "1000");
    OwnProxy::start(workplace, 2, &[pool])
}

/// Writes new keys and echoes them, checking each reply by value, until told to stop. Who is refused asks on: the round trip is
/// pace enough.
fn write(addr: SocketAddr, own: usize, stop: &AtomicBool, taken: &AtomicU64) -> Seen {
    let mut client = RawClient::connect(addr);
    client.set_deadline(Duration::from_secs(60));
    let (mut seen, mut last_taken) = (Seen::default(), Instant::now());
    let mut number = 0u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let key = format!("{own}-{number}");
        client.send(&[encode(&["SET", &key, "written"]), encode(&["ECHO", &key])].concat());
        let set = client.reply().expect("a reply to SET");
        assert_eq!(
            String::from_utf8_lossy(&client.reply().expect("a reply to ECHO")),
            format!("${}\r\n{key}\r\n", key.len()),
            "a reply for another request"
        );
        let set = String::from_utf8_lossy(&set).into_owned();
        if set == "+OK\r\n" {
            seen.taken += 1;
            seen.longest_gap = seen.longest_gap.max(last_taken.elapsed());
            last_taken = Instant::now();
            taken.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        match set.as_str() {
            text if text.ends_with("whether the request was executed is not known\r\n") => seen.unknown += 1,
            text if text.starts_with("-ERR shard w-0 of pool w ") || text.starts_with("-READONLY") => {
                seen.refused.push(key);
            }
            text => panic!("{text:?} is no reply to SET"),
        }
        // A client that is refused does not ask as fast as it can: four of those leave a machine of two cores no time for the
        // Sentinels, which then fall into TILT and act on nothing for 30 s. Nobody waits for the end of this.
        thread::sleep(Duration::from_millis(1));
    }
    seen
}

/// Writers at work, for the test that watches them.
struct Writers<'s> {
    taken: &'s AtomicU64,
}

impl Writers<'_> {
    /// Waits until so many writes more are taken.
    fn wait_for(&self, more: u64) {
        let until = self.taken.load(Ordering::Relaxed) + more;
        wait::until("writes to be taken", || (self.taken.load(Ordering::Relaxed) > until).then_some(()));
    }
}

/// Runs `meanwhile` while clients write, and prints for how long writes were not taken and what became of all.
fn under_load(what: &str, proxy: &OwnProxy, meanwhile: impl FnOnce(&Writers<'_>)) {
    let addr = proxy.addr("w");
    let (stop, taken) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        let (stop, taken) = (&stop, &taken);
        let threads: Vec<_> =
            (0..WRITERS).map(|own| scope.spawn(move || write(addr, own, stop, taken))).collect();
        let writers = Writers { taken };
        writers.wait_for(200);
        meanwhile(&writers);
        stop.store(true, Ordering::Relaxed);
        let seen: Vec<Seen> = threads.into_iter().map(|thread| thread.join().expect("a writer")).collect();
        let sum = |of: fn(&Seen) -> u64| seen.iter().map(of).sum::<u64>();
        let gap = seen.iter().map(|seen| seen.longest_gap).max().unwrap_or_default();
        println!(
            "{what}: writes resumed after {} ms; {} taken, {} of unknown fate, {} refused",
            gap.as_millis(),
            sum(|seen| seen.taken),
            sum(|seen| seen.unknown),
            sum(|seen| seen.refused.len() as u64)
        );
        let mut client = proxy.client("w");
        for refused in seen.iter().flat_map(|seen| seen.refused.chunks(1000)) {
            let words: Vec<&str> =
                std::iter::once("EXISTS").chain(refused.iter().map(String::as_str)).collect();
            assert_eq!(client.call(&words), b":0\r\n", "what was said not to be executed was");
        }
    });
}

/// A failover under load, which is to lead to this instance.
fn lead(what: &str, proxy: &OwnProxy, to: SocketAddr, failover: impl FnOnce()) {
    under_load(what, proxy, |writers| {
        failover();
        wait_for_primary(proxy, to);
        writers.wait_for(200);
    });
}

fn wait_for_primary(proxy: &OwnProxy, to: SocketAddr) {
    let found = wait::at_most(Duration::from_secs(60), || {
        let (_, shards) = proxy.get("/shards");
        shards.contains(&format!("w w-0 {to} in")).then_some(())
    });
    assert!(found.is_some(), "not led to {to}:\n{}", proxy.log());
}

#[test]
fn a_killed_primary_is_followed_by_its_replica() {
    let workplace = Workplace::new();
    let mut watched = Watched::start(&workplace, DOWN_AFTER_MS);
    let proxy = start(&workplace, &watched);
    let to = watched.instances[1].addr();
    let [old, _] = &mut watched.instances[..] else { panic!("two instances") };
    lead("kill -9", &proxy, to, || old.kill());
}

/// Has `server` count what it is asked from now on.
fn count_anew(server: &RedisServer) {
    server.client().call(&["CONFIG", "RESETSTAT"]);
}

#[test]
fn a_primary_that_hangs_and_comes_back_is_not_written_to_any_more() {
    let workplace = Workplace::new();
    let watched = Watched::start(&workplace, DOWN_AFTER_MS);
    let proxy = start(&workplace, &watched);
    let [old, new] = &watched.instances[..] else { panic!("two instances") };
    under_load("SIGSTOP", &proxy, |writers| {
        old.stop();
        wait_for_primary(&proxy, new.addr());
        // The switch is known to every worker: from now on nothing goes to the old one, which comes back and takes writes
        // until the sentinels make it a replica. What lies in its sockets was sent before, and was cut.
        old.resume();
        count_anew(old);
        old.client().call(&["SET", "own", "1"]);
        writers.wait_for(500);
        let role = String::from_utf8_lossy(&old.client().call(&["ROLE"])).into_owned();
        let (own, clients) = (old.calls("set"), clients_of_proxy(old));
        println!("the old primary, back: {own} SET by the test, {clients} connections, {:?}", &role[..12]);
        assert_eq!((own, clients), (1, 0), "the proxy goes on asking it:\n{}", proxy.log());
    });
    assert_eq!(proxy.metric("shoal_primary_switches_total{pool=\"w\",shard=\"w-0\"}"), 1);
    assert!(proxy.log().contains("nothing more went to the old one"), "{}", proxy.log());
}

/// Connections on which a write was last asked for: the test's own is closed by then, and the follower asks ROLE alone.
fn clients_of_proxy(server: &RedisServer) -> usize {
    let list =
        String::from_utf8_lossy(&server.client().call(&["CLIENT", "LIST", "TYPE", "normal"])).into_owned();
    list.lines().filter(|line| line.contains(" cmd=set")).count()
}

#[test]
fn a_failover_by_order_and_back_again_with_messages_lost() {
    let workplace = Workplace::new();
    let mut watched = Watched::start(&workplace, DOWN_AFTER_MS);
    let proxy = start(&workplace, &watched);
    let [a, b] = [0, 1].map(|place| watched.instances[place].addr());
    lead("SENTINEL FAILOVER", &proxy, b, || {
        assert_eq!(watched.sentinels[0].ask(&["SENTINEL", "FAILOVER", WATCHED_AS]), "+OK\r\n");
    });
    let epoch = |proxy: &OwnProxy| {
        let (_, topology) = proxy.get("/topology");
        let rest = topology.split("\"config_epoch\":").nth(1).expect("a config epoch").trim_start();
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse::<u64>().expect("a number")
    };
    wait::until("the new epoch", || (epoch(&proxy) > 0).then_some(()));
    let known = epoch(&proxy);
    if std::env::var_os("SHOAL_TEST_FULL").is_none() {
        return; // sentinels begin no second failover before twice their failover-timeout
    }
    println!("slow: two failovers, one after the other, as the sentinels allow it");
    // The old primary becomes a replica, and every sentinel knows it.
    for sentinel in &watched.sentinels {
        wait::at_most(Duration::from_secs(30), || {
            let said = sentinel.ask(&["SENTINEL", "REPLICAS", WATCHED_AS]);
            let knows = said.contains("master-link-status\r\n$2\r\nok") && !said.contains("s_down");
            (sentinel.primary() == b && knows).then_some(())
        })
        .expect("the sentinels agree");
    }
    // One sentinel is cut off with what it knows; another one, which is asked, dies as soon as it is done: its message may be
    // lost, the look finds the third.
    watched.sentinels[2].stop();
    watched.instances[1].stop();
    wait_for_primary(&proxy, a);
    // It may be followed before it is named: a sentinel that leads and dies then has its failover given up.
    wait::at_most(Duration::from_secs(30), || (epoch(&proxy) > known).then_some(())).expect("the next epoch");
    watched.sentinels[0].kill();
    let mut client = proxy.client("w");
    assert_eq!(client.call(&["SET", "k", "v"]), b"+OK\r\n");
    // Who comes back with the older epoch is not believed.
    watched.instances[1].resume();
    let looks = || proxy.metric("shoal_sentinel_looks_total{pool=\"w\",shard=\"w-0\"}");
    watched.sentinels[2].resume();
    let then = looks();
    wait::until("some looks more", || (looks() > then + 2).then_some(()));
    assert_eq!(client.call(&["GET", "k"]), b"$1\r\nv\r\n");
    assert!(epoch(&proxy) > known, "{}", proxy.get("/topology").1);
    let (_, shards) = proxy.get("/shards");
    assert!(shards.contains(&format!("w w-0 {a} in")), "{shards}");
}

#[test]
fn without_a_sentinel_the_proxy_starts_and_the_shard_fails_by_name_until_one_answers() {
    let workplace = Workplace::new();
    let primary = RedisServer::start(&workplace, &[]);
    let mut sentinel = shoal_e2e::Sentinel::start(&workplace, primary.addr(), 1, DOWN_AFTER_MS);
    sentinel.kill();
    let pool = OwnPool::watched("w", &[sentinel.addr()], WATCHED_AS);
    let proxy = OwnProxy::start(&workplace, 2, &[pool]);
    let mut client = proxy.client("w");
    client.set_deadline(Duration::from_secs(30));
    let said = String::from_utf8_lossy(&client.call(&["GET", "k"])).into_owned();
    assert!(said.starts_with("-ERR shard w-0 of pool w has no primary at the moment"), "{said}");
    let log = proxy.log();
    assert!(log.contains("none of its sentinels answers") && log.contains("refused"), "{log}");
    let (_, shards) = proxy.get("/shards");
    assert!(shards.contains("w w-0 none unknown: none of its sentinels answers"), "{shards}");
    sentinel.restart();
    wait::until("the shard to serve", || client.call(&["GET", "k"]).starts_with(b"$-1").then_some(()));
    assert_eq!(proxy.post("/reload").0, 200);
    assert_eq!(client.call(&["GET", "k"]), b"$-1\r\n", "a reload keeps what is known");
    // A server that is made a replica under the proxy says so, and nobody else is named.
    let other = RedisServer::start(&workplace, &[]);
    let port = other.addr().port().to_string();
    sentinel.stop();
    primary.client().call(&["REPLICAOF", "127.0.0.1", &port]);
    wait::until("the replica to be left", || {
        let said = String::from_utf8_lossy(&client.call(&["SET", "k", "v"])).into_owned();
        said.contains("has no primary at the moment").then_some(())
    });
    primary.client().call(&["REPLICAOF", "NO", "ONE"]);
    wait::until("the shard to serve", || client.call(&["SET", "k", "v"]).starts_with(b"+OK").then_some(()));
}
