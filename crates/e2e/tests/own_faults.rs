//! A storage pool of ours when a shard dies, hangs or is slow: its keys fail, by name and soon, all others are right,
//! and no reply ever reaches the wrong request.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use shoal_e2e::raw_client::encode;
use shoal_e2e::sharded::{ask, value};
use shoal_e2e::{OwnPool, Proxy, RawClient, RedisServer, Sharded, escape, wait};

const SHARDS: usize = 4;
const KEYS: usize = 128;
/// The shard that things happen to.
const VICTIM: usize = 1;
/// Every error about it begins so.
const BY_NAME: &[u8] = b"-ERR shard demo-1 of pool demo ";

fn storage(workers: usize, timeout: &str) -> Sharded {
    Sharded::start(SHARDS, workers, KEYS, |addrs| OwnPool::storage("demo", addrs).key("timeout", timeout))
}

#[test]
fn a_killed_shard_fails_its_keys_alone_and_recovers() {
    // Longer than any client of the load waits: that the shard is gone is seen, no time-out is waited for.
    let mut demo = storage(2, "60000");
    let load = Load::start(&demo, 4);
    load.rounds(5);
    assert_eq!((load.failed(), load.missing()), (0, 0));

    demo.servers[VICTIM].kill();
    wait::until("failures under load", || (load.failed() > 1000).then_some(()));
    demo.servers[VICTIM].restart();
    demo.set(&mut demo.client(), &demo.keys(VICTIM, true));
    // Each worker finds out by itself, after a pause of its own.
    wait::until("all workers are connected again", || {
        let before = load.failed();
        load.rounds(2);
        (load.failed() == before).then_some(())
    });
    let before = (load.failed(), load.missing());
    load.rounds(5);
    assert_eq!((load.failed(), load.missing()), before, "failures after it was back");
    load.end();
    assert!(demo.proxy.process().ended().is_none());
}

#[test]
fn nobody_else_waits_for_a_stopped_shard() {
    // Far longer than a client of this test waits for a reply.
    let demo = storage(2, "60000");
    let (stuck, others) = (demo.keys(VICTIM, true), demo.keys(VICTIM, false));
    let mut asking: Vec<RawClient> = (0..4).map(|_| demo.client()).collect();
    let mut bystanders: Vec<RawClient> = (0..4).map(|_| demo.client()).collect();
    demo.servers[VICTIM].stop();
    for client in &mut asking {
        ask(client, &stuck);
        // Behind them in the same session; it waits its turn and comes.
        ask(client, &others);
    }
    for _ in 0..3 {
        for client in &mut bystanders {
            demo.expect(client, &others);
        }
    }
    demo.servers[VICTIM].resume();
    for client in &mut asking {
        stuck.iter().chain(&others).for_each(|key| client.expect(&value(key)));
    }
}

#[test]
fn a_stopped_shard_fails_its_keys_in_time_and_recovers() {
    let timeout = Duration::from_millis(700);
    let demo = storage(2, "700");
    let (lost, others) = (demo.keys(VICTIM, true), demo.keys(VICTIM, false));
    let mut asking: Vec<RawClient> = (0..4).map(|_| demo.client()).collect();
    demo.servers[VICTIM].stop();
    for round in 0..2 {
        let begun = Instant::now();
        for client in &mut asking {
            ask(client, &lost);
            ask(client, &others[..1]);
        }
        for client in &mut asking {
            for key in &lost {
                let reply = client.reply().expect("an error in time");
                let words = b"-ERR shard demo-1 of pool demo timed out: no reply within 700 ms\r\n";
                let backs_off = b"-ERR shard demo-1 of pool demo is down; it is tried again in a moment\r\n";
                let expected = reply == words || round > 0 && reply == backs_off;
                assert!(expected, "{key}: {}", escape::show(&reply));
            }
            client.expect(&value(&others[0]));
        }
        // How late it may be at most, the simulation holds: there time is no machine's.
        let took = begun.elapsed();
        assert!(round > 0 || took >= timeout, "failed after {took:?} already");
    }
    demo.servers[VICTIM].resume();
    recovers(&demo, &mut asking[0]);
    for client in &mut asking {
        demo.expect(client, &[lost.clone(), others.clone()].concat());
    }
}

#[test]
fn late_replies_reach_nobody() {
    let demo = storage(2, "150");
    let lost = demo.keys(VICTIM, true);
    let (first, second) = lost.split_at(lost.len() / 2);
    let mut clients: Vec<RawClient> = (0..8).map(|_| demo.client()).collect();
    for _ in 0..6 {
        demo.servers[VICTIM].stop();
        clients.iter_mut().for_each(|client| ask(client, first));
        for client in &mut clients {
            // Their requests lie in the stopped server's sockets by now, and will be answered some day.
            demand_values_or_names(client, first);
        }
        // Others, some before and some after it wakes up.
        clients[..4].iter_mut().for_each(|client| ask(client, second));
        demo.servers[VICTIM].resume();
        clients[4..].iter_mut().for_each(|client| ask(client, second));
        for client in &mut clients {
            demand_values_or_names(client, second);
        }
        recovers(&demo, &mut clients[0]);
    }
}

#[test]
fn a_request_that_is_late_behind_a_slow_one_fails_alone() {
    // One worker and one upstream a shard: all of them wait in the same line.
    let demo = storage(1, "3000");
    let keys = demo.keys(VICTIM, true);
    let victim = &demo.servers[VICTIM];
    let (mut slow, mut patient) = (demo.client(), demo.client());
    // Two of 2 s: the server has answered within the time limit, and the second comes after its own, unless this test is
    // kept from running for a whole second.
    let busy = encode(&["EVAL", BUSY, "1", &keys[0], "2000000"]);
    let worked = victim.cpu_ticks();
    slow.send(&busy);
    // Only when the server has taken the first: it sends the replies to all that it read at once together.
    wait::until("the server is busy", || (victim.cpu_ticks() >= worked + 5).then_some(()));
    slow.send(&[busy, encode(&["GET", &keys[1]])].concat());
    slow.expect(b"$7\r\n2000000\r\n");
    ask(&mut patient, &keys[2..4]);
    for _ in 0..2 {
        slow.expect(b"-ERR shard demo-1 of pool demo timed out: no reply within 3000 ms\r\n");
    }
    // Their replies come before this one's, and are nobody's.
    ask(&mut slow, &keys[4..6]);
    patient.expect(&[value(&keys[2]), value(&keys[3])].concat());
    slow.expect(&[value(&keys[4]), value(&keys[5])].concat());
    let stats = String::from_utf8(demo.proxy.stats()).expect("a text");
    assert!(!stats.contains("\"server_timedout\":1"), "the connection was given up: {stats}");
}

/// Keeps the server busy for ARGV[1] microseconds.
const BUSY: &str = "local function now() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end \
                    local done = now() + ARGV[1] repeat until now() >= done return ARGV[1]";

#[test]
fn commands_of_many_keys_name_the_dead_shard_and_keep_the_session() {
    let mut demo = storage(1, "5000");
    let (lost, others) = (demo.keys(VICTIM, true), demo.keys(VICTIM, false));
    demo.servers[VICTIM].kill();
    let mut client = demo.client();
    let all: Vec<String> = demo.homes.keys().cloned().collect();
    let with_values = all.iter().flat_map(|key| [key.clone(), "new".to_owned()]);
    for command in [
        [vec!["MGET".to_owned()], all.clone()].concat(),
        [vec!["EXISTS".to_owned()], all.clone()].concat(),
        [vec!["TOUCH".to_owned()], all.clone()].concat(),
        std::iter::once("MSET".to_owned()).chain(with_values).collect(),
        vec!["GET".to_owned(), lost[0].clone()],
    ] {
        // Answered in their order, whether or not the shard was known to be dead.
        client.send(&[encode(&command), encode(&["GET", &others[0]]), encode(&["PING"])].concat());
        let reply = client.reply().expect("an error");
        assert!(reply.starts_with(BY_NAME), "{}: {}", command[0], escape::show(&reply));
        let kept = client.reply().expect("a value");
        assert!(kept == value(&others[0]) || kept == b"$3\r\nnew\r\n", "{}", escape::show(&kept));
        client.expect(b"+PONG\r\n");
    }
    let mget = [vec!["MGET".to_owned()], others.clone()].concat();
    client.send_command(&mget);
    client.expect(format!("*{}\r\n", others.len()).as_bytes());
    others.iter().for_each(|_| client.expect(b"$3\r\nnew\r\n"));
    let reply = client.call(&[vec!["DEL".to_owned()], all.clone()].concat());
    assert!(reply.starts_with(BY_NAME), "{}", escape::show(&reply));
    // The other shards' parts stand.
    let left = |server: &RedisServer| server.client().call(&["DBSIZE"]);
    assert!(
        (0..SHARDS).filter(|&shard| shard != VICTIM).all(|shard| left(&demo.servers[shard]) == b":0\r\n")
    );
    demo.servers[VICTIM].restart();
    demo.set(&mut client, &all);
    demo.expect(&mut client, &all);
}

/// Waits until the keys of the victim answer again, all of them rightly.
fn recovers(demo: &Sharded, client: &mut RawClient) {
    let lost = demo.keys(VICTIM, true);
    wait::until("the shard is back", || {
        ask(client, &lost);
        (demand_values_or_names(client, &lost) == lost.len()).then_some(())
    });
}

/// The next replies are each its key's own value or an error that names the shard; how many are values.
#[track_caller]
fn demand_values_or_names(client: &mut RawClient, keys: &[String]) -> usize {
    let mut values = 0;
    for key in keys {
        let reply = client.reply().expect("a reply");
        let right = reply == value(key);
        assert!(right || reply.starts_with(BY_NAME), "{key}: {}", escape::show(&reply));
        values += usize::from(right);
    }
    values
}

/// Clients that ask for all keys, pipelined, again and again.
struct Load {
    counts: Arc<Counts>,
    threads: Vec<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    rounds: Vec<AtomicUsize>,
    failed: AtomicUsize,
    missing: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

impl Load {
    fn start(demo: &Sharded, clients: usize) -> Self {
        let rounds = (0..clients).map(|_| AtomicUsize::new(0)).collect();
        let counts = Arc::new(Counts { rounds, ..Counts::default() });
        let start = |number| {
            let (client, counts, homes) = (demo.client(), Arc::clone(&counts), demo.homes.clone());
            thread::spawn(move || counts.ask_all(number, client, &homes.into_iter().collect::<Vec<_>>()))
        };
        let threads = (0..clients).map(start).collect();
        Self { counts, threads }
    }

    /// Waits until each client has asked for everything this many times more.
    fn rounds(&self, more: usize) {
        for rounds in &self.counts.rounds {
            let until = rounds.load(SeqCst) + more + 1;
            let went_wrong = || !self.counts.wrong.lock().expect("what was wrong").is_empty();
            wait::until("load goes on", || (rounds.load(SeqCst) >= until || went_wrong()).then_some(()));
        }
    }

    /// How many requests failed by name.
    fn failed(&self) -> usize {
        self.counts.failed.load(SeqCst)
    }

    /// How many keys of the victim had no value, since it came back empty.
    fn missing(&self) -> usize {
        self.counts.missing.load(SeqCst)
    }

    /// Ends it; no reply may have been wrong.
    #[track_caller]
    fn end(self) {
        self.counts.stop.store(true, SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a client"));
        let wrong = self.counts.wrong.lock().expect("what was wrong");
        assert!(wrong.is_empty(), "{} wrong replies, first {:?}", wrong.len(), wrong.first());
    }
}

impl Counts {
    fn ask_all(&self, number: usize, mut client: RawClient, homes: &[(String, usize)]) {
        let keys: Vec<String> = homes.iter().map(|(key, _)| key.clone()).collect();
        while !self.stop.load(SeqCst) {
            ask(&mut client, &keys);
            for (key, home) in homes {
                match client.reply() {
                    Ok(reply) if reply == value(key) => {}
                    Ok(reply) if *home == VICTIM && reply.starts_with(BY_NAME) => {
                        self.failed.fetch_add(1, SeqCst);
                    }
                    Ok(reply) if *home == VICTIM && reply == b"$-1\r\n" => {
                        self.missing.fetch_add(1, SeqCst);
                    }
                    other => {
                        let told = format!("{key} of shard {home}: {other:?}");
                        self.wrong.lock().expect("what was wrong").push(told);
                        return;
                    }
                }
            }
            self.rounds[number].fetch_add(1, SeqCst);
        }
    }
}
