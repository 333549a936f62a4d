//! Failovers by real sentinels, under load: every reply is checked by value, nothing goes to an old primary once the switch is
//! known, and the time until writes are taken again is printed.

#![expect(clippy::print_stdout, reason = "the time that a failover took is to be seen")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shoal_e2e::sentinel::WATCHED_AS;
use shoal_e2e::{OwnPool, OwnProxy, Proxy as _, RawClient, RedisServer, Watched, Workplace, wait};

mod by_tls;

const WRITERS: usize = 4;
const DOWN_AFTER_MS: u64 = 300;

/// When a write was last taken, in microseconds since `began`; and how many were.
struct Progress {
    began: Instant,
    taken: AtomicU64,
    last: AtomicU64,
}

/// What one writer saw.
#[derive(Default)]
struct Seen {
    taken: u64,
    unknown: u64,
    refused: u64,
    longest_gap: Duration,
}

fn start(workplace: &Workplace, watched: &Watched) -> OwnProxy {
    let pool = OwnPool::watched("w", &watched.addrs(), WATCHED_AS).key("timeout", "1000");
    OwnProxy::start(workplace, 2, &[pool])
}

/// Writes numbered values and echoes them, checking each reply by value, until told to stop. What was sent and failed may or
/// may not stand; what was not executed by the proxy's own word must not.
fn write(addr: SocketAddr, own: usize, stop: &AtomicBool, progress: &Progress) -> Seen {
    let mut client = RawClient::connect(addr);
    client.set_deadline(Duration::from_secs(60));
    let (mut seen, mut last_taken) = (Seen::default(), Instant::now());
    let mut number = 0u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let (key, value) = (format!("{own}:{}", number % 64), format!("{own}-{number}"));
        let requests = [
            shoal_e2e::raw_client::encode(&["SET", &key, &value]),
            shoal_e2e::raw_client::encode(&["ECHO", &value]),
        ];
        client.send(&requests.concat());
        let set = client.reply().expect("a reply to SET");
        assert_eq!(
            String::from_utf8_lossy(&client.reply().expect("a reply to ECHO")),
            format!("${}\r\n{value}\r\n", value.len()),
            "a reply for another request"
        );
        let set = String::from_utf8_lossy(&set).into_owned();
        if set == "+OK\r\n" {
            seen.taken += 1;
            seen.longest_gap = seen.longest_gap.max(last_taken.elapsed());
            last_taken = Instant::now();
            progress.taken.fetch_add(1, Ordering::Relaxed);
            progress.last.fetch_max(progress.began.elapsed().as_micros() as u64, Ordering::Relaxed);
            continue;
        }
        match set.as_str() {
            text if text.ends_with("whether the request was executed is not known\r\n") => seen.unknown += 1,
            text if text.starts_with("-ERR shard w-0 of pool w ") || text.starts_with("-READONLY") => {
                seen.refused += 1;
            }
            text => panic!("{text:?} is no reply to SET"),
        }
        thread::sleep(Duration::from_millis(1)); // a client that is refused does not ask as fast as it can
    }
    seen
}

/// Runs `failover` under load, and what it is to lead to; prints the time that writes were not taken.
fn under_load(what: &str, proxy: &OwnProxy, to: SocketAddr, failover: impl FnOnce()) {
    let addr = proxy.addr("w");
    let progress = Progress { began: Instant::now(), taken: AtomicU64::new(0), last: AtomicU64::new(0) };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        let (stop, progress) = (&stop, &progress);
        let writers: Vec<_> =
            (0..WRITERS).map(|own| scope.spawn(move || write(addr, own, stop, progress))).collect();
        let taken = || progress.taken.load(Ordering::Relaxed);
        wait::until("writes to be taken", || (taken() > 200).then_some(()));
        failover();
        wait_for_primary(proxy, to);
        let then = taken();
        wait::until("writes to be taken again", || (taken() > then + 200).then_some(()));
        stop.store(true, Ordering::Relaxed);
        let seen: Vec<Seen> = writers.into_iter().map(|writer| writer.join().expect("a writer")).collect();
        let sum = |of: fn(&Seen) -> u64| seen.iter().map(of).sum::<u64>();
        let gap = seen.iter().map(|seen| seen.longest_gap).max().unwrap_or_default();
        println!(
            "{what}: writes resumed after {} ms; {} taken, {} of unknown fate, {} refused",
            gap.as_millis(),
            sum(|seen| seen.taken),
            sum(|seen| seen.unknown),
            sum(|seen| seen.refused)
        );
    });
}

struct StopAtEnd<'s>(&'s AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn wait_for_primary(proxy: &OwnProxy, to: SocketAddr) {
    let found = wait::at_most(Duration::from_secs(60), || {
        let (_, shards) = proxy.get("/shards");
        shards.contains(&format!("w w-0 {to} in")).then_some(())
    });
    assert!(found.is_some(), "not led to {to}:\n{}", proxy.log());
}

/// Commands that the instance has executed and that only a pool's clients send here.
fn sets(server: &RedisServer) -> u64 {
    let said = String::from_utf8_lossy(&server.client().call(&["INFO", "commandstats"])).into_owned();
    let line = said.lines().find_map(|line| line.strip_prefix("cmdstat_set:calls="));
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or_default()
}

#[test]
fn a_killed_primary_is_followed_by_its_replica() {
    let workplace = Workplace::new();
    let mut watched = Watched::start(&workplace, DOWN_AFTER_MS);
    let proxy = start(&workplace, &watched);
    let to = watched.instances[1].addr();
    let [old, _] = &mut watched.instances[..] else { panic!("two instances") };
    under_load("kill -9", &proxy, to, || old.kill());
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
    let stop = AtomicBool::new(false);
    let progress = Progress { began: Instant::now(), taken: AtomicU64::new(0), last: AtomicU64::new(0) };
    let addr = proxy.addr("w");
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        let (stop, progress) = (&stop, &progress);
        let writers: Vec<_> =
            (0..WRITERS).map(|own| scope.spawn(move || write(addr, own, stop, progress))).collect();
        let taken = || progress.taken.load(Ordering::Relaxed);
        wait::until("writes to be taken", || (taken() > 200).then_some(()));
        old.stop();
        wait_for_primary(&proxy, new.addr());
        // The switch is known to every worker: from now on nothing goes to the old one, which comes back and takes writes
        // until the sentinels make it a replica. What lies in its sockets was sent before, and was cut.
        old.resume();
        count_anew(old);
        old.client().call(&["SET", "own", "1"]);
        let then = taken();
        wait::until("writes to be taken again", || (taken() > then + 500).then_some(()));
        let role = String::from_utf8_lossy(&old.client().call(&["ROLE"])).into_owned();
        let (own, clients) = (sets(old), clients_of_proxy(old));
        println!("the old primary, back: {own} SET by the test, {clients} connections, {:?}", &role[..12]);
        assert_eq!((own, clients), (1, 0), "the proxy goes on asking it:\n{}", proxy.log());
        stop.store(true, Ordering::Relaxed);
        let gap = writers.into_iter().map(|writer| writer.join().expect("a writer").longest_gap).max();
        println!("SIGSTOP: writes resumed after {} ms", gap.unwrap_or_default().as_millis());
    });
    let (_, metrics) = proxy.get("/metrics");
    assert!(metrics.contains("shoal_primary_switches_total{pool=\"w\",shard=\"w-0\"} 1"), "{metrics}");
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
    under_load("SENTINEL FAILOVER", &proxy, b, || {
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
    let looks = |proxy: &OwnProxy| {
        let (_, metrics) = proxy.get("/metrics");
        let line =
            metrics.lines().find(|line| line.starts_with("shoal_sentinel_looks_total{")).expect("looks");
        line.rsplit(' ').next().unwrap().parse::<u64>().expect("a number")
    };
    watched.sentinels[2].resume();
    let then = looks(&proxy);
    wait::until("some looks more", || (looks(&proxy) > then + 2).then_some(()));
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
