//! Failovers by real sentinels, under load: every reply is checked by value, nothing goes to an old primary once the switch is
//! known, and the time until writes are taken again is printed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shoal_e2e::sentinel::MASTER_NAME;
use shoal_e2e::{OwnPool, OwnProxy, Proxy as _, RawClient, RedisServer, Watched, Workplace, wait};

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
    let pool = OwnPool::watched("w", &watched.addrs(), MASTER_NAME).key("timeout", "1000");
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
    let progress =
        Progress { began: Instant::now(), taken: AtomicU64::new(0), last: AtomicU64::new(0) };
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
        let seen: Vec<Seen> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
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
